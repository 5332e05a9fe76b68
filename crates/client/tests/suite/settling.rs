//! Targets that take one version at a time: while the only value changes, nobody is sent to log in with it.

use std::time::Duration;

use rekey_client::{Reason, Watched};
use rekey_proto::local as wire;
use rekey_proto::local::read_error;

use crate::fake::{Fake, credential, eventually, unsettled};

const DB: &str = "orders/db";
const SHORT: Duration = Duration::from_millis(100);

/// Waits until the word that the target is being changed has come.
pub(crate) async fn settles(watched: &Watched) {
    for _ in 0..2_000 {
        if watched.ready_within(Duration::ZERO).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("nobody waits");
}

fn only(version: u64) -> wire::Credential {
    wire::Credential { one_at_a_time: true, ..credential(DB, version) }
}

#[tokio::test]
async fn ready_waits_for_the_cut_and_load_keeps_what_it_has() {
    let fake = Fake::start();
    fake.serve_this(DB, only(1));
    let orders = fake.client().await.watch(DB).await.unwrap();
    orders.ready().await.unwrap();
    fake.refuse(DB, read_error::Reason::Settling);
    settles(&orders).await;
    assert_eq!(orders.ready_within(SHORT).await.unwrap_err().reason(), Reason::Settling);
    assert_eq!(orders.load().unwrap().version().get(), 1);
    assert!(!orders.freshness().stale, "the sidecar is there, and said so");
    fake.serve_this(DB, only(2));
    orders.ready().await.unwrap();
    assert_eq!(orders.load().unwrap().version().get(), 2);
    let one = rekey_client::Version::new(1).unwrap();
    assert!(!orders.was_revoked(one), "it died in the ordinary way");
}

#[tokio::test]
async fn the_same_value_again_ends_the_wait() {
    let fake = Fake::start();
    fake.serve_this(DB, only(1));
    let orders = fake.client().await.watch(DB).await.unwrap();
    orders.ready().await.unwrap();
    fake.refuse(DB, read_error::Reason::Settling);
    settles(&orders).await;
    let waits = tokio::spawn({
        let orders = orders.clone();
        async move { orders.ready().await }
    });
    tokio::time::sleep(SHORT).await;
    assert!(!waits.is_finished());
    fake.serve_this(DB, only(1));
    waits.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_to_try_next_is_there_while_nobody_can_say() {
    let fake = Fake::start();
    fake.serve_this(DB, only(1));
    let orders = fake.client().await.watch(DB).await.unwrap();
    orders.ready().await.unwrap();
    assert!(orders.load().unwrap().one_at_a_time());
    fake.serve_this(DB, unsettled(DB, 1));
    eventually("it is unsettled", || orders.load().unwrap().unsettled()).await;
    let value = orders.load().unwrap();
    let next = value.next().unwrap();
    assert_eq!((value.version().get(), next.version().get()), (1, 2));
    assert_eq!(next.text("password").unwrap(), "marker-2");
    fake.serve_this(DB, only(1));
    eventually("it is settled", || !orders.load().unwrap().unsettled()).await;
    assert!(orders.load().unwrap().next().is_none());
}

#[tokio::test]
async fn a_call_says_that_it_settles() {
    let fake = Fake::start();
    fake.refuse(DB, read_error::Reason::Settling);
    let error = fake.client().await.get(DB).await.unwrap_err();
    assert!(
        matches!(&error, rekey_client::Error::Unavailable(why) if why.reason() == Reason::Settling),
        "{error}"
    );
}

#[tokio::test]
async fn a_sidecar_that_dies_in_the_middle_keeps_nobody_waiting() {
    let mut fake = Fake::start();
    fake.serve_this(DB, only(1));
    let orders = fake.client().await.watch(DB).await.unwrap();
    orders.ready().await.unwrap();
    fake.refuse(DB, read_error::Reason::Settling);
    settles(&orders).await;
    fake.kill();
    assert!(orders.ready_within(SHORT).await.is_err());
    orders.ready_within(Duration::from_secs(20)).await.unwrap();
    assert_eq!(orders.load().unwrap().version().get(), 1);
}
