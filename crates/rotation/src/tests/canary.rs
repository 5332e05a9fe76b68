//! One holder has the new version before all others: who, for how long, and what follows from how it does.

use std::time::Duration;

use super::properties::was_used;
use super::world::{ALONE, FLOOR, KNOWN, LEASE, TRIAL, World, at, v};
use crate::*;

/// v2 is tried by the holder "a"; "b" stays with v1.
fn trying() -> World {
    let mut world = World::in_phase(Phase::Canary);
    world.all_ack();
    world.look();
    assert_eq!(world.phase(), Some(Phase::Canary), "an acknowledgement alone says nothing");
    world
}

fn served(world: &World) -> Vec<Option<u64>> {
    let served = world.holders.iter().map(|holder| world.ledger.served_by(holder.instance));
    served.map(|version| version.map(rekey_model::Version::get)).collect()
}

fn canary(world: &World) -> &Canary {
    world.ledger.rotation.as_ref().unwrap().canary.as_ref().unwrap()
}

fn waits(world: &World) -> String {
    world.ledger.waiting_for(&world.facts()).join("; ")
}

#[test]
fn one_holder_has_the_new_version_and_after_enough_good_uses_everybody() {
    let mut world = trying();
    assert_eq!((world.ledger.current, served(&world)), (Some(v(1)), vec![Some(2), Some(1)]));
    assert_eq!(waits(&world), "10 uses behind a, which has it first (0 so far), for 4s");
    world.tries(9, 9);
    world.look();
    assert_eq!(world.phase(), Some(Phase::Canary), "one use is missing");
    assert_eq!(waits(&world), "10 uses behind a, which has it first (9 so far), for 4s");
    let order = world.ledger.order;
    world.wait(1_000);
    world.tries(10, 10);
    world.look();
    assert_eq!((world.phase(), served(&world)), (Some(Phase::Rolling), vec![Some(2), Some(2)]));
    assert_eq!(canary(&world).passed.as_deref(), Some("10 of 10 uses were good"));
    assert!(world.ledger.order > order && world.ledger.canary().is_none());
    world.all_ack();
    world.look();
    let rotation = world.ledger.rotation.as_ref().unwrap();
    assert_eq!(rotation.propagation(), Some(Duration::ZERO), "from the promotion on, not from the canary on");
}

#[test]
fn uses_before_the_acknowledgement_decide_nothing_for_everybody() {
    let mut world = World::in_phase(Phase::Canary);
    world.tries(10, 10);
    world.ack(1);
    world.look();
    assert_eq!(world.phase(), Some(Phase::Canary), "b is not asked");
    assert_eq!(waits(&world), "the acknowledgement of a");
    world.ack(0);
    world.look();
    assert_eq!(world.phase(), Some(Phase::Rolling));
}

#[test]
fn a_canary_that_is_hardly_used_passes_with_its_time_if_nobody_was_refused() {
    let mut world = trying();
    world.tries(3, 3);
    world.wait(3_990);
    world.look();
    assert_eq!(world.phase(), Some(Phase::Canary));
    assert_eq!(world.ledger.look_again(&world.facts()), Duration::from_millis(10), "then it is looked at");
    world.wait(10);
    world.look();
    assert_eq!(world.phase(), Some(Phase::Rolling));
    assert_eq!(canary(&world).passed.as_deref(), Some("none of 3 uses was refused within 4s"));
    let mut world = trying();
    world.tries(2, 3);
    world.look();
    assert_eq!(world.phase(), Some(Phase::Canary), "three are too few to judge by");
    world.wait(4_000);
    world.look();
    let rotation = world.ledger.rotation.as_ref().unwrap();
    assert_eq!(rotation.phase, Phase::Returning);
    let why = "2 of 3 uses behind the canary were good within 4s, and 10 were asked for";
    assert_eq!(
        (rotation.last_error.as_deref(), &rotation.canary.as_ref().unwrap().passed),
        (Some(why), &None)
    );
}

/// The three ways back, each with the others never having seen what is left.
#[test]
fn what_fails_behind_the_canary_is_left_again_and_nobody_else_ever_had_it() {
    let failed = |w: &World| Event::Failed { order: w.ledger.order, why: "nack".to_owned() };
    let ways: [fn(&mut World, Event); 3] = [
        |w, _| {
            w.tries(9, 10);
            w.look();
        },
        |w, failed| w.ok(&failed),
        |w, _| w.ok(&Event::Rollback { reason: String::new() }),
    ];
    for way in ways {
        let mut world = trying();
        let (order, event) = (world.ledger.order, failed(&world));
        way(&mut world, event);
        assert_eq!((world.phase(), world.ledger.current), (Some(Phase::Returning), Some(v(1))));
        assert_eq!(served(&world), [Some(1), Some(1)]);
        assert!(world.ledger.order > order, "the canary is told");
        // The guard, as for any version that is left.
        world.ack(1);
        world.wait(FLOOR + 1);
        world.show_quiet();
        world.look();
        assert_eq!(world.phase(), Some(Phase::Returning), "the canary has not said that it went back");
        world.retire();
        assert_eq!(world.phase(), Some(Phase::Undoing));
        assert!(was_used(&world.ledger, v(2)) && world.ledger.endings[&v(2)].cause == Cause::Undo);
        world.ok(&world.ended(2));
        let rotation = world.ledger.rotation.as_ref().unwrap();
        assert!(rotation.phase == Phase::Abandoned && rotation.failed && rotation.promoted.is_none());
    }
}

#[test]
fn the_declared_holder_goes_first_and_without_one_the_first_live_by_name() {
    let first = |prepare: fn(&mut World)| {
        let mut world = World::settled();
        world.policy.canary = Some(TRIAL);
        prepare(&mut world);
        world.make_next();
        assert_eq!(world.phase(), Some(Phase::Canary));
        canary(&world).name.clone()
    };
    assert_eq!(first(|_| {}), "a");
    assert_eq!(first(|w| w.holders.reverse()), "a");
    assert_eq!(first(|w| w.holders[1].tries_first = true), "b");
    assert_eq!(first(|w| w.holders[0].gone = Some(at(w.now))), "b");
    let declared_and_away = |w: &mut World| {
        (w.holders[1].tries_first, w.holders[1].gone) = (true, Some(at(w.now)));
    };
    assert_eq!(first(declared_and_away), "a");
}

#[test]
fn when_the_lease_of_the_canary_ends_another_takes_its_place_and_with_nobody_left_everybody_is_told() {
    let mut world = trying();
    let order = world.ledger.order;
    world.holders[0].last_contact = at(world.now - LEASE - 100);
    world.look();
    assert_eq!((world.phase(), canary(&world).name.as_str()), (Some(Phase::Canary), "b"));
    assert_eq!(served(&world), [Some(1), Some(2)], "whoever had it goes back");
    assert!(world.ledger.order > order);
    world.holders[1].last_contact = at(world.now - LEASE - 100);
    world.look();
    assert_eq!(world.phase(), Some(Phase::Rolling));
    assert_eq!(canary(&world).passed.as_deref(), Some("no sidecar was connected to try it"));
    let alarms = world.ledger.alarms(&world.facts());
    assert!(alarms.iter().any(|alarm| alarm.kind == AlarmKind::NoLiveHolder), "{alarms:?}");
}

#[test]
fn with_nobody_there_to_try_it_everybody_is_told_and_status_can_say_so() {
    let mut world = World::settled();
    world.policy.canary = Some(TRIAL);
    world.now += 10 * (LEASE + ALONE);
    world.make_next();
    assert_eq!(world.phase(), Some(Phase::Rolling));
    let canary = canary(&world);
    assert_eq!((canary.holder, canary.passed.is_some()), (None, true));
}

#[test]
fn a_hold_stops_all_but_the_way_back() {
    let hold = Event::Hold { reason: "freeze".to_owned(), by: "test".to_owned() };
    let mut world = trying();
    world.ok(&hold);
    world.tries(10, 10);
    world.look();
    assert_eq!((world.phase(), waits(&world)), (Some(Phase::Canary), "held: freeze".to_owned()));
    let mut away = world.clone();
    away.holders[0].gone = Some(at(away.now));
    away.look();
    assert_eq!(canary(&away).name, "a", "nobody else gets it either");
    away.ok(&Event::Release);
    assert_eq!(canary(&away).name, "b");
    let mut bad = world.clone();
    bad.tries(1, 10);
    bad.look();
    assert_eq!(bad.phase(), Some(Phase::Returning));
    world.ok(&Event::Release);
    assert_eq!(world.phase(), Some(Phase::Rolling));
    // And nobody begins to try anything while held.
    let mut world = World::settled();
    world.policy.canary = Some(TRIAL);
    world.begin();
    world.choose();
    world.installed();
    world.ok(&hold);
    world.probed();
    world.lifted();
    assert_eq!(world.phase(), Some(Phase::Proven));
}

#[test]
fn an_emergency_leaves_what_lives_to_everybody() {
    let after = |version: Option<u64>| {
        let mut world = trying();
        let event = world.revoke(version);
        world.ok(&event);
        world
    };
    let cut_next = after(Some(2));
    let ledger = &cut_next.ledger;
    assert_eq!((ledger.current, ledger.owed, cut_next.phase()), (Some(v(1)), false, None));
    assert_eq!(served(&cut_next), [Some(1), Some(1)]);
    let mut cut_old = after(Some(1));
    let open = cut_old.ledger.open_rotation().unwrap();
    assert_eq!((open.phase, open.old, cut_old.ledger.owed), (Phase::Rolling, None, false));
    assert_eq!((cut_old.ledger.current, served(&cut_old)), (Some(v(2)), vec![Some(2), Some(2)]));
    assert!(cut_old.try_event(&Event::Rollback { reason: String::new() }).is_err(), "that is dead");
    assert!(cut_old.ledger.emergencies[0].fenced.is_none(), "holders have to say that they moved");
    cut_old.all_ack();
    cut_old.look();
    assert_eq!(cut_old.ledger.rotation.as_ref().unwrap().phase, Phase::Done);
    assert!(cut_old.ledger.emergencies[0].fenced.is_some());
    let both = after(None);
    assert_eq!((both.ledger.current, both.ledger.owed, both.phase()), (None, true, None));
    assert_eq!(served(&both), [None, None]);
}

#[test]
fn the_version_before_it_is_cut_while_held_and_everybody_moves_all_the_same() {
    let mut world = trying();
    world.ok(&Event::Hold { reason: "freeze".to_owned(), by: "test".to_owned() });
    let event = world.revoke(Some(1));
    world.ok(&event);
    assert_eq!((world.ledger.current, world.phase()), (Some(v(2)), Some(Phase::Rolling)));
}

#[test]
fn nobody_tries_first_where_nobody_could_stay_behind() {
    // The first version.
    let mut world = World::empty();
    world.policy.canary = Some(TRIAL);
    world.make_next();
    assert_eq!(world.phase(), Some(Phase::Rolling));
    // The replacement of one that was cut.
    let mut world = World::settled();
    world.policy.canary = Some(TRIAL);
    let event = world.revoke(None);
    world.ok(&event);
    world.choose();
    world.installed();
    world.probed();
    world.lifted();
    assert_eq!((world.phase(), world.ledger.current), (Some(Phase::Rolling), Some(v(2))));
    // Where the new value has killed the old one.
    let mut world = World::single_in(Phase::Installed, KNOWN);
    world.policy.canary = Some(TRIAL);
    world.probed();
    assert_eq!(world.phase(), Some(Phase::Rolling));
    // Where somebody else has.
    let mut world = World::settled();
    (world.policy.making, world.policy.canary) = (Making::Followed, Some(TRIAL));
    world.make_next();
    assert_eq!(world.phase(), Some(Phase::Rolling));
}

#[test]
fn what_somebody_handed_in_is_tried_first_too() {
    let mut world = World::settled();
    (world.policy.making, world.policy.canary) = (Making::Given, Some(TRIAL));
    world.make_next();
    assert_eq!((world.phase(), served(&world)), (Some(Phase::Canary), vec![Some(2), Some(1)]));
}

#[test]
fn what_is_declared_no_more_is_not_waited_for() {
    let mut world = trying();
    world.policy.canary = None;
    world.look();
    assert_eq!(world.phase(), Some(Phase::Rolling));
}

#[test]
fn whoever_has_it_is_tried_at_the_target_and_a_canary_that_hangs_alarms() {
    let mut world = trying();
    let due = world.ledger.due(&world.facts());
    assert!(due.contains(&Step::Try { version: v(2) }), "{due:?}");
    world.ok(&Event::Hold { reason: "freeze".to_owned(), by: "test".to_owned() });
    let overdue = |world: &World| {
        world.ledger.alarms(&world.facts()).iter().any(|alarm| alarm.kind == AlarmKind::GraceOverdue)
    };
    world.wait(61_000);
    assert!(!overdue(&world), "its own time is added");
    world.wait(4_000);
    assert!(overdue(&world));
}

#[test]
fn a_rotation_that_was_stored_before_there_were_canaries_reads() {
    let world = World::in_phase(Phase::Rolling);
    let mut json = serde_json::to_value(&world.ledger).unwrap();
    json["rotation"].as_object_mut().unwrap().remove("canary").unwrap();
    assert_eq!(serde_json::from_value::<Ledger>(json).unwrap(), world.ledger);
}
