//! A pool under load while its credential changes, against a scripted target.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use deadpool::managed::{Manager, Metrics, PoolError};
use rekey_client::pool::{Borrowed, Connect, ConnectError, RotatingManager, RotatingPool};
use rekey_client::{Credential, Watched};
use rekey_proto::local as wire;
use rekey_proto::local::read_error;
use tokio::time::timeout;

use crate::fake::{Fake, credential, eventually, unsettled};
use crate::settling::settles;

/// A database that knows which versions may log in, and who is logged in with what.
#[derive(Default)]
struct Target {
    valid: Mutex<BTreeSet<u64>>,
    /// The version of each open session, by number.
    sessions: Mutex<std::collections::BTreeMap<usize, u64>>,
    next: AtomicUsize,
    refusals: AtomicU64,
    down: std::sync::atomic::AtomicBool,
}

impl Target {
    fn make(&self, version: u64) {
        self.valid.lock().unwrap().insert(version);
    }

    fn end(&self, version: u64) {
        self.valid.lock().unwrap().remove(&version);
    }

    fn sessions_of(&self, version: u64) -> usize {
        self.sessions.lock().unwrap().values().filter(|of| **of == version).count()
    }
}

struct Session {
    number: usize,
    version: u64,
    target: Arc<Target>,
}

impl Session {
    fn works(&self) -> bool {
        self.target.sessions.lock().unwrap().contains_key(&self.number)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.target.sessions.lock().unwrap().remove(&self.number);
    }
}

#[derive(Debug, thiserror::Error)]
enum LoginError {
    #[error("password authentication failed")]
    WrongPassword,
    #[error("connection refused")]
    Down,
    #[error("the session is gone")]
    Gone,
}

#[derive(Clone)]
struct Login(Arc<Target>);

impl Connect for Login {
    type Connection = Session;
    type Error = LoginError;

    async fn connect(&self, credential: &Credential) -> Result<Session, LoginError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        if self.0.down.load(Ordering::SeqCst) {
            return Err(LoginError::Down);
        }
        let (user, password) = (credential.text("username").unwrap(), credential.text("password").unwrap());
        let version = user.strip_prefix("user-").unwrap().parse().unwrap();
        if password != format!("marker-{version}") || !self.0.valid.lock().unwrap().contains(&version) {
            self.0.refusals.fetch_add(1, Ordering::SeqCst);
            return Err(LoginError::WrongPassword);
        }
        let number = self.0.next.fetch_add(1, Ordering::SeqCst);
        self.0.sessions.lock().unwrap().insert(number, version);
        Ok(Session { number, version, target: Arc::clone(&self.0) })
    }

    async fn check(&self, session: &mut Session) -> Result<(), LoginError> {
        if session.works() { Ok(()) } else { Err(LoginError::Gone) }
    }

    fn refused(&self, error: &LoginError) -> bool {
        matches!(error, LoginError::WrongPassword)
    }
}

struct Stage {
    fake: Fake,
    target: Arc<Target>,
    orders: Watched,
}

/// A sidecar that serves version 1, a target that takes it.
async fn stage() -> Stage {
    let fake = Fake::start();
    let target = Arc::new(Target::default());
    target.make(1);
    fake.serve("orders/db", 1);
    let orders = fake.client().await.watch("orders/db").await.unwrap();
    orders.ready().await.unwrap();
    Stage { fake, target, orders }
}

impl Stage {
    fn pool(&self, patience: Duration) -> RotatingPool<Login> {
        let manager = RotatingManager::new(self.orders.clone(), Login(Arc::clone(&self.target)));
        manager.patience(patience).pool(4).unwrap()
    }

    /// Waits until the version is in use and that is reported.
    async fn somebody_is_on(&self, version: u64) {
        eventually(&format!("somebody is on version {version}"), || {
            let reported = self.fake.reported("orders/db");
            reported.is_some_and(|(versions, _)| versions.contains(&version))
                && self.target.sessions_of(version) > 0
        })
        .await;
    }

    /// Waits as a controller does: until nobody reports the version and no session is on it.
    async fn nobody_is_on(&self, version: u64) {
        eventually(&format!("nobody is on version {version}"), || {
            let reported = self.fake.reported("orders/db");
            reported.is_some_and(|(versions, _)| !versions.contains(&version))
                && self.target.sessions_of(version) == 0
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_caller_sees_an_error_while_versions_come_and_go_under_load() {
    let stage = stage().await;
    let pool = stage.pool(Duration::from_secs(5));
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let workers: Vec<_> = (0..8)
        .map(|number: u64| {
            let (pool, done) = (pool.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut uses = 0;
                while !done.load(Ordering::Relaxed) {
                    let session = pool.get().await.unwrap();
                    assert!(session.works(), "a dead session was handed out");
                    tokio::time::sleep(Duration::from_micros(200 * number)).await;
                    assert!(session.works(), "a session died in a caller's hands");
                    uses += 1;
                }
                uses
            })
        })
        .collect();
    for version in 2..=20 {
        stage.target.make(version);
        stage.fake.serve_after("orders/db", version, &[version - 1]);
        stage.somebody_is_on(version).await;
        stage.nobody_is_on(version - 1).await;
        stage.target.end(version - 1);
    }
    done.store(true, Ordering::Relaxed);
    for worker in workers {
        let uses = worker.await.unwrap();
        assert!(uses > 10, "a worker had {uses} uses");
    }
    assert_eq!(stage.target.refusals.load(Ordering::SeqCst), 0);
    let (_, outcomes) = stage.fake.reported("orders/db").unwrap();
    assert!(outcomes.iter().all(|(_, accepted, refused)| *accepted > 0 && *refused == 0), "{outcomes:?}");
}

#[tokio::test]
async fn idle_old_connections_are_closed_after_a_swap_and_borrowed_ones_at_their_return() {
    let stage = stage().await;
    let pool = stage.pool(Duration::from_secs(5));
    let (one, two, borrowed) =
        (pool.get().await.unwrap(), pool.get().await.unwrap(), pool.get().await.unwrap());
    drop((one, two));
    assert_eq!((pool.status().size, stage.target.sessions_of(1)), (3, 3));

    stage.target.make(2);
    stage.fake.serve_after("orders/db", 2, &[1]);
    eventually("the idle ones are closed", || stage.target.sessions_of(1) == 1).await;
    assert!(borrowed.works());
    eventually("what is borrowed is reported", || {
        stage.fake.reported("orders/db").is_some_and(|(versions, _)| versions == [1, 2])
    })
    .await;
    drop(borrowed);
    assert_eq!((pool.status().size, stage.target.sessions_of(1)), (0, 0), "it went back into the pool");
    stage.nobody_is_on(1).await;

    let new = pool.get().await.unwrap();
    assert_eq!((new.version, Borrowed::version(&new).get()), (2, 2));
    Borrowed::close(new);
    assert_eq!((pool.status().size, stage.target.sessions_of(2)), (0, 0));
}

#[tokio::test]
async fn an_old_connection_that_slipped_back_is_not_handed_out_again() {
    let stage = stage().await;
    let manager = RotatingManager::new(stage.orders.clone(), Login(Arc::clone(&stage.target)));
    let mut pooled = manager.create().await.unwrap();
    manager.recycle(&mut pooled, &Metrics::default()).await.unwrap();
    stage.target.sessions.lock().unwrap().clear();
    manager.recycle(&mut pooled, &Metrics::default()).await.expect_err("a dead one was handed out");

    let mut pooled = manager.create().await.unwrap();
    stage.target.make(2);
    stage.fake.serve_after("orders/db", 2, &[1]);
    eventually("version 2", || stage.orders.version().is_some_and(|v| v.get() == 2)).await;
    manager.recycle(&mut pooled, &Metrics::default()).await.expect_err("an old one was handed out");
}

#[tokio::test]
async fn a_rollback_takes_new_connections_back() {
    let stage = stage().await;
    let pool = stage.pool(Duration::from_secs(5));
    stage.target.make(2);
    stage.fake.serve_after("orders/db", 2, &[1]);
    eventually("version 2", || stage.orders.version().is_some_and(|v| v.get() == 2)).await;
    drop(pool.get().await.unwrap());
    stage.fake.serve_after("orders/db", 1, &[2]);
    eventually("the idle one is closed", || stage.target.sessions_of(2) == 0).await;
    assert_eq!(pool.get().await.unwrap().version, 1);
}

#[tokio::test]
async fn a_refused_login_waits_for_the_newer_version_and_its_caller_sees_nothing() {
    let stage = stage().await;
    let pool = stage.pool(Duration::from_secs(10));
    // The target was cut, and the news has not come yet.
    stage.target.end(1);
    let asking = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.map(|session| session.version) }
    });
    eventually("it was refused", || stage.target.refusals.load(Ordering::SeqCst) == 1).await;
    stage.fake.refuse("orders/db", read_error::Reason::Revoked);
    eventually("the fence", || stage.orders.load().is_err()).await;
    assert!(!asking.is_finished());
    stage.target.make(2);
    stage.fake.serve("orders/db", 2);
    assert_eq!(asking.await.unwrap().unwrap(), 2);
    assert_eq!(
        stage.target.refusals.load(Ordering::SeqCst),
        1,
        "it was tried again before there was a newer version"
    );
    eventually("both are reported", || {
        stage.fake.reported("orders/db").is_some_and(|(_, outcomes)| outcomes == [(1, 0, 1), (2, 1, 0)])
    })
    .await;
}

#[tokio::test]
async fn patience_has_an_end_and_the_error_says_what_was_wrong() {
    let stage = stage().await;
    let pool = stage.pool(Duration::from_millis(100));
    stage.target.end(1);
    let started = Instant::now();
    let Err(PoolError::Backend(error)) = pool.get().await else { panic!("a login succeeded") };
    assert!(matches!(error, ConnectError::Refused { version, .. } if version.get() == 1), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(20));

    stage.fake.refuse("orders/db", read_error::Reason::Revoked);
    eventually("the fence", || stage.orders.load().is_err()).await;
    let Err(PoolError::Backend(error)) = pool.get().await else { panic!("a login succeeded") };
    assert!(matches!(error, ConnectError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn a_target_that_is_down_is_no_reason_to_wait_for_a_version() {
    let stage = stage().await;
    let pool = stage.pool(Duration::from_mins(1));
    stage.target.down.store(true, Ordering::SeqCst);
    let asked = timeout(Duration::from_secs(5), pool.get()).await.expect("it waited for a version");
    assert!(matches!(asked, Err(PoolError::Backend(ConnectError::Failed(LoginError::Down)))));
    eventually("no refusal is reported", || {
        stage.fake.reported("orders/db").is_some_and(|(_, outcomes)| outcomes.is_empty())
    })
    .await;
}

#[tokio::test]
async fn a_version_counts_as_in_use_from_before_its_login() {
    let stage = stage().await;
    let pool = stage.pool(Duration::from_secs(10));
    stage.target.end(1);
    let asking = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.map(|session| session.version) }
    });
    eventually("the login is under way", || stage.target.refusals.load(Ordering::SeqCst) == 1).await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    stage.target.make(2);
    stage.fake.serve_after("orders/db", 2, &[1]);
    // A caller that gave up leaves nothing behind.
    stage.nobody_is_on(1).await;
}

#[tokio::test]
async fn a_pool_that_is_dropped_lets_the_client_end() {
    let stage = stage().await;
    let pool = stage.pool(Duration::from_secs(1));
    drop(pool.get().await.unwrap());
    let Stage { fake, target, orders } = stage;
    drop(orders);
    assert_eq!(pool.get().await.unwrap().version, 1, "the pool keeps the client alive");
    drop(pool);
    eventually("the stream ends", || fake.script.watching.load(Ordering::SeqCst) == 0).await;
    assert_eq!(target.sessions_of(1), 0);
}

#[tokio::test]
async fn a_login_waits_while_the_only_value_changes() {
    let stage = stage().await;
    let pool = stage.pool(Duration::from_secs(5));
    drop(pool.get().await.unwrap());
    stage.fake.refuse("orders/db", read_error::Reason::Settling);
    settles(&stage.orders).await;
    let (first, waiting) = (
        pool.get().await.unwrap(),
        tokio::spawn({
            let pool = pool.clone();
            async move { pool.get().await.map(|session| Borrowed::version(&session).get()) }
        }),
    );
    assert!(first.works(), "what is open goes on");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished(), "a login was made with a value that is about to be dead");
    stage.target.end(1);
    stage.target.make(2);
    stage
        .fake
        .serve_this("orders/db", wire::Credential { one_at_a_time: true, ..credential("orders/db", 2) });
    assert_eq!(waiting.await.unwrap().unwrap(), 2);
    assert_eq!(stage.target.refusals.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_login_that_is_refused_while_nobody_can_say_tries_the_next_value() {
    let stage = stage().await;
    let pool = stage.pool(Duration::from_secs(5));
    stage.fake.serve_this("orders/db", unsettled("orders/db", 1));
    eventually("it is unsettled", || stage.orders.load().is_ok_and(|value| value.unsettled())).await;
    let session = pool.get().await.unwrap();
    assert_eq!(Borrowed::version(&session).get(), 1, "the target takes the old one still");
    stage.target.end(1);
    stage.target.make(2);
    let other = pool.get().await.unwrap();
    assert_eq!(Borrowed::version(&other).get(), 2);
    drop(other);
    assert_eq!(Borrowed::version(&pool.get().await.unwrap()).get(), 2, "it goes back into the pool");
    assert_eq!(stage.target.refusals.load(Ordering::SeqCst), 1);
}
