//! The real binaries against parts that are built from source: run by `make interop`, with the parts named by
//! `REKEY_BAO` and `REKEY_KUBE`. A part that is missing fails its tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

#[path = "../suite/application.rs"]
#[allow(dead_code, reason = "the suite uses what is left over here")]
mod application;
mod kube;
mod openbao;
#[path = "../suite/story.rs"]
#[allow(dead_code, reason = "the suite uses what is left over here")]
mod story;

/// What docs/drivers.md shows under `heading` in the first block of `language`.
fn manual(heading: &str, language: &str) -> String {
    let manual = include_str!("../../docs/drivers.md");
    let section = manual.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let block = section.split(&format!("```{language}\n")).nth(1).unwrap();
    block.split("```").next().unwrap().to_owned()
}
