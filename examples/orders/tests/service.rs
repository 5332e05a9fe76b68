//! The example service against a real PostgreSQL and a scripted sidecar: it notices no rotation, and it counts honestly.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may stop where it stands, and watches the clock"
)]

#[allow(dead_code, reason = "the SDK's own tests use more of it")]
#[path = "../../../crates/client/tests/suite/fake.rs"]
mod fake;

use std::time::Duration;

use rekey_proto::local::read_error::Reason;
use rekey_testkit::postgres::{Options, Postgres};
use rekey_testkit::process::{Launch, Process};
use serde_json::Value;

use crate::fake::{Fake, eventually};

const TABLE: &str = "CREATE ROLE orders_owner NOLOGIN;
CREATE TABLE orders (id bigserial PRIMARY KEY, item text NOT NULL, placed timestamptz NOT NULL DEFAULT now());
ALTER TABLE orders OWNER TO orders_owner";

/// A database, a sidecar and one copy of the service.
struct Stage {
    postgres: Postgres,
    fake: Fake,
    folder: tempfile::TempDir,
    service: Process,
}

impl Stage {
    fn start() -> Self {
        let postgres = Postgres::start(Options::default());
        postgres.sql("CREATE DATABASE orders");
        postgres.sql_in("orders", TABLE);
        let fake = Fake::start();
        let folder = tempfile::tempdir().unwrap();
        make(&postgres, 1);
        fake.serve("orders/db", 1);
        let launch = Launch::new(env!("CARGO_BIN_EXE_orders"), folder.path().join("log"));
        let service = launch
            .arg("--socket")
            .arg(fake.path())
            .arg("--host")
            .arg(postgres.socket_folder())
            .args(["--port", &postgres.port().to_string(), "--database", "orders"])
            .args(["--rate", "100", "--login-rate", "20", "--stats-file"])
            .arg(folder.path().join("stats.json"))
            .start()
            .unwrap();
        Self { postgres, fake, folder, service }
    }

    fn stats(&self) -> Value {
        let text = std::fs::read(self.folder.path().join("stats.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn figure(&self, name: &str) -> u64 {
        self.stats()[name].as_u64().unwrap_or(0)
    }

    /// Waits until a fresh login and an order went well with what is there now.
    async fn goes_on(&self) {
        let (logins, queries) = (self.figure("logins"), self.figure("queries"));
        eventually("work goes on", || {
            self.figure("logins") > logins + 1 && self.figure("queries") > queries + 5
        })
        .await;
    }

    fn sessions_of(&self, version: u64) -> usize {
        let query = format!("SELECT 1 FROM pg_stat_activity WHERE usename = 'user-{version}'");
        self.postgres.sql(&query).len()
    }

    /// Ends a version as a controller does at the target.
    fn cut(&self, version: u64) {
        self.postgres.sql(&format!("ALTER ROLE \"user-{version}\" NOLOGIN"));
        self.postgres.sql(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'user-{version}'"
        ));
    }

    /// Asks the service to end, and gives its last figures.
    fn end(mut self) -> Value {
        self.service.terminate();
        let exit = self.service.wait(Duration::from_mins(1)).unwrap();
        assert!(exit.success(), "{exit}: {}", self.service.log());
        let stats = self.stats();
        assert_eq!((&stats["ended"], &stats["undecided"]), (&Value::Bool(true), &Value::from(0)));
        stats
    }
}

/// Makes the login that the fake serves as `version`.
fn make(postgres: &Postgres, version: u64) {
    postgres.sql(&format!(
        "CREATE ROLE \"user-{version}\" LOGIN PASSWORD 'marker-{version}' IN ROLE orders_owner"
    ));
}

fn none_failed(stats: &Value) {
    for figure in ["failed_logins", "failed_queries", "lost_sessions", "without_credential"] {
        assert_eq!(stats[figure], 0, "{figure}: {stats:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_does_not_notice_that_its_password_changes() {
    let stage = Stage::start();
    for version in 2..=5 {
        stage.goes_on().await;
        make(&stage.postgres, version);
        stage.fake.serve_after("orders/db", version, &[version - 1]);
        eventually("the old version is out of use", || {
            let reported = stage.fake.reported("orders/db");
            reported.is_some_and(|(versions, _)| versions == [version]) && stage.sessions_of(version - 1) == 0
        })
        .await;
        stage.cut(version - 1);
        eventually("it says which version it uses", || stage.figure("version") == version).await;
    }
    stage.goes_on().await;
    let stats = stage.end();
    none_failed(&stats);
    assert_eq!(
        (&stats["cut_by_revocation"], &stats["refused_by_revocation"]),
        (&Value::from(0), &Value::from(0))
    );
    assert!(stats["last_errors"].as_array().unwrap().is_empty(), "{stats:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_emergency_cuts_is_counted_apart() {
    let stage = Stage::start();
    stage.goes_on().await;
    stage.cut(1);
    let refused = || {
        stage
            .fake
            .reported("orders/db")
            .is_some_and(|(_, outcomes)| outcomes.iter().any(|(.., refused)| *refused > 0))
    };
    eventually("a login is refused", || refused() && stage.figure("undecided") > 0).await;
    stage.fake.refuse("orders/db", Reason::Revoked);
    make(&stage.postgres, 2);
    tokio::time::sleep(Duration::from_millis(100)).await;
    stage.fake.serve("orders/db", 2);
    eventually("the replacement is in use", || stage.sessions_of(2) > 0).await;
    stage.goes_on().await;
    let stats = stage.end();
    none_failed(&stats);
    assert!(stats["cut_by_revocation"].as_u64().unwrap() > 0, "{stats:#}");
    assert!(stats["refused_by_revocation"].as_u64().unwrap() > 0, "{stats:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_cut_without_a_revocation_is_a_failure() {
    let stage = Stage::start();
    stage.goes_on().await;
    stage.cut(1);
    eventually("it is counted", || stage.figure("failed_logins") > 0 && stage.figure("lost_sessions") > 0)
        .await;
    let stats = stage.end();
    assert_eq!(
        (&stats["cut_by_revocation"], &stats["refused_by_revocation"]),
        (&Value::from(0), &Value::from(0))
    );
    let errors = stats["last_errors"].to_string();
    assert!(errors.contains("user-1") && !errors.contains("marker"), "{errors}");
}
