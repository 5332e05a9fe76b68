//! The stream to the controller: applies what it brings, says what was swapped to, asks for leases.
//!
//! One session is one stream. A new leaf needs a new connection, so a second session may be open for a moment: it is
//! level before the first is closed. Losing the controller is no failure: what is live stays, and the lease runs out.

mod leases;
mod session;
mod succession;
mod taking;
mod telling;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rekey_runtime::Clock;
use tokio_util::sync::CancellationToken;

pub use succession::Link;

use crate::live::{Live, Writer};
use crate::usage::Consumers;

/// What every session works on.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Who publishes.
    pub writer: Arc<Mutex<Writer>>,
    /// What is published.
    pub live: Arc<Live>,
    /// What local processes do.
    pub consumers: Arc<Consumers>,
    /// The time.
    pub clock: Clock,
    /// Fired when nobody is served any more: the session says so and ends.
    pub stop: CancellationToken,
}

impl Ground {
    /// A writer whose holder panicked has published nothing, or one whole snapshot.
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
