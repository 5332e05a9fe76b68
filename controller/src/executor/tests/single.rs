//! A target that takes one value at a time: readers wait behind a barrier, and are let go whatever the target does.

use std::sync::Arc;
use std::time::Duration;

use rekey_drivers::{Driver as _, Intent};
use rekey_model::{Incarnation, Order, SecretBytes, Version};
use rekey_rotation::{AlarmKind, Claim, EmergencyId, Event, Phase};
use rekey_runtime::random;

use super::driver::Fault;
use super::stage::Stage;
use crate::audit::Actor;
use crate::executor::{CommitError, Outcome, Report};
use crate::spec::Spec;

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
    stage.leap(Duration::from_mins(1)).await;
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
    for _ in 0..30_000 {
        if stage.target.lock().faults["probe"].is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(stage.target.lock().faults["probe"].is_empty(), "the usual lane is full");
    stage.until("v2 is served", |ledger| ledger.current == Some(v(2))).await;
}

#[tokio::test]
async fn nobody_who_claims_to_have_a_later_value_makes_the_one_foreign_that_is_let_in() {
    let mut stage = Stage::settled_single().await;
    let lost = stage.ledger().await;
    stage.put_back(lost).await;
    let serves = Some((v(999), "orders_fixed#v999".parse().unwrap()));
    let claim = Claim { incarnation: Incarnation(1), order: Order(1 << 20), serves, fenced: [].into() };
    for index in 0..3 {
        stage.tells(index, Some(&claim).filter(|_| index == 0)).await;
    }
    stage.until("taken up", |ledger| ledger.order > Order(1 << 20)).await;
    let ledger = stage.ledger().await;
    assert_eq!((ledger.current, ledger.is_foreign()), (Some(v(1)), false));
}

#[tokio::test]
async fn what_a_lost_life_was_to_cut_is_not_cut_under_what_took_its_place() {
    let mut stage = Stage::settled_single().await;
    stage.target.lock().emergency = true;
    stage.target.fail("revoke", &[Fault::Away]);
    // So that the secret is here still, as it is in a backup.
    stage.target.fail("clean-up", &[Fault::Away; 500]);
    let id: EmergencyId = random::id();
    let revoke =
        Event::Revoke { id, version: None, reason: "leak".to_owned(), by: "t".to_owned(), replace: true };
    stage.commit(revoke).await.unwrap();
    let lost = stage.ledger().await;
    assert!(!lost.endings.is_empty());
    stage.until("replaced", |ledger| ledger.current == Some(v(2)) && ledger.open_rotation().is_none()).await;
    let handle = stage.ledger().await.version(v(2)).unwrap().handle.to_string();
    stage.put_back(lost).await;
    stage.target.lock().calls.clear();
    for _ in 0..100 {
        stage.step().await;
    }
    assert_eq!(stage.target.accepted(), [handle], "{:?}", stage.target.lock().calls);
    assert!(stage.ledger().await.endings.values().all(|it| it.state == rekey_rotation::EndingState::Ended));
}

#[tokio::test]
async fn a_revoked_password_that_somebody_sets_again_is_not_adopted() {
    async fn adopt(stage: &Stage, password: &[u8]) -> Result<Outcome, CommitError> {
        let row = stage.store.credential(&stage.name).await.unwrap().unwrap();
        let (spec, version) = (Spec::parse(&row.spec).unwrap(), row.ledger.next_version());
        let password = SecretBytes::new(password.to_vec());
        let handle = spec.driver.handle(version, Some(&password), random::nonce).parse().unwrap();
        let intent = Intent::chosen(version, handle, Arc::new(password));
        let fields = stage.target.fields(&intent).unwrap();
        stage.executor().adopt_next(&spec, (&intent, &fields), Actor::controller()).await
    }
    let mut stage = Stage::settled_single().await;
    let first = stage.target.lock().roles.values().next().unwrap().secret.clone();
    stage.target.lock().emergency = true;
    let (id, reason, by) = (random::id(), "leak".to_owned(), "t".to_owned());
    stage.commit(Event::Revoke { id, version: None, reason, by, replace: true }).await.unwrap();
    stage.until("replaced", |ledger| ledger.current == Some(v(2)) && ledger.open_rotation().is_none()).await;
    stage.until("v1 is over", |ledger| ledger.endings.is_empty()).await;
    let again = adopt(&stage, &first).await.unwrap_err();
    assert!(matches!(again, CommitError::Revoked(version) if version == v(1)), "{again}");
    assert_eq!(adopt(&stage, b"somebody's").await.unwrap().ledger.current, Some(v(3)));
}
