//! Who may have what: granted, taken away, deleted.

use rekey_model::{Order, Version};
use rekey_proto::fleet::{Held, Nack, Renew, down, up};

use crate::sidecar::Sidecar;
use crate::world::{ORDERS, World, acked, name, spec};

const ALL: &str = "spiffe://rekey.local/sidecar/orders/*";
const OTHERS: &str = "spiffe://rekey.local/sidecar/billing/*";

#[tokio::test]
async fn a_sidecar_gets_what_it_is_granted_and_nothing_else() {
    let world = World::new().await;
    for (credential, to) in [("orders/db", vec![ALL]), ("billing/db", vec![OTHERS]), ("nobody/db", vec![])] {
        world.declare(credential, &to).await;
        world.promote(credential, 1, credential).await;
    }
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (mut stream, snapshot) = sidecar.follow().await;
    assert_eq!(snapshot.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["orders/db"]);
    world.promote("billing/db", 2, "billing").await;
    world.promote("orders/db", 2, "orders").await;
    assert_eq!(stream.change().await.name, "orders/db");
    assert!(world.holders("billing/db", <[_]>::is_empty).await.is_empty());
}

#[tokio::test]
async fn what_a_holder_says_about_others_credentials_is_not_heard() {
    let world = World::new().await;
    world.declare("billing/db", &[OTHERS]).await;
    world.promote("billing/db", 1, "billing").await;
    let billing = Sidecar::join(&world, "spiffe://rekey.local/sidecar/billing/a").await;
    let (_theirs, snapshot) = billing.follow().await;
    let orders = Sidecar::join(&world, ORDERS).await;
    let (mut stream, _) = orders.follow().await;
    stream.ack(7, &snapshot).await;
    let nack = Nack { name: "billing/db".into(), incarnation: 1, order: 1, reason: "mine".into() };
    stream.say(up::Message::Nack(nack)).await;
    stream.goodbye().await;
    stream.end().await;
    let instances = world.store.instances().await.unwrap();
    assert_eq!(instances.len(), 2);
    let holders = world.holders("billing/db", |h| h.len() == 1).await;
    assert_eq!((holders[0].instance, acked(&holders[0])), (billing.instance, None));
    assert_eq!(holders[0].nacked, None, "a stranger's refusal was written down");
}

#[tokio::test]
async fn a_grant_that_is_taken_away_is_told_and_counts_until_the_credential_is_dropped() {
    let world = World::new().await;
    world.declare("orders/db", &[ALL]).await;
    world.promote("orders/db", 1, "first").await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (mut stream, snapshot) = sidecar.follow().await;
    stream.ack(1, &snapshot).await;
    world.holders("orders/db", |h| acked(&h[0]) == Some(Order(1))).await;

    world.change("orders/db", |row| row.spec = spec("orders/db", &[OTHERS])).await;
    let change = stream.change().await;
    assert!(change.withdrawn && change.current.is_none(), "{change:?}");
    let holders = world.holders("orders/db", |h| h.iter().any(|h| h.withdrawn)).await;
    assert_eq!(holders.len(), 1, "it may still serve it");

    // The acknowledgement of the change before is not that of the dropping.
    stream.ack(1, &snapshot).await;
    stream.say(up::Message::Renew(Renew { number: 1 })).await;
    assert!(matches!(stream.next().await, Ok(down::Message::LeaseGrant(_))));
    world.holders("orders/db", |h| h.len() == 1 && h[0].gone.is_none()).await;
    stream.ack(2, std::slice::from_ref(&change)).await;
    world.holders("orders/db", |h| h.iter().all(|h| h.gone.is_some())).await;

    world.change("orders/db", |row| row.spec = spec("orders/db", &[ALL])).await;
    assert!(!stream.change().await.withdrawn, "granted again, with the same order");
    world.holders("orders/db", |h| h.iter().any(|h| !h.withdrawn && h.gone.is_none())).await;
}

#[tokio::test]
async fn a_grant_that_was_lost_while_away_is_told_in_the_snapshot() {
    let world = World::new().await;
    world.declare("orders/db", &[ALL]).await;
    world.promote("orders/db", 1, "first").await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (stream, _) = sidecar.follow().await;
    drop(stream);
    let (mut witness, _) = Sidecar::join(&world, ORDERS).await.follow().await;
    world.change("orders/db", |row| row.spec = spec("orders/db", &[])).await;
    assert!(witness.change().await.withdrawn);
    witness.goodbye().await;
    let (stream, snapshot) = sidecar.follow().await;
    assert!(snapshot[0].withdrawn, "{snapshot:?}");
    world.holders("orders/db", |h| h.iter().any(|h| h.withdrawn)).await;
    stream.ack(1, &snapshot).await;
    world.holders("orders/db", |h| h.iter().all(|h| h.gone.is_some())).await;
}

#[tokio::test]
async fn a_grant_that_was_lost_while_away_is_told_where_there_can_be_no_snapshot() {
    let world = World::new().await;
    for credential in ["orders/db", "orders/other"] {
        world.declare(credential, &[ALL]).await;
        world.promote(credential, 1, credential).await;
    }
    let sidecar = Sidecar::join(&world, ORDERS).await;
    drop(sidecar.follow().await);
    let (mut witness, _) = Sidecar::join(&world, ORDERS).await.follow().await;
    world.change("orders/other", |row| row.spec["written_by_a_later_release"] = 1.into()).await;
    world.change("orders/db", |row| row.spec = spec("orders/db", &[])).await;
    assert!(witness.change().await.withdrawn);
    let holds = Held { name: "orders/other".into(), version: 1, ..Held::default() };
    let mut stream = sidecar.hello(vec![holds]).await.unwrap();
    stream.welcome().await;
    let told = [stream.change().await, stream.change().await];
    assert_eq!(
        told.each_ref().map(|it| (it.name.as_str(), it.withdrawn)),
        [("orders/other", false), ("orders/db", true)]
    );
}

#[tokio::test]
async fn a_credential_that_is_gone_is_dropped_by_a_snapshot_without_it() {
    let world = World::new().await;
    for credential in ["orders/db", "orders/other"] {
        world.declare(credential, &[ALL]).await;
        world.promote(credential, 1, credential).await;
    }
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (mut stream, _) = sidecar.follow().await;
    let mut tx = world.store.begin().await.unwrap();
    let row = tx.load(&name("orders/db")).await.unwrap().unwrap();
    tx.delete(&row).await.unwrap();
    tx.commit().await.unwrap();
    let (snapshot, _) = stream.snapshot().await;
    assert_eq!(snapshot.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["orders/other"]);
}

/// Sidecars remember the orders and fences of a name: one that began anew would never be applied.
#[tokio::test]
async fn a_credential_that_takes_a_forgotten_name_goes_on_from_its_orders_and_versions() {
    let world = World::new().await;
    world.declare("orders/db", &[ALL]).await;
    for version in 1..=5 {
        world.promote("orders/db", version, "first life").await;
    }
    let mut tx = world.store.begin().await.unwrap();
    let mut row = tx.load(&name("orders/db")).await.unwrap().unwrap();
    row.ledger.last_version = Version::new(5);
    tx.save(&mut row).await.unwrap();
    tx.delete(&row).await.unwrap();
    tx.commit().await.unwrap();
    let row = world.declare("orders/db", &[ALL]).await;
    assert_eq!((row.ledger.order, row.ledger.last_version), (Order(6), Version::new(5)));

    let sidecar = Sidecar::join(&world, ORDERS).await;
    let held = Held { name: "orders/db".into(), incarnation: 1, order: 5, version: 5, ..Held::default() };
    let mut stream = sidecar.hello(vec![held]).await.unwrap();
    assert_eq!(stream.welcome().await.incarnation, 1, "who remembers the first life shows no restore");
    assert_eq!(stream.snapshot().await.0[0].order, 6);
}

#[tokio::test]
async fn every_release_and_its_end_stand_in_the_audit_once() {
    let world = World::new().await;
    world.declare("orders/db", &[ALL]).await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    for _ in 0..3 {
        sidecar.follow().await;
    }
    let (mut stream, _) = sidecar.follow().await;
    world.declare("orders/other", &[ALL]).await;
    stream.change().await;
    world.change("orders/db", |row| row.spec = spec("orders/db", &[])).await;
    stream.change().await;
    let records = world.store.audit(None, None, 100).await.unwrap();
    let of = |verb: &str| {
        let of: Vec<_> =
            records.iter().filter(|r| r.verb == verb).map(|r| r.credential.clone().unwrap()).collect();
        of
    };
    assert_eq!(of("grant"), ["orders/other", "orders/db"]);
    assert_eq!(of("withdraw"), ["orders/db"]);
}

#[tokio::test]
async fn a_credential_that_is_declared_later_reaches_a_live_stream_and_counts_it() {
    let world = World::new().await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (mut stream, snapshot) = sidecar.follow().await;
    assert!(snapshot.is_empty());
    world.declare("orders/db", &[ALL]).await;
    assert!(stream.change().await.current.is_none());
    world.holders("orders/db", |h| h.len() == 1).await;
}

#[tokio::test]
async fn a_grant_that_is_taken_away_beside_a_snapshot_is_withdrawn_too() {
    let world = World::new().await;
    for credential in ["orders/db", "orders/other"] {
        world.declare(credential, &[ALL]).await;
        world.promote(credential, 1, credential).await;
    }
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (stream, snapshot) = sidecar.follow().await;
    stream.ack(1, &snapshot).await;
    world.holders("orders/db", |h| acked(&h[0]) == Some(Order(1))).await;
    // A view changes and a snapshot is asked for before the session looks: the snapshot alone is told.
    let mut tx = world.store.begin().await.unwrap();
    let mut row = tx.load(&name("orders/db")).await.unwrap().unwrap();
    row.spec = spec("orders/db", &[OTHERS]);
    tx.save(&mut row).await.unwrap();
    stream.resync().await;
    tx.commit().await.unwrap();
    world.holders("orders/db", |h| h.iter().all(|h| h.withdrawn || h.gone.is_some())).await;
}

#[tokio::test]
async fn a_declaration_that_does_not_read_takes_nothing_from_those_who_hold_it() {
    let world = World::new().await;
    world.declare("orders/other", &[ALL]).await;
    world.promote("orders/other", 1, "other").await;
    let mut odd = spec("orders/db", &[ALL]);
    odd["written_by_a_later_release"] = 1.into();
    let mut tx = world.store.begin().await.unwrap();
    tx.create(&name("orders/db"), odd, rekey_rotation::Ledger::default()).await.unwrap();
    tx.commit().await.unwrap();
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let held = Held { name: "orders/db".into(), incarnation: 1, order: 1, version: 1, ..Held::default() };
    let mut stream = sidecar.hello(vec![held]).await.unwrap();
    stream.welcome().await;
    // No snapshot: one would take it away. The other credential comes as a change of its own.
    assert_eq!(stream.change().await.name, "orders/other");
}
