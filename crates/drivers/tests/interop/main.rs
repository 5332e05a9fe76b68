//! Drivers against parts that are built from source: run by `make interop`, with the parts named by `REKEY_BAO` and
//! `REKEY_KUBE`. A part that is missing fails its tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

#[path = "../drivers/conformance.rs"]
#[allow(dead_code, reason = "the other test program uses what is left over here")]
mod conformance;
mod kube;
mod openbao;
#[path = "../drivers/proxy.rs"]
#[allow(dead_code, reason = "the other test program uses what is left over here")]
mod proxy;
