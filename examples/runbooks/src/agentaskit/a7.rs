//! A7: after a rotation the share of good uses decides: above the bar it stays, below it returns by itself.

use anyhow::{Result, ensure};
use rekey_testkit::process::poll;
use serde_json::Value;

use super::a3::DATABASE;
use crate::consumer::{How, PATIENCE};
use crate::consumers::postgres::queries;
use crate::login::{one, version};
use crate::measured::Measured;
use crate::part::Part;
use crate::row::{Row, Size};
use crate::stage::Stage;
use crate::trial::Trial;

const FILE: &str = include_str!("../../agentaskit/a7-judged-login.yaml");

pub(crate) const ROW: Row = Row {
    id: "A7",
    system: "agentaskit",
    title: "after a rotation: 99.9% of uses good, or everybody goes back",
    needs: &[Part::Postgres],
    files: &["a7-judged-login.yaml"],
    play,
};

fn play(stage: &mut Stage, size: Size) -> Result<Measured> {
    let least: u64 = if size == Size::Whole { 1000 } else { 60 };
    let postgres = DATABASE.make(stage)?;
    stage.sidecar("agentaskit")?;
    let name = stage.declare(&FILE.replace("least: 1000", &format!("least: {least}")))?;
    stage.first_version(&name)?;
    let mut measured = Measured::at("PostgreSQL", version(&postgres));
    let consumers = [How::Watch, How::Get].map(|how| stage.consumer(&name, how, queries(&DATABASE.query())));
    let consumers = consumers.into_iter().collect::<Result<Vec<_>>>()?;
    consumers.iter().try_for_each(|consumer| consumer.let_work(5))?;

    // The first does well for as long as it is looked at.
    let good = Trial::begin(stage, &postgres, &name)?;
    let mut judged = Value::Null;
    let enough = poll(PATIENCE, || {
        let status = stage.platform.status(&name).unwrap_or(Value::Null);
        judged = status.pointer("/rotation/judgement").cloned().unwrap_or(Value::Null);
        judged.get("uses").and_then(Value::as_u64) >= Some(least)
    });
    ensure!(enough && judged.get("good") == judged.get("uses"), "it was not judged well: {judged:#}");
    good.lasts()?;
    let version = good.old + 1;
    drop(good);
    stage.platform.wait_settled(&name, version)?;
    measured.rotations += 1;
    measured.note(format!("v{version} stayed: {judged}"));

    // The second is broken by somebody after everybody has it.
    let bad = Trial::begin(stage, &postgres, &name)?;
    let broken = bad.new.clone();
    consumers.iter().try_for_each(|consumer| consumer.let_work(5))?;
    consumers.iter().for_each(crate::consumer::Consumer::expect_refusals);
    postgres.sql(&format!("ALTER ROLE {broken} CONNECTION LIMIT 0"));
    let why = bad.returned(stage, &name)?;
    consumers.iter().try_for_each(crate::consumer::Consumer::recovered)?;
    consumers.iter().try_for_each(|consumer| consumer.let_work(10))?;
    for consumer in consumers {
        measured.used(consumer.end()?);
    }
    let there = || one(&postgres, "postgres", &format!("SELECT 1 FROM pg_roles WHERE rolname = '{broken}'"));
    ensure!(poll(PATIENCE, || there().is_empty()), "{broken} is left behind");
    measured.note(format!("returned by itself: {why}"));
    measured.ended(format!("{broken}: left again, not in pg_roles"));
    Ok(measured)
}
