//! What a process says when it panics, and how its log lines look: seen from outside, in a child.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

use std::process::Command;

use rekey_runtime::telemetry::{self, Format};

const PART: &str = "REKEY_TEST_PART";

/// Runs this test again as a child that plays `part`, and gives what it wrote to standard error.
fn child(test: &str, part: &str) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(PART, part)
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    String::from_utf8(output.stderr).unwrap()
}

fn part() -> Option<String> {
    std::env::var(PART).ok()
}

#[test]
fn a_panic_says_where_and_not_what() {
    if part().is_some() {
        telemetry::init(Format::Text);
        let payload = std::panic::catch_unwind(|| panic!("marker-9f2"));
        assert!(payload.is_err() && telemetry::panics() == 1);
        return;
    }
    let said = child("a_panic_says_where_and_not_what", "panic");
    assert!(said.contains("tests/telemetry.rs:"), "{said}");
    assert!(!said.contains("9f2"), "{said}");
}

#[test]
fn a_log_line_is_one_line_whatever_it_holds() {
    if let Some(part) = part() {
        telemetry::init(part.parse().unwrap());
        tracing::info!(name = "a\nERROR forged\x1b[2J", "hello\r\nworld");
        tracing::debug!("not shown");
        return;
    }
    for format in ["text", "json"] {
        let said = child("a_log_line_is_one_line_whatever_it_holds", format);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("hello") && said.contains("forged") && !said.contains("not shown"), "{said}");
        assert!(!said.contains('\x1b') && !said.contains('\r'), "{said:?}");
    }
}
