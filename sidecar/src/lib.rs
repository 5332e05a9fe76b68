//! The sidecar: stands next to a workload, holds its credentials in memory, swaps them atomically, serves them on a
//! local socket.
//!
//! The way of a credential: `link` reads the controller's stream and turns what comes into candidates; `live` checks
//! them and publishes one snapshot that readers see whole; `serve` answers local processes from it, as far as `callers`
//! allows; what those report goes by `usage` back up the `link`, where each swap is acknowledged once it is visible.
//! `identity` keeps the leaf that `dial` shows the controller. `app` puts the parts together.
//!
//! `files` keeps what was asked for in files, for programs that can read nothing else.
//!
//! This package knows no SQL, no driver and no phase of a rotation. It writes nothing to disk but its identity and those files.

pub mod app;
pub mod callers;
mod cli;
pub mod config;
pub mod dial;
mod figures;
pub mod files;
pub mod identity;
pub mod link;
pub mod live;
pub mod serve;
pub mod usage;

pub use cli::Cli;
