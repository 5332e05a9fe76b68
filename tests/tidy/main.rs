//! Rules of the tree that the compiler does not check: each one is a sentence in `CONTRIBUTING.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod bans;
mod borders;
mod documents;
mod doors;
mod files;
mod tree;
