//! The state that is explored: the ledger, and everything around it that a controller does not see at once.

use std::collections::{BTreeMap, BTreeSet};

use rekey_model::{Handle, InstanceId, Order, Version};

use super::super::world::{at, policy};
use super::Scenario;
use crate::*;

/// When everything happens; and long before that.
pub(super) const NOW: u64 = 1_000_000;
const LONG_AGO: u64 = 1;

/// One sidecar, as it is itself, and as the controller's rows know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Sidecar {
    pub(super) session: u8,
    /// Whether it may still serve alone, by its own clock.
    pub(super) lease: bool,
    pub(super) connected: bool,
    pub(super) serves: Option<Version>,
    pub(super) order: Order,
    pub(super) fenced: BTreeSet<Version>,
    /// What travels down, the latest only; and up, in any order.
    pub(super) down: Option<Down>,
    pub(super) up: BTreeSet<Up>,
    pub(super) row_session: u8,
    pub(super) row_live: bool,
    pub(super) row_acked: Option<Order>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Down {
    pub(super) session: u8,
    pub(super) order: Order,
    pub(super) current: Option<Version>,
    pub(super) fenced: BTreeSet<Version>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Up {
    Hello { session: u8 },
    Ack { session: u8, order: Order },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Verb {
    Install,
    Lift,
    Revoke,
}

/// A driver call on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Call {
    pub(super) verb: Verb,
    pub(super) version: Version,
    pub(super) landed: bool,
    /// Whether somebody waits for the answer.
    pub(super) awaited: bool,
    /// Whether no lost install could land any more when it was sent.
    pub(super) settled: bool,
    /// What it ends, by bits of the versions' numbers: what the target listed when it was sent.
    pub(super) ends: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) ledger: Ledger,
    pub(super) making: Making,
    pub(super) up: bool,
    pub(super) sidecars: [Sidecar; 2],
    pub(super) calls: BTreeSet<Call>,
    /// What the target accepts, and whether without end.
    pub(super) target: BTreeMap<Version, bool>,
    pub(super) budgets: BTreeMap<&'static str, u8>,
    /// Versions that somebody revoked, whatever the ledger says.
    pub(super) revoked: BTreeSet<Version>,
    /// Whether one holder has a new version first, and what the processes behind it told: all good, or not.
    pub(super) canary: bool,
    pub(super) told: Option<bool>,
}

impl State {
    /// Version 1 is current, both sidecars serve it.
    pub(super) fn start(scenario: &Scenario) -> Self {
        let (making, budgets) = (scenario.making, scenario.budgets);
        let one = Version::FIRST;
        let sidecar = Sidecar {
            session: 1,
            lease: true,
            connected: true,
            serves: Some(one),
            order: Order(1),
            fenced: BTreeSet::new(),
            down: None,
            up: BTreeSet::new(),
            row_session: 1,
            row_live: true,
            row_acked: Some(Order(1)),
        };
        let mut state = Self {
            ledger: Ledger::default(),
            making,
            up: true,
            sidecars: [sidecar.clone(), sidecar],
            calls: BTreeSet::new(),
            target: BTreeMap::from([(one, true)]),
            budgets: budgets.iter().copied().collect(),
            revoked: BTreeSet::new(),
            canary: scenario.canary,
            told: None,
        };
        let mut policy = state.policy(false);
        policy.adopts = true;
        let adopt = Event::Adopt { handle: "app_v1".parse().unwrap(), version: None };
        state.ledger = state.with_facts(&policy, |facts| state.ledger.after(&adopt, facts)).unwrap();
        state.ledger.versions.get_mut(&one).unwrap().adopted = false;
        state
    }

    pub(super) fn with_facts<T>(&self, policy: &Policy, act: impl FnOnce(&Facts<'_>) -> T) -> T {
        let holders: Vec<HolderFacts> =
            self.sidecars.iter().zip(1..).map(|(sidecar, number)| sidecar.facts(number)).collect();
        let open = self.ledger.open_rotation();
        let left = open.and_then(|open| if open.phase == Phase::Returning { open.next } else { open.old });
        let evidence = left.map(|version| Evidence::CannotTell { version });
        act(&Facts {
            now: at(NOW),
            mode: Mode::Normal,
            policy,
            holders: &holders,
            listening_since: at(LONG_AGO),
            evidence: evidence.as_ref(),
            claims: &[],
            tried: self.told.map_or(Tried::default(), |good| Tried {
                good: u64::from(good),
                uses: 1,
                misses: !good,
            }),
            gate: None,
            mates: &[],
        })
    }

    fn policy(&self, unsettled: bool) -> Policy {
        let trial = Trial { uses: 1, within: std::time::Duration::MAX };
        let canary = self.canary.then_some(trial);
        Policy { making: self.making, canary, ..explored_policy(unsettled) }
    }

    /// What the target calls everything that it has.
    pub(super) fn listed(&self) -> Vec<Handle> {
        self.target.keys().map(|version| named(*version)).collect()
    }

    /// What the ending of `version` is to end, as the target lists it now.
    pub(super) fn to_end(&self, version: Version) -> u32 {
        let (ledger, bit) = (&self.ledger, |version: Version| 1_u32 << version.get());
        let baseline = ledger.version(version).and_then(|record| record.baseline.as_ref());
        let Some(baseline) = baseline else { return bit(version) };
        let known = ledger.answered();
        let stranger = |it: &&Version| !baseline.contains(&named(**it)) && !known.contains(&named(**it));
        self.target.keys().filter(stranger).fold(0, |bits, it| bits | bit(*it))
    }

    /// Whether a call that nobody waits for can still make a version.
    pub(super) fn unsettled(&self) -> bool {
        self.calls.iter().any(|call| call.verb == Verb::Install && !call.awaited && !call.landed)
    }

    pub(super) fn after(&self, event: &Event) -> Option<Self> {
        self.after_if(event, !self.unsettled())
    }

    /// The state after an event, if it has an edge; `settled` is what the controller may believe.
    pub(super) fn after_if(&self, event: &Event, settled: bool) -> Option<Self> {
        let policy = self.policy(!settled);
        let ledger = self.with_facts(&policy, |facts| self.ledger.after(event, facts)).ok()?;
        let mut next = Self { ledger, ..self.clone() };
        if next.ledger.canary() != self.ledger.canary() {
            next.told = None;
        }
        next.give_up();
        next.die();
        Some(next)
    }

    /// What is followed is killed by somebody else before its successor is here, whoever still serves it.
    fn die(&mut self) {
        let dead = |it: &&Version| self.ledger.version(**it).is_some_and(|record| record.ended.is_some());
        let all: Vec<Version> = self.target.keys().filter(dead).copied().collect();
        for version in all.into_iter().filter(|_| self.making == Making::Followed) {
            self.target.remove(&version);
            self.revoked.insert(version);
        }
    }

    /// The executor gives up the making of a version as soon as it is no longer due. The call may still land.
    fn give_up(&mut self) {
        let open = self.ledger.open_rotation().filter(|open| open.phase == Phase::Chosen);
        let due = open.and_then(|open| open.next);
        let given_up = |call: &Call| call.verb == Verb::Install && call.awaited && due != Some(call.version);
        let calls = std::mem::take(&mut self.calls).into_iter();
        let kept = calls.filter(|call| !(given_up(call) && call.landed));
        self.calls = kept.map(|call| Call { awaited: call.awaited && !given_up(&call), ..call }).collect();
    }

    pub(super) fn due(&self) -> Vec<Step> {
        let policy = self.policy(self.unsettled());
        self.with_facts(&policy, |facts| self.ledger.due(facts))
    }

    /// What is wrong with this state.
    pub(super) fn violation(&self) -> Option<String> {
        let ledger = &self.ledger;
        for (index, sidecar) in self.sidecars.iter().enumerate() {
            let Some(serves) = sidecar.serves else { continue };
            if sidecar.lease && !self.target.contains_key(&serves) && !self.revoked.contains(&serves) {
                return Some(format!("I1 holder {index} serves {serves}, which the target refuses"));
            }
            if sidecar.fenced.contains(&serves) {
                return Some(format!("I16 holder {index} serves {serves} after it took its fence"));
            }
            let canary = ledger.canary().filter(|(holder, _)| *holder == named_holder(index));
            let to_serve = canary.map(|(_, next)| next).or(ledger.current);
            if sidecar.order == ledger.order && to_serve != Some(serves) {
                return Some(format!("holder {index} serves {serves}, which it is not to have yet"));
            }
        }
        if let Some(current) = ledger.current {
            if ledger.fenced.contains(&current) || ledger.endings.contains_key(&current) {
                return Some(format!("I1 {current} is current and being ended"));
            }
            if self.target.get(&current) != Some(&true) {
                return Some(format!(
                    "D11 {current} is current and the target does not accept it without end"
                ));
            }
        }
        let can_land = |version| {
            let mut installs = self.calls.iter().filter(|call| call.verb == Verb::Install && !call.landed);
            self.target.contains_key(version) || installs.any(|call| call.version == *version)
        };
        for emergency in ledger.emergencies.iter().filter(|emergency| emergency.cut.is_some()) {
            if let Some(version) = emergency.versions.iter().find(|version| can_land(version)) {
                return Some(format!("I7 {version} is reported cut, and the target accepts it or may yet"));
            }
        }
        let open = ledger.open_rotation();
        let accounted = |version: &Version| {
            let mine =
                [ledger.current, ledger.previous, open.and_then(|it| it.next), open.and_then(|it| it.old)];
            mine.contains(&Some(*version)) || ledger.endings.contains_key(version)
        };
        let orphan = self.target.keys().find(|version| !accounted(version))?;
        Some(format!("I10 {orphan} is accepted by the target and nobody ends it"))
    }

    /// Whether everything is as it is to be, so that nothing more need happen.
    pub(super) fn is_good(&self) -> bool {
        let ledger = &self.ledger;
        let only = ledger.current.into_iter().eq(self.target.keys().copied());
        let served = |sidecar: &Sidecar| !sidecar.lease || sidecar.serves == ledger.current;
        let calm = ledger.open_rotation().is_none() && ledger.endings.is_empty() && !ledger.owed;
        self.up && self.calls.is_empty() && calm && only && self.sidecars.iter().all(served)
    }
}

/// The instance at a place among the sidecars.
pub(super) fn named_holder(index: usize) -> InstanceId {
    InstanceId::from_bits(index as u128 + 1)
}

impl Sidecar {
    fn facts(&self, number: u128) -> HolderFacts {
        HolderFacts {
            instance: InstanceId::from_bits(number),
            name: String::new(),
            tries_first: false,
            since: at(LONG_AGO),
            came_empty: false,
            last_contact: if self.row_live { at(NOW) } else { at(LONG_AGO) },
            lease: policy().lease,
            alone: Some(std::time::Duration::ZERO),
            acked: self.row_acked.map(|order| Acked { order, at: at(NOW) }),
            usage: Usage::Told { order: Order(u64::MAX), processes: BTreeMap::new() },
            gone: None,
        }
    }
}

/// What the target calls a version.
pub(super) fn named(version: Version) -> Handle {
    format!("app_{version}").parse().unwrap()
}

/// No time is counted; a call may land as long as `unsettled`.
fn explored_policy(unsettled: bool) -> Policy {
    let zero = std::time::Duration::ZERO;
    let settle = std::time::Duration::from_millis(u64::from(unsettled));
    Policy {
        max_reconnect: zero,
        floor: zero,
        quiet: zero,
        offline_for: Some(zero),
        slack: zero,
        settle,
        brake_divisor: 1,
        ..policy()
    }
}
