//! One fixed login whose password changes in place, under applications that log in all the time: where the new value
//! kills the old one, readers wait for the cut, and nobody meets a dead value.
#![allow(clippy::disallowed_methods, reason = "a test drives its own connections and watches the clock")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rekey_client::Credential;
use rekey_testkit::process::poll;
use rekey_testkit::system::{Pace, write_private};
use serde_json::Value;
use tokio_postgres::{Client, Config, NoTls};

use crate::application::Application;
use crate::story::{PATIENCE, Story, connect, read_password, settled};

const FIXED: &str = "orders/fixed";

/// Times as generous as they may be: a login on a busy machine is slow.
const CREDENTIAL: &str = "credential: orders/fixed
owner: team-orders
environment: demo
postgres:
  target: orders-pg
  database: orders
  role: orders_fixed
  adopt: true
  probes: [\"SELECT count(*) FROM orders\"]
barrier: { wait: 4s, drain: 1s, missing: MISSING }
deliver:
  to: [\"spiffe://rekey.local/sidecar/orders/*\"]
  offline: serve-until-expiry
  offline_for: 10m
fields:
  database_url: \"postgres://{username|url}:{password|url}@{host|url}/{database|url}\"
";

/// A system with a login of the application's own, whose password of today is handed in.
fn begin(name: &str, sidecars: usize, missing: &str) -> Story {
    let story = Story::begin(name, sidecars, Pace::default());
    let database = &story.system.database;
    database.postgres.sql(
        "CREATE ROLE orders_fixed LOGIN PASSWORD 'of-today'; GRANT orders_owner TO orders_fixed; \
         GRANT orders_fixed TO rekey_rotator WITH ADMIN OPTION;",
    );
    let folder = story.system.folder();
    write_private(&folder.join("fixed.yaml"), &CREDENTIAL.replace("MISSING", missing)).unwrap();
    write_private(&folder.join("of-today"), "of-today").unwrap();
    story.system.ctl(&["apply", "-f", "fixed.yaml"]).unwrap();
    story.system.ctl(&["adopt", FIXED, "--password-file", "of-today"]).unwrap();
    story
}

fn status(story: &Story) -> Value {
    story.status_other(FIXED)
}

/// How an application reads.
#[derive(Debug, Clone, Copy)]
enum Reads {
    /// One call for each login.
    Get,
    /// One long stream, one message for each login.
    Fetch,
    /// What was pushed into its own memory.
    Watch,
}

/// It logs in with what it has read just before, and keeps its first session.
fn application(story: &Story, reads: Reads) -> Application {
    let server = story.system.database.postgres.connection("orders_fixed", "", "orders");
    let (runtime, client) = connect(story.system.socket("sidecar-1"));
    let (watched, mut fetch) = (runtime.block_on(client.watch(FIXED)).unwrap(), client.fetch());
    let kept = runtime.block_on(async {
        watched.ready().await.unwrap();
        log_in(&server, &watched.load().unwrap()).await.unwrap()
    });
    Application::repeat(move || {
        let used = runtime.block_on(async {
            let credential = match reads {
                Reads::Get => Arc::new(client.get(FIXED).await?),
                Reads::Fetch => Arc::new(fetch.get(FIXED).await?),
                Reads::Watch => {
                    watched.ready().await?;
                    watched.load()?.keep()
                }
            };
            log_in(&server, &credential).await?;
            kept.simple_query("SELECT 1").await.context("a session from before was cut")
        });
        used.map(drop).with_context(|| format!("read by {reads:?}"))
    })
}

async fn log_in(server: &Config, credential: &Credential) -> anyhow::Result<Client> {
    anyhow::ensure!(!credential.unsettled(), "the cut took longer than readers wait");
    let mut server = server.clone();
    server.password(credential.text("password")?);
    let connected = server.connect(NoTls).await;
    let (client, connection) = connected.with_context(|| credential.version().to_string())?;
    drop(tokio::spawn(async move { drop(connection.await) }));
    client.simple_query("SELECT count(*) FROM orders").await?;
    Ok(client)
}

#[test]
fn a_fixed_login_changes_its_password_and_nobody_meets_a_dead_one() {
    let story = begin("single", 2, "hold");
    let socket = story.system.socket("sidecar-1");
    assert!(poll(PATIENCE, || status(&story)["current"] == 1), "{:#}", status(&story));
    assert_eq!(read_password(&socket, FIXED), "of-today");
    let applications = [Reads::Get, Reads::Fetch, Reads::Watch].map(|reads| application(&story, reads));
    let all_work = |times| applications.iter().for_each(|application| application.let_work(times));
    all_work(5);
    for version in 2..=4 {
        let before = read_password(&socket, FIXED);
        let end = story.rotate_other(FIXED);
        assert_eq!(end["rotation"]["phase"], "Done", "{end:#}");
        let now = read_password(&socket, FIXED);
        assert_ne!(now, before);
        let status = status(&story);
        assert!(status["current"] == version && settled(&status), "{status:#}");
        let dead = story.system.database.postgres.connection("orders_fixed", &before, "orders");
        assert!(story.system.database.postgres.try_sql(dead, "SELECT 1").is_err(), "the old one still works");
        all_work(5);
    }
    for application in applications {
        assert!(application.end_without_failure() > 20);
    }
}

#[test]
fn an_emergency_ends_the_sessions_and_brings_the_login_back_with_another_password() {
    let story = begin("single-revoke", 1, "hold");
    let socket = story.system.socket("sidecar-1");
    assert!(poll(PATIENCE, || status(&story)["current"] == 1), "{:#}", status(&story));
    let postgres = &story.system.database.postgres;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let leaked = postgres.connection("orders_fixed", &read_password(&socket, FIXED), "orders");
    let (thief, connection) = runtime.block_on(leaked.connect(NoTls)).unwrap();
    runtime.spawn(async move { drop(connection.await) });
    let receipt = story.system.ctl(&["revoke", FIXED, "--reason", "leaked"]).unwrap();
    assert!(receipt["cut_ms"].as_i64().unwrap_or_default() > 0, "{receipt:#}");
    assert!(runtime.block_on(thief.simple_query("SELECT 1")).is_err(), "the thief's session goes on");
    assert!(runtime.block_on(leaked.connect(NoTls)).is_err(), "the leaked password still works");
    let works = || {
        let now = postgres.connection("orders_fixed", &read_password(&socket, FIXED), "orders");
        postgres.try_sql(now, "SELECT 1").is_ok()
    };
    assert!(poll(PATIENCE, works), "there is no replacement: {:#}", status(&story));
}

#[test]
fn the_target_is_not_changed_while_a_sidecar_does_not_answer() {
    let mut story = begin("single-away", 2, "hold");
    let all_level = || {
        let status = status(&story);
        status["current"] == 1 && settled(&status) && status["holders"]["acknowledged"] == 2
    };
    assert!(poll(PATIENCE, all_level), "{:#}", status(&story));
    story.system.part("sidecar-2").unwrap().pause();
    story.system.ctl(&["rotate", FIXED, "--reason", "test"]).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        assert_eq!(read_password(&story.system.socket("sidecar-1"), FIXED), "of-today");
    }
    let waits = || status(&story)["rotation"]["waiting_for"].to_string();
    assert!(poll(PATIENCE, || waits().contains("sidecar-2")), "{}", waits());
    let today = story.system.database.postgres.connection("orders_fixed", "of-today", "orders");
    story.system.database.postgres.try_sql(today, "SELECT 1").unwrap();
    story.system.part("sidecar-2").unwrap().resume();
    let done = || {
        let status = status(&story);
        status["current"] == 2 && settled(&status)
    };
    assert!(poll(PATIENCE, done), "{:#}", status(&story));
}

#[test]
fn a_password_that_somebody_changed_is_adopted_while_the_current_one_is_refused() {
    let story = begin("single-drifted", 1, "hold");
    let adopt = |password: &str| {
        write_private(&story.system.folder().join("of-now"), password).unwrap();
        let output = story.system.operator().output(&["adopt", FIXED, "--password-file", "of-now"]).unwrap();
        let said = [output.stdout.as_slice(), &output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    let (code, said) = adopt("of-today");
    assert!(code == Some(10) && said.contains("there is nothing to adopt"), "{code:?}: {said}");
    let before = application(&story, Reads::Get);
    before.let_work(25);
    before.end_without_failure();
    story.system.database.postgres.sql("ALTER ROLE orders_fixed PASSWORD 'of-somebody'");
    let (code, said) = adopt("of-nobody");
    assert_eq!(code, Some(3), "{said}");
    assert_eq!(status(&story)["current"], 1, "nobody got it");
    let failing = |status: &Value| status["alarms"].to_string().contains("current_fails");
    assert!(failing(&status(&story)), "{:#}", status(&story));
    let (code, said) = adopt("of-somebody");
    assert!(code == Some(0) && said.contains("v2"), "{code:?}: {said}");
    let now = status(&story);
    assert!(now["current"] == 2 && !failing(&now), "{now:#}");
    assert_eq!(now["versions"][0]["stage"], "retired", "{now:#}");
    assert!(poll(PATIENCE, || read_password(&story.system.socket("sidecar-1"), FIXED) == "of-somebody"));
    let after = application(&story, Reads::Get);
    after.let_work(25);
    after.end_without_failure();
    // It is theirs to rotate from here on as before.
    story.rotate_other(FIXED);
    assert_eq!(status(&story)["current"], 3);
}
