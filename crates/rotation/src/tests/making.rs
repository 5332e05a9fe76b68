//! Targets that make the secret themselves: no second live value, no orphan, and nothing is ended that somebody has.

use std::time::Duration;

use super::world::{SETTLE, SLACK, World, ending_refused, lost, refused, v};
use crate::*;

const LIFE: u64 = 60_000;
const TOKEN: u64 = 5_000;

const EXPIRING: Making = Making::Expiring { life: Duration::from_millis(LIFE) };

fn token(expires: Option<Duration>) -> Making {
    Making::Token { life: Duration::from_millis(TOKEN), expires }
}

/// v1 is current, and a rotation to v2 is chosen.
fn chosen(making: Making) -> World {
    let mut world = World::empty();
    world.policy.making = making;
    world.policy.budget = 3;
    world.make_next();
    world.all_ack();
    world.look();
    world.begin();
    world.choose();
    assert_eq!((world.phase(), world.next()), (Some(Phase::Chosen), v(2)));
    world
}

fn due(world: &World) -> Vec<Step> {
    world.ledger.due(&world.facts())
}

fn installs(world: &World) -> bool {
    due(world).iter().any(|step| matches!(step, Step::Install { .. }))
}

fn ends(world: &World, version: u64) -> bool {
    due(world).iter().any(|step| matches!(step, Step::End { version: of, .. } if *of == v(version)))
}

fn waits(world: &World) -> String {
    world.ledger.waiting_for(&world.facts()).join("; ")
}

#[test]
fn what_the_target_answers_with_is_what_a_version_is_called() {
    let mut world = chosen(Making::Listed);
    assert!(world.ledger.is_unanswered(v(2)));
    assert_eq!(world.ledger.answered(), ["key_v1".parse().unwrap()]);
    world.installed();
    assert!(!world.ledger.is_unanswered(v(2)));
    assert_eq!(world.ledger.version(v(2)).unwrap().handle.as_str(), "key_v2");
}

#[test]
fn a_lost_call_is_never_repeated_and_another_version_waits_until_nothing_of_it_is_left() {
    for event in [lost(2), Event::Resumed] {
        let mut world = chosen(Making::Listed);
        world.ok(&event);
        assert_eq!(world.phase(), Some(Phase::Planned));
        assert!(!installs(&world) && ends(&world, 2), "{event:?}");
        assert!(due(&world).iter().all(|step| !matches!(step, Step::Choose { .. })), "{event:?}");
        assert!(world.try_event(&world.clone().choosing()).is_err(), "and cannot be chosen");
        assert!(waits(&world).contains("the end of v2, which may have been made"), "{}", waits(&world));
        world.ok(&world.ended(2));
        assert!(!ends(&world, 2), "the call may still land: it is looked at again when it cannot");
        assert!(world.try_event(&world.clone().choosing()).is_err());
        world.wait(SETTLE + SLACK);
        assert!(ends(&world, 2));
        world.ok(&world.ended(2));
        world.choose();
        assert_eq!((world.next(), world.phase()), (v(3), Some(Phase::Chosen)));
        assert!(installs(&world));
        world.ok(&Event::CleanedUp { version: v(2) });
        assert!(world.try_event(&world.making(v(2))).is_err(), "the late answer changes nothing");
    }
}

#[test]
fn what_is_lost_again_and_again_is_undone_and_told() {
    let mut world = chosen(Making::Listed);
    for number in 2..4 {
        world.ok(&lost(number));
        assert_eq!(world.phase(), Some(Phase::Planned));
        world.wait(SETTLE + SLACK);
        world.ok(&world.ended(number));
        world.ok(&Event::CleanedUp { version: v(number) });
        world.choose();
    }
    world.ok(&lost(4));
    assert_eq!(world.phase(), Some(Phase::Undoing));
    world.wait(SETTLE + SLACK);
    world.ok(&world.ended(4));
    let rotation = world.ledger.rotation.as_ref().unwrap();
    assert_eq!((rotation.phase, world.ledger.current), (Phase::Abandoned, Some(v(1))));
    assert_eq!(rotation.last_error.as_deref(), Some("the line broke"));
}

#[test]
fn what_cannot_be_told_from_a_strangers_stays_alarms_and_goes_on_by_itself() {
    let mut world = chosen(Making::Listed);
    world.ok(&lost(2));
    world.wait(SETTLE + SLACK);
    for _ in 0..5 {
        world.ok(&ending_refused(2));
        world.wait(1_000);
    }
    assert_eq!(world.phase(), Some(Phase::Planned), "nothing is given up");
    let alarms = world.ledger.alarms(&world.facts());
    let stuck = alarms.iter().find(|alarm| alarm.kind == AlarmKind::Stuck).unwrap();
    assert_eq!(stuck.next_command, Some("retry NAME"));
    let before = world.ledger.clone();
    world.ok(&ending_refused(2));
    assert_eq!(world.ledger, before, "what was told often enough is no news");
    world.ok(&world.ended(2));
    world.choose();
    assert!(installs(&world));
}

#[test]
fn an_answer_with_what_another_version_is_called_is_no_answer() {
    let mut world = chosen(Making::Listed);
    let handle = Some("key_v1".parse().unwrap());
    world.ok(&Event::Installed { version: v(2), attempt: 0, handle });
    assert_eq!((world.phase(), world.ledger.current), (Some(Phase::Planned), Some(v(1))));
    assert!(ends(&world, 2) && !ends(&world, 1));
}

#[test]
fn a_refused_call_is_undone_by_looking_what_is_there() {
    let mut world = chosen(Making::Listed);
    for _ in 0..3 {
        world.ok(&refused(2));
    }
    assert_eq!(world.phase(), Some(Phase::Undoing));
    assert!(ends(&world, 2) && world.ledger.is_unanswered(v(2)));
}

#[test]
fn an_emergency_is_not_cut_before_nothing_of_an_unseen_secret_is_left() {
    let mut world = chosen(Making::Listed);
    let revoke = world.revoke(None);
    world.ok(&revoke);
    world.ok(&world.ended(1));
    world.ok(&world.ended(2));
    let cut = |world: &World| world.ledger.emergencies[0].cut.is_some();
    assert!(!cut(&world), "a call may still land");
    assert!(world.try_event(&world.clone().choosing()).is_err(), "its end could take the replacement for it");
    world.wait(SETTLE + SLACK);
    world.ok(&world.ended(2));
    assert!(cut(&world));
    assert!(due(&world).contains(&Step::Choose { version: v(3) }));
}

#[test]
fn the_same_call_is_repeated_while_the_target_knows_its_token() {
    for expires in [None, Some(Duration::from_secs(9))] {
        let mut world = chosen(token(expires));
        world.ok(&lost(2));
        assert!(!installs(&world), "the lost one may still be on its way");
        world.wait(SETTLE + SLACK);
        assert_eq!(due(&world), [Step::Install { version: v(2), look_first: true }]);
        world.wait(TOKEN - 2 * (SETTLE + SLACK) - 1);
        world.look();
        assert!(installs(&world));
        world.wait(1);
        assert!(!installs(&world), "the target may forget it before the call lands");
        world.look();
        assert_eq!(world.phase(), Some(Phase::Planned));
        assert_eq!(world.try_event(&world.clone().choosing()).is_ok(), expires.is_some(), "as C, or as D");
    }
}

#[test]
fn what_cannot_be_listed_ends_by_itself_and_nothing_waits_for_it() {
    let mut world = chosen(EXPIRING);
    world.ok(&lost(2));
    world.choose();
    assert!(installs(&world), "at once");
    world.ok(&world.ended(2));
    assert!(waits(&world).contains("to expire by itself: 1m 1s to go"), "{}", waits(&world));
    world.installed();
    world.probed();
    world.lifted();
    world.retire();
    world.ok(&world.ended(1));
    world.ok(&Event::CleanedUp { version: v(1) });
    assert_eq!((world.phase(), world.ledger.current), (None, Some(v(3))));
    assert!(world.ledger.endings.contains_key(&v(2)), "it is remembered");
    assert!(
        world.ledger.look_again(&world.facts()) > Duration::from_secs(30),
        "and not looked at all the time"
    );
    world.wait(LIFE);
    assert!(ends(&world, 2));
    world.ok(&world.ended(2));
    world.ok(&Event::CleanedUp { version: v(2) });
    assert!(world.ledger.endings.is_empty());
}

#[test]
fn an_emergency_on_what_only_expires_is_cut_when_it_has() {
    let mut world = chosen(EXPIRING);
    let revoke = world.revoke(None);
    world.ok(&revoke);
    world.ok(&world.ended(1));
    world.ok(&world.ended(2));
    assert!(due(&world).contains(&Step::Choose { version: v(3) }), "the replacement does not wait");
    world.wait(SETTLE + SLACK);
    assert!(!ends(&world, 2) && world.ledger.emergencies[0].cut.is_none());
    world.wait(LIFE);
    world.ok(&world.ended(2));
    assert!(world.ledger.emergencies[0].cut.is_some());
}

#[test]
fn lost_answers_without_end_leave_a_bounded_number_of_ghosts_and_an_open_way() {
    let mut world = chosen(EXPIRING);
    for number in 2..5 {
        world.ok(&lost(number));
        if number < 4 {
            world.choose();
        }
    }
    assert_eq!(world.phase(), None, "nothing waits for what only time ends");
    assert_eq!(world.ledger.rotation.as_ref().unwrap().phase, Phase::Abandoned);
    assert_eq!(world.ledger.endings.len(), 3);
    assert!(due(&world).iter().all(|step| !matches!(step, Step::Begin { .. } | Step::Choose { .. })));
}

#[test]
fn there_is_never_a_value_more_than_the_target_takes() {
    let mut world = World::settled();
    world.policy.slots = Some(2);
    world.make_next();
    world.retire();
    world.ok(&world.ended(1));
    assert_eq!((world.phase(), world.ledger.endings.len()), (None, 1), "v1 is dead and still takes a slot");
    world.begin();
    assert!(due(&world).iter().all(|step| !matches!(step, Step::Choose { .. })));
    assert!(
        waits(&world).contains("room at the target, which takes 2 values and has v1, v2"),
        "{}",
        waits(&world)
    );
    world.ok(&Event::CleanedUp { version: v(1) });
    world.choose();
}

#[test]
fn a_replacement_waits_for_a_slot_and_not_for_other_endings() {
    let mut world = World::in_phase(Phase::Grace);
    world.policy.slots = Some(2);
    let revoke = world.revoke(None);
    world.ok(&revoke);
    let chooses = |world: &World| due(world).contains(&Step::Choose { version: v(3) });
    assert!(!chooses(&world) && waits(&world).contains("which waits for room"), "{}", waits(&world));
    world.ok(&world.ended(1));
    assert!(!chooses(&world), "refused, and still there");
    world.ok(&Event::CleanedUp { version: v(1) });
    assert!(chooses(&world), "v2 is being ended yet");
}

#[test]
fn after_a_restore_nothing_is_a_stranger() {
    let mut world = chosen(Making::Listed);
    world.mode = Mode::ReconcileOnly;
    world.ok(&Event::Reconciled { former: rekey_model::Incarnation::default(), listing: Listing::Unasked });
    assert!(!world.ledger.is_unanswered(v(2)));
}
