//! What comes down the stream, what goes up, and what is served while the stream is gone.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rekey_proto::fleet::up::Message as Up;
use rekey_proto::fleet::{Change, Serving, serving};

use crate::controller::change;
use crate::whole::{UID, Whole, get};

const DB: &str = "orders/db";

#[tokio::test]
async fn what_the_controller_acknowledges_is_what_readers_get() {
    let mut whole = Whole::start().await;
    let mut client = whole.client(UID).await;
    let mut session = whole.controller.session().await;
    assert!(session.hello.held.is_empty());
    session.welcome(1).await;
    let ack = session.snapshot(vec![change(DB, 1, 1)], 0).await;
    assert_eq!((ack.generation, ack.credentials.len()), (11, 1));
    for number in 2..20 {
        session.change(number - 1, change(DB, number, number)).await;
        let ack = session.ack().await;
        assert_eq!((ack.credentials[0].order, ack.credentials[0].version), (number, number));
        // In the very moment that the ack is out, nobody may get the value before.
        assert_eq!(get(&mut client, DB).await.unwrap().version, number);
    }
}

#[tokio::test]
async fn a_bad_change_is_refused_and_everything_else_goes_on() {
    let mut whole = Whole::start().await;
    let mut session = whole.controller.level(vec![change(DB, 1, 1), change("orders/mail", 1, 1)]).await;
    let mut bad = change(DB, 2, 2);
    bad.current.as_mut().unwrap().fields.clear();
    session.change(1, bad).await;
    session.change(2, change("orders/mail", 2, 2)).await;
    let nack = session.next(|up| if let Up::Nack(nack) = up { Some(nack.clone()) } else { None }).await;
    assert_eq!((nack.name.as_str(), nack.order, nack.reason.as_str()), (DB, 2, "it has no fields"));
    let ack = session.ack().await;
    assert_eq!(ack.credentials.len(), 1);
    let mut client = whole.client(UID).await;
    assert_eq!(get(&mut client, DB).await.unwrap().version, 1);
    assert_eq!(get(&mut client, "orders/mail").await.unwrap().version, 2);
    session.change(3, Change { name: "../x".to_owned(), ..change(DB, 9, 9) }).await;
    let nack = session.next(|up| if let Up::Nack(nack) = up { Some(nack.clone()) } else { None }).await;
    assert_eq!(nack.name, "../x");
}

#[tokio::test]
async fn duplicated_and_reordered_changes_change_nothing() {
    let mut whole = Whole::start().await;
    let mut session = whole.controller.level(vec![change(DB, 5, 5)]).await;
    let script = [(1, 6, 6, 6), (1, 6, 6, 6), (2, 5, 5, 6), (3, 4, 4, 6), (4, 7, 5, 5), (4, 6, 6, 5)];
    let mut client = whole.client(UID).await;
    for (revision, order, number, serves) in script {
        session.change(revision, change(DB, order, number)).await;
        session.ack().await;
        assert_eq!(get(&mut client, DB).await.unwrap().version, serves, "order {order}");
    }
}

#[tokio::test]
async fn a_gap_asks_for_a_snapshot() {
    let mut whole = Whole::start().await;
    let mut session = whole.controller.level(vec![change(DB, 1, 1)]).await;
    session.change(2, change(DB, 3, 3)).await;
    session.next(|up| matches!(up, Up::Resync(_)).then_some(())).await;
    session.ack().await;
    let ack = session.snapshot(vec![change(DB, 3, 3), change("orders/mail", 2, 2)], 2).await;
    assert_eq!(ack.credentials.len(), 2);
    session.change(3, change(DB, 4, 4)).await;
    assert_eq!(session.ack().await.credentials[0].order, 4);
}

#[tokio::test]
async fn a_credential_that_is_no_longer_granted_is_dropped() {
    let mut whole = Whole::start().await;
    let mut session = whole.controller.level(vec![change(DB, 1, 1), change("orders/mail", 1, 1)]).await;
    let gone = Change { current: None, serving: None, withdrawn: true, ..change(DB, 1, 1) };
    session.change(1, gone).await;
    let ack = session.ack().await;
    assert_eq!((ack.credentials[0].order, ack.credentials[0].version), (1, 0));
    let mut client = whole.client(UID).await;
    assert_eq!(get(&mut client, DB).await.unwrap_err().code(), tonic::Code::NotFound);
    session.snapshot(vec![], 1).await;
    assert_eq!(get(&mut client, "orders/mail").await.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn a_controller_of_an_earlier_store_is_not_believed() {
    let mut whole = Whole::start().await;
    let session = whole.controller.session().await;
    session.welcome(3).await;
    let mut session = session;
    session.snapshot(vec![Change { incarnation: 3, ..change(DB, 1, 1) }], 0).await;
    drop(session);
    whole.until("it is lost", || !whole.live.contact().in_reach(whole.clock.now().boot_ms)).await;
    let clock = whole.clock.clone();
    let old = tokio::select! {
        old = whole.controller.session() => old,
        () = keep_passing(&clock) => unreachable!(),
    };
    assert_eq!((old.hello.held[0].incarnation, old.hello.held[0].version), (3, 1));
    old.welcome(2).await;
    assert!(!old.rest().await.iter().any(|up| matches!(up, Up::Ack(_))));
    let mut client = whole.client(UID).await;
    assert_eq!(get(&mut client, DB).await.unwrap().version, 1);
}

/// Lets time pass for as long as it is polled.
pub(crate) async fn keep_passing(clock: &rekey_runtime::Clock) {
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        clock.advance(Duration::from_millis(50));
    }
}

#[tokio::test]
async fn without_the_controller_what_is_held_is_served_and_told_in_the_next_hello() {
    let mut whole = Whole::start().await;
    let fenced = Change { fenced: vec![1], ..change(DB, 4, 2) };
    let session = whole.controller.level(vec![fenced]).await;
    whole.controller.state.away.store(true, Ordering::Relaxed);
    drop(session);
    let mut client = whole.client(UID).await;
    for _ in 0..50 {
        whole.pass(Duration::from_mins(10)).await;
        assert_eq!(get(&mut client, DB).await.unwrap().version, 2);
    }
    whole.controller.state.away.store(false, Ordering::Relaxed);
    let clock = whole.clock.clone();
    let back = clock.now();
    let session = tokio::select! {
        session = whole.controller.session() => session,
        () = keep_passing(&clock) => unreachable!(),
    };
    assert!(clock.now().at_least_since(back) <= Duration::from_secs(10));
    let held = &session.hello.held[0];
    assert_eq!((held.order, held.version, held.handle.as_str()), (4, 2, "orders_v2"));
    assert_eq!((held.fenced.as_slice(), session.hello.generation), (&[1_u64][..], 11));
}

#[tokio::test]
async fn a_lease_is_asked_for_at_a_third_and_its_end_closes_what_fails_closed() {
    let mut whole = Whole::start().await;
    let closed =
        Serving { offline: serving::Offline::FailClosed.into(), offline_for_ms: None, one_at_a_time: false };
    let mut session =
        whole.controller.level(vec![Change { serving: Some(closed), ..change(DB, 1, 1) }]).await;
    for number in 1..4 {
        whole.pass(Duration::from_secs(10)).await;
        let asked =
            session.next(|up| if let Up::Renew(renew) = up { Some(renew.number) } else { None }).await;
        assert_eq!(asked, number);
        session.grant(number, 30_000).await;
    }
    whole.pass(Duration::from_secs(0)).await;
    assert!(whole.live.read(DB).is_ok());
    // No grant any more: the lease of the last question ends 30 s after it was asked, and with it the session.
    whole.controller.state.away.store(true, Ordering::Relaxed);
    whole.pass(Duration::from_secs(29)).await;
    assert!(whole.live.read(DB).is_ok());
    whole.pass(Duration::from_secs(1)).await;
    assert_eq!(whole.live.read(DB).unwrap_err(), rekey_sidecar::live::Unreadable::Stale);
    session.rest().await;
}

#[tokio::test]
async fn at_the_end_the_controller_is_told() {
    let mut whole = Whole::start().await;
    let session = whole.controller.level(vec![]).await;
    whole.stop.cancel();
    let said = session.rest().await;
    assert!(matches!(said.last(), Some(Up::Goodbye(_))), "{said:?}");
}
