//! A3: a database login every 180 days: a new one with the same rights, move, look who is on the old one, drop it.

use std::time::Duration;

use anyhow::{Result, ensure};
use rekey_testkit::postgres::Postgres;
use rekey_testkit::process::poll;
use serde_json::Value;

use crate::consumer::How;
use crate::consumers::postgres::queries;
use crate::login::{Database, OF_TODAY, may_log_in, one, version};
use crate::measured::Measured;
use crate::part::Part;
use crate::patience::comes;
use crate::row::{Row, Size};
use crate::stage::Stage;

/// The declaration.
pub(super) const FILE: &str = include_str!("../../agentaskit/a3-database-login.yaml");

/// The login from before Rekey.
const LEGACY: &str = "agentaskit_legacy";

/// The database as its team has it.
pub(super) const DATABASE: Database = Database {
    target: "agentaskit-pg",
    name: "agentaskit",
    owner: "agentaskit_owner",
    table: "tasks",
    legacy: Some(LEGACY),
};

pub(crate) const ROW: Row = Row {
    id: "A3",
    system: "agentaskit",
    title: "database login: new, same rights, moved, old one dropped",
    needs: &[Part::Postgres],
    files: &["a3-database-login.yaml"],
    play,
};

fn play(stage: &mut Stage, size: Size) -> Result<Measured> {
    let (postgres, name) = DATABASE.declare(stage, FILE)?;
    let mut measured = Measured::at("PostgreSQL", version(&postgres));
    let consumer = stage.consumer(&name, How::Watch, queries(&DATABASE.query()))?;
    consumer.let_work(5)?;
    let first = stage.handle(&name)?;
    if size == Size::Whole && first == LEGACY {
        held_back(stage, &postgres, &name, &mut measured)?;
    }
    for _ in 0..size.rotations() {
        let old = stage.handle(&name)?;
        let rights = rights(&postgres, &old);
        ensure!(rights.contains("tasks:INSERT"), "{old} has no rights to compare: {rights}");
        stage.rotate(&name, &mut measured)?;
        consumer.let_work(5)?;
        let new = stage.handle(&name)?;
        let now = self::rights(&postgres, &new);
        ensure!(now == rights, "{new} may {now}, {old} might {rights}");
        // The login from before Rekey is shut and stays: it is not Rekey's to drop.
        let adopted = old == LEGACY;
        let gone = || if adopted { !may_log_in(&postgres, &old) } else { !is_there(&postgres, &old) };
        ensure!(comes(gone), "{old} is in pg_roles still");
        measured
            .ended(format!("{old}: {}", if adopted { "may not log in" } else { "dropped, not in pg_roles" }));
    }
    let owner = one(&postgres, DATABASE.name, "SELECT tableowner FROM pg_tables WHERE tablename = 'tasks'");
    ensure!(owner == DATABASE.owner, "the table belongs to {owner}");
    ensure!(!may_log_in(&postgres, LEGACY), "the login from before Rekey still works");
    measured.used(consumer.end()?);
    measured.note("the rights of old and new were the same, and the table has the owner that it had");
    Ok(measured)
}

/// A session of the login from before Rekey is seen, and holds its ending back for as long as it lasts.
fn held_back(stage: &Stage, postgres: &Postgres, name: &str, measured: &mut Measured) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let config = postgres.connection(LEGACY, OF_TODAY, DATABASE.name);
    let (session, connection) = runtime.block_on(config.connect(tokio_postgres::NoTls))?;
    runtime.spawn(connection);
    let words = ["rotate", name, "--wait=moved", "--wait-timeout", "120s", "--reason", "runbook"];
    measured.rotated(&stage.platform.ctl(&words)?);
    let sees = comes(|| {
        let who = stage.platform.ctl(&["who", name]).unwrap_or(Value::Null);
        who.get("sessions").is_some_and(|sessions| sessions.to_string().contains("\"version\":1"))
    });
    ensure!(sees, "`who` does not show the session of version 1: {:#}", stage.platform.ctl(&["who", name])?);
    // Longer than floor and quiet together: by the clock alone the old one would end now.
    let ended = poll(Duration::from_secs(3), || !may_log_in(postgres, LEGACY));
    ensure!(!ended, "the old login was ended under a session");
    runtime.block_on(session.simple_query(&DATABASE.query()))?;
    drop(session);
    stage.platform.wait_settled(name, 2)?;
    measured.note("a session of the old login held its ending back, `who` named it, and was not cut");
    Ok(())
}

/// What a role may do with every table, as the catalog says.
fn rights(postgres: &Postgres, role: &str) -> String {
    let query = format!(
        "SELECT string_agg(tablename || ':' || right_, ' ' ORDER BY tablename, right_)
         FROM pg_tables, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS right_
         WHERE schemaname = 'public' AND has_table_privilege('{role}', 'public.' || tablename, right_)"
    );
    one(postgres, DATABASE.name, &query)
}

fn is_there(postgres: &Postgres, role: &str) -> bool {
    !one(postgres, "postgres", &format!("SELECT 1 FROM pg_roles WHERE rolname = '{role}'")).is_empty()
}
