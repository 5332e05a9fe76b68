//! A restored store: what it waits for, what it does not do meanwhile, and how it goes on.

use rekey_model::{Handle, Incarnation, Version};
use rekey_rotation::{Claim, Event, Ledger, Mode};
use rekey_runtime::random;

use super::driver::{Fault, Role};
use super::stage::Stage;
use crate::audit::Actor;

fn v(number: u64) -> Version {
    Version::new(number).unwrap()
}

/// v2 is current and the store is that of v1; what each holder has of v2.
async fn restored() -> (Stage, Claim) {
    let mut stage = Stage::settled().await;
    let backup = stage.ledger().await;
    stage.rotate().await;
    stage.until("v2", |ledger| ledger.current == Some(v(2)) && ledger.open_rotation().is_none()).await;
    stage.until_calm().await;
    let lost = stage.ledger().await;
    stage.put_back(backup).await;
    (stage, claim_of(&lost))
}

fn claim_of(lost: &Ledger) -> Claim {
    let current = lost.current.unwrap();
    let handle: Handle = lost.version(current).unwrap().handle.clone();
    Claim {
        incarnation: Incarnation(1),
        order: lost.order,
        serves: Some((current, handle)),
        fenced: lost.fenced.clone(),
    }
}

/// Whether v2, which only holders had, is known again; it is replaced soon after.
fn has_taken_up(ledger: &Ledger) -> bool {
    ledger.version(v(2)).is_some()
}

async fn mode(stage: &Stage) -> Mode {
    stage.store.meta().await.unwrap().mode
}

#[tokio::test]
async fn once_all_have_told_the_mode_is_left_and_what_only_holders_have_is_replaced() {
    let (mut stage, claim) = restored().await;
    stage.target.lock().calls.clear();
    for _ in 0..50 {
        stage.step().await;
    }
    assert_eq!(mode(&stage).await, Mode::ReconcileOnly, "nobody has said hello");
    assert!(stage.target.lock().calls.is_empty(), "{:?}", stage.target.lock().calls);
    let waits = stage.executor().reconciling().await.unwrap().unwrap();
    assert_eq!((waits.silent.len(), waits.heard), (3, 0));
    for index in 0..3 {
        stage.tells(index, Some(&claim)).await;
    }
    stage.until("taken up", has_taken_up).await;
    assert_eq!(mode(&stage).await, Mode::Normal);
    stage.until("replaced", |ledger| ledger.current == Some(v(1003))).await;
    stage.until_calm().await;
    assert_eq!(stage.target.accepted().len(), 1);
    assert!(stage.store.claims_of(&stage.name).await.unwrap().is_empty());
}

#[tokio::test]
async fn calls_of_the_life_before_are_waited_for_even_if_everybody_has_told() {
    let (mut stage, claim) = restored().await;
    for index in 0..3 {
        stage.tells(index, Some(&claim)).await;
    }
    stage.step().await;
    let waits = stage.executor().reconciling().await.unwrap().unwrap();
    assert!(!waits.left().is_zero() && waits.left() == waits.settle_left, "{waits:?}");
    for _ in 0..30 {
        stage.step().await;
        assert_eq!(mode(&stage).await, Mode::ReconcileOnly, "0.7 s of a call have not passed");
    }
    stage.until("taken up", has_taken_up).await;
}

#[tokio::test]
async fn a_sidecar_that_never_comes_back_is_waited_for_and_not_for_ever() {
    let (mut stage, claim) = restored().await;
    stage.tells(0, Some(&claim)).await;
    stage.mute(1, false);
    for _ in 0..300 {
        stage.step().await;
    }
    assert_eq!(mode(&stage).await, Mode::ReconcileOnly);
    stage.leap(std::time::Duration::from_secs(30)).await;
    stage.until("taken up", has_taken_up).await;
}

#[tokio::test]
async fn an_operator_need_not_wait_for_those_that_are_silent() {
    let (mut stage, claim) = restored().await;
    stage.tells(0, Some(&claim)).await;
    let actor = Actor { id: "ann".to_owned(), ..Actor::controller() };
    assert!(stage.executor().hurry(actor, "they are gone").await.unwrap());
    assert!(stage.executor().reconciling().await.unwrap().unwrap().hurried);
    stage.until("taken up", has_taken_up).await;
    assert!(
        !stage.executor().hurry(Actor::controller(), "again").await.unwrap(),
        "there is nothing to leave"
    );
}

#[tokio::test]
async fn an_emergency_meanwhile_cuts_what_the_holders_have_and_is_replaced_after() {
    let (mut stage, claim) = restored().await;
    stage.tells(0, Some(&claim)).await;
    stage.target.lock().emergency = true;
    let id = random::id();
    let by = "ann".to_owned();
    stage
        .commit(Event::Revoke { id, version: None, reason: "leaked".to_owned(), by, replace: true })
        .await
        .unwrap();
    let name = claim.serves.unwrap().1;
    for _ in 0..40 {
        stage.step().await;
    }
    assert!(!stage.target.accepted().contains(&name.to_string()), "what the backup does not know is cut");
    assert_eq!(mode(&stage).await, Mode::ReconcileOnly);
    for index in 1..3 {
        stage.tells(index, None).await;
    }
    stage.until("replaced", |ledger| ledger.current == Some(v(1003))).await;
    stage.until_calm().await;
}

#[tokio::test]
async fn a_target_that_does_not_answer_holds_nobody_up_and_is_asked_later() {
    let (mut stage, claim) = restored().await;
    stage.target.fail("list", &[Fault::Away, Fault::Away, Fault::Away]);
    for index in 0..3 {
        stage.tells(index, Some(&claim)).await;
    }
    stage.until("taken up", |ledger| has_taken_up(ledger) && ledger.restore.unlisted).await;
    stage.until("listed", |ledger| !ledger.restore.unlisted).await;
    stage.until("replaced", |ledger| ledger.current == Some(v(1003))).await;
    stage.until_calm().await;
}

#[tokio::test]
async fn what_a_late_holder_has_is_found_at_the_target_and_ends_by_evidence() {
    let (mut stage, claim) = restored().await;
    for index in 0..3 {
        stage.tells(index, Some(&claim)).await;
    }
    stage.until("replaced", |ledger| ledger.current == Some(v(1003))).await;
    stage.until_calm().await;
    let late = "orders_app_v7_late".to_owned();
    let role = || Role { accepted: true, lasting: true, sessions: 1, ..Role::default() };
    stage.target.lock().roles.insert(late.clone(), role());
    let told = Claim { serves: Some((v(7), late.parse().unwrap())), ..claim };
    stage.tells(1, Some(&told)).await;
    stage.until("known", |ledger| ledger.versions.contains_key(&v(7))).await;
    for _ in 0..200 {
        stage.step().await;
    }
    assert!(stage.target.accepted().contains(&late), "it is in use");
    assert_eq!(stage.ledger().await.current, Some(v(1003)), "nobody moves");
    stage.target.lock().roles.get_mut(&late).unwrap().sessions = 0;
    stage.until("ended", |ledger| ledger.version(v(7)).is_some_and(|it| it.ended.is_some())).await;
    stage.until_calm().await;
    assert!(stage.store.claims_of(&stage.name).await.unwrap().is_empty());
}
