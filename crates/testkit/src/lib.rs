//! Starts real parts privately, for tests and the demo: a PostgreSQL cluster, a Redis, an OpenBao, our own binaries, certificates.
//!
//! Every part lives in its own temporary folder, listens on loopback or a Unix socket at a free place, and ends with
//! its handle. A part that is missing on this machine fails loudly and names the line that installs it.
#![allow(
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test that cannot have its parts may stop where it stands"
)]

pub mod cargo;
pub mod certificates;
pub mod console;
mod guarded;
pub mod http;
pub mod kube;
pub mod mariadb;
pub mod marker;
pub mod moto;
pub mod mysql8;
pub mod openbao;
pub mod pgbouncer;
pub mod platform;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod rabbitmq;
pub mod redis;
pub mod system;
pub mod weather;

/// The uid and gid that parts run as when the caller is root: `daemon`, which every system has. PostgreSQL refuses root
/// and wants a user with a name; `nobody` will not do, since a sidecar refuses the overflow uid as a caller.
pub const DAEMON: u32 = 1;

/// Who parts run as: [`DAEMON`] when the caller is root, else nobody else than the caller.
pub fn unprivileged() -> Option<u32> {
    rustix::process::geteuid().is_root().then_some(DAEMON)
}
