//! How the controller is reached: over TLS in a running sidecar, within the process in tests.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use rekey_runtime::{ClientTls, Clock, tls};
use tonic::transport::Channel;

use crate::identity::Leaf;

/// Why the controller is not reached.
#[derive(Debug, thiserror::Error)]
#[error("reach the controller")]
pub struct DialError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// The future of [`Dial::dial`].
pub type Dialled<'a> = Pin<Box<dyn Future<Output = Result<Channel, DialError>> + Send + 'a>>;

/// Opens connections to the controller.
pub trait Dial: Send + Sync + 'static {
    /// A new connection: as `leaf`, or as nobody to join or rejoin. Never one that exists already.
    fn dial(&self, leaf: Option<Arc<Leaf>>) -> Dialled<'_>;
}

/// The controller, over TLS.
#[derive(Debug, Clone)]
pub struct Controller {
    /// Where it is, and the name in its certificate.
    pub at: tls::Dial,
    /// Who signs its certificate.
    pub roots: tls::Roots,
    /// Tells whether a certificate has expired.
    pub clock: Clock,
}

impl Dial for Controller {
    fn dial(&self, leaf: Option<Arc<Leaf>>) -> Dialled<'_> {
        Box::pin(async move {
            let identity = leaf.map(|leaf| leaf.tls_identity()).transpose().map_err(failed)?;
            let tls = ClientTls::new(&self.roots, identity.as_ref(), self.clock.clone()).map_err(failed)?;
            tls::connect(&tls, &self.at).await.map_err(failed)
        })
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> DialError {
    DialError(Box::new(error))
}
