//! `rekeyctl` as a process, against a controller's admin service that is played by this test over a Unix socket.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod commands;
mod fake;
