//! The life of a rotation, from end to end.

use std::time::Duration;

use rekey_model::Version;
use rekey_rotation::{EmergencyId, Event, Phase};
use rekey_runtime::random;

use super::driver::Fault;
use super::stage::Stage;
use crate::executor::Reconciling;
use crate::policy::Policy;
use crate::{alarms, metrics};

fn v(number: u64) -> Version {
    Version::new(number).unwrap()
}

fn revoke() -> Event {
    let id: EmergencyId = random::id();
    Event::Revoke { id, version: None, reason: "leaked".to_owned(), by: "test".to_owned(), replace: true }
}

#[tokio::test]
async fn a_rotation_goes_from_planned_to_done_and_leaves_one_login() {
    let mut stage = Stage::settled().await;
    stage.rotate().await;
    stage.until("Done", |ledger| ledger.current == Some(v(2)) && ledger.open_rotation().is_none()).await;
    stage.until_calm().await;
    let ledger = stage.ledger().await;
    assert_eq!(ledger.rotation.as_ref().unwrap().phase, Phase::Done);
    assert!(ledger.rotation.unwrap().propagation().is_some());
    assert_eq!(stage.target.accepted().len(), 1);
}

#[tokio::test]
async fn consumers_get_the_fields_that_are_made_of_others() {
    let stage = Stage::settled().await;
    let seen = stage.executor().see(&"orders/db".parse().unwrap()).await.unwrap().unwrap();
    let fields = stage.executor().fields(seen.id, v(1)).await.unwrap();
    let text = |name: &str| String::from_utf8(fields.get(name).unwrap().expose().to_vec()).unwrap();
    assert_eq!(text("login"), format!("{}/{}", text("username"), text("password")));
}

#[tokio::test]
async fn a_rotation_waits_while_a_session_uses_the_old_version_and_shows_it() {
    let mut stage = Stage::settled().await;
    let old = stage.target.accepted().remove(0);
    stage.target.lock().roles.get_mut(&old).unwrap().sessions = 2;
    stage.rotate().await;
    stage.until("Grace", |l| l.rotation.as_ref().is_some_and(|r| r.phase == Phase::Grace)).await;
    for _ in 0..100 {
        stage.step().await;
    }
    let report = stage.report().await;
    assert_eq!(report.sessions, Some((v(1), 2)));
    assert_eq!(report.waiting_for, ["2 sessions on the old version at the target"]);
    stage.target.lock().roles.get_mut(&old).unwrap().sessions = 0;
    stage.until_calm().await;
}

#[tokio::test]
async fn a_hold_stops_before_promotion_and_a_release_goes_on() {
    let mut stage = Stage::settled().await;
    stage.rotate().await;
    stage.commit(Event::Hold { reason: "freeze".to_owned(), by: "test".to_owned() }).await.unwrap();
    for _ in 0..60 {
        stage.step().await;
    }
    assert_eq!(stage.ledger().await.current, Some(v(1)));
    stage.commit(Event::Release).await.unwrap();
    stage.until_calm().await;
    assert_eq!(stage.ledger().await.current, Some(v(2)));
}

#[tokio::test]
async fn a_rollback_in_grace_ends_with_the_old_version_and_without_the_new() {
    let mut stage = Stage::settled().await;
    stage.rotate().await;
    stage.until("Grace", |l| l.rotation.as_ref().is_some_and(|r| r.phase == Phase::Grace)).await;
    stage.commit(Event::Rollback { reason: "slow".to_owned() }).await.unwrap();
    stage.until_calm().await;
    let ledger = stage.ledger().await;
    assert_eq!((ledger.current, ledger.rotation.unwrap().phase), (Some(v(1)), Phase::Abandoned));
}

#[tokio::test]
async fn a_session_that_comes_at_the_last_moment_is_waited_for_and_not_cut() {
    let mut stage = Stage::settled().await;
    let old = stage.target.accepted().remove(0);
    // Somebody logs in after the last look and before the target refuses the login.
    stage.target.fail("revoke", &[Fault::Away; 3]);
    stage.rotate().await;
    stage.until("Retiring", |l| l.rotation.as_ref().is_some_and(|r| r.phase == Phase::Retiring)).await;
    stage.target.lock().roles.get_mut(&old).unwrap().sessions = 2;
    for _ in 0..300 {
        stage.step().await;
    }
    assert_eq!(stage.target.lock().roles[&old].sessions, 2);
    assert!(!stage.target.lock().roles[&old].accepted, "but it takes no login any more");
    let report = stage.report().await;
    assert_eq!(report.sessions, Some((v(1), 2)));
    assert!(report.waiting_for[0].starts_with("the end of 2 sessions on v1"), "{:?}", report.waiting_for);
    stage.target.lock().roles.get_mut(&old).unwrap().sessions = 0;
    stage.until_calm().await;
    let ledger = stage.ledger().await;
    assert_eq!((ledger.current, ledger.version(v(1)).unwrap().sessions_ended), (Some(v(2)), 0));
}

#[tokio::test]
async fn a_person_may_cut_the_sessions_that_an_ending_waits_for() {
    let mut stage = Stage::settled().await;
    let old = stage.target.accepted().remove(0);
    stage.target.fail("revoke", &[Fault::Away; 3]);
    stage.rotate().await;
    stage.until("Retiring", |l| l.rotation.as_ref().is_some_and(|r| r.phase == Phase::Retiring)).await;
    stage.target.lock().roles.get_mut(&old).unwrap().sessions = 2;
    stage.target.lock().emergency = true;
    let mut event = revoke();
    if let Event::Revoke { version, .. } = &mut event {
        *version = Some(v(1));
    }
    stage.commit(event).await.unwrap();
    stage.until_calm().await;
    let ledger = stage.ledger().await;
    assert_eq!((ledger.current, ledger.version(v(1)).unwrap().sessions_ended), (Some(v(2)), 2));
}

#[tokio::test]
async fn a_password_that_somebody_else_changed_is_told_and_not_overwritten() {
    let mut stage = Stage::settled().await;
    let role = stage.target.accepted().remove(0);
    let ours = stage.target.lock().roles[&role].secret.clone();
    let failing = |report: &crate::executor::Report| {
        report.alarms.iter().any(|alarm| alarm.kind == rekey_rotation::AlarmKind::CurrentFails)
    };
    stage.target.lock().roles.get_mut(&role).unwrap().secret = b"changed by hand".to_vec();
    stage.leap(crate::executor::VERIFY).await;
    stage.until_report("an alarm", failing).await;
    let alarm = stage.report().await.alarms.remove(0);
    assert!(alarm.message.contains("v1 does not work: login refused"), "{alarm:?}");
    assert_eq!(stage.target.lock().roles[&role].secret, b"changed by hand");
    stage.target.lock().roles.get_mut(&role).unwrap().secret = ours;
    stage.leap(Duration::from_mins(1)).await;
    stage.until_report("no alarm any more", |report| !failing(report)).await;
}

/// The kinds of alarms that tell of something that somebody else did.
fn drift(report: &crate::executor::Report) -> Vec<&'static str> {
    use rekey_rotation::AlarmKind as K;
    let kinds = report.alarms.iter().map(|alarm| alarm.kind);
    kinds
        .filter(|kind| matches!(kind, K::Missing | K::Stranger | K::CurrentFails | K::RightsMissing))
        .map(rekey_rotation::AlarmKind::as_str)
        .collect()
}

#[tokio::test]
async fn what_somebody_else_removed_shut_added_or_revived_is_told_and_not_overwritten() {
    let mut stage = Stage::settled().await;
    let role = stage.target.accepted().remove(0);
    stage.leap(crate::executor::VERIFY).await;
    stage.target.lock().roles.entry("orders_app_v9_byhand".to_owned()).or_default().accepted = true;
    stage.until_report("a stranger", |report| drift(report) == ["stranger"]).await;
    assert!(stage.report().await.alarms[0].message.contains("orders_app_v9_byhand"));
    stage.target.lock().roles.remove("orders_app_v9_byhand");
    stage.target.lock().roles.get_mut(&role).unwrap().accepted = false;
    stage.served_is_refused();
    stage.leap(Duration::from_mins(1)).await;
    stage.until_report("it is shut", |report| drift(report) == ["missing"]).await;
    assert!(stage.report().await.alarms[0].message.contains("is shut at the target"));
    let lost = stage.target.lock().roles.remove(&role).unwrap();
    stage.leap(Duration::from_mins(1)).await;
    let gone =
        |report: &crate::executor::Report| report.alarms.iter().any(|it| it.message.contains("is gone from"));
    stage.until_report("it is gone", gone).await;
    assert!(!stage.target.lock().roles.contains_key(&role), "nothing was made in its place");
    stage.target.lock().roles.insert(role, crate::executor::tests::driver::Role { accepted: true, ..lost });
    stage.leap(Duration::from_mins(1)).await;
    stage.until_report("all is well", |report| drift(report).is_empty()).await;
}

#[tokio::test]
async fn a_right_that_is_lost_later_is_told() {
    let mut stage = Stage::settled().await;
    stage.target.lock().lacks = true;
    stage.leap(crate::executor::VERIFY).await;
    stage.until_report("an alarm", |report| drift(report) == ["rights_missing"]).await;
    stage.target.lock().lacks = false;
    stage.leap(Duration::from_mins(1)).await;
    stage.until_report("no alarm any more", |report| drift(report).is_empty()).await;
}

#[tokio::test]
async fn an_emergency_cuts_fences_and_replaces() {
    let mut stage = Stage::settled().await;
    let old = stage.target.accepted().remove(0);
    stage.target.lock().roles.get_mut(&old).unwrap().sessions = 3;
    stage.target.lock().emergency = true;
    stage.commit(revoke()).await.unwrap();
    stage
        .until("finished", |ledger| ledger.emergencies.iter().all(rekey_rotation::Emergency::is_finished))
        .await;
    stage.until_calm().await;
    let ledger = stage.ledger().await;
    assert_eq!(ledger.current, Some(v(2)));
    assert_eq!(ledger.version(v(1)).unwrap().sessions_ended, 3);
    let emergency = &ledger.emergencies[0];
    assert_eq!((emergency.replacement, emergency.holders.len()), (Some(v(2)), 3));
    assert!(emergency.holders.values().all(|holder| holder.fenced.is_some()));
}

#[tokio::test]
async fn a_silent_holder_stops_the_rotation_until_it_may_no_longer_serve() {
    let mut stage = Stage::settled().await;
    stage.mute(0, false);
    stage.rotate().await;
    stage.until("Rolling", |l| l.rotation.as_ref().is_some_and(|r| r.phase == Phase::Rolling)).await;
    for _ in 0..300 {
        stage.step().await;
    }
    assert_eq!(
        stage.phase().await,
        Some(Phase::Rolling),
        "3 s: its lease is over, its right to serve is not"
    );
    stage.target.lock().served.remove(&0);
    stage.until_calm().await;
    assert_eq!(stage.ledger().await.current, Some(v(2)));
}

#[tokio::test]
async fn a_holder_that_has_not_heard_of_a_shorter_bound_counts_by_the_one_it_has() {
    let mut stage = Stage::settled().await;
    stage.mute(0, false);
    let order = stage.ledger().await.order;
    stage.declare_bound("10ms").await;
    stage.until("an order of its own", |ledger| ledger.order == order.next()).await;
    stage.rotate().await;
    stage.until("Rolling", |l| l.rotation.as_ref().is_some_and(|r| r.phase == Phase::Rolling)).await;
    for _ in 0..250 {
        stage.step().await;
    }
    assert_eq!(stage.phase().await, Some(Phase::Rolling), "2.5 s: it may serve for 5 s, as it was told");
    stage.target.lock().served.remove(&0);
    stage.until_calm().await;
    assert_eq!(stage.ledger().await.current, Some(v(2)));
}

#[tokio::test]
async fn a_lease_that_was_granted_is_kept_by_a_controller_that_grants_shorter_ones() {
    let mut stage = Stage::settled().await;
    stage.crash().await;
    stage.lease = Duration::from_millis(100);
    stage.mute(0, false);
    stage.start();
    for _ in 0..50 {
        stage.step().await;
    }
    let holders = stage.report().await.holders;
    assert!(holders.iter().all(|holder| holder.live), "0.5 s of 2 s have passed: {holders:?}");
}

#[tokio::test]
async fn a_refusal_by_one_holder_sends_all_back_as_soon_as_it_is_written_down() {
    let mut stage = Stage::settled().await;
    stage.mute(0, false);
    stage.rotate().await;
    stage.until("Rolling", |l| l.rotation.as_ref().is_some_and(|r| r.phase == Phase::Rolling)).await;
    stage.nack(0, "no such field").await;
    // The clock stands still: it is the row that is heard of.
    for _ in 0..30_000 {
        if stage.phase().await == Some(Phase::Returning) {
            let why = stage.ledger().await.rotation.and_then(|rotation| rotation.last_error).unwrap();
            assert!(why.contains("no such field"), "{why}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("nobody heard of it");
}

#[tokio::test]
async fn two_concurrent_rotates_begin_one_rotation_and_the_other_is_told() {
    let stage = Stage::settled().await;
    let begin = || Event::Begin {
        rotation: random::id(),
        why: rekey_rotation::Why::Asked { reason: String::new(), by: "x".to_owned(), request: String::new() },
    };
    let (one, two) = tokio::join!(stage.commit(begin()), stage.commit(begin()));
    let refused = match (one, two) {
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
        other => panic!("{other:?}"),
    };
    assert!(refused.to_string().contains("is open"), "{refused}");
}

#[tokio::test]
async fn a_new_life_says_that_it_goes_on_only_when_what_was_left_is_taken_up() {
    let mut stage = Stage::settled().await;
    stage.rotate().await;
    stage.crash().await;
    let busy = stage.busy_store().await;
    stage.start();
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    assert!(!stage.has_resumed(), "nothing can be taken up yet: somebody else writes");
    busy.rollback().await.unwrap();
    for _ in 0..1_000 {
        if stage.has_resumed() {
            return;
        }
        stage.step().await;
    }
    panic!("never resumed");
}

#[tokio::test]
async fn the_figures_count_every_alarm_that_status_shows() {
    let stage = Stage::settled().await;
    stage.commit(Event::Hold { reason: "freeze".to_owned(), by: "test".to_owned() }).await.unwrap();
    let waits = Reconciling {
        because: "test".to_owned(),
        heard: 0,
        silent: Vec::new(),
        silence_left: Duration::ZERO,
        settle_left: Duration::ZERO,
        hurried: false,
    };
    let ground = alarms::Ground {
        executor: stage.executor().clone(),
        store: stage.store.clone(),
        policy: Policy::default(),
        clock: stage.clock.clone(),
    };
    let mut standing = ground.look().await.unwrap();
    assert!(alarms::of_credential(&standing.reports[0]).iter().any(|notice| notice.kind == "held"));
    let of_controller = alarms::of_controller(Some(&waits), &[], (&[], stage.clock.now()));
    standing.notices.extend(of_controller.into_iter().map(|notice| (None, notice)));
    let page = metrics::page(&standing, &[], stage.clock.now(), 0);
    for line in [
        "rekey_alarms{credential=\"orders/db\",alarm=\"held\"} 1",
        "rekey_alarms{credential=\"\",alarm=\"reconciling\"} 1",
        "rekey_rotation_failed{credential=\"orders/db\"} 0",
        "rekey_credential_uses{credential=\"orders/db\",outcome=\"refused\"} 0",
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }
}
