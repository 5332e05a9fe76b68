//! What the settings of several kinds of target have in common: where it is, TLS and where it may be left out, limits of
//! time, the files that are named, probes.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{SecretBytes, Span};
use rekey_settings::{Section, check_secret_file, read_secret_file, read_text};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::http::route;
use crate::{BuildError, Driver, Problem};

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

/// TLS to a target, as it is written: `tls.mode`, `tls.ca_file`, `tls.server_name`.
#[derive(Debug, Clone, Default)]
pub struct TlsSettings {
    /// Whether, and how strictly.
    pub mode: TlsMode,
    /// The only authorities that are trusted, PEM.
    pub ca_file: Option<PathBuf>,
    /// Instead of a file: the authorities that browsers trust, as they were when this was built.
    pub public: bool,
    /// The name in the server's certificate, if it is not the host.
    pub server_name: Option<String>,
}

/// Whether TLS is spoken, and how strictly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// The certificate must be issued by the declared authority for the name. The default.
    #[default]
    VerifyFull,
    /// Plain; only to a Unix socket or loopback.
    Disable,
}

/// TLS, ready to be spoken.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) server_name: Option<String>,
}

impl Route {
    /// Where consumers reach the server: as we do, where nothing else is said.
    pub(crate) fn of_consumers(&self, host: Option<&String>, port: Option<u16>) -> Self {
        Self { host: host.unwrap_or(&self.host).clone(), port: port.unwrap_or(self.port) }
    }
}

impl TlsSettings {
    /// Reads `tls` of a target. A Unix socket (`local`) speaks no TLS; everything else is verified in full unless it
    /// says otherwise.
    pub(crate) fn read(section: &Section<'_>, folder: &Path, local: bool) -> Self {
        let default = if local { TlsMode::Disable } else { TlsMode::VerifyFull };
        let Some(tls) = section.optional_section("tls") else {
            return Self { mode: default, ..Self::default() };
        };
        let mode = match tls.optional::<String>("mode").as_deref() {
            None => default,
            Some("verify-full") => TlsMode::VerifyFull,
            Some("disable") => TlsMode::Disable,
            Some(_) => {
                let remedy = "write verify-full, or disable for a Unix socket or loopback";
                tls.problem("mode", "is not known", remedy);
                default
            }
        };
        let ca_file = tls.optional::<PathBuf>("ca_file").map(|file| folder.join(file));
        let public = match tls.optional::<String>("authorities").as_deref() {
            None => false,
            Some("public") => true,
            Some(_) => {
                tls.problem("authorities", "is not known", "write public, or name a tls.ca_file");
                true
            }
        };
        Self { mode, ca_file, public, server_name: tls.optional("server_name") }
    }

    /// Everything that is wrong with it, whatever the host.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.mode == TlsMode::VerifyFull && self.ca_file.is_none() && !self.public {
            problems.push(no_authority());
        }
        if self.ca_file.is_some() && self.public {
            problems
                .push(Problem::new("tls.authorities", "goes without tls.ca_file: only one can be trusted"));
        }
        if let Some(name) = &self.server_name
            && ServerName::try_from(name.as_str()).is_err()
        {
            problems.push(Problem::new("tls.server_name", "is a DNS name or an address"));
        }
        problems
    }

    /// What is wrong with it for `host`, which the setting `field` names.
    pub(crate) fn problem_at(&self, field: &str, host: &str) -> Option<Problem> {
        (self.mode == TlsMode::Disable && !on_this_machine(host)).then(|| {
            let message = format!("disable is only for a Unix socket or loopback, not for {field} {host:?}");
            Problem::new("tls.mode", message)
        })
    }

    /// TLS with the authorities (PEM) that were read from `ca_file`; none where it is not spoken. Fails with `problems`,
    /// those of the settings, if there are any, and with what is wrong with the authorities.
    pub(crate) fn ready(
        &self,
        ca_pem: Option<&[u8]>,
        mut problems: Vec<Problem>,
    ) -> Result<Option<Tls>, Vec<Problem>> {
        let tls = self.with(ca_pem).unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        problems.dedup();
        if problems.is_empty() { Ok(tls) } else { Err(problems) }
    }

    fn with(&self, ca_pem: Option<&[u8]>) -> Result<Option<Tls>, Problem> {
        match (self.mode, ca_pem) {
            (TlsMode::Disable, _) => Ok(None),
            (TlsMode::VerifyFull, None) if !self.public => Err(no_authority()),
            (TlsMode::VerifyFull, pem) => {
                let public = || speaking(public_authorities());
                let config = pem
                    .map_or_else(public, client_config)
                    .map_err(|message| Problem::new("tls.ca_file", message))?;
                Ok(Some(Tls { config, server_name: self.server_name.clone() }))
            }
        }
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

fn no_authority() -> Problem {
    Problem::new("tls.ca_file", "is needed: no other authority is trusted")
}

/// Whether `host` is this machine, or the folder of a Unix socket.
pub(crate) fn on_this_machine(host: &str) -> bool {
    host.starts_with('/')
        || host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn public_authorities() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

/// TLS 1.3, these authorities and no others, no resumption.
fn client_config(ca_pem: &[u8]) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem) {
        let certificate = certificate.map_err(|error| format!("is not PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("holds a certificate that is none: {error}"))?;
    }
    if roots.is_empty() {
        return Err("holds no certificate".to_owned());
    }
    speaking(roots)
}

/// TLS with which no connection succeeds, for a client that must have some and speaks none.
pub(crate) fn trusting_nobody() -> Result<Arc<ClientConfig>, String> {
    speaking(RootCertStore::empty())
}

fn speaking(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| format!("cannot be used: {error}"))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
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
}
