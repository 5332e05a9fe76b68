//! What must hold of supervised tasks.

use std::convert::Infallible;

use super::*;

const GRACE: Duration = Duration::from_secs(5);

/// What a task returns that ends well.
const FINE: Result<(), Infallible> = Ok(());

#[derive(Debug, thiserror::Error)]
#[error("could not begin")]
struct Outer(#[source] std::io::Error);

#[tokio::test(start_paused = true)]
async fn an_essential_task_that_ends_well_ends_the_process() {
    let mut tasks = Tasks::new();
    let cancel = tasks.cancel();
    tasks.essential("loop", async move {
        cancel.cancelled().await;
        FINE
    });
    tasks.essential("short", async { FINE });
    let report = tasks.run(std::future::pending(), GRACE).await;
    assert_eq!(report.ended, Ended::Task { name: "short", how: How::Finished });
    assert_eq!((report.late.len(), report.is_clean()), (0, false));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_with_its_causes() {
    let mut tasks = Tasks::new();
    tasks.essential("store", async { Err(Outer(std::io::Error::other("disk gone"))) });
    let report = tasks.run(std::future::pending(), GRACE).await;
    assert_eq!(report.to_string(), "task store failed: could not begin: disk gone");
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_the_process_and_says_nothing_of_what_it_said() {
    let mut tasks = Tasks::new();
    tasks.essential("bad", async {
        assert!(std::env::args().count() == 0, "marker-5521");
        FINE
    });
    let report = tasks.run(std::future::pending(), GRACE).await;
    assert_eq!(report.ended, Ended::Task { name: "bad", how: How::Panicked });
    assert!(!format!("{report:?} {report}").contains("5521"));
}

#[tokio::test(start_paused = true)]
async fn a_signal_cancels_waits_and_then_aborts_the_late() {
    let mut tasks = Tasks::new();
    let (cancel, spawner) = (tasks.cancel(), tasks.spawner());
    tasks.essential("polite", async move {
        cancel.cancelled().await;
        FINE
    });
    tasks.essential("stubborn", std::future::pending::<Result<(), Infallible>>());
    spawner.start("stubborn stream", std::future::pending());
    let report = tasks.run(async {}, GRACE).await;
    assert_eq!(report.ended, Ended::Signal);
    assert_eq!((report.late, report.late_transient), (vec!["stubborn"], 1));
    tokio::time::timeout(GRACE, spawner.tracker.wait()).await.expect("the transient task was not aborted");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_while_it_ends_is_told() {
    let mut tasks = Tasks::new();
    let cancel = tasks.cancel();
    tasks.essential("flush", async move {
        cancel.cancelled().await;
        Err(std::io::Error::other("no room"))
    });
    let report = tasks.run(async {}, GRACE).await;
    assert_eq!(report.failed, [("flush", How::Failed("no room".to_owned()))]);
    assert!(!report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_transient_panic_is_counted_and_ends_nothing_else() {
    let tasks = Tasks::new();
    let spawner = tasks.spawner();
    spawner.start("bad", async { panic!("as planned") });
    let (done, told) = tokio::sync::oneshot::channel();
    spawner.start("good", async move { done.send(()).unwrap() });
    told.await.unwrap();
    let report = tasks.run(async {}, GRACE).await;
    assert_eq!((report.panics, report.is_clean()), (1, true));
}

#[tokio::test(start_paused = true)]
async fn transient_tasks_are_waited_for_within_the_grace() {
    let tasks = Tasks::new();
    let (spawner, cancel) = (tasks.spawner(), tasks.cancel());
    let ended = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&ended);
    spawner.start("stream", async move {
        cancel.cancelled().await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        count.fetch_add(1, Ordering::Relaxed);
    });
    let report = tasks.run(async {}, GRACE).await;
    assert_eq!((report.late_transient, ended.load(Ordering::Relaxed)), (0, 1));
}
