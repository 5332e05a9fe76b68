//! The fleet's side of a controller, over real TLS on loopback with a real store; time stands still until it is moved.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]
#![allow(
    unreachable_pub,
    clippy::wildcard_enum_match_arm,
    reason = "a test is nobody's library, and may panic at the rest"
)]

mod grants;
mod identities;
mod restored;
mod sessions;
mod sidecar;
mod streams;
mod world;
