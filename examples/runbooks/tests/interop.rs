//! Small forms of the rows that need a part that is built from source: run by `make interop`.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use rekey_runbooks::{Choice, Part, ROWS, Size, run};
use rekey_testkit::platform::Programs;

#[test]
fn the_rows_on_kubernetes_and_openbao_hold() {
    let hard = ROWS.iter().filter(|row| !row.needs.iter().all(|part| Part::is_easy(*part)));
    let rows: Vec<String> = hard.map(|row| row.id.to_owned()).collect();
    assert!(!rows.is_empty());
    let folder = std::env::temp_dir().join(format!("rekey-small-interop-{}", std::process::id()));
    let choice = Choice { rows, system: None, size: Size::Small, folder: folder.clone(), keep: false };
    let summary = run(&choice, Programs::built().unwrap()).unwrap();
    assert!(summary.is_good(), "{summary}");
    std::fs::remove_dir_all(folder).unwrap();
}
