//! Every door of the controller: bound before anything is served, so that it fails early or not at all.

use std::net::SocketAddr;
use std::sync::Arc;

use rekey_runtime::Clock;
use rekey_runtime::accept::{Connections, Limits, Listener, SocketError, UnixMode};
use rekey_runtime::tls::{ClientAuth, Roots, ServerTls, TlsError};

use super::leaf::{Leaf, LeafError};
use crate::ca::{Admin, Authority, Server, Sidecar};
use crate::config::Config;

/// Why a door could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A TCP address.
    #[error("cannot listen on {address} for {listener}")]
    Tcp {
        /// Which listener.
        listener: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The admin socket.
    #[error("cannot listen on the admin socket {path}")]
    Socket {
        /// Where.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: SocketError,
    },
    /// TLS.
    #[error("the TLS of the listeners cannot be set up")]
    Tls(#[from] TlsError),
    /// The controller's own leaf.
    #[error(transparent)]
    Leaf(#[from] LeafError),
}

/// One door.
#[derive(Debug)]
pub(super) struct Door {
    /// Taken when it is served.
    pub(super) listener: Option<Listener>,
    /// Who is connected.
    pub(super) connections: Connections,
    /// Its TLS, if it has any.
    pub(super) tls: Option<Arc<ServerTls>>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) fleet: Door,
    pub(super) admin: Door,
    pub(super) local: Door,
    pub(super) http: Option<Door>,
    /// The certificate that the TLS doors show.
    pub(super) leaf: Arc<Leaf>,
    ca_pem: String,
}

impl Listeners {
    /// Binds what `config` names. Sidecars may come without a certificate, to join; operators may not.
    pub(super) fn bind(
        config: &Config,
        server: Authority<Server>,
        clients: (&Authority<Sidecar>, &Authority<Admin>),
        clock: &Clock,
    ) -> Result<Self, BindError> {
        let ca_pem = server.certificate_pem();
        let roots = |der: &[u8]| Roots::from_der([der.to_vec()]);
        let sidecars = ClientAuth::Optional(roots(clients.0.certificate())?);
        let operators = ClientAuth::Required(roots(clients.1.certificate())?);
        let names = config.fleet.names.clone();
        let leaf = Leaf::new(server, config.trust_domain.clone(), names, clock)?;
        let fleet_tls = leaf.serve(sidecars, clock)?;
        let admin_tls = leaf.serve(operators, clock)?;
        let socket = &config.admin.socket;
        let local = Listener::unix(socket, UnixMode { mode: 0o600, gid: None })
            .map_err(|source| BindError::Socket { path: socket.clone(), source })?;
        let http = config.http.map(|address| tcp("http", address, None)).transpose()?;
        Ok(Self {
            fleet: tcp("fleet", config.fleet.listen, Some(fleet_tls))?,
            admin: tcp("admin", config.admin.listen, Some(admin_tls))?,
            local: Door {
                listener: Some(local),
                connections: Connections::new(Limits::controller()),
                tls: None,
            },
            http,
            leaf: Arc::new(leaf),
            ca_pem,
        })
    }

    /// The authority of the controller's leaf, in PEM.
    pub(super) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Where operators elsewhere reach the admin door: as configured, or by the first name in the certificate.
    pub(super) fn admin_address(&self, config: &Config) -> String {
        let bound = self.admin.listener.as_ref().and_then(Listener::local_addr);
        config
            .admin
            .address
            .clone()
            .unwrap_or_else(|| by_name(config.fleet.names.first(), bound.unwrap_or(config.admin.listen)))
    }

    /// The doors that are counted, by name.
    pub(super) fn counted(&self) -> Vec<(&'static str, Connections)> {
        vec![
            ("fleet", self.fleet.connections.clone()),
            ("admin", self.admin.connections.clone()),
            ("local", self.local.connections.clone()),
        ]
    }
}

/// An address that the certificate holds for, whatever `bound` is: it may be every address of this machine.
fn by_name(name: Option<&String>, bound: SocketAddr) -> String {
    match name {
        Some(name) if name.contains(':') => format!("[{name}]:{}", bound.port()),
        Some(name) => format!("{name}:{}", bound.port()),
        None => bound.to_string(),
    }
}

fn tcp(listener: &'static str, address: SocketAddr, tls: Option<Arc<ServerTls>>) -> Result<Door, BindError> {
    let bound = Listener::tcp(address).map_err(|source| BindError::Tcp { listener, address, source })?;
    tracing::info!(listener, address = %bound.local_addr().unwrap_or(address), "listening");
    Ok(Door { listener: Some(bound), connections: Connections::new(Limits::controller()), tls })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_sent_to_a_name_that_the_certificate_holds_for() {
        let bound = "0.0.0.0:8444".parse().unwrap();
        let sent = |name: &str| by_name(Some(&name.to_owned()), bound);
        assert_eq!(sent("rekey.example"), "rekey.example:8444");
        assert_eq!(sent("10.1.2.3"), "10.1.2.3:8444");
        assert_eq!(sent("fd00::1"), "[fd00::1]:8444");
    }
}
