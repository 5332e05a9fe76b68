//! TLS to a target: what settings say of it, what is wrong with that, and how it is spoken.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekey_settings::Section;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::on_this_machine;
use crate::Problem;

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

fn no_authority() -> Problem {
    Problem::new("tls.ca_file", "is needed: no other authority is trusted")
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
