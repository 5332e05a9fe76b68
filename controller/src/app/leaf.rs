//! The controller's own certificate: short-lived, drawn anew at half its life, swapped under the doors that show it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rekey_model::TrustDomain;
use rekey_runtime::tls::{ClientAuth, Identity, ServerTls, TlsError};
use rekey_runtime::{CancellationToken, Clock};

use crate::ca::{Authority, CaError, Server};

/// How long a leaf of the controller is good.
const LIFE: Duration = Duration::from_hours(24);
/// How soon a leaf that could not be drawn is tried again.
const AGAIN: Duration = Duration::from_mins(1);

/// Why the controller has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// It could not be issued.
    #[error("the controller's own certificate cannot be issued")]
    Issue(#[from] CaError),
    /// It could not be used.
    #[error("the controller's own certificate cannot be used")]
    Use(#[from] TlsError),
}

/// The certificate, and the doors that show it.
#[derive(Debug)]
pub(super) struct Leaf {
    authority: Authority<Server>,
    domain: TrustDomain,
    names: Vec<String>,
    first: Identity,
    doors: Mutex<Vec<(Arc<ServerTls>, ClientAuth)>>,
}

impl Leaf {
    /// Draws the first one.
    pub(super) fn new(
        authority: Authority<Server>,
        domain: TrustDomain,
        names: Vec<String>,
        clock: &Clock,
    ) -> Result<Self, LeafError> {
        let first = draw(&authority, &domain, &names, clock)?;
        Ok(Self { authority, domain, names, first, doors: Mutex::default() })
    }

    /// The TLS of a door that judges its clients by `clients`.
    pub(super) fn serve(&self, clients: ClientAuth, clock: &Clock) -> Result<Arc<ServerTls>, LeafError> {
        let tls = Arc::new(ServerTls::new(&self.first, &clients, clock.clone())?);
        self.doors.lock().unwrap_or_else(PoisonError::into_inner).push((Arc::clone(&tls), clients));
        Ok(tls)
    }

    /// Draws the next one at half the life of the one before, until the process ends.
    pub(super) async fn run(
        self: Arc<Self>,
        clock: Clock,
        cancel: CancellationToken,
    ) -> Result<(), std::convert::Infallible> {
        let mut wait = LIFE / 2;
        while cancel.run_until_cancelled(clock.sleep(wait)).await.is_some() {
            wait = match self.renew(&clock) {
                Ok(()) => LIFE / 2,
                Err(error) => {
                    tracing::error!(%error, "the controller's certificate was not renewed");
                    AGAIN
                }
            };
        }
        Ok(())
    }

    fn renew(&self, clock: &Clock) -> Result<(), LeafError> {
        let identity = draw(&self.authority, &self.domain, &self.names, clock)?;
        for (door, clients) in self.doors.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            door.swap(&identity, clients)?;
        }
        Ok(())
    }
}

fn draw(
    authority: &Authority<Server>,
    domain: &TrustDomain,
    names: &[String],
    clock: &Clock,
) -> Result<Identity, LeafError> {
    let drawn = authority.server_identity(domain, names, LIFE, clock.now())?;
    Ok(Identity::from_der(vec![drawn.leaf.der], &drawn.key)?)
}
