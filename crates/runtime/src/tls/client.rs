//! The client's side: whom we trust and who we are, swapped whole.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::sign::SingleCertAndKey;

use super::{Identity, Roots, TlsError, provider};
use crate::Clock;

/// The TLS of a client: TLS 1.3, ALPN `h2`, no resumption, only the given roots. Clones share it, swaps included.
#[derive(Debug, Clone)]
pub struct ClientTls {
    config: Arc<ArcSwap<ClientConfig>>,
    clock: Clock,
}

impl ClientTls {
    /// Trusts `roots` and shows `identity`, if there is one.
    pub fn new(roots: &Roots, identity: Option<&Identity>, clock: Clock) -> Result<Self, TlsError> {
        let config = Arc::new(ArcSwap::from(build(roots, identity, &clock)?));
        Ok(Self { config, clock })
    }

    /// Puts other roots or another identity in force from the next connection on. Refused ones change nothing.
    pub fn swap(&self, roots: &Roots, identity: Option<&Identity>) -> Result<(), TlsError> {
        self.config.store(build(roots, identity, &self.clock)?);
        Ok(())
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        self.config.load_full()
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }
}

fn build(roots: &Roots, identity: Option<&Identity>, clock: &Clock) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(clock.clone()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Setup)?
        .with_root_certificates(Arc::clone(&roots.0));
    let mut config = match identity {
        Some(identity) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(config))
}
