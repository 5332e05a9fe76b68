//! What goes wrong at the target, and a controller that ends at every point.

use rekey_model::Version;
use rekey_rotation::{EmergencyId, Event, Phase};
use rekey_runtime::random;

use super::driver::Fault;
use super::stage::Stage;

fn v(number: u64) -> Version {
    Version::new(number).unwrap()
}

#[tokio::test]
async fn a_lost_answer_is_looked_into_and_the_same_call_repeated() {
    for fault in [Fault::AnswerLost, Fault::CallLost] {
        let mut stage = Stage::settled().await;
        stage.target.fail("install", &[fault]);
        stage.rotate().await;
        stage.until_calm().await;
        assert_eq!(stage.ledger().await.current, Some(v(2)));
        let calls = stage.target.lock().calls.clone();
        let two: Vec<&String> = calls.iter().filter(|call| call.contains("_v2_")).take(3).collect();
        assert!(
            two[0].starts_with("install") && two[1].starts_with("find") && two[2].starts_with("install"),
            "{two:?}"
        );
    }
}

#[tokio::test]
async fn a_target_that_is_away_loses_nothing_and_is_shown() {
    let mut stage = Stage::settled().await;
    for verb in ["install", "probe", "lift", "usage", "revoke", "clean-up"] {
        stage.target.fail(verb, &[Fault::Away; 4]);
    }
    stage.rotate().await;
    for _ in 0..8 {
        stage.step().await;
    }
    assert!(stage.report().await.troubles.iter().any(|it| it.contains("nobody there")));
    stage.until_calm().await;
    assert_eq!(stage.ledger().await.current, Some(v(2)));
}

#[tokio::test]
async fn every_other_answer_may_be_lost() {
    let mut stage = Stage::settled().await;
    for verb in ["install", "find", "probe", "lift", "usage", "revoke", "clean-up"] {
        stage.target.fail(verb, &[Fault::AnswerLost, Fault::CallLost, Fault::AnswerLost]);
    }
    stage.rotate().await;
    stage.until_calm().await;
    assert_eq!(stage.ledger().await.current, Some(v(2)));
}

#[tokio::test]
async fn a_refused_probe_is_undone_and_nobody_saw_the_version() {
    let mut stage = Stage::settled().await;
    stage.target.fail("probe", &[Fault::Refused]);
    let order = stage.ledger().await.order;
    stage.rotate().await;
    stage.until_calm().await;
    let ledger = stage.ledger().await;
    assert_eq!((ledger.current, ledger.order), (Some(v(1)), order));
    assert_eq!(ledger.rotation.unwrap().phase, Phase::Abandoned);
}

#[tokio::test]
async fn an_ending_that_is_refused_is_stuck_alarms_and_goes_on() {
    let mut stage = Stage::settled().await;
    stage.target.fail("revoke", &[Fault::Refused; 4]);
    stage.rotate().await;
    stage.until("Stuck", |l| l.rotation.as_ref().is_some_and(|r| r.phase == Phase::StuckRetiring)).await;
    assert!(stage.report().await.alarms.iter().any(|alarm| alarm.kind == rekey_rotation::AlarmKind::Stuck));
    stage.until_calm().await;
    assert_eq!(stage.phase().await, Some(Phase::Done));
}

#[tokio::test]
async fn a_controller_that_ends_after_any_commit_goes_on_where_it_was() {
    for after in 1..=12 {
        let mut stage = Stage::settled().await;
        let begun = stage.seq().await;
        stage.rotate().await;
        for _ in 0..400 {
            if stage.seq().await >= begun + after {
                break;
            }
            stage.step().await;
        }
        stage.crash().await;
        stage.start();
        stage.until_calm().await;
        assert_eq!(stage.ledger().await.current, Some(v(2)), "after {after} commits");
    }
}

#[tokio::test]
async fn a_controller_that_ends_inside_any_call_goes_on_where_it_was() {
    for verb in ["install", "probe", "lift", "usage", "revoke", "clean-up"] {
        let mut stage = Stage::settled().await;
        stage.target.fail(verb, &[Fault::Hangs]);
        stage.rotate().await;
        for _ in 0..200 {
            stage.step().await;
        }
        stage.crash().await;
        stage.start();
        stage.until_calm().await;
        assert_eq!(stage.ledger().await.current, Some(v(2)), "inside {verb}");
    }
}

#[tokio::test]
async fn a_target_that_does_not_tell_its_sessions_is_not_taken_for_quiet() {
    let mut stage = Stage::settled().await;
    let old = stage.target.accepted().remove(0);
    stage.target.lock().roles.get_mut(&old).unwrap().sessions = 1;
    stage.target.fail("usage", &[Fault::Away; 1_000]);
    stage.rotate().await;
    for _ in 0..400 {
        stage.step().await;
    }
    assert_eq!(stage.phase().await, Some(Phase::Grace));
    assert_eq!(stage.report().await.waiting_for, ["a look at the target's sessions"]);
}

#[tokio::test]
async fn an_install_that_an_emergency_overtakes_is_given_up_and_lands_no_more() {
    let mut stage = Stage::settled().await;
    stage.target.fail("install", &[Fault::Late]);
    stage.rotate().await;
    stage.until("Chosen", |l| l.rotation.as_ref().is_some_and(|r| r.phase == Phase::Chosen)).await;
    for _ in 0..5 {
        stage.step().await;
    }
    stage.target.lock().emergency = true;
    let id: EmergencyId = random::id();
    let event =
        Event::Revoke { id, version: None, reason: "leak".to_owned(), by: "t".to_owned(), replace: true };
    stage.commit(event).await.unwrap();
    stage.until("cut", |ledger| ledger.emergencies[0].cut.is_some()).await;
    stage.target.let_land();
    stage.until_calm().await;
    assert_eq!(stage.ledger().await.current, Some(v(3)));
}

#[tokio::test]
async fn an_emergency_while_an_install_hangs_is_cut_when_it_can_no_longer_land() {
    let mut stage = Stage::settled().await;
    stage.target.fail("install", &[Fault::Hangs]);
    stage.rotate().await;
    stage.until("Chosen", |l| l.rotation.as_ref().is_some_and(|r| r.phase == Phase::Chosen)).await;
    stage.step().await;
    stage.target.lock().emergency = true;
    let id: EmergencyId = random::id();
    let event =
        Event::Revoke { id, version: None, reason: "leak".to_owned(), by: "t".to_owned(), replace: true };
    stage.commit(event).await.unwrap();
    let intent = stage.ledger().await.emergencies[0].intent;
    stage.until("cut", |ledger| ledger.emergencies[0].cut.is_some()).await;
    let cut = stage.ledger().await.emergencies[0].cut.unwrap();
    assert!(cut.at_least_since(intent) >= std::time::Duration::from_millis(200), "settled first");
    stage.until_calm().await;
    assert_eq!(stage.ledger().await.current, Some(v(3)));
}

#[tokio::test]
async fn an_emergency_does_not_wait_for_a_slow_look_at_another_credential() {
    let mut stage = Stage::settled().await;
    let second = stage.second().await;
    stage.target.lock().emergency = true;
    stage.target.fail("revoke", &[Fault::Away; 1_000]);
    let event = Event::Revoke {
        id: random::id(),
        version: None,
        reason: "leak".to_owned(),
        by: "t".to_owned(),
        replace: false,
    };
    stage.executor().commit(&second, event, crate::audit::Actor::controller()).await.unwrap();
    let tried = |stage: &Stage| {
        let calls = stage.target.lock().calls.clone();
        calls.iter().filter(|call| call.starts_with("revoke second_app")).count()
    };
    stage.mute_all(false);
    stage.rotate().await;
    stage.until("Rolling", |l| l.rotation.as_ref().is_some_and(|r| r.phase == Phase::Rolling)).await;
    let before = tried(&stage);
    stage.mute_all(true);
    // From here on the look at the first credential, which has an edge to take, waits for its turn to write.
    stage.speak().await;
    let busy = stage.busy_store().await;
    for _ in 0..6_000 {
        if tried(&stage) > before + 1 {
            break;
        }
        stage.clock.advance(std::time::Duration::from_millis(100));
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(tried(&stage) > before + 1, "the cut is tried again and again");
    drop(busy);
}
