//! Credentials that are tied to each other.

use rekey_model::CredentialName;
use rekey_rotation::{EmergencyId, Event, Ledger, OutOfOrder, Phase, Why};
use rekey_runtime::random;
use serde_json::json;

use super::stage::Stage;
use crate::audit::Actor;
use crate::executor::{CommitError, Outcome};

/// Two credentials of one pair, settled.
async fn a_pair() -> (Stage, CredentialName) {
    let mut stage = Stage::settled().await;
    let second = stage.second().await;
    for name in [stage.name.clone(), second.clone()] {
        stage.declare(&name, "pair", json!("database")).await;
    }
    while is_open(&stage.ledger_of(&second).await) {
        stage.step().await;
    }
    (stage, second)
}

async fn begin(stage: &Stage, name: &CredentialName) -> Result<Outcome, CommitError> {
    let why = Why::Asked { reason: String::new(), by: "test".to_owned(), request: String::new() };
    let event = Event::Begin { rotation: random::id(), why };
    stage.executor().commit(name, event, Actor::controller()).await
}

fn gated(outcome: Result<Outcome, CommitError>) -> String {
    match outcome {
        Err(CommitError::OutOfOrder(OutOfOrder::Gated { why })) => why,
        other => panic!("it is not gated: {other:?}"),
    }
}

fn is_open(ledger: &Ledger) -> bool {
    ledger.open_rotation().is_some()
}

async fn in_grace(stage: &mut Stage) {
    stage.until("Grace", |l| l.open_rotation().is_some_and(|open| open.phase == Phase::Grace)).await;
}

#[tokio::test]
async fn one_of_a_pair_does_not_begin_before_the_other_is_done_its_grace_included() {
    let (mut stage, second) = a_pair().await;
    stage.rotate().await;
    let why = gated(begin(&stage, &second).await);
    assert!(why.starts_with("its pair orders/db rotates ("), "{why}");
    in_grace(&mut stage).await;
    assert_eq!(gated(begin(&stage, &second).await), "its pair orders/db rotates (Grace)");
    stage.commit(Event::Hold { reason: "release day".to_owned(), by: "test".to_owned() }).await.unwrap();
    let held = gated(begin(&stage, &second).await);
    assert_eq!(held, "its pair orders/db rotates (Grace) and is held: release day");
    let report = stage.executor().report(&second).await.unwrap().unwrap();
    assert_eq!(report.obstacle, Some(OutOfOrder::Gated { why: held }), "a plan says so beforehand");
    stage.commit(Event::Release).await.unwrap();
    stage.until_settled(2).await;
    assert!(begin(&stage, &second).await.unwrap().changed);
    let why = gated(begin(&stage, &stage.name.clone()).await);
    assert!(why.starts_with("its pair orders/second rotates ("), "it binds both ways: {why}");
}

#[tokio::test]
async fn of_two_that_begin_at_the_same_time_one_does() {
    let (stage, second) = a_pair().await;
    let first = stage.name.clone();
    let (one, other) = tokio::join!(begin(&stage, &first), begin(&stage, &second));
    let begun = [&one, &other].iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(begun, 1, "{one:?} {other:?}");
}

#[tokio::test]
async fn what_is_due_begins_soon_after_its_pair_is_done_and_never_beside_it() {
    let (mut stage, second) = a_pair().await;
    let first = stage.name.clone();
    for name in [&first, &second] {
        stage.declare(name, "schedule", json!({ "every": "1200ms" })).await;
    }
    let (mut waited, mut since) = (0, None);
    for _ in 0..3_000 {
        stage.step().await;
        let (one, other) = (stage.ledger().await, stage.ledger_of(&second).await);
        assert!(!(is_open(&one) && is_open(&other)), "both at once");
        let report = stage.executor().report(&second).await.unwrap().unwrap();
        if report.waiting_for.iter().any(|what| what.starts_with("its pair orders/db")) {
            (waited, since) = (waited + 1, Some(stage.clock.elapsed()));
        } else if let Some(since) = since.take_if(|_| is_open(&other)) {
            let late = stage.clock.elapsed().saturating_sub(since);
            assert!(late < std::time::Duration::from_secs(5), "nobody woke it for {late:?}");
        }
        let rounds = [one, other].map(|ledger| ledger.current.unwrap().get());
        if waited > 0 && rounds.iter().all(|current| *current > 2) {
            return;
        }
    }
    panic!("they do not take turns: waited {waited} times");
}

#[tokio::test]
async fn an_emergency_waits_for_no_pair_and_a_pair_waits_for_its_replacement() {
    let (mut stage, second) = a_pair().await;
    stage.rotate().await;
    in_grace(&mut stage).await;
    stage.commit(Event::Hold { reason: "release day".to_owned(), by: "test".to_owned() }).await.unwrap();
    stage.target.lock().emergency = true;
    let id: EmergencyId = random::id();
    let revoke =
        Event::Revoke { id, version: None, reason: "leak".to_owned(), by: "t".to_owned(), replace: true };
    stage.executor().commit(&second, revoke, Actor::controller()).await.unwrap();
    while stage.ledger_of(&second).await.owed {
        stage.step().await;
    }
    assert_eq!(stage.ledger_of(&second).await.current.unwrap().get(), 2);
    stage.commit(Event::Release).await.unwrap();
    stage.until_settled(2).await;
    // The other way round: nothing is to change while what it is a pair of has nothing that works.
    while is_open(&stage.ledger_of(&second).await) {
        stage.step().await;
    }
    let id: EmergencyId = random::id();
    let revoke =
        Event::Revoke { id, version: None, reason: "leak".to_owned(), by: "t".to_owned(), replace: true };
    stage.executor().commit(&second, revoke, Actor::controller()).await.unwrap();
    let why = gated(begin(&stage, &stage.name.clone()).await);
    assert_eq!(why, "its pair orders/second was revoked, and waits for its replacement");
}
