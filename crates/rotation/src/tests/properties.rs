//! Random sequences of events, with random holders and facts, never break what must always hold.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rekey_model::{Stage, Version};

use super::world::{World, ending_refused, refused, v};
use crate::*;

/// What can happen; the numbers choose versions and holders.
#[derive(Debug, Clone)]
pub(super) enum Deed {
    Begin,
    Choose,
    Answer(u8, u64),
    Ending(u8, u64),
    Operator(u8),
    Revoke(Option<u64>, bool),
    Ack(usize),
    AllAck,
    Quiet,
    Wait(u64),
    Silence(u64),
    Leave(usize),
    Join,
    Resume,
    Mode(bool),
    Tries(u64, u64),
    Drive,
}

pub(super) fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        2 => Just(Deed::Begin),
        2 => Just(Deed::Choose),
        4 => (0_u8..6, 1_u64..5).prop_map(|(kind, version)| Deed::Answer(kind, version)),
        4 => (0_u8..3, 1_u64..5).prop_map(|(kind, version)| Deed::Ending(kind, version)),
        2 => (0_u8..6).prop_map(Deed::Operator),
        1 => (prop::option::of(1_u64..5), any::<bool>()).prop_map(|(version, all)| Deed::Revoke(version, all)),
        2 => (0_usize..3).prop_map(Deed::Ack),
        4 => Just(Deed::AllAck),
        3 => Just(Deed::Quiet),
        4 => (1_u64..1_500).prop_map(Deed::Wait),
        1 => (1_u64..8_000).prop_map(Deed::Silence),
        1 => (0_usize..3).prop_map(Deed::Leave),
        1 => Just(Deed::Join),
        1 => Just(Deed::Resume),
        1 => any::<bool>().prop_map(Deed::Mode),
        1 => (0_u64..4, 0_u64..2).prop_map(|(good, bad)| Deed::Tries(good, good + bad)),
        12 => Just(Deed::Drive),
    ]
}

/// Who makes the secret, and how many values the target takes.
fn making() -> impl Strategy<Value = (Making, Option<u32>)> {
    let life = std::time::Duration::from_secs(2);
    let making = prop_oneof![
        3 => Just(Making::Ours),
        3 => Just(Making::Listed),
        1 => Just(Making::Given),
        1 => Just(Making::Followed),
        1 => Just(Making::Expiring { life }),
        1 => Just(Making::Token { life, expires: None }),
        1 => Just(Making::Token { life, expires: Some(life) }),
    ];
    (making, prop_oneof![2 => Just(None), 1 => Just(Some(2))])
}

/// What a canary is to show, where there is one.
fn canary() -> impl Strategy<Value = Option<Trial>> {
    prop::option::of(Just(Trial { uses: 2, within: std::time::Duration::from_secs(3) }))
}

impl World {
    pub(super) fn event_of(&mut self, deed: &Deed) -> Option<Event> {
        Some(match *deed {
            Deed::Begin => self.beginning(),
            Deed::Choose => self.choosing(),
            Deed::Answer(0, number) => self.making(v(number)),
            Deed::Answer(kind, number) => answer(kind, number),
            Deed::Ending(0, number) => self.ended(number),
            Deed::Ending(1, number) => Event::CleanedUp { version: v(number) },
            Deed::Ending(_, number) => ending_refused(number),
            Deed::Operator(kind) => operator(kind, &self.ledger),
            Deed::Revoke(version, replace) => {
                let Event::Revoke { id, version, reason, by, .. } = self.revoke(version) else { return None };
                Event::Revoke { id, version, reason, by, replace }
            }
            Deed::Resume => Event::Resumed,
            Deed::Drive => self.drive()?,
            Deed::Ack(_)
            | Deed::AllAck
            | Deed::Quiet
            | Deed::Wait(_)
            | Deed::Silence(_)
            | Deed::Leave(_)
            | Deed::Join
            | Deed::Tries(..)
            | Deed::Mode(_) => {
                self.surroundings(deed);
                Event::Look
            }
        })
    }

    fn surroundings(&mut self, deed: &Deed) {
        match *deed {
            Deed::Ack(index) if index < self.holders.len() => self.ack(index),
            Deed::AllAck => self.all_ack(),
            Deed::Quiet if self.phase().is_some() => self.show_quiet(),
            Deed::Wait(ms) => self.wait(ms),
            Deed::Silence(ms) => self.now += ms,
            Deed::Leave(index) if index < self.holders.len() => {
                self.holders[index].gone = Some(super::world::at(self.now));
            }
            Deed::Join if self.holders.len() < 5 => self.join("joiner"),
            Deed::Tries(good, uses) => self.tries(good, uses),
            Deed::Mode(normal) => self.mode = if normal { Mode::Normal } else { Mode::ReconcileOnly },
            Deed::Ack(_) | Deed::Quiet | Deed::Leave(_) | Deed::Join => {}
            Deed::Begin
            | Deed::Choose
            | Deed::Answer(..)
            | Deed::Ending(..)
            | Deed::Operator(_)
            | Deed::Revoke(..)
            | Deed::Resume
            | Deed::Drive => {}
        }
    }

    /// The good outcome of what is due first.
    pub(super) fn drive(&mut self) -> Option<Event> {
        let Some(step) = self.ledger.due(&self.facts()).into_iter().next() else { return self.given() };
        Some(match step {
            Step::Begin { why } => Event::Begin { rotation: self.draw(), why },
            Step::Choose { .. } => self.choosing(),
            Step::Install { version, .. } => self.making(version),
            Step::Probe { version, .. } => Event::Probed { version, attempt: 0 },
            Step::Lift { version } => Event::Lifted { version, attempt: 0 },
            Step::Follow => return self.given().or(Some(Event::Look)),
            Step::Sample { .. } | Step::Verify { .. } | Step::Try { .. } => Event::Look,
            Step::End { version, .. } => self.ended(version.get()),
            Step::List => Event::Listed { listing: self.listing.clone() },
            Step::Check { since } => Event::Checked { since },
            Step::CleanUp { version } => Event::CleanedUp { version },
        })
    }

    /// Somebody hands in the next version, if that is waited for.
    fn given(&mut self) -> Option<Event> {
        let given = matches!(self.policy.making, Making::Given | Making::Followed);
        let event = Some(self.choosing()).filter(|_| given)?;
        self.ledger.after(&event, &self.facts()).is_ok().then_some(event)
    }
}

fn answer(kind: u8, number: u64) -> Event {
    let (version, attempt) = (v(number), 0);
    match kind {
        1 => Event::Probed { version, attempt },
        2 => Event::Lifted { version, attempt },
        3 => Event::Lost { version, attempt, why: String::new() },
        4 => Event::Installed { version, attempt: 1, handle: None },
        _ => refused(number),
    }
}

fn operator(kind: u8, ledger: &Ledger) -> Event {
    match kind {
        0 => Event::Rollback { reason: String::new() },
        1 => Event::Hold { reason: "freeze".to_owned(), by: String::new() },
        2 => Event::Release,
        3 => Event::Retry,
        4 => Event::NoHolders { reason: String::new() },
        _ => Event::Failed { order: ledger.order, why: String::new() },
    }
}

/// What must hold of every ledger.
pub(super) fn holds_of(ledger: &Ledger) {
    let own = || ledger.versions.values().filter(|record| !record.stray);
    let stages = |stage: Stage| own().filter(move |record| record.stage == stage).count();
    assert!(stages(Stage::Current) <= 1 && stages(Stage::Previous) <= 1, "{ledger:#?}");
    if let Some(current) = ledger.current {
        assert!(ledger.is_alive(current), "I1: {current} is current and dead: {ledger:#?}");
        let record = ledger.version(current).unwrap();
        assert_eq!(record.stage, Stage::Current);
        assert!((record.proven.is_some() || record.stray) && record.lasting, "I18: {ledger:#?}");
    }
    assert!(!ledger.versions.keys().any(|it| Some(*it) > ledger.last_version), "I4");
    let unseen = [ledger.current, ledger.previous].into_iter().flatten().find(|it| ledger.is_unanswered(*it));
    assert_eq!(unseen, None, "nobody has its secret: {ledger:#?}");
    for (version, record) in &ledger.versions {
        let left = !record.stage.is_final() && record.stage != Stage::Current;
        let open = ledger.open_rotation();
        let open = open.is_some_and(|open| [open.next, open.old].contains(&Some(*version)));
        assert!(
            !left || open || record.stray || ledger.endings.contains_key(version),
            "I10: {version} is forgotten: {ledger:#?}"
        );
        assert!(!ledger.fenced.contains(version) || record.stage.is_final(), "{ledger:#?}");
    }
}

/// What must hold of every step.
fn holds_between(before: &Ledger, after: &Ledger, event: &Event, world: &World) {
    assert!(after.order >= before.order, "the order never falls");
    if (before.current, &before.fenced, before.previous) != (after.current, &after.fenced, after.previous) {
        assert!(
            after.order > before.order,
            "what holders are to see changed, and the order did not: {event:?}"
        );
    }
    assert!(before.fenced.is_subset(&after.fenced), "a fence is for ever");
    for (version, record) in &before.versions {
        let now = after.version(*version).unwrap();
        assert!(
            now.stage == record.stage || record.stage.may_become(now.stage) || later(record.stage, now.stage)
        );
        let named = record.baseline.is_some() && now.baseline.is_none();
        assert!(now.created == record.created && (named || now.handle == record.handle));
    }
    let dropped: Vec<&Version> = before.endings.keys().filter(|it| !after.endings.contains_key(it)).collect();
    if let Some(version) = dropped.first() {
        assert_eq!(*event, Event::CleanedUp { version: **version }, "I8");
        assert!(after.version(**version).unwrap().ended.is_some(), "I8");
    }
    assert!(
        before.canary() == after.canary() || after.order > before.order,
        "another holder is to see another version, and the order did not change: {event:?}"
    );
    holds_of_endings(before, after, world);
    holds_of_choices(before, after, world);
}

/// Where the target makes the secret: one call a version, none while what another made may be taken for a stranger, and
/// never a value too many.
fn holds_of_choices(before: &Ledger, after: &Ledger, world: &World) {
    let there = |ledger: &Ledger| {
        let left = ledger.versions.iter();
        left.filter(|(it, record)| !record.stage.is_final() || ledger.endings.contains_key(*it)).count()
    };
    if let Some(most) = world.policy.slots {
        assert!(there(after) <= there(before).max(most as usize), "a value too many: {after:#?}");
    }
    if world.policy.making != Making::Listed {
        return;
    }
    let open = after.open_rotation().filter(|open| open.phase == Phase::Chosen).and_then(|open| open.next);
    let Some(next) = open.filter(|next| after.is_unanswered(*next)) else { return };
    let facts = world.facts();
    let repeated = after.due(&facts).iter().any(|step| matches!(step, Step::Install { .. }));
    let lost = after.version(next).unwrap().doubt.is_some();
    assert!(!(lost && repeated), "a call whose answer was lost would be repeated");
    let mut unseen = after.endings.iter().filter(|(it, _)| after.is_unanswered(**it));
    assert!(
        unseen.all(|(_, ending)| ending.state == EndingState::Ended),
        "its end may hit {next}: {after:#?}"
    );
}

/// Two edges of a stage in one commit.
fn later(from: Stage, to: Stage) -> bool {
    from.may_become(Stage::Previous) && Stage::Previous.may_become(to)
}

/// Whether a version was in use: by everybody, or by a canary.
pub(super) fn was_used(ledger: &Ledger, version: Version) -> bool {
    let last = ledger.rotation.as_ref().filter(|last| last.next == Some(version));
    let tried = last.and_then(|last| last.canary.as_ref()?.holder).is_some();
    tried || ledger.version(version).is_some_and(|record| record.promoted.is_some())
}

/// I3 and I5: what is decided to end was not needed, or was cut by a person.
fn holds_of_endings(before: &Ledger, after: &Ledger, world: &World) {
    let fresh: BTreeSet<&Version> =
        after.endings.keys().filter(|it| !before.endings.contains_key(it)).collect();
    for version in fresh {
        let ending = &after.endings[version];
        let was_used = was_used(before, *version);
        if ending.cause == Cause::Emergency || !was_used {
            continue;
        }
        assert_ne!(after.current, Some(*version), "I5: current is ended");
        assert!(after.held.is_none() && world.mode == Mode::Normal, "I5: while held or reconciling");
        let facts = world.facts();
        assert!(after.unacked(&facts).is_empty(), "I5: somebody has not acknowledged");
        let waived = after.rotation.as_ref().is_some_and(|open| open.no_holders);
        assert!(waived || !after.ever_held || facts.live().count() > 0, "I5: nobody is there to agree");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_sequence_of_events_breaks_what_must_hold(
        seeded in any::<bool>(),
        making in making(),
        canary in canary(),
        deeds in prop::collection::vec(deed(), 1..60),
    ) {
        let mut world = if seeded { World::settled() } else { World::empty() };
        (world.policy.making, world.policy.slots) = making;
        world.policy.canary = canary;
        for deed in &deeds {
            let Some(event) = world.event_of(deed) else { continue };
            let before = world.ledger.clone();
            match before.after(&event, &world.facts()) {
                Ok(after) => {
                    holds_of(&after);
                    holds_between(&before, &after, &event, &world);
                    // I12: the outcome is committed once; a replay of an answer changes nothing more that matters.
                    let again = after.after(&event, &world.facts()).unwrap_or_else(|_refused| after.clone());
                    prop_assert_eq!(again.last_version, after.last_version);
                    let open = |ledger: &Ledger| ledger.open_rotation().map(|open| open.id);
                    if matches!(event, Event::Begin { .. } | Event::Choose { .. }) {
                        prop_assert_eq!(open(&again), open(&after));
                    }
                    world.ledger = after;
                }
                Err(_refusal) => prop_assert_eq!(&world.ledger, &before),
            }
        }
        let stored = serde_json::to_string(&world.ledger).unwrap();
        prop_assert_eq!(serde_json::from_str::<Ledger>(&stored).unwrap(), world.ledger);
    }

    /// Whatever happened: with the target well, holders that speak and nobody holding, everything ends.
    #[test]
    fn once_the_faults_stop_every_rotation_and_emergency_ends(
        making in making(),
        canary in canary(),
        deeds in prop::collection::vec(deed(), 1..40),
    ) {
        let mut world = World::settled();
        (world.policy.making, world.policy.slots) = making;
        world.policy.canary = canary;
        for deed in &deeds {
            if let Some(event) = world.event_of(deed) {
                drop(world.try_event(&event));
            }
        }
        world.mode = Mode::Normal;
        world.ok(&Event::Release);
        world.join("somebody");
        for _ in 0..60 {
            world.holders.iter_mut().for_each(|holder| holder.last_contact = super::world::at(world.now));
            world.all_ack();
            if world.phase().is_some() {
                world.show_quiet();
            }
            world.look();
            if let Some(event) = world.drive() {
                drop(world.try_event(&event));
            }
            world.now += 600;
        }
        let ledger = &world.ledger;
        prop_assert!(ledger.open_rotation().is_none() && !ledger.owed && ledger.endings.is_empty(), "{:#?}", ledger);
    }
}
