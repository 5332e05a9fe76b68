//! One stream is one session: replaced, lapsed, cut, and never revived.

use std::time::Duration;

use rekey_proto::fleet::{Hello, Renew, up};
use rekey_runtime::random;
use tonic::Code;

use crate::sidecar::Sidecar;
use crate::world::{LEASE, ORDERS, World, acked};

const ALL: &str = "spiffe://rekey.local/sidecar/orders/*";

async fn world() -> World {
    let world = World::new().await;
    world.declare("orders/db", &[ALL]).await;
    world.promote("orders/db", 1, "first").await;
    world
}

#[tokio::test]
async fn a_newer_stream_replaces_the_older_and_what_the_older_says_changes_nothing() {
    let world = world().await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (mut older, snapshot) = sidecar.follow().await;
    older.ack(1, &snapshot).await;
    world.holders("orders/db", |h| acked(&h[0]).is_some()).await;
    let (newer, _) = sidecar.follow().await;
    older.ack(2, &snapshot).await;
    assert_eq!(older.end().await, Code::Aborted);
    let holders = world.holders("orders/db", |h| h.len() == 1).await;
    assert_eq!(holders[0].session, Some(newer.session));
    assert_eq!(acked(&holders[0]), None, "what the older session acknowledged no longer counts");
}

#[tokio::test]
async fn three_replicas_with_one_id_are_three_holders() {
    let world = world().await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let sidecar = Sidecar::join(&world, ORDERS).await;
        streams.push((sidecar.follow().await, sidecar));
    }
    world.holders("orders/db", |h| h.len() == 3).await;
    assert_eq!(world.fleet.hub().connected().len(), 3);
}

#[tokio::test]
async fn a_session_without_renewal_ends_with_its_lease() {
    let world = world().await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (mut stream, snapshot) = sidecar.follow().await;
    world.clock.advance(LEASE.saturating_sub(Duration::from_millis(1)));
    stream.say(up::Message::Renew(Renew { number: 1 })).await;
    stream.next().await.unwrap();
    world.clock.advance(LEASE);
    stream.ack(1, &snapshot).await;
    assert_eq!(stream.end().await, Code::Aborted);
    assert_eq!(acked(&world.holders("orders/db", |h| h.len() == 1).await[0]), None);
}

#[tokio::test]
async fn a_goodbye_ends_the_session_and_the_holding() {
    let world = world().await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (mut stream, _) = sidecar.follow().await;
    stream.goodbye().await;
    assert_eq!(stream.end().await, Code::Ok);
    let holders = world.holders("orders/db", |h| h.iter().all(|h| h.session.is_none())).await;
    assert!(holders.iter().all(|h| h.gone.is_some()), "{holders:?}");
    assert!(world.fleet.hub().connected().is_empty());
}

#[tokio::test]
async fn a_removed_sidecar_is_cut_at_once_and_does_not_come_back() {
    let world = world().await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (mut stream, _) = sidecar.follow().await;
    let mut tx = world.store.begin().await.unwrap();
    tx.remove_instance(sidecar.instance).await.unwrap();
    tx.commit().await.unwrap();
    let ended = tokio::time::timeout(Duration::from_mins(2), stream.end()).await;
    assert_ne!(ended.expect("it was not cut"), Code::Ok);
    for _ in 0..12_000 {
        if world.connections.peers().iter().all(|peer| peer.leaf().is_none()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(world.connections.peers().iter().all(|peer| peer.leaf().is_none()), "a connection is left");
    let accepted = world.connections.counters().accepted;
    let identity = sidecar.request.with(&sidecar.given);
    let again = crate::sidecar::channel(&world, Some(&identity)).await;
    let refused = crate::sidecar::renew(&again, &sidecar.request.csr).await.unwrap_err();
    assert!(matches!(refused.code(), Code::Unavailable | Code::Unknown), "{refused:?}");
    assert_eq!(world.connections.counters().accepted, accepted, "a server saw it");
}

#[tokio::test]
async fn an_idle_connection_of_a_removed_sidecar_is_cut_too() {
    let world = world().await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let known = |peer: &rekey_runtime::Peer| peer.leaf().is_some();
    crate::sidecar::renew(&sidecar.channel, &sidecar.request.csr).await.unwrap();
    assert!(world.connections.peers().iter().any(known));
    let mut tx = world.store.begin().await.unwrap();
    tx.remove_instance(sidecar.instance).await.unwrap();
    tx.commit().await.unwrap();
    for _ in 0..12_000 {
        if !world.connections.peers().iter().any(known) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it is still connected");
}

#[tokio::test]
async fn a_stream_begins_with_one_hello_in_time() {
    let world = world().await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let renew = || up::Message::Renew(Renew { number: 1 });
    let mut wrong = sidecar.open(random::id(), renew()).await.unwrap();
    assert_eq!(wrong.end().await, Code::InvalidArgument);

    let mut bad = sidecar.open(random::id(), up::Message::Hello(Hello::default())).await.unwrap();
    assert_eq!(bad.end().await, Code::InvalidArgument);

    let (mut twice, _) = sidecar.follow().await;
    let session = "0".repeat(32);
    twice.say(up::Message::Hello(Hello { session, ..Hello::default() })).await;
    assert_eq!(twice.end().await, Code::InvalidArgument);
}
