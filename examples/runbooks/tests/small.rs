//! Small forms of the rows for which apt, cargo and pip have all parts: one rotation each, on the real parts.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use rekey_runbooks::{Choice, Part, ROWS, Size, run};
use rekey_testkit::platform::Programs;

/// Plays what of a system's rows can be played with such parts.
fn plays(system: &str) {
    let easy =
        ROWS.iter().filter(|row| row.system == system && row.needs.iter().all(|part| Part::is_easy(*part)));
    let rows: Vec<String> = easy.map(|row| row.id.to_owned()).collect();
    assert!(!rows.is_empty(), "{system} has no such row");
    let folder = std::env::temp_dir().join(format!("rekey-small-{system}-{}", std::process::id()));
    let choice = Choice { rows, system: None, size: Size::Small, folder: folder.clone(), keep: false };
    let summary = run(&choice, Programs::built().unwrap()).unwrap();
    assert!(summary.is_good(), "{summary}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_rows_of_agentaskit_hold() {
    plays("agentaskit");
}

#[test]
fn the_rows_of_aos_hold() {
    plays("aos");
}

#[test]
fn the_rows_of_cloud_aegis_hold() {
    plays("cloud-aegis");
}

#[test]
fn the_rows_of_flashfusion_hold() {
    plays("flashfusion");
}

#[test]
fn the_rows_of_sentryagent_hold() {
    plays("sentryagent");
}
