//! What goes down a stream, and what comes of what goes up.

use std::time::Duration;

use rekey_controller::store::CredentialRow;
use rekey_model::{Order, Version};
use rekey_proto::fleet::{CredentialUsage, Held, Nack, Renew, Usage, VersionUsage, down, up};
use rekey_rotation::{Alone, Company};
use tonic::Code;

use crate::sidecar::{Sidecar, password};
use crate::world::{LEASE, ORDERS, World, acked};

const ALL: &str = "spiffe://rekey.local/sidecar/orders/*";

#[tokio::test]
async fn a_sidecar_joins_follows_swaps_and_its_acknowledgement_is_written_down() {
    let world = World::new().await;
    world.declare("orders/db", &[ALL]).await;
    world.promote("orders/db", 1, "first").await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (mut stream, snapshot) = sidecar.follow().await;
    assert_eq!(snapshot.len(), 1);
    assert_eq!(password(&snapshot[0]), "first");
    stream.ack(1, &snapshot).await;
    world.holders("orders/db", |h| h.len() == 1 && acked(&h[0]) == Some(Order(1))).await;

    world.promote("orders/db", 2, "second").await;
    let change = stream.change().await;
    assert_eq!((change.revision, change.order, password(&change)), (1, 2, "second"));
    let serving = change.serving.unwrap();
    assert_eq!(serving.offline_for_ms, Some(24 * 3_600_000));
    assert_eq!(change.previous.iter().map(|p| p.version).collect::<Vec<_>>(), [1]);
    stream.ack(2, std::slice::from_ref(&change)).await;
    let holders = world.holders("orders/db", |h| acked(&h[0]) == Some(Order(2))).await;
    assert_eq!(holders[0].acked.as_ref().unwrap().version, Version::new(2));
    assert_eq!(holders[0].generation.0, 2);
}

#[tokio::test]
async fn a_hello_acknowledges_nothing_and_a_welcome_always_follows() {
    let world = World::new().await;
    world.declare("orders/db", &[ALL]).await;
    world.promote("orders/db", 1, "first").await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let held = Held { name: "orders/db".into(), incarnation: 1, order: 1, version: 1, ..Held::default() };
    for _ in 0..2 {
        let mut stream = sidecar.hello(vec![held.clone()]).await.unwrap();
        let welcome = stream.welcome().await;
        assert_eq!(welcome.lease_ms, 30_000);
        assert_eq!(stream.snapshot().await.0.len(), 1, "it is told although it holds the same");
        let holders = world.holders("orders/db", |h| h.len() == 1).await;
        assert_eq!(acked(&holders[0]), None);
    }
}

#[tokio::test]
async fn of_many_changes_a_stream_is_told_the_latest() {
    let world = World::new().await;
    world.declare("orders/db", &[ALL]).await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (mut stream, snapshot) = sidecar.follow().await;
    assert!(snapshot[0].current.is_none(), "there is nothing to serve yet");
    for version in 1..=20 {
        world.promote("orders/db", version, &format!("password {version}")).await;
    }
    let (mut order, mut revision) = (0, 0);
    while order < 20 {
        let change = stream.change().await;
        assert_eq!(change.revision, revision + 1, "a revision was left out");
        assert!(change.order > order);
        (order, revision) = (change.order, change.revision);
    }
}

#[tokio::test]
async fn a_commit_that_changes_nothing_for_holders_sends_nothing() {
    let world = World::new().await;
    world.declare("orders/db", &[ALL]).await;
    world.promote("orders/db", 1, "first").await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (mut stream, _) = sidecar.follow().await;
    world.change("orders/db", |row| row.ledger.ever_held = true).await;
    world.promote("orders/db", 2, "second").await;
    assert_eq!(stream.change().await.order, 2);
}

#[tokio::test]
async fn a_fence_is_told_with_its_version_and_with_nothing_to_serve() {
    let world = World::new().await;
    world.declare("orders/db", &[ALL]).await;
    world.promote("orders/db", 1, "first").await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (mut stream, _) = sidecar.follow().await;
    let cut = |row: &mut CredentialRow| {
        row.ledger.fenced.insert(Version::FIRST);
        (row.ledger.current, row.ledger.owed) = (None, true);
        row.ledger.order = row.ledger.order.next();
    };
    world.change("orders/db", cut).await;
    let change = stream.change().await;
    assert_eq!((change.fenced, change.replacement_owed), (vec![1], true));
    assert!(change.current.is_none());
}

#[tokio::test]
async fn a_gap_is_mended_by_a_snapshot_from_which_revisions_go_on() {
    let world = World::new().await;
    world.declare("orders/db", &[ALL]).await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (mut stream, _) = sidecar.follow().await;
    world.promote("orders/db", 1, "first").await;
    assert_eq!(stream.change().await.revision, 1);
    stream.resync().await;
    let (changes, end) = stream.snapshot().await;
    assert_eq!((password(&changes[0]), end.revision), ("first", 1));
    world.promote("orders/db", 2, "second").await;
    assert_eq!(stream.change().await.revision, 2);
}

#[tokio::test]
async fn a_lease_is_granted_again_and_says_anew_how_long_a_grace_lasts() {
    let world = World::new().await;
    world.declare("orders/db", &[ALL]).await;
    world.promote("orders/db", 1, "first").await;
    world.promote("orders/db", 2, "second").await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (mut stream, snapshot) = sidecar.follow().await;
    assert_eq!(snapshot[0].previous[0].accept_for_ms, 3_600_000);
    for number in 1..=3 {
        world.clock.advance(LEASE / 2);
        stream.say(up::Message::Renew(Renew { number })).await;
        let down::Message::LeaseGrant(grant) = stream.next().await.unwrap() else { panic!("no grant") };
        assert_eq!((grant.number, grant.lease_ms), (number, 30_000));
        let accepted = &grant.accepted[0];
        assert_eq!((accepted.name.as_str(), accepted.incarnation, accepted.order), ("orders/db", 1, 2));
        assert_eq!(accepted.previous[0].accept_for_ms, 3_600_000 - number * 15_000);
    }
    world.change("orders/db", |row| row.ledger.previous = None).await;
    for number in 4..1000 {
        stream.say(up::Message::Renew(Renew { number })).await;
        // No change comes in between: what is left of a grace is no reason to send a secret again.
        let down::Message::LeaseGrant(grant) = stream.next().await.unwrap() else { panic!("no grant") };
        if grant.accepted.is_empty() {
            return;
        }
    }
    panic!("the grace was said to last for ever");
}

#[tokio::test]
async fn the_bound_that_is_told_is_the_one_that_belongs_to_the_order() {
    let world = World::new().await;
    world.declare("orders/db", &[ALL]).await;
    world.promote("orders/db", 1, "first").await;
    let day = Some(Duration::from_hours(24));
    world.change("orders/db", |row| row.ledger.alone = vec![Alone { order: Order(1), bound: day }]).await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (mut stream, _) = sidecar.follow().await;
    world.change("orders/db", |row| row.spec["deliver"]["offline_for"] = "1h".into()).await;
    let later = Sidecar::join(&world, ORDERS).await;
    let (_stream, snapshot) = later.follow().await;
    let told = snapshot[0].serving.unwrap().offline_for_ms;
    assert_eq!((snapshot[0].order, told), (1, Some(24 * 3_600_000)), "nobody decided on another yet");
    world
        .change("orders/db", |row| {
            row.ledger.order = row.ledger.order.next();
            row.ledger.alone.push(Alone { order: row.ledger.order, bound: Some(Duration::from_hours(1)) });
        })
        .await;
    let change = stream.change().await;
    assert_eq!((change.order, change.serving.unwrap().offline_for_ms), (2, Some(3_600_000)));
}

#[tokio::test]
async fn a_refusal_is_written_down() {
    let world = World::new().await;
    world.declare("orders/db", &[ALL]).await;
    world.promote("orders/db", 1, "first").await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (stream, _) = sidecar.follow().await;
    let reason = "no such version".to_owned();
    let nack = Nack { name: "orders/db".into(), incarnation: 1, order: 1, reason };
    stream.say(up::Message::Nack(nack)).await;
    let holders = world.holders("orders/db", |h| h[0].nacked.is_some()).await;
    let nacked = holders[0].nacked.clone().unwrap();
    assert_eq!((nacked.order, nacked.reason.as_str()), (Order(1), "no such version"));
    assert_eq!(acked(&holders[0]), None, "a refusal is no acknowledgement");
}

#[tokio::test]
async fn what_changes_together_is_told_in_a_row_and_after_a_refusal_all_of_it_anew() {
    let world = World::new().await;
    world.declare_group(&["orders/a", "orders/b", "orders/c"], &[ALL]).await;
    world.declare("orders/aa", &[ALL]).await;
    let first = ["orders/a", "orders/b", "orders/c"].map(|name| (name, 1, "first"));
    world.promote_together(&first).await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (mut stream, snapshot) = sidecar.follow().await;
    assert_eq!(snapshot.iter().filter(|change| !change.more).count(), 4, "a snapshot is whole by itself");
    world
        .promote_together(&[("orders/a", 2, "second"), ("orders/aa", 1, "other"), ("orders/c", 2, "second")])
        .await;
    let mut told = Vec::new();
    for _ in 0..3 {
        let change = stream.change().await;
        told.push((change.name, change.more));
    }
    let at = told.iter().position(|(name, _)| name == "orders/a").unwrap();
    assert_eq!(told[at], ("orders/a".to_owned(), true), "{told:?}");
    assert_eq!(told[at + 1], ("orders/c".to_owned(), false), "what did not change is left out: {told:?}");
    assert!(told.contains(&("orders/aa".to_owned(), false)), "{told:?}");
    let reason = "no".to_owned();
    let nack = Nack { name: "orders/c".into(), incarnation: 1, order: 2, reason };
    stream.say(up::Message::Nack(nack)).await;
    world.holders("orders/c", |h| h[0].nacked.is_some()).await;
    world.promote("orders/c", 3, "third").await;
    let mut told = Vec::new();
    for _ in 0..3 {
        let change = stream.change().await;
        told.push((change.name, change.order, change.more));
    }
    let again = [("orders/a", 2, true), ("orders/b", 1, true), ("orders/c", 3, false)];
    assert_eq!(
        told,
        again.map(|(name, order, more)| (name.to_owned(), order, more)),
        "the others were not taken with it"
    );
    // One that it refuses keeps nothing back that goes alone, as after an emergency.
    let nack = Nack { name: "orders/b".into(), incarnation: 1, order: 1, reason: "no".to_owned() };
    stream.say(up::Message::Nack(nack)).await;
    world.holders("orders/b", |h| h[0].nacked.is_some()).await;
    let alone = |row: &mut CredentialRow| row.ledger.rotation.as_mut().unwrap().company = Company::Alone;
    world.change("orders/a", alone).await;
    world.promote("orders/a", 3, "replacement").await;
    let change = stream.change().await;
    assert_eq!((change.name.as_str(), change.order, change.more), ("orders/a", 3, false));
    // Nor does it come along again while it says the same.
    world.promote("orders/c", 4, "fourth").await;
    let change = stream.change().await;
    assert_eq!((change.name.as_str(), change.order, change.more), ("orders/c", 4, false));
}

#[tokio::test]
async fn only_the_canary_sees_the_new_version_whoever_joins_or_comes_back() {
    let world = World::new().await;
    world.declare("orders/db", &[ALL]).await;
    world.promote("orders/db", 1, "first").await;
    let [canary, other] = [
        Sidecar::join(&world, ORDERS).await,
        Sidecar::join(&world, "spiffe://rekey.local/sidecar/orders/b").await,
    ];
    let ((mut ahead, _), (mut behind, _)) = (canary.follow().await, other.follow().await);
    world.try_first(("orders/db", 2, "second"), canary.instance).await;
    for (stream, seen) in [(&mut ahead, "second"), (&mut behind, "first")] {
        let change = stream.change().await;
        assert_eq!((change.order, password(&change)), (2, seen));
    }
    let joined = Sidecar::join(&world, "spiffe://rekey.local/sidecar/orders/c").await;
    for (sidecar, seen) in [(&joined, "first"), (&other, "first"), (&canary, "second")] {
        let (_stream, snapshot) = sidecar.follow().await;
        assert_eq!((snapshot[0].order, password(&snapshot[0])), (2, seen), "in a new session");
    }
    let ((mut ahead, _), (mut behind, _)) = (canary.follow().await, other.follow().await);
    world.try_first(("orders/db", 2, "second"), other.instance).await;
    for (stream, seen) in [(&mut ahead, "first"), (&mut behind, "second")] {
        let change = stream.change().await;
        assert_eq!((change.order, password(&change)), (3, seen), "another has it first");
    }
    world.change("orders/db", |row| row.ledger.rotation = None).await;
    world.promote("orders/db", 2, "second").await;
    for stream in [&mut ahead, &mut behind] {
        while password(&stream.change().await) != "second" {}
    }
}

#[tokio::test]
async fn a_version_that_the_target_refuses_to_processes_is_written_down() {
    let world = World::new().await;
    world.declare("orders/db", &[ALL]).await;
    world.promote("orders/db", 1, "first").await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (stream, _) = sidecar.follow().await;
    let versions = vec![VersionUsage { version: 1, processes: 1, accepted: 0, refused: 5 }];
    let one = CredentialUsage { name: "orders/db".into(), order: 1, versions, silent_processes: 0 };
    stream.say(up::Message::Usage(Usage { credentials: vec![one] })).await;
    let holders = world.holders("orders/db", |h| h[0].reported.is_some()).await;
    let report = holders[0].reported.clone().unwrap().report;
    let report: rekey_controller::fleet::UsageReport = serde_json::from_value(report).unwrap();
    assert_eq!(report.versions[0].processes, 1);
    assert!(report.refuses(Version::FIRST));
}

#[tokio::test]
async fn evidence_about_the_future_ends_the_stream() {
    let world = World::new().await;
    world.declare("orders/db", &[ALL]).await;
    world.promote("orders/db", 1, "first").await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (mut stream, mut snapshot) = sidecar.follow().await;
    snapshot[0].order = u64::MAX;
    stream.ack(1, &snapshot).await;
    assert_eq!(stream.end().await, Code::InvalidArgument);
    assert_eq!(acked(&world.holders("orders/db", |h| h.len() == 1).await[0]), None);
}

#[tokio::test]
async fn evidence_of_another_life_of_the_store_is_none() {
    let world = World::new().await;
    world.declare("orders/db", &[ALL]).await;
    world.promote("orders/db", 1, "first").await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (mut stream, mut snapshot) = sidecar.follow().await;
    snapshot[0].incarnation = 0;
    stream.ack(5, &snapshot).await;
    stream.say(up::Message::Renew(Renew { number: 1 })).await;
    assert!(matches!(stream.next().await, Ok(down::Message::LeaseGrant(_))));
    let holders = world.holders("orders/db", |h| h[0].generation.0 == 5).await;
    assert_eq!(acked(&holders[0]), None);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut() {
    let world = World::new().await;
    let large = "x".repeat(60_000);
    for i in 0..60 {
        let credential = format!("bulk/c{i}");
        world.declare(&credential, &[ALL]).await;
        world.promote(&credential, 1, &large).await;
    }
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let mut stream = sidecar.hello(Vec::new()).await.unwrap();
    stream.welcome().await;
    let joined = world.connections.peers().len();
    for _ in 0..3000 {
        world.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
        if world.fleet.hub().connected().is_empty() && world.connections.peers().len() < joined {
            return;
        }
    }
    panic!("the peer is still connected");
}

#[tokio::test]
async fn a_refresh_tells_everything_anew_without_a_new_order_and_says_who_confirmed() {
    let world = World::new().await;
    world.declare("orders/db", &[ALL]).await;
    world.promote("orders/db", 1, "first").await;
    let (first, second) = (Sidecar::join(&world, ORDERS).await, Sidecar::join(&world, ORDERS).await);
    let (mut answers, snapshot) = first.follow().await;
    let (mut silent, _) = second.follow().await;
    answers.ack(1, &snapshot).await;
    let holders =
        world.holders("orders/db", |h| h.iter().filter(|it| acked(it).is_some()).count() == 1).await;
    let confirmed = holders.iter().find(|it| acked(it).is_some()).unwrap().instance;
    let mut asked: Vec<_> = holders.iter().map(|it| it.instance).collect();
    assert_eq!(asked.len(), 2);
    // One that has no stream is not waited for.
    asked.push(rekey_model::InstanceId::from_bits(7));
    let name = "orders/db".parse().unwrap();
    let told = world.fleet.refresh(&name, Order(1), &asked, Duration::from_secs(2));
    let sidecars = async {
        let (again, _) = answers.snapshot().await;
        assert_eq!((again[0].order, password(&again[0])), (1, "first"), "the same, by the same order");
        silent.snapshot().await;
        answers.ack(2, &again).await;
        world.holders("orders/db", |h| h.iter().any(|it| it.generation.0 == 2)).await;
        world.clock.advance(Duration::from_secs(2));
    };
    let (said, ()) = tokio::join!(told, sidecars);
    assert_eq!(said.into_iter().collect::<Vec<_>>(), [confirmed]);
}
