//! A restored store and its sidecars, over real TLS: who is believed, what is kept, what goes out.

use std::collections::BTreeSet;

use rekey_controller::store::{CredentialRow, Mode};
use rekey_model::{Incarnation, Order, Stage, Version};
use rekey_proto::fleet::{Held, Renew, down, up};
use tonic::Code;

use crate::sidecar::{Sidecar, Stream, password};
use crate::world::{ORDERS, World, acked, name};

const ALL: &str = "spiffe://rekey.local/sidecar/orders/*";

async fn world() -> World {
    let world = World::new().await;
    world.declare("orders/db", &[ALL]).await;
    world.promote("orders/db", 1, "first").await;
    world
}

/// That a sidecar serves `version` of the life 1.
fn holds(order: u64, version: u64, fenced: &[u64]) -> Held {
    Held {
        name: "orders/db".into(),
        incarnation: 1,
        order,
        version,
        handle: if version == 0 { String::new() } else { format!("orders_app_v{version}_x") },
        fenced: fenced.to_vec(),
    }
}

async fn begin_life(world: &World) {
    let mut tx = world.store.begin().await.unwrap();
    tx.begin_life(Incarnation(1), "the test restored it").await.unwrap();
    tx.commit().await.unwrap();
}

async fn leave(world: &World) {
    let mut tx = world.store.begin().await.unwrap();
    tx.leave_reconciling().await.unwrap();
    tx.commit().await.unwrap();
}

/// Nothing comes down but the answer to what is asked now.
async fn is_told_nothing(stream: &mut Stream, number: u64) {
    stream.say(up::Message::Renew(Renew { number })).await;
    let next = stream.next().await;
    assert!(matches!(next, Ok(down::Message::LeaseGrant(_))), "it was told {next:?}");
}

/// As an emergency does.
fn cut(row: &mut CredentialRow, versions: &[u64]) {
    row.ledger.fenced.extend(versions.iter().map(|number| Version::new(*number).unwrap()));
    if row.ledger.current.is_some_and(|current| row.ledger.fenced.contains(&current)) {
        (row.ledger.current, row.ledger.owed) = (None, true);
    }
    row.ledger.order = row.ledger.order.next();
}

#[tokio::test]
async fn a_sidecar_that_has_seen_more_than_the_store_makes_it_reconcile_only() {
    let world = world().await;
    let other = Sidecar::join(&world, ORDERS).await;
    let (mut before, _) = other.follow().await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let mut stream = sidecar.hello(vec![holds(9, 4, &[2])]).await.unwrap();
    assert_eq!(stream.welcome().await.incarnation, 2);
    let meta = world.store.meta().await.unwrap();
    assert_eq!((meta.mode, meta.former), (Mode::ReconcileOnly, Some(Incarnation(1))));
    assert!(meta.because.unwrap().contains(&sidecar.instance.to_string()), "it is named");
    assert_eq!(before.end().await, Code::Aborted, "everybody says hello again");
    is_told_nothing(&mut stream, 1).await;
    let claims = world.store.claims_of(&name("orders/db")).await.unwrap();
    assert_eq!((claims.len(), claims[0].order, claims[0].fenced.len()), (1, Order(9), 1));
    assert_eq!(claims[0].serves.as_ref().unwrap().1.as_str(), "orders_app_v4_x");
    leave(&world).await;
    assert_eq!(stream.snapshot().await.0[0].incarnation, 2);
}

#[tokio::test]
async fn a_sidecar_is_believed_once() {
    let world = world().await;
    let liar = Sidecar::join(&world, ORDERS).await;
    drop(liar.hello(vec![holds(9, 4, &[])]).await.unwrap().welcome().await);
    leave(&world).await;
    for _ in 0..3 {
        let again = Held { incarnation: 2, ..holds(50, 5, &[]) };
        let mut stream = liar.hello(vec![again]).await.unwrap();
        assert_eq!(stream.end().await, Code::InvalidArgument);
    }
    let meta = world.store.meta().await.unwrap();
    assert_eq!((meta.mode, meta.incarnation), (Mode::Normal, Incarnation(2)), "it costs no second life");
    // Another one that says so is heard: it may be right.
    let other = Sidecar::join(&world, ORDERS).await;
    let mut stream = other.hello(vec![Held { incarnation: 2, ..holds(50, 5, &[]) }]).await.unwrap();
    assert_eq!(stream.welcome().await.incarnation, 3);
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let world = world().await;
    let before = world.store.meta().await.unwrap();
    let far = 1_u64 << 33;
    for absurd in [
        Held { incarnation: 5_000, ..holds(1, 1, &[]) },
        holds(far, 1, &[]),
        holds(9, far, &[]),
        holds(9, 1, &[far]),
    ] {
        let liar = Sidecar::join(&world, ORDERS).await;
        let mut stream = liar.hello(vec![absurd]).await.unwrap();
        assert_eq!(stream.end().await, Code::InvalidArgument);
    }
    let after = world.store.meta().await.unwrap();
    assert_eq!((after.mode, after.incarnation), (Mode::Normal, before.incarnation));
    assert!(world.store.claims_of(&name("orders/db")).await.unwrap().is_empty());
    // Nor is anybody's word about what it may not have.
    world.declare("billing/db", &["spiffe://rekey.local/sidecar/billing/*"]).await;
    let stranger = Sidecar::join(&world, ORDERS).await;
    let other = Held { name: "billing/db".into(), ..holds(9, 4, &[]) };
    drop(stranger.hello(vec![other]).await.unwrap().welcome().await);
    assert_eq!(world.store.meta().await.unwrap().mode, Mode::Normal);
}

#[tokio::test]
async fn a_name_that_is_not_ours_is_not_kept() {
    let world = world().await;
    begin_life(&world).await;
    let liar = Sidecar::join(&world, ORDERS).await;
    for handle in ["billing_app_v4_x", "postgres", "orders_app_v5_x"] {
        let held = Held { handle: handle.into(), ..holds(9, 4, &[2]) };
        drop(liar.hello(vec![held]).await.unwrap().welcome().await);
        let claims = world.store.claims_of(&name("orders/db")).await.unwrap();
        assert_eq!((claims[0].serves.as_ref(), claims[0].fenced.len()), (None, 1), "{handle}");
    }
}

#[tokio::test]
async fn while_reconciling_a_fence_reaches_those_who_serve_what_was_cut_and_nobody_else() {
    let world = world().await;
    begin_life(&world).await;
    let newer = Sidecar::join(&world, ORDERS).await;
    let mut with_newer = newer.hello(vec![holds(9, 3, &[])]).await.unwrap();
    drop(with_newer.welcome().await);
    let older = Sidecar::join(&world, "spiffe://rekey.local/sidecar/orders/b").await;
    let mut with_older = older.hello(vec![holds(7, 2, &[])]).await.unwrap();
    drop(with_older.welcome().await);
    world.change("orders/db", |row| cut(row, &[3])).await;
    let fence = with_newer.change().await;
    assert_eq!((fence.incarnation, fence.fenced.clone(), fence.replacement_owed), (2, vec![3], true));
    assert!(fence.current.is_none() && fence.previous.is_empty(), "no value goes out");
    is_told_nothing(&mut with_older, 1).await;
    with_newer.ack(1, std::slice::from_ref(&fence)).await;
    let told = Order(fence.order);
    world.holders("orders/db", |rows| rows.iter().any(|row| acked(row) == Some(told))).await;
    // Everything: now the other one too.
    world.change("orders/db", |row| cut(row, &[1, 2])).await;
    let fence = with_older.change().await;
    assert_eq!((fence.fenced, fence.current.is_none()), (vec![1, 2, 3], true));
    assert!(fence.order > told.0);
}

#[tokio::test]
async fn what_only_holders_have_stays_with_them_and_a_snapshot_follows_its_replacement() {
    let world = world().await;
    world.declare("orders/other", &[ALL]).await;
    world.promote("orders/other", 1, "other").await;
    begin_life(&world).await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let mut holder = sidecar.hello(vec![holds(9, 3, &[2])]).await.unwrap();
    drop(holder.welcome().await);
    let behind = Sidecar::join(&world, ORDERS).await;
    let mut behind = behind.hello(vec![holds(7, 2, &[])]).await.unwrap();
    drop(behind.welcome().await);
    let empty = Sidecar::join(&world, ORDERS).await;
    let mut empty = empty.hello(Vec::new()).await.unwrap();
    drop(empty.welcome().await);
    world
        .change("orders/db", |row| {
            let mut record = row.ledger.versions[&Version::FIRST].clone();
            record.handle = "orders_app_v3_x".parse().unwrap();
            (record.stray, record.proven, record.stage) = (true, None, Stage::Current);
            let foreign = Version::new(3).unwrap();
            row.ledger.versions.insert(foreign, record);
            row.ledger.fenced = BTreeSet::from([Version::new(2).unwrap()]);
            (row.ledger.current, row.ledger.previous, row.ledger.order) = (Some(foreign), None, Order(10));
        })
        .await;
    leave(&world).await;
    for stream in [&mut holder, &mut empty] {
        let change = stream.change().await;
        assert_eq!((change.name.as_str(), password(&change)), ("orders/other", "other"));
        is_told_nothing(stream, 1).await;
    }
    let fence = behind.change().await;
    assert_eq!((fence.name.as_str(), fence.fenced, fence.current.is_none()), ("orders/db", vec![2], true));
    world.promote("orders/db", 1004, "replacement").await;
    let change = holder.change().await;
    assert_eq!((change.name.as_str(), password(&change)), ("orders/db", "replacement"));
    assert_eq!(holder.snapshot().await.0.len(), 2, "from here on it is level");
}

#[tokio::test]
async fn what_a_late_sidecar_tells_is_kept_once_and_only_if_it_is_news() {
    let world = world().await;
    begin_life(&world).await;
    leave(&world).await;
    let known = Sidecar::join(&world, ORDERS).await;
    let same = Held { handle: "orders_app_1".into(), ..holds(1, 1, &[]) };
    drop(known.hello(vec![same]).await.unwrap().welcome().await);
    assert!(world.store.claims_of(&name("orders/db")).await.unwrap().is_empty(), "nothing new");
    let late = Sidecar::join(&world, ORDERS).await;
    drop(late.hello(vec![holds(9, 4, &[2])]).await.unwrap().welcome().await);
    assert_eq!(world.store.claims_of(&name("orders/db")).await.unwrap().len(), 1);
    assert_eq!(world.store.meta().await.unwrap().mode, Mode::Normal, "nobody stops for that");
    let mut tx = world.store.begin().await.unwrap();
    tx.drop_claims(&name("orders/db")).await.unwrap();
    tx.commit().await.unwrap();
    drop(late.hello(vec![holds(9, 5, &[3])]).await.unwrap().welcome().await);
    let again = world.store.claims_of(&name("orders/db")).await.unwrap();
    assert!(again.is_empty(), "what it knew of lost lives it has told");
}
