//! C9: health after a rotation: a smoke test before anybody gets a version, and all the while it is on trial.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::consumer::How;
use crate::consumers::postgres::queries;
use crate::login::{Database, one, version};
use crate::measured::Measured;
use crate::part::Part;
use crate::patience::comes;
use crate::row::{Row, Size};
use crate::stage::Stage;
use crate::trial::Trial;

const FILE: &str = include_str!("../../cloud-aegis/c9-smoke-test.yaml");

/// The database as its team has it. `components` is somebody else's, and readable for the owner role.
const DATABASE: Database =
    Database { target: "aegis-pg", name: "aegis", owner: "aegis_owner", table: "findings", legacy: None };

pub(crate) const ROW: Row = Row {
    id: "C9",
    system: "cloud-aegis",
    title: "smoke test before and after the move: undone, or back",
    needs: &[Part::Postgres],
    files: &["c9-smoke-test.yaml"],
    play,
};

fn play(stage: &mut Stage, _size: Size) -> Result<Measured> {
    let postgres = DATABASE.make(stage)?;
    postgres
        .sql_in(DATABASE.name, "CREATE TABLE components (id int); GRANT SELECT ON components TO aegis_owner");
    stage.sidecar("cloud-aegis")?;
    let name = stage.declare(FILE)?;
    stage.first_version(&name)?;
    let mut measured = Measured::at("PostgreSQL", version(&postgres));
    let consumer = stage.consumer(&name, How::Watch, queries(&DATABASE.query()))?;
    consumer.let_work(5)?;

    // A right is missing: the new version is undone before anybody has seen it.
    let before = stage.current(&name)?;
    postgres.sql_in(DATABASE.name, "REVOKE SELECT ON components FROM aegis_owner");
    let tried = ["rotate", &name, "--wait", "--wait-timeout", "120s", "--reason", "runbook"];
    let told = stage.platform.operator().output(&tried)?;
    ensure!(told.status.code() == Some(9), "the rotation ended with {:?}", told.status);
    let status = stage.platform.wait_settled(&name, before)?;
    let why = status.pointer("/history/0/last_error").and_then(Value::as_str).unwrap_or_default().to_owned();
    ensure!(why.contains("components"), "it does not say what is missing: {status:#}");
    postgres.sql_in(DATABASE.name, "GRANT SELECT ON components TO aegis_owner");
    consumer.let_work(5)?;
    measured.note(format!("undone before anybody saw it: {why}"));

    // Somebody takes the role's membership away after everybody has it: back, by the same probes.
    let trial = Trial::begin(stage, &postgres, &name)?;
    let broken = trial.new.clone();
    consumer.let_work(5)?;
    consumer.expect_refusals();
    postgres.sql(&format!("REVOKE aegis_owner FROM {broken}"));
    let why = trial.returned(stage, &name)?;
    trial.undone(stage, &name)?;
    consumer.recovered()?;
    consumer.let_work(5)?;
    measured.note(format!("returned by itself: {why}"));
    stage.rotate(&name, &mut measured)?;
    consumer.let_work(5)?;
    measured.used(consumer.end()?);
    let there = || one(&postgres, "postgres", &format!("SELECT 1 FROM pg_roles WHERE rolname = '{broken}'"));
    ensure!(comes(|| there().is_empty()), "{broken} is left behind");
    measured.ended(format!("{broken}: left again, not in pg_roles"));
    Ok(measured)
}
