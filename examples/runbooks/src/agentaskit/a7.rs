//! A7: after a rotation the share of good uses decides: above the bar it stays, below it returns by itself.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::a3::DATABASE;
use crate::consumer::{Consumer, How};
use crate::consumers::postgres::queries;
use crate::login::{one, version};
use crate::measured::Measured;
use crate::part::Part;
use crate::patience::comes;
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
    let file = FILE.replace("least: 1000", &format!("least: {least}"));
    let postgres = DATABASE.make(stage)?;
    stage.sidecar("agentaskit")?;
    let name = stage.declare(&file)?;
    stage.first_version(&name)?;
    let mut measured = Measured::at("PostgreSQL", version(&postgres));
    let consumers = [How::Watch, How::Get].map(|how| stage.consumer(&name, how, queries(&DATABASE.query())));
    let consumers = consumers.into_iter().collect::<Result<Vec<_>>>()?;
    consumers.iter().try_for_each(|consumer| consumer.let_work(5))?;

    // The first does well for as long as it is looked at.
    let good = Trial::begin(stage, &postgres, &name)?;
    measured.note(format!("{} stayed: {}", good.new, judged(stage, &name, least)?));
    good.lasts()?;
    let version = good.old + 1;
    drop(good);
    short(stage, &file)?;
    stage.platform.wait_settled(&name, version)?;
    measured.rotations += 1;

    // The second is broken by somebody after everybody has it.
    stage.declare(&file)?;
    let bad = Trial::begin(stage, &postgres, &name)?;
    let broken = bad.new.clone();
    judged(stage, &name, least)?;
    consumers.iter().for_each(Consumer::expect_refusals);
    postgres.sql(&format!("ALTER ROLE {broken} CONNECTION LIMIT 0"));
    let why = bad.returned(stage, &name)?;
    ensure!(why.contains("were good, 99.9% were asked for"), "they went back for another reason: {why}");
    consumers.iter().try_for_each(Consumer::recovered)?;
    short(stage, &file)?;
    bad.undone(stage, &name)?;
    consumers.iter().try_for_each(|consumer| consumer.let_work(10))?;
    for consumer in consumers {
        measured.used(consumer.end()?);
    }
    let there = || one(&postgres, "postgres", &format!("SELECT 1 FROM pg_roles WHERE rolname = '{broken}'"));
    ensure!(comes(|| there().is_empty()), "{broken} is left behind");
    measured.note(format!("returned by itself: {why}"));
    measured.ended(format!("{broken}: left again, not in pg_roles"));
    Ok(measured)
}

/// Waits until as many uses were told as the bar asks for; all were good.
fn judged(stage: &Stage, name: &str, least: u64) -> Result<String> {
    let mut judged = Value::Null;
    let enough = comes(|| {
        let status = stage.platform.status(name).unwrap_or(Value::Null);
        judged = status.pointer("/rotation/judgement").cloned().unwrap_or(Value::Null);
        judged.get("uses").and_then(Value::as_u64) >= Some(least)
    });
    ensure!(enough && judged.get("good") == judged.get("uses"), "it was not judged well: {judged:#}");
    Ok(judged.to_string())
}

/// Takes the hour of trial away, so that a run need not wait for it. The server is asked at once after a start.
fn short(stage: &mut Stage, file: &str) -> Result<()> {
    let short: Vec<&str> = file.lines().filter(|line| !line.starts_with("grace:")).collect();
    stage.declare(&short.join("\n"))?;
    stage.platform.configure(|_as_it_is| ())
}
