//! How a sidecar gets and keeps its leaf, and who gets none.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rekey_controller::ca::{Authority, RequestedKey, SidecarLeaf};
use rekey_controller::identity::Identity as Who;
use rekey_proto::fleet::identity_client::IdentityClient;
use rekey_proto::fleet::{IdentityResponse, RejoinRequest};
use tonic::{Code, Status};

use crate::sidecar::{Request, Sidecar, channel, join, renew};
use crate::world::{LEAF_LIFE, ORDERS, World, domain};

async fn rejoin(
    world: &World,
    old: (&Request, &IdentityResponse),
    new: &Request,
) -> Result<IdentityResponse, Status> {
    let message = [b"rekey rejoin v1".as_slice(), &new.csr].concat();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, old.0.key.serialized_der()).unwrap();
    let proof = key.sign(&SystemRandom::new(), &message).unwrap().as_ref().to_vec();
    let request = RejoinRequest { leaf_der: old.1.chain_der[0].clone(), csr_der: new.csr.clone(), proof };
    let channel = channel(world, None).await;
    IdentityClient::new(channel).rejoin(request).await.map(tonic::Response::into_inner)
}

/// It is turned away after the handshake, before it can say anything.
async fn is_turned_away(world: &World, unwelcome: &Sidecar) {
    let before = world.connections.counters();
    let channel = channel(world, Some(&unwelcome.request.with(&unwelcome.given))).await;
    let refused = renew(&channel, &Request::new().csr).await.unwrap_err();
    assert!(matches!(refused.code(), Code::Unavailable | Code::Unknown), "{refused:?}");
    let after = world.connections.counters();
    assert_eq!(after.accepted, before.accepted, "a server saw it");
    assert!(after.refused > before.refused);
}

fn counter(given: &IdentityResponse) -> u64 {
    Who::of_leaf(&given.chain_der[0], &domain()).unwrap().into_sidecar().unwrap().counter
}

#[tokio::test]
async fn of_many_who_present_one_token_exactly_one_joins() {
    let world = World::new().await;
    for _ in 0..3 {
        let token = world.token(ORDERS).await;
        let mut tries = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let channel = channel(&world, None).await;
            for _ in 0..25 {
                let (channel, token) = (channel.clone(), token.clone());
                tries.spawn(async move { join(&channel, &token, &Request::new().csr).await });
            }
        }
        let outcomes = tries.join_all().await;
        let joined = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(joined, 1);
        let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        assert!(
            refused.clone().all(|s| s.code() == Code::Unauthenticated),
            "{:?}",
            refused.collect::<Vec<_>>()
        );
    }
    assert_eq!(world.store.instances().await.unwrap().len(), 3);
}

#[tokio::test]
async fn unknown_used_and_expired_tokens_look_the_same() {
    let world = World::new().await;
    let channel = channel(&world, None).await;
    let (used, expired) = (world.token(ORDERS).await, world.token(ORDERS).await);
    join(&channel, &used, &Request::new().csr).await.unwrap();
    world.clock.advance(Duration::from_mins(10));
    // An anonymous connection does not last that long.
    let channel = crate::sidecar::channel(&world, None).await;
    let unknown = format!("rekey-join-{}", "0".repeat(64));
    let mut words = Vec::new();
    for token in [used, expired, unknown, "nonsense".to_owned(), String::new()] {
        let refused = join(&channel, &token, &Request::new().csr).await.unwrap_err();
        words.push((refused.code(), refused.message().to_owned()));
    }
    words.dedup();
    assert_eq!(words.len(), 1, "{words:?}");
    assert_eq!(words[0].0, Code::Unauthenticated);
}

#[tokio::test]
async fn a_wrong_request_does_not_cost_the_token() {
    let world = World::new().await;
    let channel = channel(&world, None).await;
    let token = world.token(ORDERS).await;
    let refused = join(&channel, &token, b"nonsense").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let given = join(&channel, &token, &Request::new().csr).await.unwrap();
    assert_eq!((given.spiffe_id.as_str(), given.lives_ms), (ORDERS, 3_600_000));
}

#[tokio::test]
async fn one_address_is_slowed_down_before_anything_is_looked_at() {
    let world = World::new().await;
    let channel = channel(&world, None).await;
    let mut slowed = false;
    for _ in 0..500 {
        let refused = join(&channel, "nonsense", b"").await.unwrap_err();
        slowed |= refused.code() == Code::ResourceExhausted;
    }
    assert!(slowed);
    world.clock.advance(Duration::from_secs(1));
    let refused = join(&channel, "nonsense", b"").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn without_a_leaf_there_is_nothing_to_renew_or_follow() {
    let world = World::new().await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let nobody = Sidecar { channel: channel(&world, None).await, ..sidecar };
    let refused = renew(&nobody.channel, &nobody.request.csr).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused = nobody.hello(Vec::new()).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn leaves_of_others_are_refused_by_tls() {
    let world = World::new().await;
    let request = Request::new();
    let key = RequestedKey::from_request(&request.csr).unwrap();
    let now = world.clock.now();
    let admin = "spiffe://rekey.local/admin/alice".parse().unwrap();
    let admin = world.admins.admin_leaf(&key, &admin, LEAF_LIFE, now).unwrap();
    let (stranger, _) = Authority::<rekey_controller::ca::Sidecar>::create(&domain(), now).unwrap();
    let says =
        SidecarLeaf { spiffe: ORDERS.parse().unwrap(), instance: rekey_runtime::random::id(), counter: 1 };
    let forged = stranger.sidecar_leaf(&key, &says, LEAF_LIFE, now).unwrap();
    for leaf in [admin, forged] {
        let given = IdentityResponse { chain_der: vec![leaf.der], ..IdentityResponse::default() };
        let channel = channel(&world, Some(&request.with(&given))).await;
        let refused = renew(&channel, &request.csr).await.unwrap_err();
        assert!(matches!(refused.code(), Code::Unavailable | Code::Unknown), "{refused:?}");
    }
    assert_eq!(world.connections.counters().handshake_failures, 2);
}

#[tokio::test]
async fn an_expired_leaf_ends_its_connection_and_opens_no_other() {
    let world = World::new().await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (mut stream, _) = sidecar.follow().await;
    world.clock.advance(LEAF_LIFE + Duration::from_secs(1));
    assert_ne!(stream.end().await, Code::Ok);
    let refused = renew(&sidecar.channel, &sidecar.request.csr).await.unwrap_err();
    assert!(matches!(refused.code(), Code::Unavailable | Code::Unknown), "{refused:?}");
}

#[tokio::test]
async fn a_renewed_leaf_opens_a_second_connection_beside_the_first() {
    let world = World::new().await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (mut first, _) = sidecar.follow().await;
    let next = Request::new();
    let given = renew(&sidecar.channel, &next.csr).await.unwrap();
    assert_eq!((counter(&given), given.instance.clone()), (2, sidecar.given.instance.clone()));
    let second = Sidecar::with(&world, next, given).await;
    let (_stream, _) = second.follow().await;
    assert_eq!(first.end().await, Code::Aborted);
    // The old leaf is not accepted for a session any more, though it has not expired.
    let mut old = sidecar.hello(Vec::new()).await.unwrap();
    assert_eq!(old.end().await, Code::PermissionDenied);
}

#[tokio::test]
async fn a_copy_of_a_sidecar_is_locked_at_the_second_renewal() {
    let world = World::new().await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    // Both have the same leaf; each renews, and the answers of both arrive.
    let (one, two) = (Request::new(), Request::new());
    let (first, second) = (renew(&sidecar.channel, &one.csr).await, renew(&sidecar.channel, &two.csr).await);
    let one = Sidecar::with(&world, one, first.unwrap()).await;
    let two = Sidecar::with(&world, two, second.unwrap()).await;
    let (mut stream, _) = two.follow().await;
    // Its own connection may be cut before it gets the answer.
    renew(&one.channel, &Request::new().csr).await.unwrap_err();
    assert_ne!(
        stream.end().await,
        Code::Ok,
        "the one that is connected is cut: nobody knows which is the copy"
    );
    let row = world.store.instance(sidecar.instance).await.unwrap().unwrap();
    assert!(row.locked.unwrap().contains("copy"));
    for locked in [one, two] {
        is_turned_away(&world, &locked).await;
    }
    let audit = world.store.audit(None, None, 100).await.unwrap();
    assert!(
        audit.iter().any(|r| r.verb == "lock" && r.holder == Some(sidecar.instance.to_string())),
        "{audit:?}"
    );
}

#[tokio::test]
async fn lost_answers_lock_nobody() {
    let world = World::new().await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let (_stream, _) = sidecar.follow().await;
    for _ in 0..4 {
        renew(&sidecar.channel, &Request::new().csr).await.unwrap();
    }
    let last = Request::new();
    let given = renew(&sidecar.channel, &last.csr).await.unwrap();
    let renewed = Sidecar::with(&world, last, given).await;
    renewed.follow().await;
    renew(&renewed.channel, &Request::new().csr).await.unwrap();
}

#[tokio::test]
async fn an_expired_leaf_with_proof_of_its_key_gets_the_next_one() {
    let world = World::new().await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    world.clock.advance(3 * LEAF_LIFE);
    let new = Request::new();
    let given = rejoin(&world, (&sidecar.request, &sidecar.given), &new).await.unwrap();
    assert_eq!((counter(&given), &given.instance), (2, &sidecar.given.instance));
    Sidecar::with(&world, new, given).await.follow().await;

    let stranger = Request::new();
    let refused = rejoin(&world, (&stranger, &sidecar.given), &Request::new()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "the proof is by another key");
    let row = world.store.instance(sidecar.instance).await.unwrap().unwrap();
    assert_eq!(row.locked, None, "who has not the key locks nobody");

    let copy = rejoin(&world, (&sidecar.request, &sidecar.given), &Request::new()).await.unwrap_err();
    assert_eq!(copy.code(), Code::PermissionDenied, "leaf 2 was seen: this is a copy");
    assert!(world.store.instance(sidecar.instance).await.unwrap().unwrap().locked.is_some());
}

#[tokio::test]
async fn a_removed_or_long_gone_sidecar_does_not_rejoin() {
    let world = World::new().await;
    let (gone, removed) = (Sidecar::join(&world, ORDERS).await, Sidecar::join(&world, ORDERS).await);
    let mut tx = world.store.begin().await.unwrap();
    tx.remove_instance(removed.instance).await.unwrap();
    tx.commit().await.unwrap();
    world.clock.advance(2 * LEAF_LIFE);
    let refused = rejoin(&world, (&removed.request, &removed.given), &Request::new()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    world.clock.advance(Duration::from_hours(7 * 24));
    let refused = rejoin(&world, (&gone.request, &gone.given), &Request::new()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn one_instance_renews_and_opens_sessions_only_so_often_and_others_do_not_notice() {
    let world = World::new().await;
    let (noisy, quiet) = (Sidecar::join(&world, ORDERS).await, Sidecar::join(&world, ORDERS).await);
    let mut told = Vec::new();
    for _ in 0..50 {
        told.extend(renew(&noisy.channel, &Request::new().csr).await.err());
    }
    for _ in 0..50 {
        told.extend(noisy.hello(Vec::new()).await.err());
    }
    assert!(told.len() >= 50, "only {} of 100 were refused", told.len());
    for status in told {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        let refusal = rekey_proto::refusal::Refusal::of(&status).unwrap();
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(1)));
    }
    quiet.follow().await;
    renew(&quiet.channel, &Request::new().csr).await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    renew(&noisy.channel, &Request::new().csr).await.unwrap();
    noisy.hello(Vec::new()).await.unwrap();
}

#[tokio::test]
async fn all_leaves_of_an_instance_share_its_connections() {
    let world = World::new().await;
    let sidecar = Sidecar::join(&world, ORDERS).await;
    let mut open = Vec::new();
    let refused = loop {
        let next = Request::new();
        let given = renew(&sidecar.channel, &next.csr).await.unwrap();
        let channel = channel(&world, Some(&next.with(&given))).await;
        // What was refused shows at the first call; this one is wrong, and answered.
        let answer = renew(&channel, b"nonsense").await.unwrap_err();
        if answer.code() != Code::InvalidArgument {
            break answer;
        }
        open.push(channel);
        assert!(open.len() < 8, "each leaf is counted by itself");
    };
    assert!(matches!(refused.code(), Code::Unavailable | Code::Unknown), "{refused:?}");
    assert_eq!(open.len(), 7, "with the first one eight");
}

#[tokio::test]
async fn wrong_tokens_do_not_wait_for_the_one_who_writes() {
    let world = World::new().await;
    let channel = channel(&world, None).await;
    let writing = world.store.begin().await.unwrap();
    let unknown = format!("rekey-join-{}", "0".repeat(64));
    let csr = Request::new().csr;
    let answer = tokio::time::timeout(Duration::from_mins(1), join(&channel, &unknown, &csr)).await;
    assert_eq!(answer.expect("it waits for the writer").unwrap_err().code(), Code::Unauthenticated);
    writing.rollback().await.unwrap();
}
