//! What every Rekey process stands on: clocks, supervised tasks, an accept layer with limits, TLS that is swapped while
//! it serves, logs that cannot leak by accident.
//!
//! This package knows no credential and no rotation. It alone spawns tasks and reads clocks (`clippy.toml` says so).

pub mod accept;
mod apart;
pub mod backoff;
pub mod clock;
pub mod harden;
pub mod http;
#[cfg(test)]
mod pki;
pub mod post;
pub mod random;
pub mod readiness;
pub mod serve;
pub mod tasks;
pub mod telemetry;
pub mod tls;

pub use accept::{Connections, Limits, Listener, Peer};
pub use apart::apart;
pub use backoff::Backoff;
pub use clock::Clock;
pub use readiness::Readiness;
pub use tasks::{Spawner, Tasks};
pub use tls::{ClientTls, ServerTls};
pub use tokio_util::sync::CancellationToken;
