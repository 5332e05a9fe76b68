//! Every driver against the real thing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod aws_iam;
mod conformance;
mod hand_in;
mod made_there;
mod mysql;
mod pgbouncer;
mod postgres;
mod proxy;
mod rabbitmq;
mod redis;
mod table;
