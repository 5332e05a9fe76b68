//! The SDK against a fake of the sidecar's service on a real Unix socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may stop where it stands, and watches the clock"
)]

mod calls;
mod connection;
mod fake;
mod following;
#[cfg(feature = "deadpool")]
mod pool;
mod reports;
mod settling;
#[cfg(feature = "sqlx")]
mod sqlx_pool;
