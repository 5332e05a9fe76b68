//! A small world around one ledger: a clock that stands still, holders, a target that shows what it is told to show.

use std::collections::BTreeMap;
use std::time::Duration;

use rekey_model::{BootId, Handle, InstanceId, Moment, RotationId, Version};

use crate::*;

pub(super) const FLOOR: u64 = 1_000;
pub(super) const QUIET: u64 = 300;
pub(super) const LEASE: u64 = 2_000;
pub(super) const ALONE: u64 = 5_000;
pub(super) const SETTLE: u64 = 500;
pub(super) const SLACK: u64 = 10;

/// What a canary is to show.
pub(super) const TRIAL: Trial = Trial { uses: 10, within: Duration::from_secs(4) };

/// A barrier for a value that we choose.
pub(super) const KNOWN: Barrier = Barrier {
    known: true,
    wait: Duration::from_millis(400),
    confirm: Duration::from_millis(200),
    drain: Duration::ZERO,
    pause: Duration::from_secs(1),
    missing: Missing::Hold,
};

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) ledger: Ledger,
    pub(super) policy: Policy,
    pub(super) mode: Mode,
    pub(super) holders: Vec<HolderFacts>,
    pub(super) evidence: Option<Evidence>,
    pub(super) now: u64,
    pub(super) listening_since: u64,
    pub(super) claims: Vec<Claim>,
    pub(super) listing: Listing,
    pub(super) gate: Option<&'static str>,
    /// How the uses behind the canary went.
    pub(super) tried: Tried,
    /// The next random number.
    pub(super) drawn: u128,
}

pub(super) fn v(number: u64) -> Version {
    Version::new(number).unwrap()
}

pub(super) fn at(ms: u64) -> Moment {
    Moment { wall_ms: i64::try_from(ms).unwrap(), boot: BootId(1), boot_ms: ms }
}

pub(super) fn policy() -> Policy {
    let ms = Duration::from_millis;
    Policy {
        schedule: None,
        max_reconnect: ms(FLOOR - 100),
        floor: ms(FLOOR),
        quiet: ms(QUIET),
        deadline: ms(60_000),
        offline_for: Some(ms(ALONE)),
        lease: ms(LEASE),
        slack: ms(SLACK),
        brake_divisor: 10,
        budget: 2,
        settle: ms(SETTLE),
        adopts: false,
        canary: None,
        overlap: Overlap::Both,
        making: Making::Ours,
        slots: None,
        verify_every: Duration::from_hours(24 * 3_650),
        verify_after: ms(0),
    }
}

impl World {
    /// Two live holders, nothing chosen.
    pub(super) fn empty() -> Self {
        let mut world = Self {
            ledger: Ledger::default(),
            policy: policy(),
            mode: Mode::Normal,
            holders: Vec::new(),
            evidence: None,
            now: 1_000_000,
            listening_since: 0,
            claims: Vec::new(),
            listing: Listing::CannotTell,
            gate: None,
            tried: Tried::default(),
            drawn: 1,
        };
        world.join("a");
        world.join("b");
        world
    }

    /// Two live holders, v1 current and acknowledged, nothing open.
    pub(super) fn settled() -> Self {
        let mut world = Self::empty();
        world.make_next();
        world.all_ack();
        world.look();
        assert_eq!(world.ledger.current, Some(v(1)));
        assert_eq!(world.phase(), None);
        world
    }

    /// The same for a target where a new value kills the old one.
    pub(super) fn settled_single(barrier: Barrier) -> Self {
        let mut world = Self::empty();
        world.policy.overlap = Overlap::Neither(barrier);
        world.begin();
        world.choose();
        world.all_ack();
        world.look();
        world.installed();
        world.probed();
        world.all_ack();
        world.look();
        assert_eq!((world.ledger.current, world.phase()), (Some(v(1)), None));
        world
    }

    /// A rotation from v1 to v2 where the new value kills the old one, in `phase`.
    pub(super) fn single_in(phase: Phase, barrier: Barrier) -> Self {
        let mut world = Self::settled_single(barrier);
        world.begin();
        world.choose();
        while world.phase() != Some(Phase::CutOver) && world.phase() != Some(phase) {
            world.all_ack();
            world.look();
        }
        if matches!(phase, Phase::Installed | Phase::Rolling) {
            world.installed();
        }
        if phase == Phase::Rolling {
            world.probed();
        }
        assert_eq!(world.phase(), Some(phase));
        world
    }

    /// A rotation from v1 to v2, in `phase`, with nothing more than what leads there.
    pub(super) fn in_phase(phase: Phase) -> Self {
        if matches!(phase, Phase::Staged | Phase::Barrier | Phase::CutOver) {
            return Self::single_in(phase, KNOWN);
        }
        let mut world = Self::settled();
        if phase == Phase::Canary {
            world.policy.canary = Some(TRIAL);
        }
        let path = [Phase::Planned, Phase::Chosen, Phase::Installed, Phase::Proven, Phase::Rolling];
        let told = if phase == Phase::Canary { Phase::Rolling } else { phase };
        match path.iter().position(|step| *step == told) {
            Some(steps) => world.go(steps),
            None => world.go_beyond(phase),
        }
        world.ledger = world.reread();
        world
    }

    fn go(&mut self, steps: usize) {
        self.begin();
        let moves = [Self::choose, Self::installed, Self::probed, Self::lifted];
        for step in moves.iter().take(steps) {
            step(self);
        }
    }

    fn go_beyond(&mut self, phase: Phase) {
        if matches!(phase, Phase::Undoing | Phase::StuckUndoing | Phase::Abandoned) {
            self.go(2);
            self.ok(&refused(2));
            self.end_badly_or_well(phase, 2);
            return;
        }
        self.go(4);
        if phase == Phase::Returning {
            self.ok(&Event::Rollback { reason: "test".to_owned() });
            return;
        }
        self.all_ack();
        self.look();
        if phase != Phase::Grace {
            self.retire();
            self.end_badly_or_well(phase, 1);
        }
    }

    fn end_badly_or_well(&mut self, phase: Phase, version: u64) {
        if matches!(phase, Phase::StuckUndoing | Phase::StuckRetiring) {
            self.ok(&ending_refused(version));
            self.ok(&ending_refused(version));
        } else if !phase.is_open() {
            self.ok(&self.ended(version));
        }
    }

    /// Brings all evidence that Grace waits for.
    pub(super) fn retire(&mut self) {
        self.all_ack();
        self.wait(FLOOR + 1);
        self.show_quiet();
        self.look();
    }

    pub(super) fn make_next(&mut self) {
        self.begin();
        self.choose();
        self.installed();
        self.probed();
        self.lifted();
    }

    pub(super) fn begin(&mut self) {
        let event = self.beginning();
        self.ok(&event);
    }

    pub(super) fn beginning(&mut self) -> Event {
        let why = Why::Asked { reason: String::new(), by: "test".to_owned(), request: String::new() };
        Event::Begin { rotation: self.draw(), why }
    }

    pub(super) fn draw(&mut self) -> RotationId {
        self.drawn += 1;
        RotationId::from_bits(self.drawn)
    }

    pub(super) fn choosing(&mut self) -> Event {
        let open = self.ledger.open_rotation().map(|open| open.id);
        let rotation = open.unwrap_or_else(|| self.draw());
        let version = self.ledger.last_version.map_or(Version::FIRST, Version::next);
        Event::Choose {
            rotation,
            version,
            handle: format!("app_{version}").parse().unwrap(),
            baseline: self.baseline(),
        }
    }

    /// What the target lists before a call, where it makes the secret.
    fn baseline(&self) -> Option<Vec<Handle>> {
        self.is_made_there().then(|| vec!["key_by_hand".parse().unwrap()])
    }

    fn is_made_there(&self) -> bool {
        !matches!(self.policy.making, Making::Ours | Making::Given | Making::Followed)
    }

    /// The target has made a version, and says what it calls it where it makes the secret.
    pub(super) fn making(&self, version: Version) -> Event {
        let handle = self.is_made_there().then(|| format!("key_{version}").parse().unwrap());
        Event::Installed { version, attempt: 0, handle }
    }

    pub(super) fn choose(&mut self) {
        let event = self.choosing();
        self.ok(&event);
    }

    pub(super) fn next(&self) -> Version {
        self.ledger.rotation.as_ref().and_then(|rotation| rotation.next).unwrap_or(v(99))
    }

    pub(super) fn installed(&mut self) {
        self.ok(&self.making(self.next()));
    }

    pub(super) fn probed(&mut self) {
        self.ok(&Event::Probed { version: self.next(), attempt: 0 });
    }

    pub(super) fn lifted(&mut self) {
        self.ok(&Event::Lifted { version: self.next(), attempt: 0 });
    }

    pub(super) fn ended(&self, version: u64) -> Event {
        Event::Ended { version: v(version), asked: at(self.now), sessions: 0 }
    }

    pub(super) fn revoke(&mut self, version: Option<u64>) -> Event {
        self.drawn += 1;
        Event::Revoke {
            id: EmergencyId::from_bits(self.drawn),
            version: version.map(v),
            reason: "leaked".to_owned(),
            by: "test".to_owned(),
            replace: true,
        }
    }

    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            now: at(self.now),
            mode: self.mode,
            policy: &self.policy,
            holders: &self.holders,
            listening_since: at(self.listening_since),
            evidence: self.evidence.as_ref(),
            claims: &self.claims,
            gate: self.gate,
            mates: &[],
            tried: self.tried,
        }
    }

    pub(super) fn try_event(&mut self, event: &Event) -> Result<(), OutOfOrder> {
        self.ledger = self.ledger.after(event, &self.facts())?;
        self.ledger = self.reread();
        Ok(())
    }

    /// The ledger as the store would give it back.
    fn reread(&self) -> Ledger {
        serde_json::from_str(&serde_json::to_string(&self.ledger).unwrap()).unwrap()
    }

    pub(super) fn ok(&mut self, event: &Event) {
        if let Err(refusal) = self.try_event(event) {
            panic!("{event:?} was refused: {refusal}");
        }
    }

    pub(super) fn look(&mut self) {
        self.ok(&Event::Look);
    }

    pub(super) fn phase(&self) -> Option<Phase> {
        self.ledger.open_rotation().map(|open| open.phase)
    }

    pub(super) fn wait(&mut self, ms: u64) {
        self.now += ms;
        for holder in &mut self.holders {
            if holder.gone.is_none() && holder.last_contact.boot_ms + 1 >= self.now - ms {
                holder.last_contact = at(self.now);
            }
        }
    }

    pub(super) fn join(&mut self, name: &str) {
        let instance = InstanceId::from_bits(self.holders.len() as u128 + 1);
        self.holders.push(HolderFacts {
            instance,
            name: name.to_owned(),
            tries_first: false,
            since: at(self.now),
            came_empty: true,
            last_contact: at(self.now),
            lease: Duration::from_millis(LEASE),
            alone: self.policy.offline_for,
            acked: None,
            usage: Usage::Silent,
            gone: None,
        });
    }

    /// Every holder may serve alone for as long as the ledger says that it may think.
    pub(super) fn go_by_bounds(&mut self) {
        for holder in &mut self.holders {
            let acked = holder.acked.map(|acked| acked.order);
            holder.alone = self.ledger.longest_alone(acked, self.policy.offline_for);
        }
    }

    /// Holder `index` says that it swapped to the latest order, and that no process uses anything else.
    pub(super) fn ack(&mut self, index: usize) {
        let order = self.ledger.order;
        let holder = &mut self.holders[index];
        if holder.acked.is_none_or(|acked| acked.order < order) {
            holder.acked = Some(Acked { order, at: at(self.now) });
        }
        holder.usage = Usage::Told { order, processes: BTreeMap::new() };
        holder.last_contact = at(self.now);
    }

    pub(super) fn all_ack(&mut self) {
        for index in 0..self.holders.len() {
            self.ack(index);
        }
    }

    /// The uses behind the canary: so many good ones of so many.
    pub(super) fn tries(&mut self, good: u64, uses: u64) {
        self.tried = Tried { good, uses, misses: good < uses };
    }

    /// The target has shown no session on what is being left for the whole quiet window.
    pub(super) fn show_quiet(&mut self) {
        let open = self.ledger.open_rotation().unwrap();
        let version = if open.phase == Phase::Returning { open.next } else { open.old };
        let since = at(self.now - QUIET - 1);
        self.evidence = version.map(|version| Evidence::Quiet { version, since, until: at(self.now) });
    }
}

pub(super) fn lost(version: u64) -> Event {
    Event::Lost { version: v(version), attempt: 0, why: "the line broke".to_owned() }
}

pub(super) fn refused(version: u64) -> Event {
    Event::Refused { version: v(version), attempt: 0, why: "no".to_owned() }
}

pub(super) fn ending_refused(version: u64) -> Event {
    Event::EndingRefused { version: v(version), why: "no".to_owned() }
}
