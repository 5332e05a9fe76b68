//! Who makes the secret, against everything that can go wrong with the call that makes it: no second live value, no
//! orphan, nothing lost, and a working value for the consumer all the time.

use std::time::Duration;

use rekey_drivers::Class;
use rekey_model::Version;
use rekey_rotation::{AlarmKind, Event, Phase};
use rekey_runtime::random;

use super::driver::{Fault, Rules, WAIT};
use super::stage::Stage;

const A: Class = Class::A;
const B: Class = Class::B { token: Duration::from_hours(1), expires: None };
const C: Class = Class::C;
const D: Class = Class::D { expires: Duration::from_secs(3) };
/// A token that is forgotten before any call can be repeated; then as class C, or as class D.
const B_AS_C: Class = Class::B { token: Duration::from_millis(1), expires: None };
const B_AS_D: Class = Class::B { token: Duration::from_millis(1), expires: Some(Duration::from_secs(3)) };

/// What a cell comes to: the version that is current in the end, and how many secrets the target has made for it and
/// all that came before, where it makes them.
type Cell = (u64, u32);

/// Rows: what goes wrong with the call that makes v2. Columns: A, B, C, D, a B that is late and lists, and one that does
/// not.
const TABLE: [(Fault, [Cell; 6]); 10] = [
    (Fault::AnswerLost, [(2, 0), (2, 2), (3, 3), (3, 3), (3, 3), (3, 3)]),
    (Fault::CallLost, [(2, 0), (2, 2), (3, 2), (3, 2), (3, 2), (3, 2)]),
    (Fault::Later, [(2, 0), (2, 2), (3, 3), (3, 3), (3, 3), (3, 3)]),
    (Fault::Twice, [(2, 0), (2, 2), (3, 4), (2, 3), (2, 2), (2, 2)]),
    (Fault::Odd, [(2, 0), (2, 2), (3, 3), (3, 3), (3, 3), (3, 3)]),
    (Fault::Hangs, [(2, 0), (2, 2), (3, 2), (3, 2), (3, 2), (3, 2)]),
    (Fault::Away, [(2, 0), (2, 2), (2, 2), (2, 2), (2, 2), (2, 2)]),
    (Fault::Wait, [(2, 0), (2, 2), (2, 2), (2, 2), (2, 2), (2, 2)]),
    (Fault::Refused, [(2, 0), (2, 2), (2, 2), (2, 2), (2, 2), (2, 2)]),
    // Nobody is given what does not work.
    (Fault::Lie, [(1, 0), (1, 1), (1, 1), (1, 1), (1, 1), (1, 1)]),
];

fn rules(class: Class) -> Rules {
    Rules { class, ..Rules::default() }
}

fn v(number: u64) -> Version {
    Version::new(number).unwrap()
}

/// One cell: a rotation to v2 whose making goes wrong once. Every step of the stage asserts that what holders serve is
/// accepted; being calm asserts that one value is left at the target.
async fn cell(class: Class, fault: Fault) -> Cell {
    let mut stage = Stage::settled_with(rules(class)).await;
    stage.target.fail("install", &[fault]);
    stage.rotate().await;
    if fault == Fault::Hangs {
        stage.until("Chosen", |l| l.rotation.as_ref().is_some_and(|r| r.phase == Phase::Chosen)).await;
        for _ in 0..20 {
            stage.step().await;
        }
        stage.crash().await;
        stage.start();
    }
    let begun = stage.clock.elapsed();
    if fault == Fault::Twice && matches!(class, Class::D { .. }) {
        // Nobody can know of the other one: it is there until it expires.
        stage.until("v2", |l| l.current == Some(v(2)) && l.open_rotation().is_none()).await;
        while stage.target.accepted().len() > 1 {
            stage.step().await;
        }
    }
    stage.until_calm().await;
    assert!(stage.target.lock().faults["install"].is_empty(), "it did go wrong");
    if fault == Fault::Wait {
        assert!(stage.clock.elapsed() >= begun + WAIT, "the target's wish is honoured");
    }
    let ledger = stage.ledger().await;
    let handle = ledger.version(ledger.current.unwrap()).unwrap().handle.to_string();
    assert_eq!(stage.target.accepted(), [handle]);
    assert!(ledger.endings.is_empty() && ledger.fenced.is_empty());
    let made = stage.target.lock().made;
    (ledger.current.unwrap().get(), made)
}

#[tokio::test]
async fn whatever_goes_wrong_one_value_is_left_and_it_works() {
    for (fault, cells) in TABLE {
        for (class, expected) in [A, B, C, D, B_AS_C, B_AS_D].into_iter().zip(cells) {
            assert_eq!(cell(class, fault).await, expected, "{class:?}, {fault:?}");
        }
    }
}

#[tokio::test]
async fn a_call_that_makes_a_secret_is_made_once_for_each_name() {
    for class in [C, D] {
        let mut stage = Stage::settled_with(rules(class)).await;
        stage.target.fail("install", &[Fault::AnswerLost, Fault::Later]);
        stage.rotate().await;
        stage.until_calm().await;
        let calls = stage.target.lock().calls.clone();
        let mut installs: Vec<&String> = calls.iter().filter(|call| call.starts_with("install")).collect();
        let all = installs.len();
        installs.sort();
        installs.dedup();
        assert_eq!((installs.len(), all), (4, 4), "{calls:?}");
    }
}

#[tokio::test]
async fn answers_that_are_always_lost_leave_what_worked_and_nothing_else() {
    for class in [C, D] {
        let mut stage = Stage::settled_with(rules(class)).await;
        stage.target.fail("install", &[Fault::AnswerLost; 12]);
        stage.rotate().await;
        stage.until_calm().await;
        let ledger = stage.ledger().await;
        assert_eq!(ledger.current, Some(v(1)), "{class:?}");
        let rotation = ledger.rotation.unwrap();
        assert_eq!(rotation.phase, Phase::Abandoned);
        assert_eq!(rotation.last_error.unwrap(), "the answer was lost: the line broke");
        assert_eq!(stage.target.lock().made, 4, "v1, and as many as refusals are borne");
    }
}

#[tokio::test]
async fn a_controller_that_ends_after_any_commit_leaves_no_orphan() {
    for class in [B, C, D] {
        for after in 1..=6 {
            let mut stage = Stage::settled_with(rules(class)).await;
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
            assert!(stage.ledger().await.current > Some(v(1)), "{class:?} after {after} commits");
        }
    }
}

#[tokio::test]
async fn what_may_be_somebody_elses_stays_is_told_and_goes_on_when_it_is_declared() {
    for by_hand in [true, false] {
        let mut stage = Stage::settled_with(Rules { exclusive: false, ..rules(C) }).await;
        stage.target.fail("install", &[Fault::AnswerLost]);
        stage.rotate().await;
        let stuck = |it: &crate::executor::Report| it.alarms.iter().any(|it| it.kind == AlarmKind::Stuck);
        stage.until_report("Stuck", stuck).await;
        for _ in 0..300 {
            stage.step().await;
        }
        let report = stage.report().await;
        let alarm = report.alarms.iter().find(|alarm| alarm.kind == AlarmKind::Stuck).unwrap();
        assert!(alarm.message.contains("key2 may be somebody else's"), "{alarm:?}");
        assert_eq!(report.ledger.open_rotation().unwrap().phase, Phase::Planned, "nothing is undone");
        assert_eq!(stage.target.accepted(), ["key1", "key2"], "nothing is deleted, and nothing made");
        if by_hand {
            stage.target.lock().roles.remove("key2");
        } else {
            stage.target.lock().rules.exclusive = true;
        }
        stage.until_calm().await;
        assert_eq!(
            (stage.ledger().await.current, stage.target.accepted()),
            (Some(v(3)), vec!["key3".to_owned()])
        );
    }
}

#[tokio::test]
async fn an_emergency_while_a_secret_is_being_made_is_cut_when_nothing_of_it_is_left() {
    for fault in [Fault::Hangs, Fault::Later] {
        let mut stage = Stage::settled_with(rules(C)).await;
        stage.target.fail("install", &[fault]);
        stage.rotate().await;
        let sent =
            |stage: &Stage| stage.target.lock().calls.iter().filter(|it| it.starts_with("install")).count();
        while sent(&stage) < 2 {
            stage.step().await;
        }
        stage.target.lock().emergency = true;
        let event = Event::Revoke {
            id: random::id(),
            version: None,
            reason: "leak".to_owned(),
            by: "t".to_owned(),
            replace: true,
        };
        stage.commit(event).await.unwrap();
        stage.until("cut", |ledger| ledger.emergencies[0].cut.is_some()).await;
        assert!(!stage.target.accepted().contains(&"key1".to_owned()));
        let intent = stage.ledger().await.emergencies[0].intent;
        let cut = stage.ledger().await.emergencies[0].cut.unwrap();
        assert!(cut.at_least_since(intent) >= Duration::from_millis(200), "settled first: {fault:?}");
        stage.until_calm().await;
        assert!(stage.ledger().await.current.is_some());
    }
}

#[tokio::test]
async fn with_two_slots_there_is_never_a_third_value_and_a_replacement_waits_for_one() {
    let two = Rules { slots: Some(2), ..rules(C) };
    let mut stage = Stage::settled_with(two.clone()).await;
    stage.target.fail("install", &[Fault::AnswerLost]);
    stage.target.fail("clean-up", &[Fault::Away; 4]);
    stage.rotate().await;
    stage.until_calm().await;
    assert_eq!(stage.ledger().await.current, Some(v(3)));
    // Both slots are being ended at once.
    stage.rotate().await;
    stage.until("Grace", |l| l.rotation.as_ref().is_some_and(|r| r.phase == Phase::Grace)).await;
    stage.target.lock().emergency = true;
    stage.target.fail("clean-up", &[Fault::Away; 2]);
    let event = Event::Revoke {
        id: random::id(),
        version: None,
        reason: "leak".to_owned(),
        by: "t".to_owned(),
        replace: true,
    };
    stage.commit(event).await.unwrap();
    stage.until_calm().await;
    let refused = stage.ledger().await.rotation.unwrap().refusals;
    assert_eq!((refused, stage.ledger().await.current), (0, Some(v(5))), "it never asked for a third");
}

#[tokio::test]
async fn a_slot_that_somebody_else_has_is_named() {
    let mut stage = Stage::settled_with(Rules { slots: Some(2), ..rules(C) }).await;
    stage.target.lock().roles.insert("by-hand".to_owned(), super::driver::Role::default());
    stage.rotate().await;
    stage.until("Abandoned", |l| l.rotation.as_ref().is_some_and(|r| r.phase == Phase::Abandoned)).await;
    let why = stage.ledger().await.rotation.unwrap().last_error.unwrap();
    assert!(why.contains("both slots are taken, by by-hand and key1"), "{why}");
    assert!(stage.target.lock().roles.contains_key("by-hand"));
}
