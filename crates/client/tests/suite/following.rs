//! Following a credential: whole swaps, losses, reconnects, and what is skipped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rekey_client::{Reason, Version, Watched};
use rekey_proto::local::read_error;

use crate::fake::{Fake, credential, eventually};

fn v(number: u64) -> Version {
    Version::new(number).unwrap()
}

async fn reaches(watched: &Watched, version: u64) {
    eventually(&format!("version {version} is live"), || watched.version() == Some(v(version))).await;
}

async fn is_lost(watched: &Watched, reason: Reason) {
    eventually(&format!("lost: {reason:?}"), || {
        watched.load().err().is_some_and(|why| why.reason() == reason)
    })
    .await;
}

#[tokio::test]
async fn a_handle_gives_what_the_sidecar_serves() {
    let fake = Fake::start();
    fake.serve_after("orders/db", 3, &[2]);
    let orders = fake.client().await.watch("orders/db").await.unwrap();
    orders.ready().await.unwrap();
    let credential = orders.load().unwrap();
    assert_eq!((credential.name().as_str(), credential.version()), ("orders/db", v(3)));
    assert_eq!(credential.text("username").unwrap(), "user-3");
    assert_eq!(credential.field("password").unwrap().expose(), b"marker-3");
    assert_eq!(credential.generation().0, 30);
    assert_eq!(credential.previous()[0].version, v(2));
    assert!(credential.field("nothing").is_none());
    let error = credential.text("pass").unwrap_err().to_string();
    assert_eq!(error, "credential orders/db v3 has no field `pass`; it has password, username");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_and_password_never_mix_while_versions_change() {
    let fake = Fake::start();
    fake.serve("orders/db", 1);
    let orders = fake.client().await.watch("orders/db").await.unwrap();
    orders.ready().await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (orders, done) = (orders.clone(), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut seen = std::collections::BTreeSet::new();
                while !done.load(Ordering::Relaxed) {
                    let credential = orders.load().unwrap();
                    let number = credential.version().get();
                    assert_eq!(credential.text("username").unwrap(), format!("user-{number}"));
                    assert_eq!(credential.text("password").unwrap(), format!("marker-{number}"));
                    seen.insert(number);
                }
                seen.len()
            })
        })
        .collect();
    for version in 2..=200 {
        fake.serve("orders/db", version);
        reaches(&orders, version).await;
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.join().unwrap() > 1, "a reader saw no change");
    }
}

#[tokio::test]
async fn the_value_stays_while_the_sidecar_is_away_and_is_followed_after_its_return() {
    let mut fake = Fake::start();
    fake.serve("orders/db", 1);
    let orders = fake.client().await.watch("orders/db").await.unwrap();
    orders.ready().await.unwrap();
    assert!(orders.freshness().connected && !orders.freshness().stale);
    assert_eq!(orders.freshness().age, Duration::from_millis(20));

    fake.kill();
    eventually("the loss is noticed", || !orders.freshness().connected).await;
    assert_eq!(orders.load().unwrap().version(), v(1));
    assert!(orders.freshness().stale);
    eventually("it ages", || orders.freshness().age > Duration::from_millis(40)).await;

    fake.serve("orders/db", 2);
    fake.start_again();
    reaches(&orders, 2).await;
    assert!(orders.freshness().connected && !orders.freshness().stale);
}

#[tokio::test]
async fn a_restarted_sidecar_that_has_nothing_yet_takes_nothing_away() {
    let mut fake = Fake::start();
    fake.serve("orders/db", 1);
    let orders = fake.client().await.watch("orders/db").await.unwrap();
    orders.ready().await.unwrap();
    fake.kill();
    fake.refuse("orders/db", read_error::Reason::Waiting);
    fake.start_again();
    eventually("it is back", || {
        orders.freshness().connected && fake.script.watching.load(Ordering::SeqCst) == 1
    })
    .await;
    eventually("it says that it waits", || orders.freshness().stale).await;
    assert_eq!(orders.load().unwrap().version(), v(1));
    fake.serve("orders/db", 2);
    reaches(&orders, 2).await;
}

#[tokio::test]
async fn a_revoked_value_is_dropped_and_its_replacement_taken() {
    let fake = Fake::start();
    fake.serve("orders/db", 1);
    let orders = fake.client().await.watch("orders/db").await.unwrap();
    orders.ready().await.unwrap();
    let kept = Arc::downgrade(&orders.load().unwrap().keep());
    assert!(!orders.was_revoked(v(1)));

    fake.refuse("orders/db", read_error::Reason::Revoked);
    is_lost(&orders, Reason::Revoked).await;
    let why = orders.load().unwrap_err();
    assert_eq!(why.retry_after(), Some(Duration::from_millis(7)));
    assert!(why.to_string().contains("revoked in an emergency"), "{why}");
    assert!(orders.was_revoked(v(1)));
    assert!(kept.upgrade().is_none(), "the revoked value is still in memory");
    assert_eq!(orders.ready_within(Duration::ZERO).await.unwrap_err().reason(), Reason::Revoked);

    fake.serve("orders/db", 2);
    orders.ready().await.unwrap();
    assert_eq!(orders.version(), Some(v(2)));
    assert!(orders.was_revoked(v(1)) && !orders.was_revoked(v(2)));
}

#[tokio::test]
async fn what_is_withdrawn_or_too_old_is_dropped_too() {
    let fake = Fake::start();
    let orders = {
        fake.serve("orders/db", 1);
        fake.client().await.watch("orders/db").await.unwrap()
    };
    for (said, reason) in
        [(read_error::Reason::Stale, Reason::Stale), (read_error::Reason::NotFound, Reason::NotFound)]
    {
        fake.serve("orders/db", 1);
        orders.ready().await.unwrap();
        fake.refuse("orders/db", said);
        is_lost(&orders, reason).await;
        assert!(!orders.was_revoked(v(1)), "{reason:?} is no revocation");
    }
}

#[tokio::test]
async fn a_version_replaced_without_a_grace_counts_as_revoked_and_an_ordinary_one_does_not() {
    let mut fake = Fake::start();
    fake.serve("orders/db", 1);
    let orders = fake.client().await.watch("orders/db").await.unwrap();
    orders.ready().await.unwrap();

    fake.serve_after("orders/db", 2, &[1]);
    reaches(&orders, 2).await;
    fake.serve_after("orders/db", 1, &[2]);
    reaches(&orders, 1).await;
    fake.serve("orders/db", 1);
    eventually("version 2 has ended", || orders.load().unwrap().previous().is_empty()).await;
    assert!(!orders.was_revoked(v(1)) && !orders.was_revoked(v(2)), "a rotation and its rollback");

    fake.serve("orders/db", 3);
    reaches(&orders, 3).await;
    assert!(orders.was_revoked(v(1)), "replaced without a grace");

    fake.kill();
    fake.serve("orders/db", 4);
    fake.start_again();
    reaches(&orders, 4).await;
    assert!(!orders.was_revoked(v(3)), "who knows what happened in between");
}

#[tokio::test]
async fn a_revocation_of_all_takes_the_previous_version_along() {
    let fake = Fake::start();
    fake.serve_after("orders/db", 2, &[1]);
    let orders = fake.client().await.watch("orders/db").await.unwrap();
    orders.ready().await.unwrap();
    fake.refuse("orders/db", read_error::Reason::Revoked);
    is_lost(&orders, Reason::Revoked).await;
    assert!(orders.was_revoked(v(1)) && orders.was_revoked(v(2)));
}

#[tokio::test]
async fn a_slow_reader_skips_what_was_overtaken() {
    let fake = Fake::start();
    fake.serve("orders/db", 1);
    let orders = fake.client().await.watch("orders/db").await.unwrap();
    orders.ready().await.unwrap();
    let mut slow = orders.clone();
    for version in 2..=50 {
        fake.serve("orders/db", version);
    }
    reaches(&orders, 50).await;
    slow.changed().await;
    assert_eq!(slow.load().unwrap().version(), v(50));
    let more = tokio::time::timeout(Duration::from_millis(50), slow.changed()).await;
    assert!(more.is_err(), "what was overtaken came after all");
}

#[tokio::test]
async fn a_senseless_value_is_refused_and_the_last_good_one_stays() {
    let fake = Fake::start();
    fake.serve("orders/db", 1);
    let orders = fake.client().await.watch("orders/db").await.unwrap();
    orders.ready().await.unwrap();
    let mut turns = orders.clone();
    turns.changed().await;
    let mut large = credential("orders/db", 5);
    large.fields.insert("large".to_owned(), vec![0; 70_000]);
    let mut odd = credential("orders/db", 6);
    odd.fields.insert("Not a Name".to_owned(), vec![]);
    for bad in [credential("orders/other", 4), credential("orders/db", 0), large, odd] {
        fake.serve_this("orders/db", bad);
        tokio::time::timeout(Duration::from_millis(40), turns.changed()).await.unwrap_err();
        assert_eq!(orders.load().unwrap().version(), v(1));
    }
    fake.serve("orders/db", 7);
    reaches(&orders, 7).await;
}

#[tokio::test]
async fn what_appears_later_is_found_without_a_new_watch() {
    let fake = Fake::start();
    let orders = fake.client().await.watch("orders/db").await.unwrap();
    is_lost(&orders, Reason::NotFound).await;
    fake.serve("orders/db", 1);
    orders.ready().await.unwrap();
}

#[tokio::test]
async fn waiting_for_a_value_or_another_version_has_an_end() {
    let fake = Fake::start();
    fake.refuse("orders/db", read_error::Reason::Waiting);
    let client = fake.settings().ready_timeout(Duration::from_millis(50)).connect().await.unwrap();
    let orders = client.watch("orders/db").await.unwrap();
    assert_eq!(orders.ready().await.unwrap_err().reason(), Reason::Waiting);
    fake.serve("orders/db", 1);
    reaches(&orders, 1).await;
    assert!(!orders.other_than(v(1), Duration::from_millis(20)).await);
    assert!(orders.other_than(v(9), Duration::ZERO).await);
    let waiting = tokio::spawn({
        let orders = orders.clone();
        async move { orders.other_than(v(1), Duration::from_secs(10)).await }
    });
    fake.serve("orders/db", 2);
    assert!(waiting.await.unwrap());
}

#[tokio::test]
async fn nothing_that_can_be_printed_shows_a_value() {
    let fake = Fake::start();
    fake.serve("orders/db", 1);
    let client = fake.client().await;
    let orders = client.watch("orders/db").await.unwrap();
    orders.ready().await.unwrap();
    let mut fetch = client.fetch();
    let got = fetch.get("orders/db").await.unwrap();
    let (loaded, kept, guard) = (orders.load().unwrap(), orders.load().unwrap().keep(), orders.uses(v(1)));
    let shown = format!("{client:?} {orders:?} {loaded:?} {kept:?} {kept} {guard:?} {got:?} {fetch:#?}");
    assert!(!shown.contains("marker") && !shown.contains("109, 97, 114"), "{shown}");
}
