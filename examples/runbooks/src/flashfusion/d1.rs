//! D1: an inventory of three environments with owner, environment, created, last rotated, that cannot have gaps.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::DATABASE;
use crate::consumer::How;
use crate::consumers::postgres::queries;
use crate::login::{logins, version};
use crate::measured::Measured;
use crate::part::Part;
use crate::row::{Row, Size};
use crate::stage::Stage;

const FILE: &str = include_str!("../../flashfusion/d1-agents.yaml");

/// What the controller's config asks of every declaration.
const REQUIRED: &str = "required: { labels: [scope] }\n";

pub(crate) const ROW: Row = Row {
    id: "D1",
    system: "flashfusion",
    title: "inventory of three environments; a label that is missing is refused",
    needs: &[Part::Postgres],
    files: &["d1-agents.yaml"],
    play,
};

fn play(stage: &mut Stage, _size: Size) -> Result<Measured> {
    let postgres = DATABASE.make(stage)?;
    stage.sidecar("flashfusion")?;
    stage.platform.configure(|setup| setup.sections += REQUIRED)?;
    refused(stage)?;
    let names = stage.declare_all(FILE)?;
    names.iter().try_for_each(|name| stage.first_version(name))?;
    let first = names.first().context("the file declares nothing")?;
    let mut measured = Measured::at("PostgreSQL", version(&postgres));
    let consumer = stage.consumer(first, How::Watch, queries(&DATABASE.query()))?;
    consumer.let_work(3)?;
    let before = line(stage, first)?;
    stage.rotate(first, &mut measured)?;
    consumer.let_work(3)?;
    measured.used(consumer.end()?);
    let after = line(stage, first)?;
    for key in ["created_ms", "last_rotated_ms"] {
        let at = |line: &Value| line.get(key).and_then(Value::as_i64).unwrap_or_default();
        ensure!(at(&before) > 0 && at(&after) > at(&before), "{key}: {before:#} {after:#}");
    }
    let wanted = [
        ("ai-ops", "production", "orchestrate"),
        ("ai-ops", "staging", "evaluate"),
        ("devops", "sandbox", "run-tools"),
    ];
    for (name, (owner, environment, scope)) in names.iter().zip(wanted) {
        let line = line(stage, name)?;
        let says = |pointer: &str, text: &str| line.pointer(pointer).and_then(Value::as_str) == Some(text);
        ensure!(says("/owner", owner) && says("/environment", environment), "{line:#}");
        ensure!(line.get("labels").is_some_and(|labels| labels.to_string().contains(scope)), "{line:#}");
        ensure!(line.get("max_age_seconds").and_then(Value::as_u64) == Some(30 * 86400), "{line:#}");
    }
    let csv = stage.platform.operator().plain(&["inventory", "export"])?;
    let csv = String::from_utf8(csv.stdout).context("the CSV is no text")?;
    for name in &names {
        ensure!(csv.lines().any(|line| line.starts_with(&format!("{name},"))), "{name} is not in {csv}");
    }
    stage.write_out("d1-inventory.csv", &csv)?;
    stage.platform.configure(|setup| setup.sections = setup.sections.replace(REQUIRED, ""))?;
    ensure!(logins(&postgres, "ff_orchestrator_v") == 1, "logins are left behind");
    measured.note("the whole inventory is in d1-inventory.csv");
    measured.ended("dropped; `last_rotated` of its line is newer");
    Ok(measured)
}

/// A declaration without the label is refused, and the refusal names it.
fn refused(stage: &Stage) -> Result<()> {
    let without = FILE.replacen("labels: { scope: orchestrate }\n", "", 1);
    ensure!(without.len() < FILE.len(), "the file has no label to leave out");
    stage.platform.write("without-label.yaml", &without)?;
    let told = stage.platform.operator().output(&["apply", "-f", "without-label.yaml"])?;
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    ensure!(told.status.code() == Some(10) && said.contains("labels.scope"), "{:?}: {said}", told.status);
    ensure!(
        stage.platform.ctl(&["status", "flashfusion/orchestrator"]).is_err(),
        "it was declared all the same"
    );
    Ok(())
}

/// A credential's line of the inventory.
pub(super) fn line(stage: &Stage, name: &str) -> Result<Value> {
    let told = stage.platform.ctl(&["inventory", "export"])?;
    let lines = told.get("credentials").and_then(Value::as_array).cloned().unwrap_or_default();
    lines.into_iter().find(|line| line.get("name").and_then(Value::as_str) == Some(name)).context("no line")
}
