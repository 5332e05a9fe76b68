//! Every secret has one door, every other power too: who may call what.

use crate::tree::{none, rust_files};

/// A call, why it is guarded, and the files (or folders, ending in `/`) that may make it.
const DOORS: &[(&str, &str, &[&str])] = &[
    (
        ".expose()",
        "reads a secret",
        &[
            "crates/model/src/",
            "crates/drivers/",
            "crates/client/",
            "crates/runtime/src/tls.rs",
            "controller/",
            "sidecar/",
            "examples/",
            "tests/",
            "ctl/src/",
        ],
    ),
    ("unsafe ", "is unsafe", &[]),
];

#[test]
fn only_the_listed_files_go_through_a_door() {
    let mut problems = Vec::new();
    for file in rust_files().iter().filter(|f| !f.path.starts_with("tests/tidy/")) {
        for (call, what, allowed) in DOORS {
            if allowed.iter().any(|a| file.path == *a || (a.ends_with('/') && file.path.starts_with(a))) {
                continue;
            }
            let code = file.code().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
            for (number, _) in code.filter(|(_, line)| line.contains(call)) {
                problems.push(format!("{}:{} {what}", file.path, number + 1));
            }
        }
    }
    none("calls outside their doors", &problems);
}
