//! Why a rotation begins: small checks, each a reason to show.

use std::time::Duration;

use rekey_model::millis;

use crate::event::Why;
use crate::facts::{Facts, Mode, Schedule};
use crate::ledger::Ledger;
use crate::phase::Phase;
use crate::refusal::OutOfOrder;

/// How long nothing begins by itself after a rotation that failed.
const PAUSE: Duration = Duration::from_mins(10);
/// How long the replacement of a cut version waits after one that failed.
const PAUSE_OWED: Duration = Duration::from_secs(10);

impl Ledger {
    /// What stands in the way of a rotation that somebody asks for; none: it may begin.
    pub fn obstacle(&self, facts: &Facts<'_>) -> Option<OutOfOrder> {
        if self.deleted.is_some() {
            return Some(OutOfOrder::Deleted);
        }
        if facts.mode == Mode::ReconcileOnly {
            return Some(OutOfOrder::Reconciling);
        }
        if let Some(open) = self.open_rotation() {
            return Some(OutOfOrder::Open { id: open.id, phase: open.phase });
        }
        if self.owed {
            return Some(OutOfOrder::Owed);
        }
        if let Some(held) = &self.held {
            return Some(OutOfOrder::Held { reason: held.reason.clone() });
        }
        if let Some(why) = facts.gate {
            return Some(OutOfOrder::Gated { why: why.to_owned() });
        }
        if self.awaits_adoption(facts) {
            return Some(OutOfOrder::NotAdopted);
        }
        self.unchecked.as_ref().map(|unchecked| OutOfOrder::Unchecked { why: unchecked.why.clone() })
    }

    /// Why a rotation is to begin by itself now, if it is.
    pub(crate) fn why_begin(&self, facts: &Facts<'_>) -> Option<Why> {
        if self.obstacle(facts).is_some() || !self.pause_left(PAUSE, facts).is_zero() {
            return None;
        }
        self.why_due(facts)
    }

    /// Why a rotation would begin by itself if nothing stood in the way.
    fn why_due(&self, facts: &Facts<'_>) -> Option<Why> {
        let why = || self.first().or_else(|| self.restored()).or_else(|| self.too_old(facts));
        if self.resting { None } else { why() }
    }

    /// Which other credential comes first, where a rotation is due that waits for it.
    pub(crate) fn waits_at_gate(&self, facts: &Facts<'_>) -> Option<String> {
        let gated = matches!(self.obstacle(facts), Some(OutOfOrder::Gated { .. }));
        facts.gate.filter(|_| gated && self.why_due(facts).is_some()).map(str::to_owned)
    }

    /// In how long a rotation may begin by itself by time alone; none: never, as things stand.
    pub(crate) fn begins_in(&self, facts: &Facts<'_>) -> Option<Duration> {
        let due = self.due_in(facts).filter(|_| self.obstacle(facts).is_none())?;
        Some(due.max(self.pause_left(PAUSE, facts)))
    }

    /// Whether the replacement of a cut version is to begin now. A hold does not stop it.
    pub(crate) fn replacement_begins(&self, facts: &Facts<'_>) -> bool {
        let free = self.deleted.is_none() && facts.mode == Mode::Normal && self.open_rotation().is_none();
        let has_room = self.lacks_room(facts).is_none();
        self.owed && free && has_room && self.pause_left(PAUSE_OWED, facts).is_zero()
    }

    /// Whether the application's login of today has still to be handed in.
    pub(crate) fn awaits_adoption(&self, facts: &Facts<'_>) -> bool {
        facts.policy.adopts && self.versions.is_empty()
    }

    /// There is no version yet.
    fn first(&self) -> Option<Why> {
        self.current.is_none().then_some(Why::First)
    }

    /// The store was restored: it has no secret of the current version, or left another one behind.
    fn restored(&self) -> Option<Why> {
        if self.is_foreign() {
            return Some(Why::Foreign);
        }
        // What the target is still to be asked about may not be there at all.
        self.leftover().filter(|_| !self.restore.unlisted).map(|_| Why::Leftover)
    }

    /// The current version is older than the schedule allows.
    fn too_old(&self, facts: &Facts<'_>) -> Option<Why> {
        self.due_in(facts)?.is_zero().then_some(Why::TooOld)
    }

    /// In how long the current version is too old.
    pub(crate) fn due_in(&self, facts: &Facts<'_>) -> Option<Duration> {
        let (current, schedule) = (self.current?, facts.policy.schedule?);
        let created = self.version(current)?.created;
        Some(schedule.age(current.get()).saturating_sub(facts.now.at_least_since(created)))
    }

    /// For how long the current version has been too old.
    pub(crate) fn late_by(&self, facts: &Facts<'_>) -> Option<Duration> {
        let (current, schedule) = (self.current?, facts.policy.schedule?);
        let age = facts.now.at_least_since(self.version(current)?.created);
        age.checked_sub(schedule.age(current.get()))
    }

    /// When the current version becomes too old, in milliseconds since 1970 UTC; none: not scheduled.
    pub fn next_rotation_ms(&self, facts: &Facts<'_>) -> Option<i64> {
        let (current, schedule) = (self.current?, facts.policy.schedule?);
        // Its age is that of its value: a version that holders were sent back to is no younger for it.
        let created = self.version(current)?.created;
        let age = i64::try_from(schedule.age(current.get()).as_millis()).ok()?;
        Some(created.wall_ms.saturating_add(age))
    }

    /// How long nothing begins because the last rotation failed.
    fn pause_left(&self, pause: Duration, facts: &Facts<'_>) -> Duration {
        let failed = self.rotation.as_ref().filter(|last| last.failed && last.phase == Phase::Abandoned);
        let ended = failed.and_then(|last| last.ended);
        ended.map_or(Duration::ZERO, |at| pause.saturating_sub(facts.now.at_least_since(at)))
    }
}

impl Schedule {
    /// The age at which the version with this number is too old: the same at every start, different for each.
    fn age(&self, version: u64) -> Duration {
        let jitter = millis(self.jitter);
        let later = scatter(self.seed ^ version).checked_rem(jitter.saturating_add(1)).unwrap_or(0);
        self.every.saturating_add(Duration::from_millis(later))
    }
}

/// Spreads neighbouring numbers over all numbers (the finalizer of `SplitMix64`).
fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
