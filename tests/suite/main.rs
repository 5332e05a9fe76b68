//! The real binaries against a private PostgreSQL: what a user would see.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod application;
mod aws_iam;
mod bad_input;
mod canary;
mod controller_gone;
mod door;
mod files;
mod follow;
mod group;
mod hand_in;
mod json;
mod judged;
mod load;
mod mysql;
mod operators;
mod other_users;
mod pair;
mod poison;
mod pooled;
mod prometheus;
mod rabbitmq;
mod redis;
mod restore;
mod revoke;
mod rotate;
mod secrets;
mod sidecar_gone;
mod single;
mod store_tls;
mod story;
mod strangers;
mod twins;
mod weather;
