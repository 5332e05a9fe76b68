//! The errors that a design of this kind invites, each a test; the numbers only tell them apart.

use std::time::Duration;

use rekey_model::{Order, Version};

use super::world::{ALONE, FLOOR, LEASE, SETTLE, World, at, ending_refused, v};
use crate::*;

fn rollback() -> Event {
    Event::Rollback { reason: "slow".to_owned() }
}

#[test]
fn e01_an_acknowledgement_of_a_version_is_not_evidence_only_its_order_is() {
    let mut world = World::settled();
    let of_v1 = world.holders[0].acked;
    world.make_next();
    world.all_ack();
    world.look();
    world.ok(&rollback());
    world.holders[0].acked = of_v1;
    world.ack(1);
    world.wait(FLOOR + 1);
    world.show_quiet();
    world.look();
    assert_eq!(world.phase(), Some(Phase::Returning), "an acknowledgement of v1 from before v2 says nothing");
    world.ack(0);
    world.retire();
    assert_eq!(world.phase(), Some(Phase::Undoing));
}

#[test]
fn e02_an_empty_set_of_holders_agrees_to_nothing() {
    let mut world = World::in_phase(Phase::Grace);
    world.holders.clear();
    world.wait(10 * FLOOR);
    world.show_quiet();
    world.look();
    assert_eq!(world.phase(), Some(Phase::Grace));
    assert!(world.ledger.alarms(&world.facts()).iter().any(|alarm| alarm.kind == AlarmKind::NoLiveHolder));
    world.ok(&Event::NoHolders { reason: "test".to_owned() });
    assert_eq!(world.phase(), Some(Phase::Retiring), "a person may say so");
}

#[test]
fn e02_nobody_who_never_was_need_agree_unless_a_login_was_adopted() {
    let mut world = World::empty();
    world.holders.clear();
    world.make_next();
    assert_eq!(world.phase(), None, "nobody ever had it");
    let mut adopted = World::empty();
    adopted.holders.clear();
    adopted.policy.adopts = true;
    adopted.ok(&Event::Adopt { handle: "legacy".parse().unwrap(), version: None });
    adopted.make_next();
    adopted.look();
    assert_eq!(adopted.phase(), Some(Phase::Rolling), "the adopted login has users that nobody counts");
}

#[test]
fn e03_the_absence_of_the_controller_is_not_the_silence_of_the_holders() {
    let mut world = World::in_phase(Phase::Rolling);
    world.now += 10 * (LEASE + ALONE);
    world.listening_since = world.now;
    assert_eq!(world.facts().counting().count(), 2, "everybody gets a full lease after a start");
    world.now += LEASE + 100;
    assert_eq!(world.facts().counting().count(), 0);
}

#[test]
fn e04_a_holder_counts_until_the_least_time_that_can_have_passed_is_over() {
    let world = World::in_phase(Phase::Rolling);
    let mut facts = world.facts();
    facts.now.wall_ms += 86_400_000;
    assert_eq!(facts.live().count(), 2, "the wall clock jumped, the time since boot did not");
}

#[test]
fn e04_a_silent_holder_counts_as_long_as_it_may_serve_alone() {
    let mut world = World::in_phase(Phase::Rolling);
    world.now += LEASE + 100;
    assert_eq!((world.facts().live().count(), world.facts().counting().count()), (0, 2));
    world.holders.iter_mut().for_each(|holder| holder.alone = None);
    world.now += 100 * ALONE;
    assert_eq!(world.facts().counting().count(), 2, "without a bound only a person discounts it");
}

#[test]
fn e04_a_holder_keeps_the_lease_that_it_was_promised() {
    let mut world = World::in_phase(Phase::Rolling);
    world.policy.lease = Duration::from_millis(1);
    world.now += LEASE - 100;
    assert_eq!(world.facts().live().count(), 2, "leases are shorter from now on, not from then");
}

#[test]
fn e04_a_shortened_bound_is_an_order_and_counts_for_those_who_acknowledged_it() {
    let mut world = World::settled();
    let before = world.ledger.order;
    world.look();
    assert_eq!(world.ledger.order, before, "nothing was changed");
    world.policy.offline_for = Some(Duration::from_millis(LEASE));
    world.look();
    assert_eq!(world.ledger.order, before.next());
    world.look();
    assert_eq!(world.ledger.order, before.next(), "it is changed once");
    world.ack(0);
    world.go_by_bounds();
    let last_heard = world.now;
    world.now = last_heard + LEASE + 100;
    let counting = |world: &World| world.facts().counting().map(|it| it.name.clone()).collect::<Vec<_>>();
    assert_eq!(counting(&world), ["b"], "the other may still serve by the bound that it has");
    assert!(!world.ledger.all_acked(&world.facts()));
    world.now = last_heard + ALONE + 100;
    assert_eq!(counting(&world), [""; 0]);
}

#[test]
fn e04_a_bound_is_forgotten_when_no_holder_can_go_by_it() {
    let mut world = World::settled();
    for ms in (1..=20).rev() {
        world.policy.offline_for = Some(Duration::from_secs(ms));
        world.look();
    }
    world.go_by_bounds();
    assert!(world.ledger.alone.len() <= 8, "{:?}", world.ledger.alone);
    let longest = Some(Duration::from_secs(20));
    assert!(world.holders.iter().all(|it| it.alone == longest), "none has heard of any: {:?}", world.holders);
    world.ack(0);
    world.look();
    assert!(world.ledger.alone.len() > 1, "one has not heard of it");
    world.ack(1);
    world.look();
    assert_eq!(world.ledger.alone.len(), 1);
    world.go_by_bounds();
    assert!(world.holders.iter().all(|it| it.alone == Some(Duration::from_secs(1))), "{:?}", world.holders);
}

#[test]
fn e06_a_return_needs_the_whole_guard() {
    let mut world = World::in_phase(Phase::Returning);
    world.all_ack();
    world.look();
    assert_eq!(world.phase(), Some(Phase::Returning), "the floor");
    world.wait(FLOOR + 1);
    world.look();
    assert_eq!(world.phase(), Some(Phase::Returning), "nobody looked at the target");
    world.show_quiet();
    world.look();
    assert_eq!(world.phase(), Some(Phase::Undoing));
}

#[test]
fn e07_a_replacement_does_not_wait_behind_a_stuck_clean_up() {
    let mut world = World::in_phase(Phase::StuckRetiring);
    let revoke = world.revoke(Some(2));
    world.ok(&revoke);
    let due = world.ledger.due(&world.facts());
    assert!(due.contains(&Step::Choose { version: v(3) }), "{due:?}");
    assert!(due.contains(&Step::End { version: v(1), emergency: false }), "the old ending goes on: {due:?}");
}

#[test]
fn e08_nothing_returns_to_a_version_that_was_cut() {
    for phase in [Phase::Rolling, Phase::Grace] {
        let mut world = World::in_phase(phase);
        let revoke = world.revoke(Some(1));
        world.ok(&revoke);
        assert!(matches!(world.try_event(&rollback()), Err(OutOfOrder::NoWayBack { .. })));
        world.ok(&Event::Failed { order: world.ledger.order, why: "nack".to_owned() });
        assert_eq!(world.ledger.current, Some(v(2)));
        assert!(world.ledger.alarms(&world.facts()).iter().any(|it| it.kind == AlarmKind::ForwardOnly));
    }
}

#[test]
fn e09_an_emergency_on_a_pending_version_closes_its_rotation_and_is_cut_when_no_install_can_land() {
    let mut world = World::in_phase(Phase::Chosen);
    let revoke = world.revoke(Some(2));
    world.ok(&revoke);
    assert_eq!(world.ledger.rotation.as_ref().unwrap().phase, Phase::Abandoned);
    let late = Event::Installed { version: v(2), attempt: 0, handle: None };
    assert!(world.try_event(&late).is_err(), "the late answer changes nothing");
    world.ok(&world.ended(2));
    assert_eq!(world.ledger.emergencies[0].cut, None, "a call may still land");
    let asked = at(world.now);
    world.wait(SETTLE + 100);
    world.ok(&Event::Ended { version: v(2), asked, sessions: 0 });
    assert_eq!(world.ledger.emergencies[0].cut, None, "what was seen before it settled proves nothing");
    world.ok(&world.ended(2));
    assert!(world.ledger.emergencies[0].cut.is_some());
}

#[test]
fn e10_an_emergency_on_current_falls_back_to_a_living_sibling() {
    let mut world = World::in_phase(Phase::Grace);
    let revoke = world.revoke(Some(2));
    world.ok(&revoke);
    assert_eq!((world.ledger.current, world.ledger.owed), (Some(v(1)), true));
    let mut all = World::in_phase(Phase::Grace);
    let revoke = all.revoke(None);
    all.ok(&revoke);
    assert_eq!((all.ledger.current, all.ledger.owed), (None, true));
}

#[test]
fn e11_what_is_undone_while_its_call_is_out_ends_only_when_that_has_settled() {
    let mut world = World::in_phase(Phase::Chosen);
    world.ok(&super::world::refused(2));
    world.ok(&super::world::refused(2));
    world.ok(&world.ended(2));
    assert_eq!(world.phase(), Some(Phase::Undoing));
    assert_eq!(world.ledger.due(&world.facts()), [], "nothing is due before a call can have landed");
    world.wait(SETTLE + 100);
    assert_eq!(world.ledger.due(&world.facts()), [Step::End { version: v(2), emergency: false }]);
    world.ok(&world.ended(2));
    assert_eq!(world.phase(), None);
}

#[test]
fn e12_a_lost_answer_is_looked_into_only_after_it_has_settled() {
    let mut world = World::in_phase(Phase::Chosen);
    world.ok(&Event::Lost { version: v(2), attempt: 0, why: "line".to_owned() });
    assert_eq!(world.ledger.due(&world.facts()), []);
    world.wait(SETTLE + 100);
    assert_eq!(world.ledger.due(&world.facts()), [Step::Install { version: v(2), look_first: true }]);
    assert_eq!(world.phase(), Some(Phase::Chosen), "a lost answer is neither success nor failure");
}

#[test]
fn e14_who_is_gone_for_good_does_not_come_back_by_a_late_acknowledgement() {
    let mut world = World::in_phase(Phase::Rolling);
    world.ack(1);
    world.holders[0].gone = Some(at(world.now));
    world.holders[0].acked = Some(Acked { order: world.ledger.order, at: at(world.now) });
    world.holders[0].last_contact = at(world.now);
    assert_eq!(world.facts().live().count(), 1);
}

#[test]
fn e15_a_hello_acknowledges_nothing() {
    let mut world = World::in_phase(Phase::Grace);
    world.join("back again");
    world.wait(10 * FLOOR);
    world.show_quiet();
    world.look();
    assert_eq!(world.phase(), Some(Phase::Grace), "it blocks the guard until it acknowledges");
}

#[test]
fn e16_a_hold_and_a_rollback_are_seen_by_the_guard_that_acts() {
    let mut world = World::in_phase(Phase::Grace);
    world.all_ack();
    world.wait(FLOOR + 1);
    world.show_quiet();
    world.ok(&Event::Hold { reason: "freeze".to_owned(), by: "test".to_owned() });
    world.look();
    assert_eq!(world.phase(), Some(Phase::Grace));
    world.ok(&Event::Release);
    world.ok(&rollback());
    world.look();
    assert_eq!(world.phase(), Some(Phase::Returning));
}

#[test]
fn e16_from_the_first_retire_on_there_is_no_way_back() {
    for phase in [Phase::Retiring, Phase::Undoing, Phase::StuckRetiring, Phase::StuckUndoing] {
        let mut world = World::in_phase(phase);
        assert!(world.try_event(&rollback()).is_err(), "{phase:?}");
        let failed = Event::Failed { order: world.ledger.order, why: String::new() };
        assert!(world.try_event(&failed).is_err(), "{phase:?}");
    }
}

#[test]
fn e18_no_version_is_promoted_before_the_target_was_seen_to_accept_it_without_end() {
    let mut world = World::in_phase(Phase::Installed);
    world.probed();
    world.look();
    assert_eq!(world.phase(), Some(Phase::Proven));
    assert_eq!(world.ledger.due(&world.facts()), [Step::Lift { version: v(2) }]);
    world.lifted();
    assert_eq!(world.phase(), Some(Phase::Rolling));
}

#[test]
fn e18_a_lost_install_that_may_still_land_makes_a_lifted_expiry_unbelievable() {
    let mut world = World::in_phase(Phase::Chosen);
    world.ok(&Event::Resumed);
    world.installed();
    world.probed();
    assert!(world.try_event(&Event::Lifted { version: v(2), attempt: 0 }).is_err());
    world.wait(SETTLE + 100);
    world.lifted();
    assert_eq!(world.phase(), Some(Phase::Rolling));
}

#[test]
fn e20_a_hold_stops_decisions_and_not_the_completion_of_an_ending() {
    let mut world = World::in_phase(Phase::Retiring);
    world.ok(&Event::Hold { reason: "freeze".to_owned(), by: "test".to_owned() });
    assert_eq!(world.ledger.due(&world.facts()), [Step::End { version: v(1), emergency: false }]);
    world.ok(&world.ended(1));
    assert_eq!(world.ledger.rotation.as_ref().unwrap().phase, Phase::Done);
}

#[test]
fn e23_an_ending_of_a_lease_restarts_the_floor() {
    let mut world = World::in_phase(Phase::Rolling);
    world.ack(1);
    world.holders[0].last_contact = at(world.now);
    world.now += ALONE;
    world.holders[1].last_contact = at(world.now);
    world.look();
    assert_eq!(world.phase(), Some(Phase::Rolling));
    world.wait(20);
    world.look();
    assert_eq!(world.phase(), Some(Phase::Grace), "it may serve no more");
    world.show_quiet();
    let unmet = world.ledger.unmet(v(1), v(2), &world.facts());
    assert!(
        unmet.iter().any(|it| matches!(it, Unmet::Floor { .. })),
        "its applications may go on: {unmet:?}"
    );
}

#[test]
fn an_older_failure_changes_nothing() {
    let mut world = World::in_phase(Phase::Rolling);
    let older = Event::Failed { order: Order(world.ledger.order.0 - 1), why: "nack".to_owned() };
    assert!(world.try_event(&older).is_err());
    assert_eq!(world.phase(), Some(Phase::Rolling));
}

#[test]
fn a_second_begin_names_the_open_rotation_and_the_same_request_begins_nothing() {
    let mut world = World::settled();
    let asked = |id: u128, request: &str| Event::Begin {
        rotation: rekey_model::RotationId::from_bits(id),
        why: Why::Asked { reason: String::new(), by: String::new(), request: request.to_owned() },
    };
    world.ok(&asked(7, "r1"));
    world.ok(&asked(8, "r1"));
    let id = world.ledger.open_rotation().unwrap().id;
    assert_eq!(id, rekey_model::RotationId::from_bits(7));
    assert_eq!(world.try_event(&asked(9, "r2")), Err(OutOfOrder::Open { id, phase: Phase::Planned }));
}

#[test]
fn an_ending_is_never_dropped_however_often_the_target_refuses() {
    let mut world = World::in_phase(Phase::Retiring);
    for _ in 0..1_000 {
        world.ledger = world.ledger.after(&ending_refused(1), &world.facts()).unwrap();
    }
    assert_eq!(world.phase(), Some(Phase::StuckRetiring));
    assert_eq!(world.ledger.due(&world.facts()), [Step::End { version: v(1), emergency: false }]);
}

#[test]
fn a_version_number_and_a_name_are_never_used_again() {
    let mut world = World::in_phase(Phase::Abandoned);
    world.begin();
    let again = |version: Version, handle: &str| Event::Choose {
        rotation: world.ledger.open_rotation().unwrap().id,
        version,
        handle: handle.parse().unwrap(),
        baseline: None,
    };
    let (number, name) = (again(v(2), "new"), again(v(3), "app_v2"));
    let good = again(v(3), "new");
    assert!(world.try_event(&number).is_err());
    assert!(world.try_event(&name).is_err());
    world.ok(&good);
}
