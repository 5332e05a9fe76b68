//! B5: a secret is compromised: cut it at the source, replace it, no grace, and a report of the incident.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio_postgres::NoTls;

use super::DATABASE;
use crate::consumer::How;
use crate::consumers::postgres::queries;
use crate::login::{one, version};
use crate::measured::Measured;
use crate::part::Part;
use crate::row::{Row, Size};
use crate::stage::Stage;

/// The declaration: a login as any other.
pub(super) const FILE: &str = include_str!("../../aos/b5-emergency.yaml");

pub(crate) const ROW: Row = Row {
    id: "B5",
    system: "aos",
    title: "emergency: cut, fenced, replaced, and the report of it",
    needs: &[Part::Postgres],
    files: &["b5-emergency.yaml"],
    play,
};

fn play(stage: &mut Stage, _size: Size) -> Result<Measured> {
    stage.sidecar("aos")?;
    let (postgres, name) = DATABASE.declare(stage, FILE)?;
    let mut measured = Measured::at("PostgreSQL", version(&postgres));
    let consumer = stage.consumer(&name, How::Watch, queries(&DATABASE.query()))?;
    consumer.let_work(5)?;
    let leaked = stage.handle(&name)?;
    let stolen = stage.read(&name)?;
    let config = postgres.connection(&leaked, stolen.text("password")?, DATABASE.name);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (thief, connection) = runtime.block_on(config.connect(NoTls))?;
    runtime.spawn(connection);
    runtime.block_on(thief.simple_query(&DATABASE.query()))?;
    consumer.expect_refusals();
    let receipt = stage.platform.ctl(&["revoke", &name, "--reason", "found in a log"])?;
    ensure!(runtime.block_on(thief.simple_query("SELECT 1")).is_err(), "the thief's session goes on");
    ensure!(runtime.block_on(config.connect(NoTls)).is_err(), "the leaked password still works");
    consumer.recovered()?;
    consumer.let_work(5)?;
    measured.used(consumer.end()?);
    measured.rotations += 1;
    let at = |key: &str| receipt.get(key).and_then(Value::as_i64).unwrap_or_default();
    let after = |key: &str| at(key) - at("intent_ms");
    for key in ["cut_ms", "fenced_ms", "replaced_ms"] {
        ensure!(at("intent_ms") > 0 && after(key) >= 0, "the receipt has no {key}: {receipt:#}");
    }
    let left = receipt.get("left_to_do").and_then(Value::as_array).map_or(0, Vec::len);
    ensure!(left == 0, "something is left to do: {receipt:#}");
    let gone = one(
        &postgres,
        "postgres",
        &format!("SELECT 1 FROM pg_roles WHERE rolname = '{leaked}' AND rolcanlogin"),
    );
    ensure!(gone.is_empty(), "{leaked} may log in");
    measured.note(format!(
        "cut after {} ms, every sidecar fenced after {} ms, replaced after {} ms",
        after("cut_ms"),
        after("fenced_ms"),
        after("replaced_ms")
    ));
    report(stage, &name, &receipt)?;
    measured.note("the incident's receipt and audit are in b5-incident.json");
    measured.ended(format!("{leaked}: refused, its sessions ended"));
    Ok(measured)
}

/// What goes into the file of the incident.
fn report(stage: &Stage, name: &str, receipt: &Value) -> Result<()> {
    let audit = stage.platform.ctl(&["audit", "query", "--credential", name])?;
    ensure!(audit.to_string().contains("found in a log"), "the audit does not say why: {audit:#}");
    let report = json!({ "receipt": receipt, "audit": audit });
    stage.write_out("b5-incident.json", &serde_json::to_string_pretty(&report)?)
}
