//! A11: a record of everything: each step of a rotation, who asked for it, and what was done by hand.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::a3::{DATABASE, FILE};
use crate::consumer::How;
use crate::consumers::postgres::queries;
use crate::login::{logins, version};
use crate::measured::Measured;
use crate::part::Part;
use crate::row::{Row, Size};
use crate::stage::Stage;

pub(crate) const ROW: Row = Row {
    id: "A11",
    system: "agentaskit",
    title: "audit of everything; what was rotated by hand is recorded",
    needs: &[Part::Postgres],
    files: &["a3-database-login.yaml"],
    play,
};

/// A key that Rekey does not look after.
const BASTION: &str = "agentaskit/bastion";

fn play(stage: &mut Stage, _size: Size) -> Result<Measured> {
    let (postgres, name) = DATABASE.declare(stage, FILE)?;
    let mut measured = Measured::at("PostgreSQL", version(&postgres));
    let consumer = stage.consumer(&name, How::Get, queries(&DATABASE.query()))?;
    consumer.let_work(3)?;
    let value = stage.read(&name)?.text("password")?.to_owned();
    stage.rotate(&name, &mut measured)?;
    consumer.let_work(3)?;
    let by_hand = [
        "record",
        BASTION,
        "--kind",
        "ssh-key",
        "--old",
        "SHA256:2019-bastion",
        "--new",
        "SHA256:2026-bastion",
        "--reason",
        "180 days, ticket 4711",
    ];
    stage.platform.ctl(&by_hand)?;
    let version = stage.current(&name)?;
    let records = audit(stage, &name)?;
    let of_it: Vec<&Value> =
        records.iter().filter(|r| r.get("version").and_then(Value::as_u64) == Some(version)).collect();
    let verbs: Vec<String> = of_it.iter().map(|record| text(record, "verb")).collect();
    ensure!(verbs.len() >= 3, "of v{version} the audit has only {verbs:?}: {records:#?}");
    let asked = records.iter().find(|record| text(record, "verb") == "rotate");
    let asked = asked.context("nobody asked for a rotation, says the audit")?;
    ensure!(!text(asked, "actor").is_empty() && text(asked, "reason").ends_with("runbook"), "{asked:#}");
    let recorded = audit(stage, BASTION)?;
    let all = format!("{recorded:?}");
    for word in ["ssh-key", "SHA256:2019-bastion", "SHA256:2026-bastion", "ticket 4711"] {
        ensure!(all.contains(word), "the audit does not say {word}: {all}");
    }
    ensure!(recorded.iter().all(|record| !text(record, "actor").is_empty()), "nobody did it: {all}");
    let now = stage.read(&name)?.text("password")?.to_owned();
    let everything = format!("{:?}", stage.platform.ctl(&["audit", "query"])?);
    ensure!(!everything.contains(&value) && !everything.contains(&now), "a password stands in the audit");
    measured.used(consumer.end()?);
    ensure!(logins(&postgres, "agentaskit_prod_v") == 1, "logins are left behind");
    measured.note(format!("of the rotation to v{version} the audit has: {}", verbs.join(", ")));
    measured.ended(format!("recorded by {}, with its reason; no value in the audit", text(asked, "actor")));
    Ok(measured)
}

fn audit(stage: &Stage, name: &str) -> Result<Vec<Value>> {
    let told = stage.platform.ctl(&["audit", "query", "--credential", name])?;
    told.get("records").and_then(Value::as_array).cloned().context("no records")
}

fn text(record: &Value, key: &str) -> String {
    record.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}
