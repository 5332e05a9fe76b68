//! The demo again and again: rotations, a rollback, a hold, a kill and a revocation in each round.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use rekey_testkit::cargo::binary;
use serde_json::Value;

use super::Limit;
use super::record::Record;

/// The figures that are summed up, of those in the demo's summary.
const FIGURES: [&str; 4] = ["rotations", "logins", "queries", "orphan_roles"];

pub(crate) fn play(record: &mut Record, limit: &Limit) -> Result<String> {
    let folder = record.folder().join("demo");
    while !limit.is_over() {
        let mut demo = Command::new(binary("rekey-demo")?);
        demo.args(["--rotations", "20", "--folder"]).arg(&folder);
        let output = demo.output().context("run the demo")?;
        ensure!(output.status.success(), "a round failed:\n{}", String::from_utf8_lossy(&output.stdout));
        let summary: Value = serde_json::from_slice(&std::fs::read(folder.join("summary.json"))?)?;
        let figure = |name| (name, summary.get(name).and_then(Value::as_u64).unwrap_or_default());
        record.add(&FIGURES.map(figure))?;
        record.add(&[("rounds", 1)])?;
    }
    let [rotations, logins, queries, orphans] = FIGURES.map(|name| record.get(name));
    Ok(format!(
        "soak: {} rounds, {rotations} rotations, {logins} logins, {queries} queries, nothing failed, {orphans} orphan roles",
        record.get("rounds")
    ))
}
