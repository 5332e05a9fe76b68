//! Joining, the next leaf without a gap, and the way back after a long absence.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rekey_proto::fleet::up::Message as Up;

use crate::controller::change;
use crate::stream::keep_passing;
use crate::whole::Whole;

const DB: &str = "orders/db";

#[tokio::test]
async fn a_new_leaf_is_level_before_the_connection_of_the_old_one_is_closed() {
    let mut whole = Whole::start().await;
    let first = whole.controller.level(vec![change(DB, 1, 1)]).await;
    assert_eq!(whole.controller.calls(), ["join"]);
    let clock = whole.clock.clone();
    // The lease is kept up by hand: the clock goes half of a leaf's life at once.
    first.grant(0, 30_000).await;
    let mut first = Some(first);
    let mut second = tokio::select! {
        second = whole.controller.session() => second,
        () = serve_leases(first.as_mut().unwrap(), &clock) => unreachable!(),
    };
    assert_eq!(whole.controller.calls(), ["join", "renew"]);
    assert_eq!((second.hello.held[0].order, second.hello.held[0].version), (1, 1));
    let in_reach = || whole.live.contact().in_reach(whole.clock.now().boot_ms);
    assert!(in_reach(), "the first still counts");
    // The first one is still served while the second comes up.
    let mut first = first.take().unwrap();
    first.change(1, change(DB, 2, 2)).await;
    assert_eq!(first.ack().await.credentials[0].order, 2);
    second.welcome(1).await;
    assert!(in_reach());
    second.snapshot(vec![change(DB, 2, 2)], 0).await;
    let said = first.rest().await;
    assert!(!said.iter().any(|up| matches!(up, Up::Goodbye(_))), "the holder is not going away");
    assert!(in_reach(), "never counted away");
    second.change(1, change(DB, 3, 3)).await;
    assert_eq!(second.ack().await.credentials[0].order, 3);
}

/// Grants every lease that is asked for, while time passes.
async fn serve_leases(session: &mut crate::controller::Session, clock: &rekey_runtime::Clock) {
    loop {
        let asked = tokio::select! {
            asked = session.next(|up| if let Up::Renew(renew) = up { Some(renew.number) } else { None }) => asked,
            () = keep_passing_fast(clock) => unreachable!(),
        };
        session.grant(asked, 30_000).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn keep_passing_fast(clock: &rekey_runtime::Clock) {
    loop {
        clock.advance(Duration::from_secs(2));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn after_a_long_absence_it_rejoins_with_proof_of_its_old_key() {
    let mut whole = Whole::start().await;
    let session = whole.controller.level(vec![change(DB, 1, 1)]).await;
    whole.controller.state.away.store(true, Ordering::Relaxed);
    drop(session);
    whole.pass(Duration::from_hours(3)).await;
    whole.controller.state.away.store(false, Ordering::Relaxed);
    let clock = whole.clock.clone();
    tokio::select! {
        session = whole.controller.session() => drop(session),
        () = keep_passing(&clock) => unreachable!(),
    };
    assert_eq!(whole.controller.calls(), ["join", "rejoin"]);
    let request = whole.controller.state.proof.lock().unwrap().clone().unwrap();
    assert_eq!(request.leaf_der, vec![1; 8]);
    assert_eq!(request.proof.first(), Some(&0x30), "an ASN.1 signature");
}

#[tokio::test]
async fn who_is_refused_keeps_serving_and_asks_seldom() {
    let mut whole = Whole::start().await;
    let session = whole.controller.level(vec![change(DB, 1, 1)]).await;
    whole.controller.state.refuses.store(true, Ordering::Relaxed);
    drop(session);
    whole.pass(Duration::from_hours(3)).await;
    whole.until("it asks", || whole.controller.calls().contains(&"rejoin")).await;
    for _ in 0..200 {
        whole.pass(Duration::from_secs(3)).await;
    }
    let asked = whole.controller.calls().len();
    assert!((3..150).contains(&asked), "{asked} calls in ten minutes");
    assert!(whole.live.read(DB).is_ok());
}
