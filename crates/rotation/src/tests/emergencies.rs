//! What an emergency does to an open rotation: its phase × (next | old | both).

use super::world::{ALONE, LEASE, World, v};
use crate::*;

/// What is left: current version, whether a replacement is owed, the phase.
type Left = (Option<u64>, bool, Phase);

fn revoke(phase: Phase, version: Option<u64>) -> World {
    let mut world = World::in_phase(phase);
    let event = world.revoke(version);
    world.ok(&event);
    world
}

fn left(phase: Phase, version: Option<u64>) -> Left {
    let ledger = revoke(phase, version).ledger;
    (ledger.current.map(rekey_model::Version::get), ledger.owed, ledger.rotation.unwrap().phase)
}

#[test]
fn before_promotion_next_closes_old_makes_it_the_replacement_and_both_close() {
    for phase in [Phase::Chosen, Phase::Installed, Phase::Proven] {
        assert_eq!(left(phase, Some(2)), (Some(1), false, Phase::Abandoned));
        assert_eq!(left(phase, Some(1)), (None, true, phase));
        assert_eq!(left(phase, None), (None, true, Phase::Abandoned));
    }
    assert_eq!(left(Phase::Planned, Some(1)), (None, true, Phase::Planned));
}

#[test]
fn while_both_live_the_other_one_carries_on() {
    for phase in [Phase::Rolling, Phase::Grace] {
        assert_eq!(left(phase, Some(2)), (Some(1), true, Phase::Abandoned));
        assert_eq!(left(phase, Some(1)), (Some(2), false, phase));
        assert_eq!(left(phase, None), (None, true, Phase::Abandoned));
    }
    assert_eq!(left(Phase::Returning, Some(2)), (Some(1), false, Phase::Abandoned));
    assert_eq!(left(Phase::Returning, Some(1)), (Some(2), true, Phase::Abandoned));
    assert_eq!(left(Phase::Returning, None), (None, true, Phase::Abandoned));
}

#[test]
fn while_one_is_being_ended_the_rotation_closes() {
    for phase in [Phase::Retiring, Phase::StuckRetiring] {
        assert_eq!(left(phase, Some(2)), (None, true, Phase::Done));
        assert_eq!(left(phase, Some(1)), (Some(2), false, Phase::Done));
        assert_eq!(left(phase, None), (None, true, Phase::Done));
    }
    for phase in [Phase::Undoing, Phase::StuckUndoing] {
        assert_eq!(left(phase, Some(2)), (Some(1), false, Phase::Abandoned));
        assert_eq!(left(phase, Some(1)), (None, true, Phase::Abandoned));
        assert_eq!(left(phase, None), (None, true, Phase::Abandoned));
    }
}

#[test]
fn no_phase_drops_an_ending() {
    for phase in Phase::ALL {
        for version in [Some(1), Some(2), None] {
            let before = World::in_phase(phase);
            if version == Some(2) && !before.ledger.versions.contains_key(&v(2)) {
                continue;
            }
            let mut world = before.clone();
            let event = world.revoke(version);
            if world.try_event(&event).is_ok() {
                let kept = before.ledger.endings.keys().all(|it| world.ledger.endings.contains_key(it));
                assert!(kept, "{phase:?} {version:?}");
                for version in &world.ledger.fenced {
                    let never_there = world.ledger.version(*version).unwrap().ended.is_some();
                    assert!(never_there || world.ledger.endings.contains_key(version), "{phase:?} {version}");
                }
            }
        }
    }
}

#[test]
fn a_rotation_that_became_the_replacement_goes_on_though_held_and_without_a_grace() {
    let mut world = revoke(Phase::Proven, Some(1));
    world.ok(&Event::Hold { reason: "freeze".to_owned(), by: "test".to_owned() });
    world.lifted();
    assert_eq!((world.ledger.current, world.ledger.owed), (Some(v(2)), false));
    world.all_ack();
    world.look();
    assert_eq!(world.ledger.rotation.as_ref().unwrap().phase, Phase::Done);
    assert_eq!(world.ledger.emergencies[0].replacement, Some(v(2)));
    assert!(world.ledger.emergencies[0].delivered.is_some());
}

#[test]
fn an_emergency_on_the_replacement_keeps_it_owed() {
    let mut world = revoke(Phase::Grace, None);
    world.choose();
    world.installed();
    let event = world.revoke(Some(3));
    world.ok(&event);
    assert!(world.ledger.owed && world.ledger.open_rotation().is_none());
    assert!(world.ledger.due(&world.facts()).contains(&Step::Choose { version: v(4) }), "at once");
}

#[test]
fn the_same_revocation_again_joins_the_first() {
    let mut world = revoke(Phase::Grace, Some(2));
    let before = world.ledger.clone();
    let again = world.revoke(Some(2));
    world.ok(&again);
    assert_eq!(world.ledger, before);
    assert_eq!(world.ledger.emergency_on(Some(v(2))).unwrap().id, before.emergencies[0].id);
}

#[test]
fn a_request_that_is_repeated_does_not_cut_its_own_replacement() {
    let mut world = World::settled();
    let event = world.revoke(None);
    world.ok(&event);
    let id = rekey_model::RotationId::from_bits(77);
    world.ok(&Event::Choose {
        rotation: id,
        version: v(2),
        handle: "app_v2_x".parse().unwrap(),
        baseline: None,
    });
    let before = world.ledger.clone();
    world.ok(&event);
    assert_eq!(world.ledger, before);
    let another = world.revoke(None);
    world.ok(&another);
    assert!(world.ledger.fenced.contains(&v(2)), "another command means what there is now");
}

#[test]
fn without_a_replacement_nothing_begins_until_somebody_asks() {
    let mut world = World::settled();
    let Event::Revoke { id, version, reason, by, .. } = world.revoke(None) else { unreachable!() };
    world.ok(&Event::Revoke { id, version, reason, by, replace: false });
    assert_eq!(world.ledger.due(&world.facts()), [Step::End { version: v(1), emergency: true }]);
    world.ok(&world.ended(1));
    world.ok(&Event::CleanedUp { version: v(1) });
    world.now += 86_400_000;
    assert_eq!(world.ledger.due(&world.facts()), []);
    world.begin();
    assert_eq!(world.phase(), Some(Phase::Planned));
}

#[test]
fn an_emergency_works_while_reconciling_and_only_the_replacement_waits() {
    let mut world = World::settled();
    world.mode = Mode::ReconcileOnly;
    let event = world.revoke(None);
    world.ok(&event);
    assert_eq!(world.ledger.due(&world.facts()), [Step::End { version: v(1), emergency: true }]);
    world.ok(&world.ended(1));
    assert!(world.ledger.emergencies[0].cut.is_some());
    assert!(world.ledger.alarms(&world.facts()).iter().any(|it| it.kind == AlarmKind::ReplacementWaits));
}

#[test]
fn the_receipt_names_who_was_fenced_and_who_was_not_reached() {
    let mut world = World::settled();
    let event = world.revoke(None);
    world.ok(&event);
    assert!(world.ledger.emergencies[0].fenced.is_none());
    world.ack(0);
    world.now += 5;
    world.look();
    assert!(world.ledger.emergencies[0].fenced.is_none(), "b is live and has not said so");
    world.now += LEASE + 100;
    world.holders[0].last_contact = super::world::at(world.now);
    world.look();
    let emergency = &world.ledger.emergencies[0];
    assert!(emergency.fenced.is_some());
    let reached: Vec<bool> = emergency.holders.values().map(|holder| holder.fenced.is_some()).collect();
    assert_eq!(reached, [true, false]);
    assert!(world.ledger.alarms(&world.facts()).iter().any(|it| it.message.ends_with(": b")));
}

#[test]
fn a_replacement_is_delivered_when_somebody_live_has_it_and_not_before() {
    let mut world = World::settled();
    let event = world.revoke(None);
    world.ok(&event);
    world.now += LEASE + ALONE + 1_000;
    world.look();
    world.choose();
    world.installed();
    world.probed();
    world.lifted();
    let emergency = &world.ledger.emergencies[0];
    assert!(emergency.replaced.is_some());
    assert_eq!(emergency.delivered, None, "nobody is there who could have got it");
    world.all_ack();
    world.look();
    assert!(world.ledger.emergencies[0].delivered.is_some());
}
