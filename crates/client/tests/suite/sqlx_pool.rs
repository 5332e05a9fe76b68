//! A pool of sqlx while its credential changes, against a private PostgreSQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rekey_client::sqlx_pool::{RotatingPgPool, follow};
use rekey_testkit::postgres::{Options, Postgres};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::fake::{Fake, eventually, unsettled};

/// A database, and a sidecar that serves version 1 of a login to it.
struct Stage {
    fake: Fake,
    postgres: Postgres,
    pool: RotatingPgPool,
}

impl Stage {
    async fn new() -> Self {
        let (fake, postgres) = (Fake::start(), Postgres::start(Options::default()));
        fake.serve("orders/db", 1);
        let orders = fake.client().await.watch("orders/db").await.unwrap();
        let server = PgConnectOptions::new_without_pgpass()
            .socket(postgres.socket_folder())
            .port(postgres.port())
            .database("postgres");
        make(&postgres, 1);
        let settings = PgPoolOptions::new().max_connections(4).acquire_timeout(Duration::from_secs(5));
        let pool = follow(orders, server, settings).await.unwrap();
        Self { fake, postgres, pool }
    }

    fn sessions(&self, version: u64) -> u64 {
        let rows = self
            .postgres
            .sql(&format!("SELECT count(*) FROM pg_stat_activity WHERE usename = 'user-{version}'"));
        rows[0][0].as_ref().unwrap().parse().unwrap()
    }

    async fn who(&self) -> String {
        let mut connection = self.pool.acquire().await.unwrap();
        sqlx::query_scalar("SELECT session_user::text").fetch_one(&mut *connection).await.unwrap()
    }
}

fn make(postgres: &Postgres, version: u64) {
    postgres.sql(&format!("CREATE ROLE \"user-{version}\" LOGIN PASSWORD 'marker-{version}'"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_that_the_login_changes_under_load() {
    let stage = Arc::new(Stage::new().await);
    let done = Arc::new(AtomicU64::new(0));
    let work = |stage: Arc<Stage>, done: Arc<AtomicU64>| async move {
        loop {
            sqlx::query("SELECT pg_sleep(0.001)").execute(&*stage.pool).await?;
            done.fetch_add(1, Ordering::SeqCst);
        }
        #[expect(unreachable_code, reason = "says what the loop ends with")]
        Ok::<(), sqlx::Error>(())
    };
    // More workers than connections: some always wait for one.
    let workers: Vec<_> = (0..6).map(|_| tokio::spawn(work(Arc::clone(&stage), Arc::clone(&done)))).collect();
    for version in 2..=8 {
        make(&stage.postgres, version);
        eventually("somebody is on the version before", || stage.sessions(version - 1) > 0).await;
        let before = done.load(Ordering::SeqCst);
        stage.fake.serve("orders/db", version);
        eventually("nobody is on the version before", || {
            let reported = stage.fake.reported("orders/db");
            reported.is_some_and(|(used, _)| used == [version]) && stage.sessions(version - 1) == 0
        })
        .await;
        // As a controller does then: a login with it would fail from here on.
        stage.postgres.sql(&format!("DROP ROLE \"user-{}\"", version - 1));
        eventually("work goes on", || done.load(Ordering::SeqCst) > before + 20).await;
    }
    assert_eq!(stage.who().await, "user-8");
    for worker in workers {
        assert!(!worker.is_finished(), "a caller saw {:?}", worker.await.unwrap());
        worker.abort();
    }
}

#[tokio::test]
async fn what_is_idle_is_closed_though_nobody_asks_and_what_is_borrowed_when_it_comes_back() {
    let stage = Stage::new().await;
    let mut borrowed = Vec::new();
    for _ in 0..3 {
        borrowed.push(stage.pool.acquire().await.unwrap());
    }
    let mut kept = borrowed.pop().unwrap();
    drop(borrowed);
    eventually("two are idle", || stage.pool.num_idle() == 2).await;
    make(&stage.postgres, 2);
    stage.fake.serve("orders/db", 2);
    eventually("only what is borrowed is left", || stage.sessions(1) == 1).await;
    // Whoever has it may go on with it.
    sqlx::query("SELECT 1").execute(&mut *kept).await.unwrap();
    drop(kept);
    eventually("nothing is left", || stage.sessions(1) == 0).await;
    assert_eq!(stage.who().await, "user-2");
    let reported = || stage.fake.reported("orders/db").is_some_and(|(used, _)| used == [2]);
    eventually("only the new version is reported to be in use", reported).await;
}

#[tokio::test]
async fn a_login_that_was_under_way_at_the_swap_is_made_again() {
    let mut stage = Stage::new().await;
    make(&stage.postgres, 2);
    stage.postgres.pause();
    let pool = stage.pool.clone();
    let who = tokio::spawn(async move {
        sqlx::query_scalar::<_, String>("SELECT session_user::text").fetch_one(&pool).await
    });
    eventually("a login is under way", || stage.pool.size() == 1).await;
    stage.fake.serve("orders/db", 2);
    eventually("new logins are by version 2", || stage.pool.connect_options().get_username() == "user-2")
        .await;
    stage.postgres.resume();
    assert_eq!(who.await.unwrap().unwrap(), "user-2");
}

#[tokio::test]
async fn a_refused_login_waits_for_the_next_version() {
    let stage = Stage::new().await;
    stage.postgres.sql("ALTER ROLE \"user-1\" NOLOGIN");
    let later = async {
        eventually("the refusal is reported", || {
            stage.fake.reported("orders/db").is_some_and(|(_, outcomes)| outcomes.iter().any(|o| o.2 > 0))
        })
        .await;
        make(&stage.postgres, 2);
        stage.fake.serve("orders/db", 2);
    };
    let (who, ()) = tokio::join!(stage.who(), later);
    assert_eq!(who, "user-2");
}

#[tokio::test]
async fn a_login_that_is_refused_while_nobody_can_say_tries_the_next_value() {
    let stage = Stage::new().await;
    stage.fake.serve_this("orders/db", unsettled("orders/db", 1));
    assert_eq!(stage.who().await, "user-1", "the target takes the old one still");
    make(&stage.postgres, 2);
    stage.postgres.sql("ALTER ROLE \"user-1\" NOLOGIN");
    let busy = stage.pool.acquire().await.unwrap();
    assert_eq!(stage.who().await, "user-2");
    drop(busy);
    // Both dead: the caller gets the refusal, within its time.
    stage.postgres.sql("ALTER ROLE \"user-2\" NOLOGIN");
    let mut held = Vec::new();
    let refused = loop {
        match stage.pool.acquire().await {
            Ok(session) => held.push(session),
            Err(error) => break error,
        }
    };
    assert!(refused.to_string().contains("not permitted to log in"), "{refused}");
    // It is settled: what was tried is what there is.
    stage.postgres.sql("ALTER ROLE \"user-2\" LOGIN");
    stage.fake.serve("orders/db", 2);
    eventually("it is settled", || stage.fake.reported("orders/db").is_some_and(|(used, _)| used == [2]))
        .await;
    drop(held);
    assert_eq!(stage.who().await, "user-2");
}

#[tokio::test]
async fn a_pool_that_is_gone_keeps_no_client() {
    let Stage { fake, pool, .. } = Stage::new().await;
    eventually("the client watches", || fake.script.watching.load(Ordering::SeqCst) == 1).await;
    assert!(!format!("{pool:?}").contains("marker"), "{pool:?}");
    drop(pool);
    eventually("the client has ended", || fake.script.watching.load(Ordering::SeqCst) == 0).await;
}
