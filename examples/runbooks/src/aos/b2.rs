//! B2: a database login behind a pooler: the pooler knows each version in time, is reloaded and never restarted.

use anyhow::{Context, Result, ensure};
use rekey_testkit::pgbouncer::{Options, PgBouncer};
use rekey_testkit::postgres::Postgres;

use super::DATABASE;
use crate::consumer::{Consumer, How};
use crate::consumers::postgres::{direct_too, queries};
use crate::login::{logins, version};
use crate::measured::Measured;
use crate::part::Part;
use crate::patience::comes;
use crate::row::{Row, Size};
use crate::stage::Stage;

const FILE: &str = include_str!("../../aos/b2-pooled-login.yaml");
const ASKING: &str = include_str!("../../aos/b2-pooled-login-auth-query.yaml");

pub(crate) const ROW: Row = Row {
    id: "B2",
    system: "aos",
    title: "login behind PgBouncer: told by file and RELOAD, or by auth_query",
    needs: &[Part::Postgres, Part::PgBouncer],
    files: &["b2-pooled-login.yaml", "b2-pooled-login-auth-query.yaml"],
    play,
};

fn play(stage: &mut Stage, size: Size) -> Result<Measured> {
    stage.sidecar("aos")?;
    let postgres = DATABASE.make(stage)?;
    let (told, asking) = (told(&postgres)?, asking(&postgres)?);
    targets(stage, &postgres, &told, &asking)?;
    let mut measured = Measured::at("PgBouncer before PostgreSQL", version(&postgres));
    let names = [stage.declare(FILE)?, stage.declare(ASKING)?];
    names.iter().try_for_each(|name| stage.first_version(name))?;
    let query = "BEGIN; INSERT INTO runs (item) VALUES ('pooled'); COMMIT";
    let consumers: [Consumer; 2] = [
        stage.consumer(&names[0], How::Watch, direct_too(query))?,
        stage.consumer(&names[1], How::Get, queries(query))?,
    ];
    let process = told.id();
    for _ in 0..size.rotations() {
        for (name, consumer) in names.iter().zip(&consumers) {
            consumer.let_work(5)?;
            stage.rotate(name, &mut measured)?;
            consumer.let_work(5)?;
        }
    }
    for consumer in consumers {
        measured.used(consumer.end()?);
    }
    let current = stage.handle(&names[0])?;
    let list = || std::fs::read_to_string(told.userlist()).unwrap_or_default();
    // The names alone: behind them stand verifiers.
    let name = |line: &str| line.split('"').nth(1).unwrap_or_default().to_owned();
    let lines = || list().lines().map(name).filter(|name| name.starts_with("nova_app_v")).collect::<Vec<_>>();
    ensure!(
        comes(|| lines() == [current.as_str()]),
        "the pooler's file has {:?}, not {current} alone",
        lines()
    );
    let dropped = comes(|| logins(&postgres, "nova_app_v") == 1 && logins(&postgres, "nova_asking_v") == 1);
    ensure!(dropped, "logins are left at the server");
    ensure!(told.id() == process, "the pooler was started again");
    let reloads = told.log().matches("RELOAD").count();
    ensure!(reloads > 0, "the pooler was never told to load its file:\n{}", told.log());
    measured.note(format!("{reloads} RELOADs, the pooler's process is the same"));
    measured.ended("dropped at the server, and its line gone from the pooler's file");
    Ok(measured)
}

/// A pooler with a file of users, which Rekey keeps.
fn told(postgres: &Postgres) -> Result<PgBouncer> {
    PgBouncer::try_start(&Options {
        server: postgres.port(),
        settings: vec!["pool_mode = transaction".to_owned()],
        ..Options::default()
    })
}

/// A pooler that asks the server for each login, as the manual says.
fn asking(postgres: &Postgres) -> Result<PgBouncer> {
    let manual = include_str!("../../../../docs/drivers.md").split_once("### With `auth_query`");
    let sql = manual.and_then(|(_, text)| text.split_once("```sql\n")?.1.split_once("```"));
    let (sql, _) = sql.context("docs/drivers.md does not say how a pooler asks")?;
    if logins(postgres, "pool_auth") == 0 {
        postgres.sql_in(DATABASE.name, sql);
        postgres.sql("ALTER ROLE pool_auth PASSWORD 'asks-for-others'");
    }
    PgBouncer::try_start(&Options {
        server: postgres.port(),
        users: vec!["\"pool_auth\" \"asks-for-others\"".to_owned()],
        settings: vec![
            "auth_user = pool_auth".to_owned(),
            "auth_query = SELECT usename, passwd FROM pool_auth.look($1)".to_owned(),
            "server_idle_timeout = 1".to_owned(),
        ],
        ..Options::default()
    })
}

fn targets(stage: &mut Stage, postgres: &Postgres, told: &PgBouncer, asking: &PgBouncer) -> Result<()> {
    let pool = format!(
        "  aos-pool:\n    pgbouncer: {{ host: 127.0.0.1, port: {}, user: {}, password_file: pool-password, \
         userlist: {}, tls: {{ mode: disable }} }}\n",
        told.port(),
        PgBouncer::ADMIN,
        told.userlist().display()
    );
    stage.target("aos-pool", &pool, &[("pool-password", PgBouncer::ADMIN_PASSWORD)])?;
    let asks = format!(
        "  aos-asking:\n    postgres: {{ host: 127.0.0.1, port: {}, consumer_host: 127.0.0.1, consumer_port: {}, \
         user: rekey, password_file: aos-pg-password, tls: {{ mode: disable }} }}\n",
        postgres.port(),
        asking.port()
    );
    stage.target("aos-asking", &asks, &[])
}
