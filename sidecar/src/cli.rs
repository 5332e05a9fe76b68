//! The command line.
//!
//! Read by hand over `lexopt`: clap alone is larger than what this program does with it, and a sidecar stands in every
//! pod.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use lexopt::{Arg, Parser, ValueExt};
use rekey_runtime::tasks::signalled;
use rekey_runtime::{Clock, telemetry, tls};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::app::build;
use crate::config::{Config, SOCKET};

/// How long a probe may take.
const PROBE: Duration = Duration::from_secs(2);
/// Where the settings are when nobody says otherwise.
const CONFIG: &str = "/etc/rekey/sidecar.yaml";

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cli {
    /// Serve, or only say whether it could.
    Serve {
        /// The settings.
        config: PathBuf,
        /// Only say whether the settings can be used.
        check_only: bool,
        /// How logs are written.
        log_format: telemetry::Format,
    },
    /// Ask a running sidecar whether it serves.
    Probe {
        /// Its socket.
        socket: PathBuf,
    },
    /// Say this, and nothing else.
    Say(String),
}

const HELP: &str = "\
Holds this workload's credentials in memory, swaps them atomically, serves them on a local socket

Usage: rekey-sidecar [OPTIONS]
       rekey-sidecar probe [--socket PATH]

Commands:
  probe  Ask a running sidecar whether it serves: exit code 0 if so, 1 if not, 2 if it cannot be asked

Options:
      --config FILE        The settings (YAML) [default: /etc/rekey/sidecar.yaml]
      --check-config       Only say whether the settings can be used
      --log-format FORMAT  How logs are written to standard error: text or json [default: text]
      --socket PATH        Of `probe`: the sidecar's socket [env: REKEY_SOCKET] [default: /run/rekey/rekey.sock]
  -h, --help               Print help
  -V, --version            Print version

Examples:
  rekey-sidecar --config /etc/rekey/sidecar.yaml
  rekey-sidecar --config sidecar.yaml --check-config
  rekey-sidecar probe --socket /run/rekey/rekey.sock

A config that joins and serves the user it runs as:
  controller: { address: \"rekey.example.com:8443\", ca_file: /etc/rekey/ca.pem }
  identity: { state_dir: /var/lib/rekey, join_token_file: /etc/rekey/token }

RUST_LOG sets the log level (info). Of the settings, `callers` reloads when the file changes; the others need a restart.
Exit codes: 0 ended as told, 1 failed, 2 bad arguments, bad settings, or a sidecar that cannot be asked.
";

impl Cli {
    /// Reads `arguments`, which begin with the program's name; `socket` is what the environment says of it.
    pub fn read(
        arguments: impl IntoIterator<Item = OsString>,
        socket: Option<OsString>,
    ) -> Result<Self, lexopt::Error> {
        let mut parser = Parser::from_iter(arguments);
        let (mut config, mut check_only, mut log_format) = (None, false, telemetry::Format::default());
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Long("config") => config = Some(PathBuf::from(parser.value()?)),
                Arg::Long("check-config") => check_only = true,
                Arg::Long("log-format") => log_format = parser.value()?.parse()?,
                Arg::Value(word) if word == "probe" && config.is_none() && !check_only => {
                    return probe_arguments(parser, socket);
                }
                other @ (Arg::Short(_) | Arg::Long(_) | Arg::Value(_)) => return said(&other),
            }
        }
        Ok(Self::Serve { config: config.unwrap_or_else(|| CONFIG.into()), check_only, log_format })
    }

    /// The same, of this process; what is wrong goes to standard error.
    pub fn of_this_process() -> Result<Self, ExitCode> {
        Self::read(std::env::args_os(), std::env::var_os("REKEY_SOCKET")).map_err(|error| {
            say(&format!("error: {error}\n\nFor more information, try '--help'."));
            ExitCode::from(2)
        })
    }

    /// Does what was asked.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Say(text) => print(&text).map(|()| ExitCode::SUCCESS),
            Self::Probe { socket } => Ok(probe(&socket).await),
            Self::Serve { config, check_only, log_format } => serve(&config, check_only, log_format).await,
        }
    }
}

fn probe_arguments(mut parser: Parser, socket: Option<OsString>) -> Result<Cli, lexopt::Error> {
    let mut socket = socket.filter(|path| !path.is_empty()).unwrap_or_else(|| SOCKET.into());
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("socket") => socket = parser.value()?,
            other @ (Arg::Short(_) | Arg::Long(_) | Arg::Value(_)) => return said(&other),
        }
    }
    Ok(Cli::Probe { socket: socket.into() })
}

/// What every command knows; everything else is refused.
fn said(argument: &Arg<'_>) -> Result<Cli, lexopt::Error> {
    match argument {
        Arg::Short('h') | Arg::Long("help") => Ok(Cli::Say(HELP.to_owned())),
        Arg::Short('V') | Arg::Long("version") => {
            Ok(Cli::Say(concat!("rekey-sidecar ", env!("CARGO_PKG_VERSION"), "\n").to_owned()))
        }
        Arg::Short(_) | Arg::Long(_) | Arg::Value(_) => Err(argument.clone().unexpected()),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    std::io::stdout().write_all(text.as_bytes()).context("write to standard output")
}
async fn serve(path: &Path, check_only: bool, format: telemetry::Format) -> anyhow::Result<ExitCode> {
    telemetry::init(format);
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => {
            error.lines().iter().for_each(|line| say(line));
            return Ok(ExitCode::from(2));
        }
    };
    if check_only {
        return Ok(ExitCode::SUCCESS);
    }
    tls::install_provider();
    let signal = signalled().context("listen for signals")?;
    let report = build(config, path.to_owned()).await?.run(signal).await;
    tracing::info!("{report}");
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn probe(socket: &Path) -> ExitCode {
    let asked = async {
        let channel = tls::connect_unix(socket, None).await?;
        let request = HealthCheckRequest { service: String::new() };
        anyhow::Ok(HealthClient::new(channel).check(request).await?.into_inner().status())
    };
    match Clock::system().within(PROBE, asked).await {
        Some(Ok(ServingStatus::Serving)) => ExitCode::SUCCESS,
        Some(Ok(_)) => {
            say("it waits for its first credentials, or is ending");
            ExitCode::FAILURE
        }
        Some(Err(error)) => {
            say(&format!("{}: {error:#}", socket.display()));
            ExitCode::from(2)
        }
        None => {
            say(&format!("{}: no answer within {PROBE:?}", socket.display()));
            ExitCode::from(2)
        }
    }
}

fn say(line: &str) {
    use std::io::Write;
    // Nothing can be done about a closed standard error.
    drop(writeln!(std::io::stderr(), "{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, socket: Option<&str>) -> Result<Cli, String> {
        let words = std::iter::once("rekey-sidecar").chain(line.split_whitespace());
        Cli::read(words.map(OsString::from), socket.map(OsString::from)).map_err(|error| error.to_string())
    }

    fn serves(config: &str, check_only: bool, log_format: telemetry::Format) -> Cli {
        Cli::Serve { config: config.into(), check_only, log_format }
    }

    #[test]
    fn arguments_are_taken_in_every_usual_form() {
        let (text, json) = (telemetry::Format::Text, telemetry::Format::Json);
        assert_eq!(read("", None), Ok(serves(CONFIG, false, text)));
        assert_eq!(read("--config a.yaml --check-config", None), Ok(serves("a.yaml", true, text)));
        assert_eq!(read("--log-format=json --config=a.yaml", None), Ok(serves("a.yaml", false, json)));
    }

    #[test]
    fn a_probe_asks_the_socket_named_first_by_the_line_then_by_the_environment() {
        let probes = |path: &str| Ok(Cli::Probe { socket: path.into() });
        assert_eq!(read("probe", None), probes(SOCKET));
        assert_eq!(read("probe", Some("/e.sock")), probes("/e.sock"));
        assert_eq!(read("probe --socket /a.sock", Some("/e.sock")), probes("/a.sock"));
    }

    #[test]
    fn what_is_unknown_is_refused_and_named() {
        for wrong in ["--confg a", "serve", "probe now", "--log-format xml", "--config", "--config a probe"] {
            let said = read(wrong, None).unwrap_err();
            let named = wrong.split_whitespace().any(|word| said.contains(word));
            assert!(named, "{wrong}: {said}");
        }
    }

    #[test]
    fn help_names_every_option_and_is_told_for_each_command() {
        for asked in ["--help", "-h", "probe --help"] {
            assert_eq!(read(asked, None), Ok(Cli::Say(HELP.to_owned())), "{asked}");
        }
        assert!(matches!(read("-V", None), Ok(Cli::Say(text)) if text.starts_with("rekey-sidecar 0")));
        for option in ["--config", "--check-config", "--log-format", "--socket", CONFIG, SOCKET] {
            assert!(HELP.contains(option), "{option}");
        }
    }
}
