//! The borders between packages (`docs/architecture.md`): what a package must never know, by what it may not depend on.

use std::collections::BTreeSet;

use cargo_metadata::DependencyKind;

use crate::tree::{METADATA, none};

/// Package, packages of ours that it may use, crates it must never use.
const BORDERS: &[(&str, &[&str], &[&str])] = &[
    ("rekey-proto", &[], &["tokio", "serde", "sqlx", "rustls"]),
    ("rekey-model", &[], &["tokio", "prost", "tonic", "sqlx", "rustls", "tracing"]),
    (
        "rekey-rotation",
        &["rekey-model"],
        &["tokio", "prost", "tonic", "sqlx", "rustls", "tracing", "jiff", "uuid"],
    ),
    ("rekey-drivers", &["rekey-model", "rekey-settings"], &["prost", "tonic", "sqlx"]),
    ("rekey-runtime", &["rekey-model"], &["prost", "sqlx", "tokio-postgres"]),
    ("rekey-settings", &["rekey-model"], &["tokio", "prost", "tonic", "sqlx", "rustls"]),
    ("rekey-client", &["rekey-model", "rekey-proto"], &["rustls", "notify"]),
    (
        "rekey-sidecar",
        &["rekey-model", "rekey-proto", "rekey-runtime", "rekey-settings"],
        &["sqlx", "tokio-postgres", "rekey-drivers", "rekey-rotation"],
    ),
    (
        "rekey-controller",
        &["rekey-drivers", "rekey-model", "rekey-proto", "rekey-rotation", "rekey-runtime", "rekey-settings"],
        &["rekey-sidecar", "notify"],
    ),
    (
        "rekeyctl",
        &["rekey-model", "rekey-proto", "rekey-runtime", "rekey-settings"],
        &["sqlx", "tokio-postgres"],
    ),
    ("orders", &["rekey-client"], &["sqlx", "rustls"]),
    ("rekey-demo", &["rekey-testkit"], &["sqlx"]),
    ("rekey-runbooks", &["rekey-client", "rekey-testkit"], &["sqlx"]),
    ("rekey-testkit", &[], &["sqlx", "tonic"]),
    (
        "rekey-tests",
        &[
            "rekey-client",
            "rekey-controller",
            "rekey-model",
            "rekey-proto",
            "rekey-rotation",
            "rekey-runtime",
            "rekey-settings",
            "rekey-testkit",
        ],
        &["sqlx"],
    ),
    ("rekey-benches", &["rekey-client", "rekey-model", "rekey-proto", "rekey-runtime"], &["sqlx"]),
];

#[test]
fn every_package_has_a_row_and_keeps_to_it() {
    let ours: BTreeSet<&str> = METADATA.workspace_packages().iter().map(|p| p.name.as_str()).collect();
    let rows: BTreeSet<&str> = BORDERS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(ours, rows, "packages and rows of the border table differ");
    let mut problems = Vec::new();
    for package in METADATA.workspace_packages() {
        let (name, may, never) = BORDERS.iter().find(|(name, ..)| *name == package.name.as_str()).unwrap();
        for dependency in package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development) {
            let used = dependency.name.as_str();
            if ours.contains(used) && !may.contains(&used) || never.contains(&used) {
                problems.push(format!("{name} must not use {used}"));
            }
        }
    }
    none("packages beyond their borders", &problems);
}

#[test]
fn every_package_takes_the_one_lint_list() {
    let without =
        |manifest: &str| !std::fs::read_to_string(manifest).unwrap().contains("[lints]\nworkspace = true");
    let problems: Vec<String> = METADATA
        .workspace_packages()
        .iter()
        .map(|p| p.manifest_path.to_string())
        .filter(|m| without(m))
        .collect();
    none("packages without `[lints] workspace = true`", &problems);
}
