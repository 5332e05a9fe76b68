//! The whole sidecar within one process: a scripted controller above, local clients below.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod controller;
mod identity;
mod process;
mod serving;
mod stream;
mod whole;
