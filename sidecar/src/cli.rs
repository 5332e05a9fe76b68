//! The command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use rekey_runtime::tasks::signalled;
use rekey_runtime::{Clock, telemetry, tls};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::app::build;
use crate::config::{Config, SOCKET};

/// How long a probe may take.
const PROBE: Duration = Duration::from_secs(2);

/// Holds this workload's credentials in memory, swaps them atomically, serves them on a local socket.
#[derive(Debug, Parser)]
#[command(name = "rekey-sidecar", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// The settings (YAML).
    #[arg(long, value_name = "FILE", default_value = "/etc/rekey/sidecar.yaml")]
    config: PathBuf,
    /// Only say whether the settings can be used.
    #[arg(long)]
    check_config: bool,
    /// How logs are written to standard error: text or json.
    #[arg(long, default_value = "text")]
    log_format: telemetry::Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask a running sidecar whether it serves: exit code 0 if so, 1 if not, 2 if it cannot be asked.
    Probe(Probe),
}

#[derive(Debug, Args)]
struct Probe {
    /// Its socket.
    #[arg(long, value_name = "PATH", env = "REKEY_SOCKET", default_value = SOCKET)]
    socket: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  rekey-sidecar --config /etc/rekey/sidecar.yaml
  rekey-sidecar --config sidecar.yaml --check-config
  rekey-sidecar probe --socket /run/rekey/rekey.sock

A config that joins and serves the user it runs as:
  controller: { address: \"rekey.example.com:7300\", ca_file: /etc/rekey/ca.pem }
  identity: { state_dir: /var/lib/rekey, join_token_file: /etc/rekey/token }

RUST_LOG sets the log level (info). Of the settings, `callers` reloads when the file changes; the others need a restart.
Exit codes: 0 ended as told, 1 failed, 2 bad settings or a sidecar that cannot be asked.";

impl Cli {
    /// Does what was asked.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Some(Command::Probe(Probe { socket })) => Ok(probe(&socket).await),
            None => serve(&self.config, self.check_config, self.log_format).await,
        }
    }
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
