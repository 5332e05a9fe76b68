//! The server's side: one configuration, swapped whole.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::{Identity, Roots, TlsError, provider};
use crate::Clock;
use crate::accept::{Secure, Secured, Securing};

/// What a server asks of its clients.
#[derive(Debug, Clone)]
pub enum ClientAuth {
    /// No certificate.
    None,
    /// A certificate is verified when it is shown; a bad one is refused, none is let in.
    Optional(Roots),
    /// A certificate by one of these roots.
    Required(Roots),
}

/// The TLS of a listener: TLS 1.3, ALPN `h2`, no tickets, no sessions.
#[derive(Debug)]
pub struct ServerTls {
    config: ArcSwap<ServerConfig>,
    clock: Clock,
}

/// A client certificate that was verified.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The certificate.
    pub der: Arc<[u8]>,
    /// Until when it holds, in seconds since 1970.
    pub not_after: i64,
}

impl Leaf {
    /// How long it still holds; no time at all if it cannot be read.
    pub fn left(&self, clock: &Clock) -> Duration {
        let left = self.not_after.saturating_mul(1_000).saturating_sub(clock.now().wall_ms);
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }

    fn read(der: &[u8]) -> Self {
        // One that rustls could verify but we cannot read is over at once.
        let not_after =
            x509_parser::parse_x509_certificate(der).map(|(_, leaf)| leaf.validity().not_after.timestamp());
        Self { der: der.into(), not_after: not_after.unwrap_or(i64::MIN) }
    }
}

impl ServerTls {
    /// Serves as `identity` and judges clients by `clients`.
    pub fn new(identity: &Identity, clients: &ClientAuth, clock: Clock) -> Result<Self, TlsError> {
        let config = ArcSwap::from(build(identity, clients, &clock)?);
        Ok(Self { config, clock })
    }

    /// Puts another identity or other roots in force from the next connection on. Refused ones change nothing.
    pub fn swap(&self, identity: &Identity, clients: &ClientAuth) -> Result<(), TlsError> {
        self.config.store(build(identity, clients, &self.clock)?);
        Ok(())
    }
}

impl Secure for ServerTls {
    fn secure(&self, stream: TcpStream) -> Securing<'_> {
        let acceptor = TlsAcceptor::from(self.config.load_full());
        Box::pin(async move {
            let stream = acceptor.accept(stream).await?;
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let leaf = shown.map(|der| Leaf::read(der));
            Ok(Secured::Tls(Box::new(stream), leaf))
        })
    }
}

fn build(identity: &Identity, clients: &ClientAuth, clock: &Clock) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_details(provider(), Arc::new(clock.clone()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Setup)?;
    let verified =
        |roots: &Roots| WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots.0), provider());
    let builder = match clients {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Optional(roots) => builder.with_client_cert_verifier(
            verified(roots).allow_unauthenticated().build().map_err(TlsError::Roots)?,
        ),
        ClientAuth::Required(roots) => {
            builder.with_client_cert_verifier(verified(roots).build().map_err(TlsError::Roots)?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}
