//! A10: what people type when something is wrong: is it valid, go back, try again, who uses the old one, tell them anew.

use anyhow::{Context, Result, ensure};
use rekey_testkit::postgres::Postgres;
use serde_json::Value;

use super::a3::{DATABASE, FILE};
use crate::consumer::How;
use crate::consumers::postgres::queries;
use crate::login::{one, version};
use crate::measured::Measured;
use crate::part::Part;
use crate::patience::comes;
use crate::row::{Row, Size};
use crate::stage::Stage;

pub(crate) const ROW: Row = Row {
    id: "A10",
    system: "agentaskit",
    title: "troubleshooting: verify, roll back, retry, who, refresh",
    needs: &[Part::Postgres],
    files: &["a3-database-login.yaml"],
    play,
};

fn play(stage: &mut Stage, _size: Size) -> Result<Measured> {
    let (postgres, name) = DATABASE.declare(stage, FILE)?;
    let mut measured = Measured::at("PostgreSQL", version(&postgres));
    let consumer = stage.consumer(&name, How::Watch, queries(&DATABASE.query()))?;
    consumer.let_work(5)?;
    let verified = stage.platform.ctl(&["verify", &name])?;
    ensure!(verified.get("works") == Some(&Value::Bool(true)), "verify: {verified:#}");
    let undone = back(stage, &postgres, &name)?;
    consumer.let_work(5)?;
    again(stage, &postgres, &name, &mut measured)?;
    consumer.let_work(5)?;
    let refreshed = stage.platform.ctl(&["refresh", &name])?;
    let confirmed =
        refreshed.get("holders").is_some_and(|holders| holders.to_string().contains("\"confirmed\":true"));
    ensure!(confirmed, "refresh: {refreshed:#}");
    let reports = comes(|| stage.platform.ctl(&["who", &name]).is_ok_and(|who| accepted(&who) > 0));
    ensure!(reports, "`who` shows no process that reports its uses");
    measured.used(consumer.end()?);
    measured.ended(format!("{undone}: rolled back, not in pg_roles"));
    measured.note("verify, who, rollback, retry and refresh did what they say, exit code 0");
    Ok(measured)
}

/// A rotation that is rolled back while a session keeps the version before alive; gives the login that was undone.
fn back(stage: &mut Stage, postgres: &Postgres, name: &str) -> Result<String> {
    let (before, handle) = (stage.current(name)?, stage.handle(name)?);
    let credential = stage.read(name)?;
    let config = postgres.connection(&handle, credential.text("password")?, DATABASE.name);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (session, connection) = runtime.block_on(config.connect(tokio_postgres::NoTls))?;
    runtime.spawn(connection);
    stage.platform.ctl(&["rotate", name, "--wait=moved", "--wait-timeout", "120s", "--reason", "runbook"])?;
    let new = stage.handle(name)?;
    let is_named =
        || stage.platform.ctl(&["who", &format!("{name}@{before}")]).is_ok_and(|who| sessions(&who) > 0);
    ensure!(comes(is_named), "`who {name}@{before}` does not show the session that is left");
    stage.platform.ctl(&["rollback", name, "--wait", "--wait-timeout", "120s", "--reason", "runbook"])?;
    ensure!(stage.current(name)? == before, "not rolled back: {:#}", stage.platform.status(name)?);
    runtime.block_on(session.simple_query(&DATABASE.query())).context("the session was cut")?;
    let gone =
        || one(postgres, "postgres", &format!("SELECT 1 FROM pg_roles WHERE rolname = '{new}'")).is_empty();
    ensure!(comes(gone), "{new} is left behind");
    stage.platform.wait_settled(name, before)?;
    Ok(new)
}

/// A rotation that cannot go on, says why, and does when the cause is mended.
fn again(stage: &Stage, postgres: &Postgres, name: &str, measured: &mut Measured) -> Result<()> {
    let before = stage.current(name)?;
    // It is away for the rotator alone: that is waited for, while what is refused three times is undone.
    postgres.sql("ALTER ROLE rekey CONNECTION LIMIT 0");
    let begun = stage.platform.ctl(&["rotate", name, "--reason", "runbook"])?;
    let mut told = Value::Null;
    let says_why = comes(|| {
        told = stage.platform.status(name).unwrap_or(Value::Null);
        told.to_string().contains("too many connections for role")
    });
    postgres.sql("ALTER ROLE rekey CONNECTION LIMIT -1");
    ensure!(says_why, "the rotation {begun} does not say what it waits for: {told:#}");
    stage.platform.ctl(&["retry", name, "--reason", "the rotator may log in again"])?;
    let settled = comes(|| {
        told = stage.platform.status(name).unwrap_or(Value::Null);
        stage.current(name).is_ok_and(|now| now > before) && told.get("rotation").is_none_or(Value::is_null)
    });
    ensure!(settled, "the rotation did not go on: {told:#}");
    measured.rotations += 1;
    Ok(())
}

fn sessions(who: &Value) -> usize {
    who.get("sessions").and_then(Value::as_array).map_or(0, Vec::len)
}

/// How many uses all processes have reported.
fn accepted(who: &Value) -> u64 {
    let holders = who.get("holders").and_then(Value::as_array).into_iter().flatten();
    let processes = holders.filter_map(|holder| holder.get("processes")?.as_array()).flatten();
    processes.filter_map(|process| process.get("accepted")?.as_u64()).sum()
}
