//! What a grace may conclude from who is there and who is not.

use std::time::Duration;

use super::world::{ALONE, LEASE, SLACK, World, v};
use crate::*;

#[test]
fn whoever_is_given_up_starts_the_age_of_innocent_sessions_again() {
    let mut world = World::in_phase(Phase::Rolling);
    world.ack(0);
    world.look();
    assert_eq!(world.ledger.moved_for(&world.facts()), None, "b may still give v1 to anybody");
    world.now += ALONE.max(LEASE) + 2 * SLACK;
    world.ack(0);
    world.look();
    let moved = world.ledger.moved_for(&world.facts()).unwrap();
    assert!(
        moved < Duration::from_millis(100),
        "a session of b's application may be {moved:?} old and on v1"
    );
    world.wait(500);
    world.ack(0);
    assert!(world.ledger.moved_for(&world.facts()).unwrap() >= Duration::from_millis(500));
}

#[test]
fn that_no_sidecar_is_to_come_is_over_when_one_comes() {
    let mut world = World::in_phase(Phase::Rolling);
    world.ok(&Event::NoHolders { reason: "gone".to_owned() });
    assert!(!world.ledger.open_rotation().unwrap().no_holders, "two are there");
    for holder in &mut world.holders {
        holder.gone = Some(super::world::at(world.now));
    }
    world.ok(&Event::NoHolders { reason: "gone".to_owned() });
    assert!(world.ledger.open_rotation().unwrap().no_holders);
    world.ok(&Event::Rollback { reason: "test".to_owned() });
    assert!(!world.ledger.open_rotation().unwrap().no_holders, "it was said of the way forward");
}

#[test]
fn a_version_that_holders_were_sent_back_to_is_no_younger_for_it() {
    let mut world = World::settled();
    let every = Duration::from_mins(10);
    world.policy.schedule = Some(Schedule { every, jitter: Duration::ZERO, seed: 1 });
    let before = world.ledger.next_rotation_ms(&world.facts()).unwrap();
    world.wait(1_000);
    world.make_next();
    world.ok(&Event::Rollback { reason: "test".to_owned() });
    assert_eq!(world.ledger.current, Some(v(1)));
    assert_eq!(world.ledger.next_rotation_ms(&world.facts()).unwrap(), before);
}
