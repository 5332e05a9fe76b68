//! The revoke guard over every combination of its conditions: it is open when all are met, and names each that is not.

use std::time::Duration;

use std::collections::BTreeMap;

use rekey_model::{Order, Stage};

use super::world::{ALONE, FLOOR, LEASE, QUIET, World, at, v};
use crate::*;

/// A condition: how it is broken, and whether the guard names it.
type Condition = (&'static str, fn(&mut World), fn(&Unmet) -> bool);

/// Holders: `a`, `b` live and acknowledged long ago. Each condition breaks one thing and nothing else.
const CONDITIONS: [Condition; 14] = [
    ("served is current", |w| w.ledger.current = None, |u| matches!(u, Unmet::NotServed(_))),
    ("served is proven", |w| record(w, 2).proven = None, |u| matches!(u, Unmet::NotServed(_))),
    ("served is alive", |w| w.ledger.fenced.extend([v(2)]), |u| matches!(u, Unmet::NotServed(_))),
    ("mode is normal", |w| w.mode = Mode::ReconcileOnly, |u| matches!(u, Unmet::Reconciling)),
    ("not held", |w| w.ledger.held = Some(hold(w)), |u| matches!(u, Unmet::Held(_))),
    ("all acked", |w| w.holders[0].acked = None, |u| matches!(u, Unmet::NotAcked(_))),
    ("acked the latest order", |w| acked(w, 1).order = Order(0), |u| matches!(u, Unmet::NotAcked(_))),
    ("all reported", |w| w.holders[0].usage = Usage::Silent, |u| matches!(u, Unmet::NotReported(_))),
    ("reported after the ack", |w| report(w, 1, Order(0), 0), |u| matches!(u, Unmet::NotReported(_))),
    (
        "no process on the old one",
        |w| {
            let order = w.ledger.order;
            w.holders.push(HolderFacts { name: "c".to_owned(), ..w.holders[1].clone() });
            report(w, 2, order, 3);
        },
        |u| matches!(u, Unmet::StillUsed { processes: 3, .. }),
    ),
    (
        "floor since the turn",
        |w| w.ledger.rotation.as_mut().unwrap().turned = Some(at(w.now - FLOOR + 1)),
        |u| matches!(u, Unmet::Floor { .. }),
    ),
    (
        "floor since the last discount",
        |w| w.ledger.rotation.as_mut().unwrap().last_discount = Some(at(w.now - 1)),
        |u| matches!(u, Unmet::Floor { .. }),
    ),
    ("no session at the target", evidence, of_target),
    (
        "few vanished",
        |w| {
            for _ in 0..2 {
                let silent = at(w.now - LEASE - ALONE - FLOOR - 100);
                w.holders.push(HolderFacts { last_contact: silent, acked: None, ..w.holders[1].clone() });
            }
        },
        |u| matches!(u, Unmet::HoldersVanished { vanished: 2, .. }),
    ),
];

fn record(world: &mut World, version: u64) -> &mut VersionRecord {
    world.ledger.versions.get_mut(&v(version)).unwrap()
}

fn hold(world: &World) -> Hold {
    Hold { reason: "freeze".to_owned(), by: "test".to_owned(), since: at(world.now) }
}

fn acked(world: &mut World, index: usize) -> &mut Acked {
    world.holders[index].acked.as_mut().unwrap()
}

fn report(world: &mut World, index: usize, order: Order, processes: u32) {
    world.holders[index].usage = Usage::Told { order, processes: BTreeMap::from([(v(1), processes)]) };
}

fn evidence(world: &mut World) {
    world.evidence = Some(Evidence::Busy { version: v(1), sessions: 4 });
}

fn of_target(unmet: &Unmet) -> bool {
    matches!(unmet, Unmet::Sessions(_) | Unmet::NotQuiet { .. } | Unmet::SessionsUnknown)
}

/// Grace from v1 to v2 with everything that the guard asks for, all of it long ago.
fn ready() -> World {
    let mut world = World::in_phase(Phase::Grace);
    world.wait(2 * (LEASE + ALONE + FLOOR));
    for holder in &mut world.holders {
        holder.last_contact = at(world.now);
    }
    world.show_quiet();
    world
}

#[test]
fn the_guard_is_open_exactly_when_every_condition_is_met_and_names_each_that_is_not() {
    for broken in 0_u32..1 << CONDITIONS.len() {
        let chosen: Vec<&Condition> =
            CONDITIONS.iter().zip(0..).filter(|(_, bit)| broken >> bit & 1 == 1).map(|(it, _)| it).collect();
        let mut world = ready();
        for (_, breaks, _) in &chosen {
            breaks(&mut world);
        }
        let unmet = world.ledger.unmet(v(1), v(2), &world.facts());
        assert_eq!(unmet.is_empty(), broken == 0, "{broken:b}: {unmet:?}");
        // Who was gone for long before the turn has not vanished since.
        let turned_late = chosen.iter().any(|(name, ..)| *name == "floor since the turn");
        for (name, _, names) in chosen.iter().filter(|(name, ..)| !(turned_late && *name == "few vanished")) {
            assert!(unmet.iter().any(names), "{broken:b}: {name} is not named in {unmet:?}");
        }
    }
}

#[test]
fn every_unmet_condition_reads_as_a_sentence() {
    for (name, breaks, _) in &CONDITIONS {
        let mut world = ready();
        breaks(&mut world);
        for unmet in world.ledger.unmet(v(1), v(2), &world.facts()) {
            assert!(unmet.to_string().len() > 8, "{name}: {unmet}");
        }
    }
    let many: Vec<String> = (1..=7).map(|number| format!("h{number}")).collect();
    assert_eq!(Unmet::NotAcked(many).to_string(), "the acknowledgement of h1, h2, h3, h4, h5 and 2 more");
}

#[test]
fn the_current_version_is_never_ended_by_the_guard() {
    let world = ready();
    let unmet = world.ledger.unmet(v(2), v(1), &world.facts());
    assert!(unmet.contains(&Unmet::IsServed(v(2))) && unmet.contains(&Unmet::NotServed(v(1))));
}

#[test]
fn an_unknown_look_at_the_target_is_not_zero() {
    let open = |evidence: Option<Evidence>| {
        let mut world = ready();
        world.evidence = evidence;
        world.ledger.unmet(v(1), v(2), &world.facts())
    };
    let now = ready().now;
    let quiet = |version, since, until| Some(Evidence::Quiet { version, since: at(since), until: at(until) });
    assert_eq!(open(None), [Unmet::SessionsUnknown]);
    assert_eq!(open(Some(Evidence::Unknown { version: v(1) })), [Unmet::SessionsUnknown]);
    assert_eq!(
        open(Some(Evidence::CannotTell { version: v(2) })),
        [Unmet::SessionsUnknown],
        "of another version"
    );
    assert_eq!(open(quiet(v(2), now - QUIET, now)), [Unmet::SessionsUnknown], "of another version");
    assert_eq!(open(quiet(v(1), now - 10_000, now - 2_000)), [Unmet::SessionsUnknown], "long ago");
    assert!(matches!(open(quiet(v(1), now - QUIET + 1, now))[..], [Unmet::NotQuiet { .. }]));
    assert!(matches!(open(quiet(v(1), now - QUIET - 240, now - 240))[..], []), "fresh enough");
    assert_eq!(open(quiet(v(1), now - QUIET, now)), []);
    assert_eq!(open(Some(Evidence::CannotTell { version: v(1) })), []);
}

#[test]
fn a_quiet_window_that_was_looked_at_a_while_ago_needs_one_more_look() {
    let mut world = ready();
    world.policy.quiet = Duration::from_mins(1);
    let quiet = |since, until| Some(Evidence::Quiet { version: v(1), since: at(since), until: at(until) });
    for (ago, unmet) in
        [(0, None), (1_000, None), (1_001, Some(Unmet::NotFresh)), (14_000, Some(Unmet::NotFresh))]
    {
        world.evidence = quiet(world.now - 100_000, world.now - ago);
        let found = world.ledger.unmet(v(1), v(2), &world.facts());
        assert_eq!(found, Vec::from_iter(unmet), "{ago} ms ago");
    }
    world.evidence = quiet(world.now - 50_000, world.now - 10_000);
    let found = world.ledger.unmet(v(1), v(2), &world.facts());
    assert!(matches!(found[..], [Unmet::NotQuiet { .. }]), "what takes longest is named: {found:?}");
}

#[test]
fn sessions_are_spared_in_peace_only() {
    let mut world = World::in_phase(Phase::Retiring);
    assert!(world.ledger.spares_sessions(v(1)));
    world.evidence = Some(Evidence::Busy { version: v(1), sessions: 2 });
    assert_eq!(
        world.ledger.waiting_for(&world.facts()),
        ["the end of 2 sessions on v1, which takes no login any more"]
    );
    world.wait(60_001);
    let alarms = world.ledger.alarms(&world.facts());
    assert!(alarms.iter().any(|alarm| alarm.kind == AlarmKind::EndingOverdue), "{alarms:?}");
    let mut deleted = world.ledger.clone();
    deleted.deleted = Some(at(world.now));
    assert!(!deleted.spares_sessions(v(1)));
    let cut = world.revoke(Some(1));
    world.ok(&cut);
    assert!(!world.ledger.spares_sessions(v(1)), "a person may end them");
}

#[test]
fn a_release_begins_the_quiet_window_anew() {
    let mut world = ready();
    world.ledger.released = Some(at(world.now - 1));
    assert!(matches!(world.ledger.unmet(v(1), v(2), &world.facts())[..], [Unmet::NotQuiet { .. }]));
}

#[test]
fn the_earliest_end_falls_with_time_and_rises_with_a_session() {
    let mut world = World::in_phase(Phase::Grace);
    let left = |world: &World| world.ledger.ends_after(&world.facts());
    let at_first = left(&world).unwrap();
    assert!(at_first > world.policy.quiet, "the floor decides: {at_first:?}");
    world.wait(30);
    assert_eq!(left(&world).unwrap() + Duration::from_millis(30), at_first);
    let mut world = ready();
    assert_eq!(left(&world), Some(Duration::ZERO));
    world.evidence = Some(Evidence::Busy { version: v(1), sessions: 1 });
    assert_eq!(left(&world), Some(world.policy.quiet));
    world.retire();
    assert_eq!(left(&world), None, "nothing is being left");
    assert_eq!(left(&World::settled()), None);
}

#[test]
fn a_jump_of_the_wall_clock_opens_nothing() {
    let mut world = World::in_phase(Phase::Grace);
    world.show_quiet();
    let mut facts = world.facts();
    facts.now.wall_ms += 86_400_000;
    let unmet = world.ledger.unmet(v(1), v(2), &facts);
    assert!(unmet.iter().any(|it| matches!(it, Unmet::Floor { .. })), "{unmet:?}");
}

#[test]
fn a_joiner_that_never_had_the_old_version_does_not_restart_the_floor_and_one_that_had_does() {
    let mut world = ready();
    world.join("new");
    world.ack(2);
    assert_eq!(world.ledger.unmet(v(1), v(2), &world.facts()), []);
    world.holders[2].came_empty = false;
    assert!(matches!(world.ledger.unmet(v(1), v(2), &world.facts())[..], [Unmet::Floor { .. }]));
}

#[test]
fn a_discount_of_a_holder_that_had_not_acknowledged_restarts_the_floor() {
    let mut world = ready();
    world.join("slow");
    world.holders[2].came_empty = false;
    world.holders[2].gone = Some(at(world.now - 5));
    assert!(matches!(world.ledger.unmet(v(1), v(2), &world.facts())[..], [Unmet::Floor { .. }]));
    world.look();
    world.holders.pop();
    let unmet = world.ledger.unmet(v(1), v(2), &world.facts());
    assert!(matches!(unmet[..], [Unmet::Floor { .. }]), "its row is gone, the goodbye is not: {unmet:?}");
}

#[test]
fn stages_of_a_finished_rotation_are_final() {
    let world = World::in_phase(Phase::Done);
    assert_eq!(world.ledger.version(v(1)).unwrap().stage, Stage::Retired);
    assert_eq!(world.ledger.version(v(2)).unwrap().stage, Stage::Current);
}
