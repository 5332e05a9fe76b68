//! Credentials that are tied to each other.

use std::time::Duration;

use rekey_model::CredentialName;
use rekey_rotation::{EmergencyId, Event, Ledger, OutOfOrder, Phase, Why};
use rekey_runtime::random;
use serde_json::json;

use super::driver::Fault;
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
async fn a_first_version_waits_for_nobody_of_its_pair() {
    let mut stage = Stage::settled().await;
    stage.declare(&stage.name.clone(), "pair", json!("database")).await;
    stage.rotate().await;
    in_grace(&mut stage).await;
    stage.commit(Event::Hold { reason: "release day".to_owned(), by: "test".to_owned() }).await.unwrap();
    let second = stage.another(&[("pair", json!("database"))]).await;
    stage.until_current(&second).await;
    let why = gated(begin(&stage, &second).await);
    assert_eq!(why, "its pair orders/db rotates (Grace) and is held: release day");
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
            assert!(late < Duration::from_secs(5), "nobody woke it for {late:?}");
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

/// Two credentials of one group, settled on v1.
async fn a_group() -> (Stage, CredentialName) {
    let mut stage = Stage::settled().await;
    let second = stage.second().await;
    while is_open(&stage.ledger_of(&second).await) {
        stage.step().await;
    }
    for name in [stage.name.clone(), second.clone()] {
        stage.declare(&name, "group", json!("database")).await;
    }
    (stage, second)
}

/// The ledgers of both, as they are at one moment.
async fn both(stage: &Stage) -> [Ledger; 2] {
    let rows = stage.store.credentials().await.unwrap();
    rows.into_iter().map(|row| row.ledger).collect::<Vec<_>>().try_into().unwrap()
}

fn current(ledgers: &[Ledger; 2]) -> [u64; 2] {
    ledgers.each_ref().map(|ledger| ledger.current.unwrap().get())
}

/// Steps until both rotations have ended, in this phase and with this version; says how many commits were looked at. At
/// none is one version with the other's next one.
async fn until_both(stage: &mut Stage, phase: Phase, version: u64) {
    let mut ledgers = both(stage).await;
    for _ in 0..3_000 {
        ledgers = both(stage).await;
        let [one, other] = current(&ledgers);
        assert_eq!(one, other, "a mixture: {ledgers:#?}");
        let ended = |ledger: &Ledger| ledger.rotation.as_ref().is_some_and(|last| last.phase == phase);
        if one == version && ledgers.iter().all(|ledger| ended(ledger) && ledger.endings.is_empty()) {
            return;
        }
        stage.step().await;
    }
    panic!("not both {phase} with v{version}: {ledgers:#?}");
}

fn logins(stage: &Stage) -> usize {
    stage.target.lock().roles.len()
}

#[tokio::test]
async fn a_group_changes_as_one() {
    let (mut stage, second) = a_group().await;
    stage.step().await;
    begin(&stage, &second).await.unwrap();
    let [one, other] = both(&stage).await;
    assert!(one.is_grouped() && other.is_grouped(), "begun at one, begun at all");
    until_both(&mut stage, Phase::Done, 2).await;
    assert_eq!(logins(&stage), 2);
    let history = stage.store.rotations(&second, 5).await.unwrap();
    assert!(history[0].is_grouped() && history[0].phase == Phase::Done, "{history:?}");
    let [one, other] = both(&stage).await.map(|ledger| ledger.rotation.unwrap().promoted);
    assert_eq!(one, other, "promoted in one commit");
}

#[tokio::test]
async fn one_that_does_not_work_undoes_all_of_its_group() {
    let (mut stage, second) = a_group().await;
    stage.target.fail("probe", &[Fault::Refused]);
    begin(&stage, &second).await.unwrap();
    until_both(&mut stage, Phase::Abandoned, 1).await;
    assert_eq!(logins(&stage), 2, "nothing is left at the target");
    let why = both(&stage).await.map(|ledger| ledger.rotation.unwrap().last_error.unwrap());
    assert!(why.iter().any(|why| why.starts_with("another one of its group failed: ")), "{why:?}");
}

#[tokio::test]
async fn one_whose_declaration_does_not_read_keeps_its_group_from_nothing_but_going_on() {
    let (mut stage, second) = a_group().await;
    stage.mute_all(false);
    begin(&stage, &second).await.unwrap();
    stage.until("Rolling", |l| l.open_rotation().is_some_and(|open| open.phase == Phase::Rolling)).await;
    let declared = stage.store.credential(&second).await.unwrap().unwrap().spec;
    stage.put_spec(&second, json!({ "of": "another release" })).await;
    stage.mute_all(true);
    in_grace(&mut stage).await;
    stage.leap(Duration::from_mins(1)).await;
    for _ in 0..20 {
        stage.step().await;
    }
    assert_eq!(stage.phase().await, Some(Phase::Grace), "nothing is ended without the other");
    stage.commit(Event::Hold { reason: "freeze".to_owned(), by: "test".to_owned() }).await.unwrap();
    stage.commit(Event::Release).await.unwrap();
    stage.commit(Event::Rollback { reason: "not today".to_owned() }).await.unwrap();
    assert_eq!(current(&both(&stage).await), [1, 1], "taken back in one commit");
    stage.until("Abandoned", |l| l.open_rotation().is_none()).await;
    let why = gated(begin(&stage, &stage.name).await);
    assert_eq!(why, "orders/second, of the same group, rotates (Returning)");
    stage.put_spec(&second, declared).await;
    until_both(&mut stage, Phase::Abandoned, 1).await;
    assert_eq!(logins(&stage), 2);
}

#[tokio::test]
async fn one_that_a_sidecar_cannot_apply_takes_all_of_its_group_back() {
    let (mut stage, second) = a_group().await;
    stage.mute_all(false);
    begin(&stage, &second).await.unwrap();
    stage.until("Rolling", |l| l.open_rotation().is_some_and(|open| open.phase == Phase::Rolling)).await;
    assert_eq!(current(&both(&stage).await), [2, 2]);
    stage.nack(1, "no such field").await;
    stage.until("Returning", |l| l.open_rotation().is_some_and(|open| open.phase == Phase::Returning)).await;
    assert_eq!(current(&both(&stage).await), [1, 1], "taken back in one commit");
    stage.mute_all(true);
    until_both(&mut stage, Phase::Abandoned, 1).await;
    assert_eq!(logins(&stage), 2);
}

#[tokio::test]
async fn a_group_stays_one_through_crashes() {
    let (mut stage, second) = a_group().await;
    begin(&stage, &second).await.unwrap();
    for round in 0..12 {
        for _ in 0..=round {
            stage.step().await;
            let ledgers = both(&stage).await;
            let [one, other] = current(&ledgers);
            assert_eq!(one, other, "a mixture: {ledgers:#?}");
        }
        stage.crash().await;
        stage.start();
    }
    until_both(&mut stage, Phase::Done, 2).await;
    assert_eq!(logins(&stage), 2);
}

#[tokio::test]
async fn a_held_one_keeps_its_group_and_everybody_says_so() {
    let (mut stage, second) = a_group().await;
    begin(&stage, &second).await.unwrap();
    let hold = Event::Hold { reason: "release day".to_owned(), by: "test".to_owned() };
    stage.executor().commit(&second, hold, Actor::controller()).await.unwrap();
    let waits = |waiting: &[String]| {
        waiting.iter().any(|what| {
            what.starts_with("orders/second of its group") && what.ends_with("is held: release day")
        })
    };
    stage.until_report("it waits", |report| waits(&report.waiting_for)).await;
    assert_eq!(current(&both(&stage).await), [1, 1]);
    stage.executor().commit(&second, Event::Release, Actor::controller()).await.unwrap();
    until_both(&mut stage, Phase::Done, 2).await;
    let hold = Event::Hold { reason: "freeze".to_owned(), by: "test".to_owned() };
    stage.executor().commit(&second, hold, Actor::controller()).await.unwrap();
    let why = gated(begin(&stage, &stage.name.clone()).await);
    assert_eq!(why, "orders/second, of the same group, is held: freeze");
}
