//! One holder has a new version before all others, and what it tells of it decides.

use rekey_model::Version;
use rekey_rotation::Phase;
use serde_json::json;

use super::driver::Fault;
use super::stage::Stage;
use crate::audit::Verb;
use crate::executor::Judged;
use crate::fleet::VersionReport;

fn v(number: u64) -> Version {
    Version::new(number).unwrap()
}

fn told(version: u64, accepted: u64, refused: u64) -> VersionReport {
    VersionReport { version: v(version), processes: 0, accepted, refused }
}

/// v2 is tried by one holder of three, whose place is given too.
async fn trying(within: &str) -> (Stage, usize) {
    let mut stage = Stage::settled().await;
    let name = stage.name.clone();
    stage.declare(&name, "canary", json!({ "uses": 20, "within": within })).await;
    stage.rotate().await;
    stage.until("a canary", |ledger| ledger.canary().is_some()).await;
    for _ in 0..5 {
        stage.step().await;
    }
    let canary = canary(&stage).await;
    (stage, canary)
}

/// The place of the holder that has it.
async fn canary(stage: &Stage) -> usize {
    let (holder, _) = stage.ledger().await.canary().unwrap();
    stage.holders.iter().position(|(instance, ..)| *instance == holder).unwrap()
}

/// Steps until the phase is `phase`; the others never have v2 meanwhile.
async fn others_stay_until(stage: &mut Stage, canary: usize, phase: Phase) {
    for _ in 0..2_000 {
        others_stay(stage, canary).await;
        if stage.phase().await == Some(phase) {
            return;
        }
        stage.step().await;
    }
    panic!("never {phase}: {:#?}", stage.ledger().await);
}

async fn others_stay(stage: &Stage, canary: usize) {
    let ledger = stage.ledger().await;
    let served = stage.target.lock().served.clone();
    let new = ledger.version(v(2)).unwrap().handle.to_string();
    let has_it: Vec<usize> =
        served.iter().filter(|(_, handle)| **handle == new).map(|(key, _)| usize::from(*key)).collect();
    assert!(has_it.iter().all(|key| *key == canary), "{has_it:?} have v2, and only {canary} may");
}

async fn steps(stage: &mut Stage, count: u32) {
    for _ in 0..count {
        stage.step().await;
    }
}

#[tokio::test]
async fn enough_good_uses_behind_one_holder_let_all_others_have_it() {
    let (mut stage, canary) = trying("10m").await;
    stage.uses_are(Some(canary), &[told(1, 9, 9_000), told(2, 19, 0)]);
    steps(&mut stage, 100).await;
    others_stay(&stage, canary).await;
    let report = stage.report().await;
    assert_eq!((stage.phase().await, report.ledger.current), (Some(Phase::Canary), Some(v(1))));
    assert_eq!(report.judged, Some(Judged { good: 19, of: 19 }));
    assert!(report.canary_until_ms.is_some_and(|until| until > report.now_ms));
    assert!(report.waiting_for[0].contains("20 uses behind"), "{:?}", report.waiting_for);
    stage.uses_are(Some(canary), &[told(2, 20, 0)]);
    stage.until_settled(2).await;
    let rotation = stage.ledger().await.rotation.unwrap();
    assert_eq!(rotation.canary.unwrap().passed.as_deref(), Some("20 of 20 uses were good"));
    let records = stage.store.audit_after(0, 1_000).await.unwrap();
    let first = records.iter().find(|it| it.reason == "Canary").unwrap();
    assert_eq!(first.holder, Some(stage.holders[canary].0.to_string()), "{first:?}");
    assert_eq!((first.verb.as_str(), first.version), (Verb::Phase.as_str(), Some(2)));
    stage.until_calm().await;
}

#[tokio::test]
async fn bad_uses_behind_one_holder_send_it_back_and_nobody_else_had_it() {
    let (mut stage, canary) = trying("10m").await;
    stage.uses_are(Some(canary), &[told(2, 19, 1)]);
    others_stay_until(&mut stage, canary, Phase::Returning).await;
    let why = stage.ledger().await.rotation.unwrap().last_error.unwrap();
    assert_eq!(why, "19 of 20 uses behind the canary were good, fewer than asked for");
    others_stay_until(&mut stage, canary, Phase::Abandoned).await;
    stage.until_calm().await;
    assert_eq!(stage.ledger().await.current, Some(v(1)));
}

#[tokio::test]
async fn what_others_say_of_it_decides_nothing() {
    let (mut stage, canary) = trying("10m").await;
    let other = (canary + 1) % 3;
    stage.uses_are(Some(other), &[told(2, 5_000, 0)]);
    steps(&mut stage, 50).await;
    stage.uses_are(Some(other), &[told(2, 0, 5_000)]);
    steps(&mut stage, 50).await;
    assert_eq!(stage.phase().await, Some(Phase::Canary));
    others_stay(&stage, canary).await;
}

#[tokio::test]
async fn a_canary_that_cannot_apply_it_sends_it_back_and_another_holder_does_not() {
    let mut stage = Stage::settled().await;
    let name = stage.name.clone();
    stage.declare(&name, "canary", json!({ "uses": 20, "within": "10m" })).await;
    // Nobody acknowledges what is to be refused.
    (0..3).for_each(|index| stage.mute(index, false));
    stage.rotate().await;
    stage.until("a canary", |ledger| ledger.canary().is_some()).await;
    let canary = canary(&stage).await;
    stage.nack((canary + 1) % 3, "it cannot").await;
    steps(&mut stage, 30).await;
    assert_eq!(stage.phase().await, Some(Phase::Canary));
    stage.nack(canary, "a field is missing").await;
    others_stay_until(&mut stage, canary, Phase::Returning).await;
    let why = stage.ledger().await.rotation.unwrap().last_error.unwrap();
    assert!(why.ends_with("could not apply it: a field is missing"), "{why}");
    (0..3).for_each(|index| stage.mute(index, true));
    stage.until_calm().await;
}

#[tokio::test]
async fn a_version_that_is_refused_to_the_canary_again_and_again_is_left_at_once() {
    let (mut stage, canary) = trying("10m").await;
    stage.uses_are(Some(canary), &[told(2, 0, 3)]);
    others_stay_until(&mut stage, canary, Phase::Returning).await;
    let (mut stage, canary) = trying("10m").await;
    stage.target.fail("probe", &[Fault::Refused, Fault::Refused]);
    others_stay_until(&mut stage, canary, Phase::Returning).await;
    let why = stage.ledger().await.rotation.unwrap().last_error.unwrap();
    assert!(why.starts_with("v2 does not work any more"), "{why}");
}

#[tokio::test]
async fn with_its_time_over_all_get_what_nobody_was_refused() {
    let (mut stage, canary) = trying("1s").await;
    others_stay(&stage, canary).await;
    stage.until_settled(2).await;
    let passed = stage.ledger().await.rotation.unwrap().canary.unwrap().passed.unwrap();
    assert_eq!(passed, "none of 0 uses was refused within 1s");
    let (mut stage, canary) = trying("1s").await;
    stage.uses_are(Some(canary), &[told(2, 3, 1)]);
    others_stay_until(&mut stage, canary, Phase::Returning).await;
}

#[tokio::test]
async fn a_canary_that_goes_away_gives_its_place_to_another() {
    let (mut stage, first) = trying("10m").await;
    stage.mute(first, false);
    let before = stage.holders[first].0;
    stage.until("another", |ledger| ledger.canary().is_some_and(|(holder, _)| holder != before)).await;
    let second = canary(&stage).await;
    stage.uses_are(Some(second), &[told(2, 20, 0)]);
    stage.until("all are told", |ledger| ledger.current == Some(v(2))).await;
}

#[tokio::test]
async fn a_controller_that_dies_during_it_goes_on_with_the_same() {
    let (mut stage, canary) = trying("10m").await;
    stage.crash().await;
    stage.start();
    steps(&mut stage, 50).await;
    assert_eq!(self::canary(&stage).await, canary);
    others_stay(&stage, canary).await;
    stage.uses_are(Some(canary), &[told(2, 20, 0)]);
    stage.until_settled(2).await;
    stage.until_calm().await;
}

#[tokio::test]
async fn the_declared_holder_is_the_first() {
    let mut stage = Stage::settled().await;
    let declared = stage.join_as("spiffe://rekey.local/sidecar/orders/z").await;
    let name = stage.name.clone();
    let canary = json!({ "holder": "spiffe://rekey.local/sidecar/orders/z", "uses": 20, "within": "10m" });
    stage.declare(&name, "canary", canary).await;
    stage.rotate().await;
    stage.until("a canary", |ledger| ledger.canary().is_some()).await;
    assert_eq!(stage.ledger().await.canary(), Some((declared, v(2))));
}
