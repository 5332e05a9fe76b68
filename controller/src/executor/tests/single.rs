//! A target that takes one value at a time: readers wait behind a barrier, and are let go whatever the target does.

use std::time::Duration;

use rekey_model::Version;
use rekey_rotation::{AlarmKind, Phase};

use super::driver::Fault;
use super::stage::Stage;
use crate::executor::Report;

fn v(number: u64) -> Version {
    Version::new(number).unwrap()
}

fn alarms(report: &Report, kind: AlarmKind) -> bool {
    report.alarms.iter().any(|alarm| alarm.kind == kind)
}

#[tokio::test]
async fn a_probe_that_fails_after_the_cut_leaves_nobody_with_what_is_dead() {
    let mut stage = Stage::settled_single().await;
    stage.target.lock().unfit = Some("probe 1: permission denied");
    stage.rotate().await;
    stage.until("v2 is served", |ledger| ledger.current == Some(v(2))).await;
    stage.until_calm().await;
    stage.until_report("an alarm", |report| alarms(report, AlarmKind::CurrentFails)).await;
    let alarm = stage.report().await.alarms.remove(0);
    assert!(alarm.message.contains("probe 1: permission denied"), "{alarm:?}");
    stage.crash().await;
    stage.start();
    stage.until_report("also after a start", |report| alarms(report, AlarmKind::CurrentFails)).await;
    stage.target.lock().unfit = None;
    stage.clock.advance(Duration::from_mins(1));
    stage.until_report("all is well", |report| !alarms(report, AlarmKind::CurrentFails)).await;
}

#[tokio::test]
async fn a_value_that_cannot_log_in_after_the_cut_is_given_to_nobody() {
    let mut stage = Stage::settled_single().await;
    stage.target.fail("log-in", &[Fault::Refused; 2]);
    stage.target.lock().unfit = Some("probe 1: permission denied");
    stage.rotate().await;
    let lies = |ledger: &rekey_rotation::Ledger| ledger.rotation.as_ref().is_some_and(|it| it.refusals == 2);
    stage.until("refused twice", lies).await;
    assert_eq!((stage.phase().await, stage.ledger().await.current), (Some(Phase::Installed), Some(v(1))));
    stage.until("v2 is served", |ledger| ledger.current == Some(v(2))).await;
}

#[tokio::test]
async fn readers_are_let_go_while_the_target_is_away() {
    let mut stage = Stage::settled_single().await;
    stage.target.fail("install", &[Fault::Away; 12]);
    stage.rotate().await;
    let (begun, mut lowered, mut raised) = (stage.clock.elapsed(), 0, false);
    while stage.ledger().await.current == Some(v(1)) {
        let up = stage.ledger().await.barrier_is_up();
        lowered += u32::from(raised && !up);
        raised = up;
        stage.step().await;
        assert!(stage.clock.elapsed() < begun + Duration::from_mins(2), "{lowered} barriers");
    }
    assert!((1..=4).contains(&lowered), "{lowered} barriers for 12 calls that did nothing");
    stage.until_calm().await;
}

#[tokio::test]
async fn people_who_look_cannot_keep_readers_waiting() {
    let mut stage = Stage::settled_single().await;
    stage.rotate().await;
    stage.until("Barrier", |l| l.rotation.as_ref().is_some_and(|r| r.phase == Phase::Barrier)).await;
    stage.target.fail("probe", &[Fault::Hangs; 4]);
    for _ in 0..4 {
        let (executor, name) = (stage.executor().clone(), stage.name.clone());
        #[expect(clippy::disallowed_methods, reason = "the test plays four people")]
        drop(tokio::spawn(async move { executor.try_current(&name).await.map(drop) }));
    }
    for _ in 0..2_000 {
        if stage.target.lock().faults["probe"].is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(stage.target.lock().faults["probe"].is_empty(), "the usual lane is full");
    stage.until("v2 is served", |ledger| ledger.current == Some(v(2))).await;
}
