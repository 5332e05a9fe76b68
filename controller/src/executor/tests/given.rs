//! Versions that somebody makes and hands in: nothing is drawn and nothing is ended here, and a version has ended when the
//! provider refuses it twice.

use std::time::Duration;

use rekey_drivers::Class;
use rekey_model::{CredentialName, Fields, Handle, SecretBytes, Version};
use rekey_rotation::{Event, OutOfOrder, Phase, Why};
use rekey_runtime::random;
use serde_json::json;

use super::driver::{Fault, Rules};
use super::stage::Stage;
use crate::audit::Actor;
use crate::executor::{CommitError, Given};

const RULES: Rules = Rules { class: Class::H, slots: None, exclusive: true, one_value: false };

fn v(number: u64) -> Version {
    Version::new(number).unwrap()
}

fn why() -> Why {
    Why::Asked { reason: "handed in".to_owned(), by: "alice".to_owned(), request: String::new() }
}

async fn hand_in(stage: &Stage, value: &str) -> Result<Given, CommitError> {
    hand_in_at(stage, &stage.name, value).await
}

async fn hand_in_at(stage: &Stage, name: &CredentialName, value: &str) -> Result<Given, CommitError> {
    let value = SecretBytes::new(value.as_bytes().to_vec());
    stage.executor().give(name, &value, (why(), Actor::controller())).await
}

/// v1 was handed in and is current.
async fn settled() -> Stage {
    let mut stage = Stage::begun(RULES).await;
    for _ in 0..20 {
        stage.step().await;
    }
    assert_eq!(stage.phase().await, Some(Phase::Planned), "the first one is waited for");
    hand_in(&stage, "one").await.unwrap();
    stage.until("v1", |ledger| ledger.current == Some(v(1)) && ledger.open_rotation().is_none()).await;
    stage
}

async fn handle(stage: &Stage, version: u64) -> Handle {
    stage.ledger().await.version(v(version)).unwrap().handle.clone()
}

/// Somebody deletes a version at the provider.
async fn delete(stage: &Stage, version: u64) {
    let handle = handle(stage, version).await;
    assert!(stage.target.lock().roles.remove(handle.as_str()).is_some());
}

fn calls(stage: &Stage, verb: &str) -> usize {
    stage.target.lock().calls.iter().filter(|call| call.starts_with(verb)).count()
}

async fn steps(stage: &mut Stage, count: u32) {
    for _ in 0..count {
        stage.step().await;
    }
}

#[tokio::test]
async fn what_is_handed_in_replaces_the_old_one_which_ends_when_it_is_refused_twice() {
    let mut stage = settled().await;
    let given = hand_in(&stage, "two").await.unwrap();
    assert_eq!(given.version, v(2));
    stage.until("Retiring", |l| l.rotation.as_ref().is_some_and(|r| r.phase == Phase::Retiring)).await;
    for _ in 0..3 {
        stage.leap(Duration::from_mins(6)).await;
        steps(&mut stage, 20).await;
    }
    assert_eq!(stage.phase().await, Some(Phase::Retiring), "it still works, however long that takes");

    // The provider refuses everybody for a moment: once is never.
    stage.target.fail("probe", &[Fault::Refused]);
    stage.leap(Duration::from_mins(6)).await;
    steps(&mut stage, 20).await;
    stage.leap(Duration::from_mins(1)).await;
    steps(&mut stage, 20).await;
    assert_eq!(stage.phase().await, Some(Phase::Retiring), "it worked again");

    delete(&stage, 1).await;
    stage.leap(Duration::from_mins(6)).await;
    steps(&mut stage, 20).await;
    assert_eq!(stage.phase().await, Some(Phase::Retiring), "refused once");
    stage.leap(Duration::from_secs(31)).await;
    stage.until_calm().await;
    assert_eq!(stage.ledger().await.current, Some(v(2)));
    assert_eq!(calls(&stage, "revoke"), 0, "nobody can end it but a person");
}

#[tokio::test]
async fn a_rotation_that_begins_by_itself_meanwhile_takes_what_is_handed_in() {
    let stage = Stage::begun(RULES).await;
    let begin = Event::Begin { rotation: random::id(), why: Why::First };
    let (taken, meanwhile) = tokio::join!(
        hand_in(&stage, "one"),
        stage.executor().commit(&stage.name, begin, Actor::controller())
    );
    meanwhile.unwrap();
    assert_eq!(taken.unwrap().version, v(1));
}

#[tokio::test]
async fn one_that_waits_for_a_person_lets_its_pair_go_first_and_is_handed_in_afterwards() {
    let mut stage = settled().await;
    stage.declare(&stage.name.clone(), "pair", json!("clerk")).await;
    let page = json!({ "target": "clerk", "name": "clerk", "page": "https://clerk.example" });
    let by_hand =
        [("postgres", json!(null)), ("hand-in", page), ("pair", json!("clerk")), ("fields", json!({}))];
    let second = stage.another(&by_hand).await;
    hand_in_at(&stage, &second, "first of the second").await.unwrap();
    stage.until_current(&second).await;
    let begin = |name: &CredentialName| {
        let (name, executor) = (name.clone(), stage.executor());
        async move {
            let event = Event::Begin { rotation: random::id(), why: why() };
            executor.commit(&name, event, Actor::controller()).await
        }
    };
    begin(&second).await.unwrap();
    begin(&stage.name).await.expect("nothing changes at the other yet");
    let refused = hand_in_at(&stage, &second, "second of the second").await.unwrap_err();
    let gated = OutOfOrder::Gated { why: "its pair orders/db rotates (Planned)".to_owned() };
    assert!(matches!(&refused, CommitError::OutOfOrder(why) if *why == gated), "{refused}");
    hand_in(&stage, "two").await.expect("the other one only waits");
}

#[tokio::test]
async fn a_provider_that_is_away_proves_nothing() {
    let mut stage = settled().await;
    hand_in(&stage, "two").await.unwrap();
    stage.until("Retiring", |l| l.rotation.as_ref().is_some_and(|r| r.phase == Phase::Retiring)).await;
    stage.target.fail("probe", &[Fault::Away; 40]);
    for _ in 0..10 {
        stage.leap(Duration::from_mins(6)).await;
        steps(&mut stage, 10).await;
    }
    assert_eq!(stage.phase().await, Some(Phase::Retiring));
}

#[tokio::test]
async fn a_value_that_the_provider_no_longer_takes_reaches_nobody() {
    let mut stage = settled().await;
    stage.target.fail("install", &[Fault::Lie]);
    hand_in(&stage, "two").await.unwrap();
    stage.until("Undoing", |l| l.rotation.as_ref().is_some_and(|r| r.phase == Phase::Undoing)).await;
    assert_eq!(stage.ledger().await.current, Some(v(1)));
    stage.leap(Duration::from_secs(31)).await;
    stage.until("Abandoned", |l| l.open_rotation().is_none() && l.endings.is_empty()).await;
    assert_eq!(stage.ledger().await.current, Some(v(1)));
}

#[tokio::test]
async fn a_value_that_is_in_use_is_not_taken_again() {
    let stage = settled().await;
    let name = handle(&stage, 1).await;
    let fields = |value: &str| {
        let field =
            |key: &str, value: &str| (key.parse().unwrap(), SecretBytes::new(value.as_bytes().to_vec()));
        Fields::new([field("username", name.as_str()), field("password", value)].into()).unwrap()
    };
    let value = SecretBytes::new(b"one".to_vec());
    let may = |fields: Fields| {
        let (executor, name, value) = (stage.executor().clone(), stage.name.clone(), &value);
        async move { executor.may_be_given(&name, (value, &fields)).await }
    };
    assert!(matches!(may(fields("one")).await, Err(CommitError::Known(known)) if known == v(1)));
    may(fields("two")).await.unwrap();
    assert_eq!(stage.phase().await, Some(Phase::Done), "nothing was begun");
}

#[tokio::test]
async fn it_goes_on_after_a_crash_wherever_that_was() {
    for after in 1..=7 {
        let mut stage = settled().await;
        let begun = stage.seq().await;
        if after == 1 {
            stage.rotate().await;
        } else {
            hand_in(&stage, "two").await.unwrap();
        }
        for _ in 0..400 {
            if stage.seq().await >= begun + after {
                break;
            }
            stage.step().await;
        }
        stage.crash().await;
        stage.start();
        steps(&mut stage, 5).await;
        if after == 1 {
            assert_eq!(stage.phase().await, Some(Phase::Planned), "it waits on");
            hand_in(&stage, "two").await.unwrap();
        }
        stage.until("v2", |ledger| ledger.current == Some(v(2))).await;
        stage.until("Retiring", |l| l.rotation.as_ref().is_some_and(|r| r.phase == Phase::Retiring)).await;
        delete(&stage, 1).await;
        for _ in 0..2 {
            stage.leap(Duration::from_mins(6)).await;
            steps(&mut stage, 10).await;
        }
        stage.until_calm().await;
    }
}

#[tokio::test]
async fn an_emergency_fences_at_once_and_is_cut_when_somebody_has_deleted_it() {
    let mut stage = settled().await;
    stage.target.lock().emergency = true;
    let event = Event::Revoke {
        id: random::id(),
        version: None,
        reason: "leak".to_owned(),
        by: "alice".to_owned(),
        replace: true,
    };
    stage.commit(event).await.unwrap();
    stage.leap(Duration::from_mins(1)).await;
    steps(&mut stage, 20).await;
    let ledger = stage.ledger().await;
    assert!(ledger.fenced.contains(&v(1)) && ledger.emergencies[0].cut.is_none() && ledger.owed);
    assert!(stage.report().await.waiting_for.iter().any(|it| it.contains("somebody to delete v1")));
    hand_in(&stage, "two").await.unwrap();
    stage.until("v2", |ledger| ledger.current == Some(v(2)) && !ledger.owed).await;
    delete(&stage, 1).await;
    for _ in 0..2 {
        stage.leap(Duration::from_secs(11)).await;
        steps(&mut stage, 20).await;
    }
    stage.until("cut", |ledger| ledger.emergencies.iter().all(|it| it.cut.is_some())).await;
    assert_eq!(calls(&stage, "revoke"), 0);
}

#[tokio::test]
async fn nothing_is_handed_in_where_rekey_makes_the_versions_or_while_held() {
    let stage = Stage::settled().await;
    let refused = hand_in(&stage, "two").await.unwrap_err();
    assert!(matches!(refused, CommitError::OutOfOrder(OutOfOrder::NoEdge { event: "hand-in", .. })));
    let stage = settled().await;
    let (reason, by) = ("release day".to_owned(), "alice".to_owned());
    stage.commit(Event::Hold { reason, by }).await.unwrap();
    let refused = hand_in(&stage, "two").await.unwrap_err();
    assert!(matches!(refused, CommitError::OutOfOrder(OutOfOrder::Held { .. })), "{refused}");
}

#[tokio::test]
async fn what_was_revoked_is_never_handed_in_again() {
    let by_hand = json!({ "target": "clerk", "name": "clerk", "page": "https://clerk.example" });
    let parts = [("postgres", json!(null)), ("hand-in", by_hand), ("fields", json!({}))];
    let mut stage = Stage::begun_as(RULES, &parts).await;
    hand_in(&stage, "one").await.unwrap();
    stage.until("v1", |ledger| ledger.current == Some(v(1)) && ledger.open_rotation().is_none()).await;
    stage.target.lock().emergency = true;
    let (reason, by) = ("leak".to_owned(), "alice".to_owned());
    let event = Event::Revoke { id: random::id(), version: None, reason, by, replace: true };
    stage.commit(event).await.unwrap();
    let asked = stage.clock.now();
    stage.commit(Event::Ended { version: v(1), asked, sessions: 0 }).await.unwrap();
    stage.until("cleaned up", |ledger| ledger.endings.is_empty()).await;
    let secret = |value: &str| SecretBytes::new(value.as_bytes().to_vec());
    for value in ["one", "two"] {
        let fields = [("username", secret("whoever")), ("password", secret(value))];
        let fields = Fields::new(fields.map(|(name, value)| (name.parse().unwrap(), value)).into()).unwrap();
        match stage.executor().may_be_given(&stage.name, (&secret(value), &fields)).await {
            Err(CommitError::Revoked(version)) => assert_eq!((value, version), ("one", v(1))),
            may => assert!(may.is_ok() && value == "two", "{value}: {may:?}"),
        }
    }
}
