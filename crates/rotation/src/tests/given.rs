//! Versions that somebody else makes and hands in: due and told like any other, chosen by whoever has one.

use std::time::Duration;

use super::world::{World, v};
use crate::*;

const EVERY: Duration = Duration::from_secs(100);

/// v1 was handed in and is current, and nothing is open.
fn settled() -> World {
    let mut world = World::empty();
    world.policy.making = Making::Given;
    world.make_next();
    world.all_ack();
    world.look();
    assert_eq!((world.ledger.current, world.phase()), (Some(v(1)), None));
    world
}

fn due(world: &World) -> Vec<Step> {
    world.ledger.due(&world.facts())
}

fn chooses(world: &World) -> bool {
    due(world).iter().any(|step| matches!(step, Step::Choose { .. }))
}

fn waits(world: &World) -> String {
    world.ledger.waiting_for(&world.facts()).join("; ")
}

#[test]
fn what_is_too_old_begins_and_waits_for_somebody() {
    let mut world = settled();
    world.policy.schedule = Some(Schedule { every: EVERY, jitter: Duration::ZERO, seed: 0 });
    assert_eq!(due(&world), []);
    world.wait(100_001);
    assert_eq!(due(&world), [Step::Begin { why: Why::TooOld }]);
    world.begin();
    assert_eq!(world.phase(), Some(Phase::Planned));
    assert!(!chooses(&world), "nobody draws it");
    assert_eq!(waits(&world), "somebody to make v2 and hand it in");
    assert_eq!(world.ledger.look_again(&world.facts()), Duration::from_secs(5), "there is time");
    world.choose();
    assert!(due(&world).iter().any(|step| matches!(step, Step::Install { version, .. } if *version == v(2))));
}

#[test]
fn what_is_handed_in_waits_while_another_credential_comes_first() {
    let mut world = settled();
    world.begin();
    world.gate = Some("its pair orders/b rotates (Grace)");
    let choose = world.choosing();
    let why = "its pair orders/b rotates (Grace)".to_owned();
    assert_eq!(world.try_event(&choose), Err(OutOfOrder::Gated { why }), "it began before the other");
    let mut cut = world.clone();
    let revoke = cut.revoke(None);
    cut.ok(&revoke);
    let choose = cut.choosing();
    cut.ok(&choose);
    world.gate = None;
    world.choose();
    assert_eq!(world.phase(), Some(Phase::Chosen));
}

#[test]
fn what_was_handed_in_goes_the_way_of_all_versions_and_the_old_one_waits_for_its_deletion() {
    let mut world = settled();
    world.make_next();
    assert_eq!((world.phase(), world.ledger.current), (Some(Phase::Rolling), Some(v(2))));
    world.all_ack();
    world.look();
    world.retire();
    assert_eq!(world.phase(), Some(Phase::Retiring));
    assert_eq!(waits(&world), "somebody to delete v1 where it was made");
    assert_eq!(world.ledger.look_again(&world.facts()), Duration::from_secs(5));
    world.ok(&world.ended(1));
    assert_eq!(world.phase(), None);
}

#[test]
fn the_current_version_is_tried_while_somebody_is_waited_for() {
    for retiring in [false, true] {
        let mut world = settled();
        world.begin();
        if retiring {
            world.choose();
            world.installed();
            world.probed();
            world.lifted();
            world.all_ack();
            world.look();
            world.retire();
        }
        world.policy.verify_every = Duration::from_mins(1);
        world.wait(60_001);
        let tries = due(&world).iter().any(|step| matches!(step, Step::Verify { .. }));
        assert!(tries, "{:?}: {:?}", world.phase(), due(&world));
    }
}

#[test]
fn two_at_once_one_wins() {
    let mut world = settled();
    world.begin();
    let (one, other) = (world.choosing(), world.choosing());
    world.ok(&one);
    assert!(matches!(world.try_event(&other), Err(OutOfOrder::NoEdge { .. })));
}

#[test]
fn a_hold_refuses_it_and_a_replacement_is_taken_all_the_same() {
    let hold = Event::Hold { reason: "release day".to_owned(), by: "test".to_owned() };
    let mut world = settled();
    world.begin();
    world.ok(&hold);
    let choosing = world.choosing();
    assert!(matches!(world.try_event(&choosing), Err(OutOfOrder::Held { .. })));

    let mut world = settled();
    world.ok(&hold);
    let revoke = world.revoke(None);
    world.ok(&revoke);
    assert!(world.ledger.owed && !chooses(&world));
    assert!(
        waits(&world).contains("which waits for somebody to make v2 and hand it in"),
        "{}",
        waits(&world)
    );
    let alarms = world.ledger.alarms(&world.facts());
    assert!(alarms.iter().any(|alarm| alarm.kind == AlarmKind::ReplacementWaits), "{alarms:?}");
    let choosing = world.choosing();
    world.ok(&choosing);
    world.installed();
    world.probed();
    world.lifted();
    assert_eq!(world.ledger.current, Some(v(2)));
    assert!(!world.ledger.owed && world.ledger.fenced.contains(&v(1)));
}

/// v1 is followed and current, and nothing is open.
fn followed() -> World {
    let mut world = settled();
    world.policy.making = Making::Followed;
    world
}

#[test]
fn what_is_followed_is_always_looked_at_and_never_drawn() {
    let mut world = followed();
    assert_eq!(due(&world), [Step::Follow]);
    world.begin();
    assert_eq!(due(&world), [Step::Follow]);
    assert_eq!(waits(&world), "a value for v2 where somebody else's machine leaves it");
    let delete = Event::Delete { at_target: AtTarget::End };
    let mut world = followed();
    world.ok(&delete);
    assert!(!due(&world).contains(&Step::Follow), "nobody follows what is forgotten");
}

#[test]
fn what_was_followed_before_is_dead_and_nobody_waits_for_its_end() {
    let mut world = followed();
    world.make_next();
    assert_eq!((world.phase(), world.ledger.current), (Some(Phase::Rolling), Some(v(2))));
    assert!(world.ledger.version(v(1)).unwrap().ended.is_some());
    assert_eq!((world.ledger.previous, world.ledger.endings.len()), (None, 0), "nobody is given it any more");
    let order = world.ledger.order;
    world.ok(&Event::Failed { order, why: "refused".to_owned() });
    assert_eq!(world.ledger.current, Some(v(2)), "there is no way back to what is dead");
    world.all_ack();
    world.look();
    assert_eq!(world.phase(), None, "no floor, no quiet, no look at the target");
    assert_eq!(world.ledger.rotation.as_ref().unwrap().phase, Phase::Done);
}

#[test]
fn what_is_changed_again_before_it_is_proven_is_not_waited_for() {
    for phase in [Phase::Chosen, Phase::Installed, Phase::Proven] {
        let mut world = followed();
        world.begin();
        world.choose();
        if phase != Phase::Chosen {
            world.installed();
        }
        if phase == Phase::Proven {
            world.ok(&Event::Hold { reason: "freeze".to_owned(), by: "test".to_owned() });
            world.probed();
            world.lifted();
            world.ok(&Event::Overtaken);
            world.ok(&Event::Release);
        } else {
            assert_eq!(world.phase(), Some(phase));
            world.ok(&Event::Overtaken);
        }
        assert_eq!((world.phase(), world.ledger.current), (None, Some(v(1))), "{phase}");
        assert!(world.ledger.endings.contains_key(&v(2)), "{phase}: nobody had it, and it ends");
        world.begin();
        world.choose();
        assert_eq!(world.next(), v(3));
    }
}

#[test]
fn what_is_changed_again_waits_for_nobody() {
    let mut world = followed();
    world.make_next();
    let beginning = world.beginning();
    assert!(matches!(world.try_event(&beginning), Err(OutOfOrder::Open { .. })));
    world.ok(&Event::Overtaken);
    let last = world.ledger.rotation.clone().unwrap();
    assert_eq!((last.phase, last.failed), (Phase::Abandoned, false));
    assert_eq!(world.ledger.current, Some(v(2)), "until the next one is proven");
    world.make_next();
    assert_eq!(world.ledger.current, Some(v(3)));
    assert!(world.ledger.version(v(2)).unwrap().ended.is_some());
    world.all_ack();
    world.look();
    assert_eq!(world.phase(), None);
}
