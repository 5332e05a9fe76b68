//! What a file looks like: it says what it owns, stays small, and is named after its topic.

use crate::tree::{ends_in, files, none, rust_files};

#[test]
fn every_file_begins_with_what_it_owns() {
    let without = |text: &str| !text.starts_with("//! ") && !text.starts_with("#!");
    let problems: Vec<String> =
        rust_files().into_iter().filter(|f| without(&f.text)).map(|f| f.path).collect();
    none("files that do not begin with `//!`", &problems);
}

#[test]
fn no_file_is_longer_than_600_lines_without_its_tests() {
    let problems: Vec<String> = rust_files()
        .iter()
        .map(|f| (f.code().count(), &f.path))
        .filter(|(lines, _)| *lines > 600)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    none("files over 600 lines", &problems);
}

#[test]
fn files_are_named_after_their_topic() {
    let vague = ["mod.rs", "utils.rs", "util.rs", "helpers.rs", "common.rs", "constants.rs", "misc.rs"];
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let problems: Vec<String> = rust_files()
        .into_iter()
        .map(|f| f.path)
        .filter(|path| vague.contains(&name(path).as_str()))
        .collect();
    none("files with a name that says nothing", &problems);
}

#[test]
fn nothing_is_left_to_do_without_an_issue() {
    // Put together here, so that this file does not find itself.
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat()];
    let mut problems = Vec::new();
    for file in files(|path| ends_in(path, &["rs", "sh", "proto", "md", "yaml", "toml"])) {
        for (number, line) in file.text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) && !line.contains("issue ") {
                problems.push(format!("{}:{}", file.path, number + 1));
            }
        }
    }
    none("marks without an issue", &problems);
}

#[test]
fn no_test_is_skipped() {
    let marks = [["#[ig", "nore"].concat(), ["should_", "panic"].concat()];
    let mut problems = Vec::new();
    for file in rust_files() {
        for (number, line) in file.text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                problems.push(format!("{}:{}", file.path, number + 1));
            }
        }
    }
    none("tests that are skipped or that may fail anyhow", &problems);
}
