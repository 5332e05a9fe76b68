//! A version is judged while there is a way back: by what processes tell of their uses, and by trying it.

use std::time::Duration;

use rekey_model::Version;
use rekey_rotation::{AlarmKind, Phase};

use super::driver::Fault;
use super::stage::Stage;
use crate::executor::Judged;
use crate::fleet::VersionReport;

fn v(number: u64) -> Version {
    Version::new(number).unwrap()
}

fn told(version: u64, accepted: u64, refused: u64) -> VersionReport {
    VersionReport { version: v(version), processes: 0, accepted, refused }
}

/// Holders move to v2. Of its uses three holders tell the same.
async fn moving(uses: &[VersionReport]) -> Stage {
    let mut stage = Stage::settled().await;
    let role = stage.target.accepted().remove(0);
    // Somebody stays on v1, so that nothing ends before it was judged.
    stage.target.lock().roles.get_mut(&role).unwrap().sessions = 1;
    stage.rotate().await;
    stage.until("Grace", |l| l.rotation.as_ref().is_some_and(|r| r.phase == Phase::Grace)).await;
    stage.uses = uses.to_vec();
    stage
}

async fn steps(stage: &mut Stage, count: u32) {
    for _ in 0..count {
        stage.step().await;
    }
}

#[tokio::test]
async fn too_few_good_uses_of_many_send_everybody_back() {
    let mut stage = moving(&[told(1, 9, 9_000), told(2, 333, 1)]).await;
    stage.until("v1 again", |ledger| ledger.current == Some(v(1))).await;
    let rotation = stage.ledger().await.rotation.unwrap();
    assert_eq!(rotation.phase, Phase::Returning);
    let why = rotation.last_error.unwrap();
    assert_eq!(why, "999 of 1002 uses of v2 were good, 99.9% were asked for");
    stage.until_calm().await;
    assert_eq!(stage.ledger().await.rotation.unwrap().phase, Phase::Abandoned);
}

#[tokio::test]
async fn few_uses_say_nothing_and_good_ones_are_shown() {
    for (uses, judged) in
        [(told(2, 0, 2), Judged { good: 0, of: 6 }), (told(2, 5_000, 5), Judged { good: 15_000, of: 15_015 })]
    {
        let mut stage = moving(&[told(1, 9, 9_000), uses]).await;
        steps(&mut stage, 100).await;
        assert_eq!((stage.ledger().await.current, stage.report().await.judged), (Some(v(2)), Some(judged)));
        stage.target.lock().roles.values_mut().for_each(|role| role.sessions = 0);
        stage.until_calm().await;
        assert_eq!((stage.ledger().await.current, stage.report().await.judged), (Some(v(2)), None));
    }
}

#[tokio::test]
async fn a_version_that_is_refused_twice_in_a_row_sends_everybody_back() {
    let mut stage = moving(&[]).await;
    let current = stage.ledger().await.version(v(2)).unwrap().handle.to_string();
    stage.served_is_refused();
    stage.target.lock().roles.get_mut(&current).unwrap().accepted = false;
    stage.until("v1 again", |ledger| ledger.current == Some(v(1))).await;
    let why = stage.ledger().await.rotation.unwrap().last_error.unwrap();
    assert_eq!(why, "v2 does not work any more: login refused");
    stage.until_calm().await;
}

#[tokio::test]
async fn one_refusal_is_an_alarm_and_a_target_that_is_away_proves_nothing() {
    let mut stage = moving(&[]).await;
    stage.target.fail("probe", &[Fault::Refused, Fault::Away, Fault::CallLost]);
    let failing = |report: &crate::executor::Report| {
        report.alarms.iter().any(|alarm| alarm.kind == AlarmKind::CurrentFails)
    };
    stage.until_report("an alarm", failing).await;
    stage.until_report("no alarm any more", |report| !failing(report)).await;
    assert!(stage.target.lock().faults["probe"].is_empty());
    steps(&mut stage, 100).await;
    assert_eq!(stage.ledger().await.current, Some(v(2)));
}

#[tokio::test]
async fn nobody_is_sent_back_to_what_works_no_better() {
    let mut stage = moving(&[]).await;
    stage.served_is_refused();
    stage.target.lock().roles.values_mut().for_each(|role| role.accepted = false);
    let failing = |report: &crate::executor::Report| {
        report.alarms.iter().any(|alarm| alarm.kind == AlarmKind::CurrentFails)
    };
    stage.until_report("an alarm", failing).await;
    steps(&mut stage, 100).await;
    assert_eq!(stage.ledger().await.current, Some(v(2)));
}

#[tokio::test]
async fn another_who_is_refused_counts_for_no_try() {
    let mut stage = moving(&[]).await;
    let name = stage.name.clone();
    stage.target.fail("probe", &[Fault::Refused, Fault::Refused]);
    stage.executor().try_current(&name).await.unwrap();
    stage.executor().try_current(&name).await.unwrap();
    steps(&mut stage, 100).await;
    assert_eq!(stage.ledger().await.current, Some(v(2)));
}

#[tokio::test]
async fn a_try_that_nobody_waits_for_any_longer_goes_on_to_its_end() {
    let mut stage = Stage::settled().await;
    let (executor, name) = (stage.executor().clone(), stage.name.clone());
    stage.target.fail("probe", &[Fault::Refused, Fault::Late]);
    executor.try_current(&name).await.unwrap();
    stage.until_report("an alarm", |report| !report.alarms.is_empty()).await;
    let mut asked = Box::pin(executor.try_current(&name));
    while !stage.target.lock().faults["probe"].is_empty() {
        let early = tokio::time::timeout(Duration::from_millis(1), &mut asked).await;
        assert!(early.is_err(), "it has not landed: {early:?}");
    }
    drop(asked);
    stage.target.let_land();
    stage.until_report("what it found", |report| report.alarms.is_empty()).await;
}
