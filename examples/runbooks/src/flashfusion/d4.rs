//! D4: staging before production, and in production one sidecar before the others.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use rekey_testkit::postgres::Postgres;
use serde_json::Value;

use super::DATABASE;
use crate::consumer::{Consumer, How};
use crate::consumers::postgres::queries;
use crate::login::{one, version};
use crate::measured::Measured;
use crate::part::Part;
use crate::patience::comes;
use crate::row::{Row, Size};
use crate::stage::Stage;

const FILE: &str = include_str!("../../flashfusion/d4-smoke-tested.yaml");

pub(crate) const ROW: Row = Row {
    id: "D4",
    system: "flashfusion",
    title: "staging first, then one sidecar of production, then all",
    needs: &[Part::Postgres],
    files: &["d4-smoke-tested.yaml"],
    play,
};

/// What the application does, and no smoke test asks: it is let in by the name of its login.
const ADMISSION: &str = "
    CREATE TABLE admitted (login text);
    CREATE FUNCTION admit() RETURNS bool LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
        IF NOT EXISTS (SELECT 1 FROM admitted WHERE session_user LIKE login) THEN
            RAISE EXCEPTION '% is not admitted', session_user;
        END IF;
        RETURN true;
    END $$";

fn play(stage: &mut Stage, size: Size) -> Result<Measured> {
    let postgres = DATABASE.make(stage)?;
    postgres.sql_in(DATABASE.name, ADMISSION);
    let [first, second] = [stage.sidecar("flashfusion")?, stage.second_sidecar("flashfusion")?];
    let names = stage.declare_all(FILE)?;
    let [staging, name] = names.as_slice() else { anyhow::bail!("two are declared, not {names:?}") };
    stage.first_version(staging)?;
    stage.first_version(name)?;
    let mut measured = Measured::at("PostgreSQL", version(&postgres));
    let old = stage.handle(name)?;
    admit(&postgres, &old);

    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let mut ask = queries("SELECT admit()");
    let tried = Consumer::start(&first, name, How::Watch, queries("SELECT admit()"));
    let versions = Arc::clone(&seen);
    let others = Consumer::start(&second, name, How::Get, move |turn| {
        versions.lock().unwrap_or_else(PoisonError::into_inner).insert(turn.credential.version().get());
        ask(turn)
    });
    [&tried, &others].into_iter().try_for_each(|consumer| consumer.let_work(5))?;

    // Production waits for staging.
    let refused = stage.platform.operator().output(&["rotate", name, "--reason", "runbook"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(3) && said.contains(staging), "production went first: {said}");
    measured.note(format!("before staging: {}", said.trim()));
    stage.rotate(staging, &mut measured)?;

    // The smoke test is green, and the application is not: the first sidecar alone finds out.
    tried.expect_refusals();
    stage.platform.ctl(&["rotate", name, "--reason", "runbook"])?;
    let (broken, why) = left_again(stage, name)?;
    tried.recovered()?;
    others.let_work(5)?;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    ensure!(seen == BTreeSet::from([1]), "behind the second sidecar there was {seen:?}");
    measured.note(format!("returned by itself, and the second sidecar had v1 all the time: {why}"));
    let there = || one(&postgres, "postgres", &format!("SELECT 1 FROM pg_roles WHERE rolname = '{broken}'"));
    ensure!(comes(|| there().is_empty()), "{broken} is left behind");

    // With the cause mended the first does well, and then all have it.
    admit(&postgres, "ff_runtime%");
    for _ in 0..size.rotations() {
        stage.rotate(name, &mut measured)?;
        let passed = history(stage, name, "/history/0/canary/passed")?;
        ensure!(passed.ends_with("uses were good"), "it passed without its uses: {passed}");
        measured.note(format!("the first sidecar: {passed}"));
    }
    for consumer in [tried, others] {
        consumer.let_work(5)?;
        measured.used(consumer.end()?);
    }
    measured.ended(format!("{broken}: left again by the first sidecar, not in pg_roles"));
    Ok(measured)
}

/// From now on the application lets in whom `login` names.
fn admit(postgres: &Postgres, login: &str) {
    postgres.sql_in(DATABASE.name, &format!("INSERT INTO admitted VALUES ('{login}')"));
}

/// Waits until the version that is tried was left again; gives what the server called it, and why.
fn left_again(stage: &Stage, name: &str) -> Result<(String, String)> {
    let mut broken = String::new();
    let came = comes(|| {
        let status = stage.platform.status(name).unwrap_or(Value::Null);
        let versions = status.get("versions").and_then(Value::as_array).into_iter().flatten();
        let mut second = versions.filter(|version| version.get("version") == Some(&2.into()));
        let handle = second.next().and_then(|version| version.get("handle")).and_then(Value::as_str);
        handle.unwrap_or_default().clone_into(&mut broken);
        !broken.is_empty()
    });
    ensure!(came, "no new version is made");
    stage.platform.wait_settled(name, 1)?;
    let phase = history(stage, name, "/history/0/phase")?;
    ensure!(phase == "Abandoned", "the rotation ended as {phase}");
    Ok((broken, history(stage, name, "/history/0/last_error")?))
}

/// A text in the credential's status.
fn history(stage: &Stage, name: &str, at: &str) -> Result<String> {
    let status = stage.platform.status(name)?;
    let text = status.pointer(at).and_then(Value::as_str);
    text.map(str::to_owned).with_context(|| format!("there is no {at}: {status:#}"))
}
