//! Targets where the new value kills the old one: nobody reads a dead value, and nothing switches a living one off.

use proptest::prelude::*;
use rekey_model::Version;

use super::world::{KNOWN, SETTLE, World, at, ending_refused, refused, v};
use crate::*;

/// The target answers with the value.
const ANSWERED: Barrier = Barrier { known: false, ..KNOWN };

fn steps(world: &World) -> Vec<Step> {
    world.ledger.due(&world.facts())
}

fn installs(world: &World) -> bool {
    steps(world).iter().any(|step| matches!(step, Step::Install { .. }))
}

fn ends(world: &World) -> bool {
    steps(world).iter().any(|step| matches!(step, Step::End { .. }))
}

#[test]
fn readers_have_the_value_and_wait_before_the_target_is_touched() {
    let mut world = World::single_in(Phase::Staged, KNOWN);
    assert_eq!((world.ledger.staged(), world.ledger.barrier_is_up()), (Some(v(2)), false));
    assert!(!installs(&world), "before anybody has the value");
    world.ack(0);
    world.look();
    assert_eq!(world.phase(), Some(Phase::Staged), "one holder is missing");
    world.ack(1);
    world.look();
    assert_eq!(world.phase(), Some(Phase::Barrier));
    assert!(world.ledger.barrier_is_up() && !installs(&world), "before everybody waits");
    world.all_ack();
    world.look();
    assert_eq!(world.phase(), Some(Phase::CutOver));
    assert!(world.ledger.barrier_is_up() && installs(&world));
    assert_eq!(world.ledger.current, Some(v(1)));
    world.installed();
    assert_eq!(world.ledger.version(v(1)).unwrap().ended, Some(at(world.now)), "v1 died with it");
    assert!(world.ledger.barrier_is_up(), "nobody gets v1 any more");
    world.probed();
    assert_eq!((world.phase(), world.ledger.current), (Some(Phase::Rolling), Some(v(2))));
    assert!(!world.ledger.barrier_is_up());
    world.all_ack();
    world.look();
    assert_eq!(world.phase(), None);
    assert_eq!(world.ledger.rotation.as_ref().unwrap().phase, Phase::Done);
    assert!(world.ledger.endings.is_empty(), "there is nothing to end");
    assert_eq!(world.ledger.version(v(1)).unwrap().stage, rekey_model::Stage::Retired);
}

#[test]
fn a_value_that_the_target_answers_with_is_handed_out_only_after_it() {
    for phase in [Phase::Barrier, Phase::CutOver, Phase::Installed] {
        let world = World::single_in(phase, ANSWERED);
        assert_eq!((world.ledger.staged(), world.ledger.barrier_is_up()), (None, true), "{phase:?}");
    }
}

#[test]
fn a_holder_that_does_not_confirm_lowers_the_barrier_and_alarms() {
    let mut world = World::single_in(Phase::Barrier, KNOWN);
    let order = world.ledger.order;
    world.ack(0);
    world.wait(201);
    world.look();
    assert_eq!(world.phase(), Some(Phase::Staged));
    assert!(world.ledger.order > order && !world.ledger.barrier_is_up());
    let alarms = world.ledger.alarms(&world.facts());
    let missed = alarms.iter().find(|alarm| alarm.kind == AlarmKind::BarrierMissed).unwrap();
    assert!(missed.message.ends_with(": b"), "{}", missed.message);
    world.all_ack();
    world.look();
    assert_eq!(world.phase(), Some(Phase::Staged), "it rests first");
    world.wait(1_000);
    world.look();
    assert_eq!(world.phase(), Some(Phase::Barrier), "and is tried again");
}

fn untouched() -> Event {
    Event::Untouched { version: v(2), attempt: 0, why: "nobody there".to_owned() }
}

#[test]
fn readers_are_let_go_where_the_target_was_not_reached_in_their_time() {
    let mut world = World::single_in(Phase::CutOver, KNOWN);
    world.ok(&untouched());
    assert_eq!((world.phase(), world.ledger.barrier_is_up()), (Some(Phase::CutOver), true), "they wait");
    world.wait(400);
    let order = world.ledger.order;
    world.ok(&untouched());
    assert_eq!((world.phase(), world.ledger.barrier_is_up()), (Some(Phase::Staged), false));
    assert!(world.ledger.order > order && !installs(&world), "v1 works, and is served");
    assert_eq!((world.ledger.current, world.ledger.staged()), (Some(v(1)), Some(v(2))));
    world.all_ack();
    world.look();
    let alarm = &world.ledger.alarms(&world.facts())[0];
    assert_eq!((alarm.kind, alarm.next_command), (AlarmKind::BarrierMissed, Some("retry NAME")));
    assert_eq!(world.ledger.waiting_for(&world.facts()), ["1s until the readers' barrier is raised again"]);
    world.wait(1_000);
    world.look();
    assert_eq!(world.phase(), Some(Phase::Barrier));
    world.all_ack();
    world.look();
    assert!(installs(&world), "behind a barrier of its own");
}

#[test]
fn a_call_that_may_have_changed_the_target_leaves_no_way_back_behind_the_barrier() {
    let mut world = World::single_in(Phase::CutOver, KNOWN);
    world.ok(&Event::Lost { version: v(2), attempt: 0, why: "lost".to_owned() });
    world.wait(10_000);
    world.ok(&untouched());
    assert_eq!((world.phase(), world.ledger.barrier_is_up()), (Some(Phase::CutOver), true));
    let mut world = World::single_in(Phase::CutOver, KNOWN);
    world.ok(&Event::Resumed);
    world.wait(10_000);
    world.ok(&untouched());
    assert_eq!(world.phase(), Some(Phase::CutOver), "the call of the life before");
}

#[test]
fn each_time_the_barrier_is_given_up_it_rests_for_longer_until_somebody_asks() {
    let mut world = World::single_in(Phase::Barrier, KNOWN);
    for rest in [1, 2, 4, 8, 16, 32, 32] {
        world.wait(201);
        world.look();
        assert_eq!(world.phase(), Some(Phase::Staged));
        world.all_ack();
        world.wait(rest * 1_000 - 1);
        world.look();
        assert_eq!(world.phase(), Some(Phase::Staged), "less than {rest} s");
        world.wait(1);
        world.look();
        assert_eq!(world.phase(), Some(Phase::Barrier), "{rest} s");
    }
    world.wait(201);
    world.look();
    world.all_ack();
    world.ok(&Event::Retry);
    assert_eq!(world.phase(), Some(Phase::Barrier), "at once");
    world.wait(201);
    world.look();
    world.all_ack();
    world.wait(1_000);
    world.look();
    assert_eq!(world.phase(), Some(Phase::Barrier), "and as at first");
}

#[test]
fn what_was_read_before_the_barrier_has_time_to_be_used() {
    let drain = std::time::Duration::from_millis(100);
    let mut world = World::single_in(Phase::Barrier, Barrier { drain, ..KNOWN });
    world.wait(50);
    world.all_ack();
    world.look();
    world.wait(99);
    world.look();
    assert_eq!(world.phase(), Some(Phase::Barrier), "counted from the last one who confirmed");
    world.wait(1);
    world.look();
    assert_eq!(world.phase(), Some(Phase::CutOver));
}

#[test]
fn the_cut_goes_on_without_a_holder_where_that_was_declared() {
    let mut world = World::single_in(Phase::Barrier, Barrier { missing: Missing::GoOn, ..KNOWN });
    world.ack(0);
    world.wait(200);
    world.look();
    assert_eq!(world.phase(), Some(Phase::Barrier));
    world.wait(1);
    world.look();
    assert_eq!(world.phase(), Some(Phase::CutOver));
}

#[test]
fn before_the_cut_everything_can_be_taken_back_without_a_call() {
    for phase in [Phase::Staged, Phase::Barrier] {
        let rollback = |_: &World| Event::Rollback { reason: String::new() };
        let nack = |world: &World| Event::Failed { order: world.ledger.order, why: "nack".to_owned() };
        let back: [fn(&World) -> Event; 2] = [rollback, nack];
        for event in back {
            let mut world = World::single_in(phase, KNOWN);
            let (order, event) = (world.ledger.order, event(&world));
            world.ok(&event);
            assert_eq!(world.phase(), None);
            assert_eq!((world.ledger.current, world.ledger.staged()), (Some(v(1)), None));
            assert!(world.ledger.order > order, "holders drop v2");
            assert!(!ends(&world), "the account would be switched off under v1");
        }
    }
}

#[test]
fn after_the_cut_there_is_only_forward() {
    for phase in [Phase::CutOver, Phase::Installed, Phase::Rolling] {
        let mut world = World::single_in(phase, KNOWN);
        assert!(world.try_event(&Event::Rollback { reason: String::new() }).is_err(), "{phase:?}");
        assert_eq!(world.phase(), Some(phase));
    }
    let mut world = World::single_in(Phase::Installed, KNOWN);
    for _ in 0..5 {
        world.ok(&refused(2));
    }
    assert_eq!(world.phase(), Some(Phase::Installed), "a probe that says no changes nothing");
    assert!(world.ledger.alarms(&world.facts()).iter().any(|alarm| alarm.kind == AlarmKind::ForwardOnly));
    assert!(!ends(&world));
}

#[test]
fn after_the_cut_a_login_is_enough_and_what_a_probe_says_is_an_alarm() {
    let let_in = |version| Event::LetIn { version: v(version), attempt: 0, why: "no such table".to_owned() };
    let mut world = World::single_in(Phase::Installed, KNOWN);
    world.ok(&let_in(2));
    assert_eq!((world.phase(), world.ledger.current), (Some(Phase::Rolling), Some(v(2))));
    let alarm = &world.ledger.alarms(&world.facts())[0];
    assert_eq!((alarm.kind, alarm.next_command), (AlarmKind::ForwardOnly, Some("verify NAME")));
    world.all_ack();
    world.look();
    assert_eq!(world.phase(), None);
    let verify = Step::Verify { version: v(2) };
    assert!(steps(&world).contains(&verify), "it is looked at again, until it is well");
    let mut well = World::single_in(Phase::Installed, KNOWN);
    well.probed();
    assert!(!steps(&well).contains(&verify));
    for phase in [Phase::Installed, Phase::Rolling] {
        let mut world = World::in_phase(phase);
        assert!(world.try_event(&let_in(2)).is_err(), "{phase:?}: the old one works");
    }
}

#[test]
fn a_hold_stops_the_cut_but_not_what_follows_it() {
    let hold = Event::Hold { reason: "wait".to_owned(), by: "test".to_owned() };
    let mut world = World::single_in(Phase::Staged, KNOWN);
    world.ok(&hold);
    world.all_ack();
    world.look();
    assert_eq!(world.phase(), Some(Phase::Staged));
    let mut world = World::single_in(Phase::Barrier, KNOWN);
    world.ok(&hold);
    assert_eq!((world.phase(), world.ledger.barrier_is_up()), (Some(Phase::Staged), false));
    let mut world = World::single_in(Phase::CutOver, KNOWN);
    world.ok(&hold);
    assert!(installs(&world), "readers wait: it is finished");
    world.installed();
    world.probed();
    assert_eq!((world.phase(), world.ledger.current), (Some(Phase::Rolling), Some(v(2))));
}

#[test]
fn a_lost_answer_is_asked_for_again_and_a_value_we_do_not_know_only_when_it_cannot_land() {
    let lost = Event::Lost { version: v(2), attempt: 0, why: "lost".to_owned() };
    let mut world = World::single_in(Phase::CutOver, KNOWN);
    world.ok(&lost);
    assert!(installs(&world), "the same value again changes nothing");
    let mut world = World::single_in(Phase::CutOver, ANSWERED);
    world.ok(&lost);
    assert!(!installs(&world), "the earlier call would kill what the later one made");
    world.wait(SETTLE + 20);
    assert!(installs(&world));
}

#[test]
fn a_target_that_refuses_leaves_the_old_value_unless_a_call_may_have_landed() {
    let mut world = World::single_in(Phase::CutOver, KNOWN);
    world.ok(&refused(2));
    assert_eq!(world.phase(), Some(Phase::CutOver));
    world.ok(&refused(2));
    assert_eq!((world.phase(), world.ledger.current), (None, Some(v(1))));
    assert!(!world.ledger.barrier_is_up() && !ends(&world));
    let mut world = World::single_in(Phase::CutOver, KNOWN);
    world.ok(&Event::Lost { version: v(2), attempt: 0, why: "lost".to_owned() });
    world.ok(&refused(2));
    world.ok(&refused(2));
    assert_eq!(world.phase(), Some(Phase::CutOver), "nobody knows which value works");
    assert!(world.ledger.alarms(&world.facts()).iter().any(|alarm| alarm.kind == AlarmKind::ForwardOnly));
}

#[test]
fn an_emergency_switches_the_account_off_before_anything_new_is_made() {
    for phase in [Phase::Staged, Phase::Barrier, Phase::CutOver, Phase::Installed, Phase::Rolling] {
        for version in [None, Some(1), Some(2)] {
            let mut world = World::single_in(phase, KNOWN);
            let revoke = world.revoke(version);
            if world.try_event(&revoke).is_err() {
                let dead = matches!(phase, Phase::Installed | Phase::Rolling) && version == Some(1);
                assert!(dead, "{phase:?} {version:?} is refused");
                continue;
            }
            world.finish_emergency();
            let forgotten = version == Some(2) && matches!(phase, Phase::Staged | Phase::Barrier);
            let last = if forgotten { v(1) } else { world.ledger.last_version.unwrap() };
            assert_eq!(world.ledger.current, Some(last), "{phase:?} {version:?}");
            assert!(!world.ledger.fenced.contains(&last), "{phase:?} {version:?}");
        }
    }
}

#[test]
fn a_cut_is_not_believed_while_a_call_that_makes_the_value_may_land() {
    let mut world = World::single_in(Phase::CutOver, KNOWN);
    let revoke = world.revoke(None);
    world.ok(&revoke);
    let switched_off = |world: &mut World| {
        for version in [1, 2] {
            drop(world.try_event(&Event::Ended { version: v(version), asked: at(world.now), sessions: 0 }));
        }
        world.look();
    };
    switched_off(&mut world);
    assert!(world.ledger.emergencies[0].cut.is_none(), "v2 may still be switched on");
    world.wait(SETTLE + 20);
    switched_off(&mut world);
    assert!(world.ledger.emergencies[0].cut.is_some());
}

#[test]
fn a_silent_holder_does_not_hold_up_the_replacement_of_what_nobody_is_served() {
    let mut world = World::settled_single(KNOWN);
    let revoke = world.revoke(None);
    world.ok(&revoke);
    world.ok(&Event::Ended { version: v(1), asked: at(world.now), sessions: 0 });
    world.choose();
    world.ack(0);
    world.look();
    assert_eq!(world.phase(), Some(Phase::CutOver));
}

#[test]
fn a_version_that_never_reached_the_target_is_revoked_without_a_call() {
    let mut world = World::single_in(Phase::Staged, KNOWN);
    let revoke = world.revoke(Some(2));
    world.ok(&revoke);
    assert!(!ends(&world), "the call would hit v1");
    assert_eq!(world.ledger.current, Some(v(1)));
    assert!(world.ledger.emergencies[0].cut.is_some());
}

impl World {
    /// Does what is due until nothing is, and checks that no value is made while one is being switched off.
    fn finish_emergency(&mut self) {
        for _ in 0..40 {
            self.all_ack();
            self.wait(50);
            self.look();
            assert!(!(installs(self) && ends(self)), "an old cut would switch the new value off");
            for step in steps(self) {
                self.perform(&step);
            }
        }
        assert_eq!(self.phase(), None);
    }

    fn perform(&mut self, step: &Step) {
        let event = match *step {
            Step::Begin { .. } => self.beginning(),
            Step::Choose { .. } => self.choosing(),
            Step::Install { version, .. } => Event::Installed { version, attempt: 0, handle: None },
            Step::Probe { version, .. } => Event::Probed { version, attempt: 0 },
            Step::Lift { version } => Event::Lifted { version, attempt: 0 },
            Step::Sample { .. } | Step::Verify { .. } | Step::Try { .. } | Step::Follow | Step::List => {
                return;
            }
            Step::End { version, .. } => Event::Ended { version, asked: at(self.now), sessions: 0 },
            Step::Check { since } => Event::Checked { since },
            Step::CleanUp { version } => Event::CleanedUp { version },
        };
        self.ok(&event);
    }
}

/// Something that may happen.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Begin,
    Due(usize),
    Lost,
    LetIn,
    Untouched,
    Refused,
    EndingRefused,
    Ack(usize),
    Wait(u64),
    Hold,
    Release,
    Rollback,
    Nack,
    Revoke(Option<u64>),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        2 => Just(Deed::Begin),
        8 => (0_usize..3).prop_map(Deed::Due),
        1 => Just(Deed::Lost),
        1 => Just(Deed::LetIn),
        2 => Just(Deed::Untouched),
        1 => Just(Deed::Refused),
        1 => Just(Deed::EndingRefused),
        6 => (0_usize..2).prop_map(Deed::Ack),
        2 => (1_u64..1_500).prop_map(Deed::Wait),
        1 => Just(Deed::Hold),
        2 => Just(Deed::Release),
        1 => Just(Deed::Rollback),
        1 => Just(Deed::Nack),
        1 => proptest::option::of(1_u64..5).prop_map(Deed::Revoke),
    ]
}

/// What the account takes: at the target, not in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Account {
    Takes(Version),
    Off,
}

fn run(world: &mut World, account: &mut Account, deed: Deed) {
    let event = match deed {
        Deed::Begin => world.beginning(),
        Deed::Due(nth) => {
            let due = steps(world);
            let Some(step) = due.get(nth).cloned() else { return };
            match step {
                Step::Install { version, .. } => *account = Account::Takes(version),
                Step::End { .. } => *account = Account::Off,
                Step::Begin { .. }
                | Step::Choose { .. }
                | Step::Probe { .. }
                | Step::Lift { .. }
                | Step::Sample { .. }
                | Step::Verify { .. }
                | Step::Try { .. }
                | Step::Follow
                | Step::List
                | Step::Check { .. }
                | Step::CleanUp { .. } => {}
            }
            world.perform(&step);
            return;
        }
        Deed::Lost => Event::Lost { version: world.next(), attempt: 0, why: "lost".to_owned() },
        Deed::LetIn => Event::LetIn { version: world.next(), attempt: 0, why: "no".to_owned() },
        Deed::Untouched => Event::Untouched { version: world.next(), attempt: 0, why: "away".to_owned() },
        Deed::Refused => refused(world.next().get()),
        Deed::EndingRefused => {
            ending_refused(world.ledger.endings.keys().next().copied().unwrap_or(v(1)).get())
        }
        Deed::Ack(holder) => {
            world.ack(holder);
            Event::Look
        }
        Deed::Wait(ms) => {
            world.wait(ms);
            Event::Look
        }
        Deed::Hold => Event::Hold { reason: "wait".to_owned(), by: "test".to_owned() },
        Deed::Release => Event::Release,
        Deed::Rollback => Event::Rollback { reason: String::new() },
        Deed::Nack => Event::Failed { order: world.ledger.order, why: "nack".to_owned() },
        Deed::Revoke(version) => world.revoke(version),
    };
    drop(world.try_event(&event));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_readers_get_is_what_the_account_takes(deeds in proptest::collection::vec(deed(), 1..120)) {
        let mut world = World::settled_single(KNOWN);
        let mut account = Account::Takes(v(1));
        for deed in deeds {
            run(&mut world, &mut account, deed);
            let ledger = &world.ledger;
            if let Some(current) = ledger.current.filter(|_| !ledger.barrier_is_up()) {
                prop_assert_eq!(account, Account::Takes(current), "after {:?}: {:?}", deed, ledger.rotation);
                prop_assert!(!ledger.fenced.contains(&current));
            }
            let due = steps(&world);
            let install = due.iter().any(|step| matches!(step, Step::Install { .. }));
            prop_assert!(!(install && ends(&world)), "an old cut would switch the new value off");
        }
    }
}

#[test]
fn what_somebody_else_changed_is_adopted_at_once_where_nothing_stands_in_the_way() {
    let adopt =
        |version, name: &str| Event::Adopt { handle: name.parse().unwrap(), version: Some(v(version)) };
    let mut world = World::settled();
    assert!(
        matches!(world.try_event(&adopt(2, "other")), Err(OutOfOrder::NoEdge { .. })),
        "two can be valid"
    );
    world.policy.overlap = Overlap::Neither(KNOWN);
    let mut open = world.clone();
    open.begin();
    assert!(matches!(open.try_event(&adopt(2, "other")), Err(OutOfOrder::Open { .. })));
    let taken = world.ledger.version(v(1)).unwrap().handle.clone();
    for wrong in [adopt(3, "other"), adopt(1, "other"), adopt(2, taken.as_str())] {
        assert!(matches!(world.try_event(&wrong), Err(OutOfOrder::NoEdge { .. })), "{wrong:?}");
    }
    let order = world.ledger.order;
    world.ok(&adopt(2, "other"));
    assert_eq!((world.ledger.current, world.ledger.previous, world.phase()), (Some(v(2)), None, None));
    assert!(world.ledger.order > order && world.ledger.version(v(1)).unwrap().ended.is_some());
    assert!(world.ledger.endings.is_empty(), "there is nothing to end");
    assert_eq!(world.ledger.next_version(), v(3));
}
