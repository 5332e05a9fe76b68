//! C3: a password that RDS changes by itself, and one that people changed by `ALTER USER`.

use std::time::Duration;

use anyhow::{Result, ensure};
use rekey_testkit::postgres::Postgres;
use serde_json::Value;

use crate::consumer::{Consumer, How};
use crate::consumers::postgres::queries;
use crate::login::{Database, version};
use crate::measured::Measured;
use crate::part::Part;
use crate::patience::{comes, now};
use crate::row::{Row, Size};
use crate::stage::Stage;

const RDS: &str = include_str!("../../cloud-aegis/c3-rds-password.yaml");
const FIXED: &str = include_str!("../../cloud-aegis/c3-fixed-login.yaml");
const QUERY: &str = "SELECT count(*) FROM findings";
/// What somebody else's machine writes, and Rekey reads.
const FILE: &str = "aegis-db";

/// The database as its team has it.
const DATABASE: Database =
    Database { target: "aegis-pg", name: "aegis", owner: "aegis_owner", table: "findings", legacy: None };

pub(crate) const ROW: Row = Row {
    id: "C3",
    system: "cloud-aegis",
    title: "PostgreSQL password that RDS rotates, followed; and a fixed login",
    needs: &[Part::Postgres],
    files: &["c3-rds-password.yaml", "c3-fixed-login.yaml"],
    play,
};

fn play(stage: &mut Stage, size: Size) -> Result<Measured> {
    let postgres = DATABASE.make(stage)?;
    let mut measured = Measured::at("PostgreSQL", version(&postgres));
    followed(stage, &postgres, (size, &mut measured))?;
    fixed(stage, &postgres, (size, &mut measured))?;
    measured.ended("changed in place by its owner, or at the cut: the password before it is refused");
    Ok(measured)
}

/// Somebody else's machine changes the password, and then the file.
fn followed(stage: &mut Stage, postgres: &Postgres, (size, measured): (Size, &mut Measured)) -> Result<()> {
    postgres.sql("CREATE ROLE aegis LOGIN PASSWORD 'aegis-0'");
    postgres.sql("CREATE DATABASE aegis_rds OWNER aegis");
    postgres.sql_in("aegis_rds", "SET ROLE aegis; CREATE TABLE findings (id int)");
    let target = format!(
        "  aegis-rds:\n    postgres: {{ host: 127.0.0.1, port: {}, tls: {{ mode: disable }}, \
         follows: {{ aegis-db: {{ file: {FILE}, by: \"the platform team, whose RDS rotates it\" }} }} }}\n",
        postgres.port()
    );
    stage.target("aegis-rds", &target, &[])?;
    stage.leave(FILE, "aegis-0")?;
    let name = stage.declare(RDS)?;
    stage.first_version(&name)?;
    let consumer = stage.consumer(&name, How::Watch, queries(QUERY))?;
    consumer.let_work(5)?;
    let mut longest = Duration::ZERO;
    for turn in 1..=size.rotations() {
        let old = stage.read(&name)?.text("password")?.to_owned();
        let new = format!("aegis-{turn}");
        longest = longest.max(changes(stage, postgres, (&name, &new), &consumer)?);
        measured.rotated(&Value::Null);
        let dead = postgres.try_sql(postgres.connection("aegis", &old, "aegis_rds"), QUERY);
        ensure!(dead.is_err(), "the password before works still");
    }
    let before = stage.current(&name)?;
    stage.leave(FILE, "of-a-script-that-failed")?;
    let told = || alarm(stage, &name).contains("aegis-db has a value that does not work");
    ensure!(comes(told), "nobody is told of a value that does not work: {}", alarm(stage, &name));
    consumer.let_work(5)?;
    ensure!(stage.current(&name)? == before, "a value that does not work was given out");
    stage.leave(FILE, &format!("aegis-{}", size.rotations()))?;
    ensure!(comes(|| alarm(stage, &name).is_empty()), "it is right again, and an alarm stands");
    measured.used(consumer.end()?);
    measured
        .note(format!("from RDS's change to the new value in use {} ms at the most", longest.as_millis()));
    measured.note("a value that does not work went to nobody, and the file was named");
    Ok(())
}

/// Changes the password as RDS does; gives how long it took until everybody was on it.
fn changes(
    stage: &Stage,
    postgres: &Postgres,
    (name, new): (&str, &str),
    consumer: &Consumer,
) -> Result<Duration> {
    let version = stage.current(name)? + 1;
    consumer.expect_refusals();
    let begun = now();
    postgres.sql(&format!("ALTER ROLE aegis PASSWORD '{new}'"));
    stage.leave(FILE, new)?;
    stage.platform.wait_settled(name, version)?;
    let took = begun.elapsed();
    consumer.recovered()?;
    Ok(took)
}

/// What is said of a value that cannot be followed; empty: all is well.
fn alarm(stage: &Stage, name: &str) -> String {
    let status = stage.platform.status(name).unwrap_or_default();
    let alarms = status.get("alarms").and_then(Value::as_array).into_iter().flatten();
    let told = alarms.filter(|alarm| alarm.get("kind").and_then(Value::as_str) == Some("follow_fails"));
    told.map(|alarm| alarm.get("message").map(ToString::to_string).unwrap_or_default()).collect()
}

/// What people did by `ALTER USER`: readers wait for the cut.
fn fixed(stage: &mut Stage, postgres: &Postgres, (size, measured): (Size, &mut Measured)) -> Result<()> {
    postgres.sql(
        "CREATE ROLE aegis_batch LOGIN; GRANT aegis_owner TO aegis_batch; GRANT aegis_batch TO rekey WITH ADMIN OPTION",
    );
    let name = stage.declare(FIXED)?;
    stage.first_version(&name)?;
    let consumer = stage.consumer(&name, How::Watch, queries(QUERY))?;
    consumer.let_work(5)?;
    for _ in 0..size.rotations() {
        let old = stage.read(&name)?.text("password")?.to_owned();
        stage.rotate(&name, measured)?;
        consumer.let_work(5)?;
        let dead = postgres.try_sql(postgres.connection("aegis_batch", &old, "aegis"), QUERY);
        ensure!(dead.is_err(), "the password before the cut works still");
    }
    measured.used(consumer.end()?);
    Ok(())
}
