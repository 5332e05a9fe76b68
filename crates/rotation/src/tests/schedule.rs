//! When rotations begin by themselves.

use std::collections::BTreeSet;
use std::time::Duration;

use super::world::{World, at, v};
use crate::*;

const DAY: u64 = 86_400_000;

fn scheduled(seed: u64) -> World {
    let mut world = World::settled();
    let (every, jitter) = (Duration::from_millis(30 * DAY), Duration::from_millis(2 * DAY));
    world.policy.schedule = Some(Schedule { every, jitter, seed });
    world
}

#[test]
fn a_version_that_is_too_old_is_rotated_within_the_jitter_after_its_age() {
    let mut moments = BTreeSet::new();
    for seed in 0..50 {
        let mut world = scheduled(seed);
        let begun = world.now;
        let due = world.ledger.next_rotation_ms(&world.facts()).unwrap().unsigned_abs();
        assert!((30 * DAY..=32 * DAY).contains(&(due - begun)));
        assert_eq!(
            world.ledger.next_rotation_ms(&world.facts()).unwrap().unsigned_abs(),
            due,
            "twice the same"
        );
        world.now = due - 1;
        assert_eq!(world.ledger.due(&world.facts()), []);
        assert_eq!(world.ledger.look_again(&world.facts()), Duration::from_millis(10));
        world.now = due;
        assert_eq!(world.ledger.due(&world.facts()), [Step::Begin { why: Why::TooOld }]);
        moments.insert(due - begun);
    }
    assert!(moments.len() > 45, "credentials do not rotate together");
}

#[test]
fn what_falls_due_while_a_rotation_is_open_or_held_waits() {
    let mut world = scheduled(1);
    world.now += 33 * DAY;
    world.ok(&Event::Hold { reason: "freeze".to_owned(), by: "test".to_owned() });
    assert_eq!(world.ledger.due(&world.facts()), []);
    world.ok(&Event::Release);
    world.begin();
    world.now += 33 * DAY;
    assert_eq!(world.ledger.due(&world.facts()), [Step::Choose { version: v(2) }]);
}

#[test]
fn after_a_failure_nothing_begins_by_itself_for_ten_minutes() {
    let mut world = World::in_phase(Phase::Abandoned);
    world.policy.schedule = scheduled(1).policy.schedule;
    world.now += 33 * DAY;
    world.ledger.rotation.as_mut().unwrap().ended = Some(at(world.now));
    world.ledger.endings.clear();
    world.now += 599_000;
    assert_eq!(world.ledger.due(&world.facts()), []);
    world.now += 1_000;
    assert_eq!(world.ledger.due(&world.facts()), [Step::Begin { why: Why::TooOld }]);
}

#[test]
fn a_new_credential_gets_its_first_version_and_one_to_adopt_waits_for_its_password() {
    let mut world = World::empty();
    assert_eq!(world.ledger.due(&world.facts()), [Step::Begin { why: Why::First }]);
    world.policy.adopts = true;
    assert_eq!(world.ledger.due(&world.facts()), []);
    let begin = world.beginning();
    assert_eq!(world.try_event(&begin), Err(OutOfOrder::NotAdopted));
    world.ok(&Event::Adopt { handle: "legacy".parse().unwrap(), version: None });
    assert_eq!(world.ledger.current, Some(v(1)));
    assert!(world.ledger.alarms(&world.facts()).iter().any(|it| it.kind == AlarmKind::AdoptedAlive));
}

#[test]
fn an_overdue_grace_alarms_and_ends_nothing() {
    let mut world = World::in_phase(Phase::Grace);
    world.wait(60_001);
    world.look();
    assert_eq!(world.phase(), Some(Phase::Grace));
    let alarms = world.ledger.alarms(&world.facts());
    let overdue = alarms.iter().find(|it| it.kind == AlarmKind::GraceOverdue).unwrap();
    assert!(overdue.message.contains("a look at the target's sessions"), "{}", overdue.message);
}

#[test]
fn a_deleted_credential_ends_or_leaves_its_login_and_is_forgotten() {
    for (at_target, due) in [(AtTarget::End, 1), (AtTarget::Leave, 0)] {
        let mut world = World::settled();
        let order = world.ledger.order;
        world.ok(&Event::Delete { at_target });
        assert!(world.ledger.order > order && world.ledger.current.is_none());
        assert_eq!(world.ledger.due(&world.facts()).len(), due);
        if due > 0 {
            world.ok(&world.ended(1));
            world.ok(&Event::CleanedUp { version: v(1) });
        }
        assert!(world.ledger.is_forgettable());
        let begin = world.beginning();
        assert_eq!(world.try_event(&begin), Err(OutOfOrder::Deleted));
    }
    let mut open = World::in_phase(Phase::Grace);
    assert!(matches!(
        open.try_event(&Event::Delete { at_target: AtTarget::End }),
        Err(OutOfOrder::Open { .. })
    ));
}

#[test]
fn the_current_version_is_tried_now_and_then_while_nothing_is_open() {
    let mut world = World::settled();
    world.policy.verify_every = Duration::from_mins(1);
    let verify = |world: &World| world.ledger.due(&world.facts()).contains(&Step::Verify { version: v(1) });
    assert!(!verify(&world), "it was proven just now");
    assert!(world.ledger.look_again(&world.facts()) <= Duration::from_mins(1));
    world.wait(60_000);
    assert!(verify(&world));
    world.listening_since = world.now - 5_000;
    world.policy.verify_after = Duration::from_secs(6);
    assert!(!verify(&world), "not everything at once after a start");
    world.wait(1_000);
    assert!(verify(&world));
    world.mode = Mode::ReconcileOnly;
    assert!(!verify(&world));
    world.mode = Mode::Normal;
    world.begin();
    assert!(!verify(&world), "a rotation proves for itself");
}

#[test]
fn nothing_begins_while_another_credential_comes_first_but_a_replacement_does() {
    const GATE: &str = "its pair orders/b rotates (Grace)";
    let mut world = scheduled(1);
    world.now += 33 * DAY;
    assert_eq!(world.ledger.due(&world.facts()), [Step::Begin { why: Why::TooOld }]);
    world.gate = Some(GATE);
    assert_eq!(world.ledger.due(&world.facts()), []);
    assert_eq!(world.ledger.waiting_for(&world.facts()), [GATE]);
    assert!(world.ledger.look_again(&world.facts()) >= Duration::from_secs(10), "time alone opens no gate");
    let begin = world.beginning();
    assert_eq!(world.try_event(&begin), Err(OutOfOrder::Gated { why: GATE.to_owned() }), "nor by hand");
    let mut cut = world.clone();
    let revoke = cut.revoke(None);
    cut.ok(&revoke);
    assert!(
        cut.ledger.due(&cut.facts()).contains(&Step::Choose { version: v(2) }),
        "a person's emergency waits for nobody"
    );
    cut.choose();
    assert_eq!(cut.phase(), Some(Phase::Chosen));
    world.gate = None;
    world.ok(&begin);
    world.gate = Some(GATE);
    world.choose();
    assert_eq!(world.phase(), Some(Phase::Chosen), "what has begun goes on");
    let mut late = scheduled(1);
    late.policy.schedule.as_mut().unwrap().jitter = Duration::ZERO;
    late.gate = Some(GATE);
    let late_for = |world: &World| -> Vec<String> {
        let alarms = world.ledger.alarms(&world.facts()).into_iter();
        alarms.filter(|alarm| alarm.kind == AlarmKind::Gated).map(|alarm| alarm.message).collect()
    };
    late.now += 30 * DAY;
    assert_eq!(late_for(&late), [""; 0], "not late by much");
    late.wait(u64::try_from(late.policy.deadline.as_millis()).unwrap() + 1);
    assert_eq!(late_for(&late), [format!("overdue, no rotation begins: {GATE}")]);
    late.gate = None;
    assert_eq!(late_for(&late), [""; 0]);
    let mut young = World::settled();
    young.gate = Some(GATE);
    assert_eq!(young.ledger.waiting_for(&young.facts()), [""; 0], "nothing is due that would wait");
}

#[test]
fn nothing_begins_before_the_target_was_checked_but_a_replacement_does() {
    let mut world = World::settled();
    let since = at(world.now);
    let unchecked = Unchecked { since, why: "nobody listens".to_owned() };
    world.ledger = world.ledger.clone().declared(Some(unchecked));
    assert!(world.ledger.due(&world.facts()).contains(&Step::Check { since }));
    let begin = world.beginning();
    assert!(matches!(world.try_event(&begin), Err(OutOfOrder::Unchecked { .. })));
    let waits = world.ledger.waiting_for(&world.facts());
    assert_eq!(waits, ["its target to be checked: nobody listens"]);
    assert!(world.ledger.alarms(&world.facts()).iter().any(|alarm| alarm.kind == AlarmKind::Unchecked));
    world.ok(&Event::Retry);
    world.wait(1);
    let later = at(world.now);
    world.ok(&Event::Checked { since: later });
    assert!(world.ledger.unchecked.is_some(), "that was about another declaration");
    let mut cut = world.clone();
    let revoke = cut.revoke(None);
    cut.ok(&revoke);
    let due = cut.ledger.due(&cut.facts());
    assert!(due.iter().any(|step| matches!(step, Step::Choose { .. })), "{due:?}");
    world.ok(&Event::Checked { since });
    assert_eq!(world.ledger.unchecked, None);
    let begin = world.beginning();
    world.ok(&begin);
}
