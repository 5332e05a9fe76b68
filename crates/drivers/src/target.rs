//! What the settings of several kinds of target have in common: where it is, TLS, limits of time, the files that are named,
//! probes.

mod tls;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{SecretBytes, Span};
use rekey_settings::{Section, check_secret_file, read_secret_file, read_text};

use crate::http::route;
use crate::{BuildError, Driver, Problem};

pub(crate) use tls::{Tls, trusting_nobody};
pub use tls::{TlsMode, TlsSettings};

/// The most probes that an account may have.
pub(crate) const MOST_PROBES: usize = 32;
/// The most bytes of a probe.
const LONGEST_PROBE: usize = 4096;

/// A way to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Route {
    /// Where consumers reach the server: as we do, where nothing else is said.
    pub(crate) fn of_consumers(&self, host: Option<&String>, port: Option<u16>) -> Self {
        Self { host: host.unwrap_or(&self.host).clone(), port: port.unwrap_or(self.port) }
    }
}

/// Notes with a section of `driver` what is wrong with the settings in it.
pub(crate) fn note(section: &Section<'_>, driver: &str, problems: Vec<Problem>) {
    for problem in problems {
        let remedy = format!("docs/drivers.md says what `{driver}` takes");
        section.problem(&problem.field, problem.message, remedy);
    }
}

/// Notes with a target's section what is wrong with the settings in it, and with the files of secrets that they name:
/// each by its field.
pub(crate) fn note_target(
    section: &Section<'_>,
    driver: &str,
    problems: Vec<Problem>,
    secrets: &[(&str, &PathBuf)],
) {
    note(section, driver, problems);
    for (field, file) in secrets {
        if let Err(reason) = check_secret_file(file) {
            section.problem(field, reason, "");
        }
    }
}

/// A length of time, to be the usual one of a setting.
pub(crate) fn seconds(seconds: u64) -> Span {
    Span::new(Duration::from_secs(seconds))
}

/// The file that the field `key` must name; a relative path is below `folder`.
pub(crate) fn file(section: &Section<'_>, key: &str, folder: &Path) -> Option<PathBuf> {
    section.required::<PathBuf>(key).map(|file| folder.join(file))
}

/// What `with` makes of a target's settings, the rotator's secret and the authorities (PEM). Both files are read anew at
/// each call, so that they can be changed without a restart.
pub(crate) fn opened<T>(
    secret_file: &Path,
    tls: &TlsSettings,
    with: impl FnOnce(SecretBytes, Option<&[u8]>) -> Result<T, Vec<Problem>>,
) -> Result<T, BuildError> {
    let secret = read_secret_file(secret_file).map_err(BuildError::File)?;
    opened_with(secret, tls, with)
}

/// As [`opened`], of a target that has no rotator: what it is opened with is empty.
pub(crate) fn opened_for_nobody<T>(
    tls: &TlsSettings,
    with: impl FnOnce(SecretBytes, Option<&[u8]>) -> Result<T, Vec<Problem>>,
) -> Result<T, BuildError> {
    opened_with(SecretBytes::new(Vec::new()), tls, with)
}

fn opened_with<T>(
    secret: SecretBytes,
    tls: &TlsSettings,
    with: impl FnOnce(SecretBytes, Option<&[u8]>) -> Result<T, Vec<Problem>>,
) -> Result<T, BuildError> {
    let authority = tls.ca_file.as_deref().map(|path| {
        read_text(path).map_err(|error| BuildError::File(format!("{}: {error}", path.display())))
    });
    with(secret, authority.transpose()?.as_deref().map(str::as_bytes)).map_err(BuildError::Mismatch)
}

/// A driver as [`Plug::driver`](crate::Plug::driver) gives it, or why its settings do not go together.
pub(crate) fn built(
    driver: Result<impl Driver + 'static, Vec<Problem>>,
) -> Result<Arc<dyn Driver>, BuildError> {
    driver.map(|driver| Arc::new(driver) as Arc<dyn Driver>).map_err(BuildError::Mismatch)
}

/// What is wrong with the places where a server is, each host by its field, and with the ports. A Unix socket begins
/// with `/`.
pub(crate) fn check_routes(
    tls: &TlsSettings,
    hosts: [(&str, Option<&str>); 2],
    ports: [u16; 2],
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (field, host) in hosts.into_iter().filter_map(|(field, host)| Some((field, host?))) {
        if host.is_empty() || host.chars().any(|c| c.is_control() || c.is_whitespace()) {
            problems.push(Problem::new(field, "is a DNS name, an address or where a Unix socket is"));
        } else if tls.mode == TlsMode::VerifyFull && host.starts_with('/') {
            problems.push(Problem::new("tls.mode", "a Unix socket speaks no TLS: write disable"));
        } else {
            problems.extend(tls.problem_at(field, host));
        }
    }
    if ports.contains(&0) {
        problems.push(Problem::new("port", "is 1 to 65535"));
    }
    problems.extend(tls.problems());
    problems
}

/// What is wrong with `address`, which the field names: `https://host:port`, or `http://` on this machine where no TLS is
/// spoken.
pub(crate) fn check_address(tls: &TlsSettings, field: &str, address: &str) -> Option<Problem> {
    match (route(address), tls.mode) {
        (Some(("https", ..)), TlsMode::VerifyFull) => None,
        (Some(("https", ..)), TlsMode::Disable) => {
            Some(Problem::new("tls.mode", format!("disable is not for {field} with https")))
        }
        (Some((_http, host, _)), TlsMode::Disable) => tls.problem_at(field, &host),
        (Some(_http), TlsMode::VerifyFull) => {
            let message = "speaks no TLS: write https, or tls.mode disable for loopback";
            Some(Problem::new(field, message))
        }
        (None, _) => Some(Problem::new(field, "is https://host:port, nothing after it")),
    }
}

/// What is wrong with `address`, which the field names, where TLS is only of matter if it begins with `https://`.
pub(crate) fn check_endpoint(tls: &TlsSettings, field: &str, address: &str) -> Vec<Problem> {
    match route(address) {
        Some(("https", ..)) => tls.problems(),
        Some((_http, host, _)) if on_this_machine(&host) => Vec::new(),
        Some(_http) => {
            vec![Problem::new(field, "is https: without TLS only this machine is spoken to")]
        }
        None => {
            vec![Problem::new(field, "is https://HOST or https://HOST:PORT, nothing after it")]
        }
    }
}

/// Whether the file that `field` names holds a secret.
pub(crate) fn check_secret(problems: &mut Vec<Problem>, field: &str, secret: &SecretBytes) {
    if secret.size() == 0 {
        problems.push(Problem::new(field, "holds nothing"));
    }
}

/// What is wrong with an account's probes: how many they are, and what each is, which is `one` such if it is `good`.
pub(crate) fn check_probes(
    problems: &mut Vec<Problem>,
    probes: &[String],
    one: &str,
    good: impl Fn(&str) -> bool,
) {
    if probes.len() > MOST_PROBES {
        problems.push(Problem::new("probes", format!("are at most {MOST_PROBES}")));
    }
    for (index, probe) in probes.iter().enumerate() {
        if probe.trim().is_empty() || probe.len() > LONGEST_PROBE || !good(probe) {
            let message = format!("is one {one} of at most {LONGEST_PROBE} bytes");
            problems.push(Problem::new(format!("probes[{index}]"), message));
        }
    }
}

/// What is wrong with probes that are SQL.
pub(crate) fn check_statements(problems: &mut Vec<Problem>, probes: &[String]) {
    check_probes(problems, probes, "SQL statement", |probe| !probe.contains('\0'));
}

/// What is wrong with the limits of a call: with each of its `parts`, and with the whole, which is at least the first two
/// of them: a connection, and one statement or command.
pub(crate) fn check_times(problems: &mut Vec<Problem>, parts: &[(&'static str, Span)], call: Span) {
    let whole = [("call_timeout", call, 300)];
    for (field, time, most) in parts.iter().map(|(field, time)| (*field, *time, 60)).chain(whole) {
        if time.get() < Duration::from_millis(10) || time.get() > Duration::from_secs(most) {
            problems.push(Problem::new(field, format!("is 10ms to {most}s")));
        }
    }
    if let [(one, connect), (other, step), ..] = parts
        && call.get() < connect.get() + step.get()
    {
        problems.push(Problem::new("call_timeout", format!("is at least {one} and {other} together")));
    }
}

/// Whether `host` is this machine, or the folder of a Unix socket.
fn on_this_machine(host: &str) -> bool {
    host.starts_with('/')
        || host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_with_tls_or_on_this_machine_without() {
        let verified = TlsSettings { public: true, ..TlsSettings::default() };
        let plain = TlsSettings { mode: TlsMode::Disable, ..TlsSettings::default() };
        let fields = |tls: &TlsSettings, hosts, ports| -> Vec<String> {
            let [host, consumer] = hosts;
            let hosts = [("host", host), ("consumer_host", consumer)];
            check_routes(tls, hosts, ports).into_iter().map(|problem| problem.field).collect()
        };
        let good: [&str; 0] = [];
        assert_eq!(fields(&verified, [Some("a.internal"), None], [1, 1]), good);
        assert_eq!(fields(&plain, [Some("/run/a"), Some("::1")], [1, 1]), good);
        assert_eq!(fields(&verified, [Some("/run/a"), None], [1, 1]), ["tls.mode"]);
        assert_eq!(fields(&plain, [Some("127.0.0.1"), Some("10.0.0.1")], [1, 1]), ["tls.mode"]);
        for bad in ["", "a b", "a\n"] {
            assert_eq!(fields(&verified, [Some("a"), Some(bad)], [1, 1]), ["consumer_host"], "{bad:?}");
        }
        assert_eq!(fields(&verified, [Some("a"), None], [1, 0]), ["port"]);
        assert_eq!(fields(&TlsSettings::default(), [Some("a"), None], [1, 1]), ["tls.ca_file"]);
    }

    #[test]
    fn consumers_reach_a_server_as_we_do_unless_something_else_is_said() {
        let route = Route { host: "a".into(), port: 1 };
        let host = "b".to_owned();
        assert_eq!(route.of_consumers(None, None), route);
        assert_eq!(route.of_consumers(Some(&host), None), Route { host: host.clone(), port: 1 });
        assert_eq!(route.of_consumers(None, Some(2)), Route { host: "a".into(), port: 2 });
    }
}
