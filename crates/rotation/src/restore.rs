//! Taking a credential up again after the store was restored from a backup.
//!
//! What the restored ledger says is old, what holders say is evidence, what the target shows is true. Nothing is ended
//! here but what an emergency cut; everything that may still be accepted at the target becomes *stray*: it is never
//! served again from here, and ends once nobody uses it, by the same guard as any other version.

use std::collections::BTreeSet;

use rekey_model::{Handle, Incarnation, Moment, Order, Stage, Version};
use serde::{Deserialize, Serialize};

use crate::ending::{Cause, EndingState};
use crate::facts::{Facts, Mode, Overlap};
use crate::ledger::{Ledger, VersionRecord};
use crate::phase::Phase;
use crate::refusal::OutOfOrder;

/// By how many numbers versions jump: those that the lost life used and nobody tells of are never used again (I4).
const JUMP: u64 = 1000;

/// What one holder said that it has of a credential from an earlier life of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The life that it comes from.
    pub incarnation: Incarnation,
    /// The order that it came with.
    pub order: Order,
    /// The version that it serves, and what that is called at the target.
    pub serves: Option<(Version, Handle)>,
    /// Versions that it was told never to serve again.
    pub fenced: BTreeSet<Version>,
}

/// One version as the target shows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shown {
    /// The version that the marker names; none where objects carry no marker.
    #[serde(default)]
    pub version: Option<Version>,
    /// What it is called.
    pub handle: Handle,
    /// Whether the target lets it log in.
    pub accepted: bool,
    /// Whether it is the login that the application had before Rekey.
    pub adopted: bool,
}

/// What the target says of all versions of a credential.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listing {
    /// These, and no others.
    Shown(Vec<Shown>),
    /// This kind of target cannot list: what holders say is all there is.
    CannotTell,
    /// It could not be asked: what holders say is believed, and the target is asked later.
    Unasked,
}

impl Listing {
    fn shown(&self) -> &[Shown] {
        match self {
            Self::Shown(shown) => shown,
            Self::CannotTell | Self::Unasked => &[],
        }
    }

    /// Whether nothing speaks against `handle` being accepted.
    fn may_accept(&self, handle: &Handle) -> bool {
        match self {
            Self::Shown(shown) => shown.iter().any(|it| it.accepted && it.handle == *handle),
            Self::CannotTell | Self::Unasked => true,
        }
    }
}

impl Ledger {
    /// The one commit that takes a credential up again. `former`: the life in which this ledger was written.
    pub(crate) fn reconciled(
        &mut self,
        former: Incarnation,
        listing: &Listing,
        facts: &Facts<'_>,
    ) -> Result<(), OutOfOrder> {
        if facts.mode != Mode::ReconcileOnly {
            return Err(OutOfOrder::NoEdge { event: "reconciled", phase: None });
        }
        let inherits = self.restore.written.is_none();
        let known_order = (former, self.restore.written.take().unwrap_or(self.order));
        self.ever_held |= !facts.claims.is_empty();
        if self.deleted.is_none() {
            self.close_for_restore(facts.now);
            self.drop_unproven_endings();
            self.endings.values_mut().for_each(|ending| ending.inherited |= inherits);
        }
        self.take_claims_in(facts);
        self.outnumber(listing, JUMP);
        if self.deleted.is_none() {
            self.take_claimed_names_in(listing, facts);
            let current = self.most_recent(known_order, listing, facts);
            self.take_up(current, facts.now);
            self.take_strays_in(listing, facts.now);
            if facts.policy.overlap != Overlap::Both {
                self.forget_overwritten(facts.now);
            }
            self.restore.unlisted = *listing == Listing::Unasked;
        }
        self.cut_what_is_fenced(facts);
        self.order = self.order.next();
        Ok(())
    }

    /// A holder that was away during the reconciling tells of it now.
    pub(crate) fn heard(&mut self, facts: &Facts<'_>) -> Result<(), OutOfOrder> {
        if facts.mode != Mode::Normal {
            return Err(OutOfOrder::Reconciling);
        }
        let known = |handle: &Handle| self.versions.values().any(|record| record.handle == *handle);
        let serves = facts.claims.iter().filter_map(|claim| claim.serves.as_ref());
        let unknown = serves.filter(|(_, handle)| !known(handle)).count() > 0;
        let order = self.order;
        let fenced = self.take_claims_in(facts);
        self.order = order;
        self.restore.unlisted |= unknown && self.deleted.is_none();
        if unknown && self.deleted.is_none() && facts.policy.overlap == Overlap::Both {
            // What the target does not know, if it can tell, is pruned when it is asked.
            self.take_claimed_names_in(&Listing::Unasked, facts);
        }
        if !fenced.is_empty() {
            // Also where none is known here: some holder may have it.
            self.order = order.next();
        }
        self.cut_what_is_fenced(facts);
        Ok(())
    }

    /// What the target shows, where it could not be asked in time or where a holder told of more than was known.
    pub(crate) fn listed(&mut self, listing: &Listing, facts: &Facts<'_>) -> Result<(), OutOfOrder> {
        if !self.restore.unlisted || facts.mode != Mode::Normal || *listing == Listing::Unasked {
            return Err(OutOfOrder::NoEdge { event: "listed", phase: None });
        }
        self.outnumber(listing, 0);
        self.take_strays_in(listing, facts.now);
        self.cut_what_is_fenced(facts);
        let handle = self.current.and_then(|current| self.version(current)).map(|it| it.handle.clone());
        if let (Some(current), Some(handle)) = (self.current, handle)
            && !listing.may_accept(&handle)
            && let Some(record) = self.versions.get_mut(&current)
        {
            // It ended in the life that was lost: another takes its place, at once.
            record.stray = true;
        }
        self.restore.unlisted = false;
        Ok(())
    }

    /// What holders told becomes known here: numbers, orders, fences. Gives the fences that are new.
    fn take_claims_in(&mut self, facts: &Facts<'_>) -> BTreeSet<Version> {
        let mut fenced = BTreeSet::new();
        for claim in facts.claims {
            let serves = claim.serves.as_ref().map(|(version, _)| *version);
            self.last_version = self.last_version.max(serves).max(claim.fenced.last().copied());
            self.order = self.order.max(claim.order);
            fenced.extend(claim.fenced.difference(&self.fenced));
        }
        self.fenced.extend(&fenced);
        fenced
    }

    /// A revocation while nothing is reconciled means what holders say that they have, too.
    pub(crate) fn take_claimed_in(&mut self, facts: &Facts<'_>) {
        if facts.mode != Mode::ReconcileOnly {
            return;
        }
        self.restore.written.get_or_insert(self.order);
        self.take_claims_in(facts);
        self.take_claimed_names_in(&Listing::Unasked, facts);
        self.cut_what_is_fenced(facts);
    }

    /// What holders serve is known from here on by its name, unless the target says that there is no such thing.
    fn take_claimed_names_in(&mut self, listing: &Listing, facts: &Facts<'_>) {
        for (version, handle) in facts.claims.iter().filter_map(|claim| claim.serves.as_ref()) {
            if listing.may_accept(handle) {
                self.insert_stray(*version, handle, false, facts.now);
            }
        }
    }

    /// Makes a name known; under another number, if something else has that.
    fn insert_stray(&mut self, version: Version, handle: &Handle, adopted: bool, now: Moment) {
        if self.record_of(handle).is_some() {
            return;
        }
        if let Some(record) = self.versions.get_mut(&version).filter(|record| record.is_nameless(version)) {
            record.handle = handle.clone();
            return;
        }
        let mut number = version;
        if self.versions.contains_key(&version) {
            number = self.next_version();
            self.last_version = Some(number);
        }
        self.versions.insert(number, VersionRecord::stray(handle, adopted, now));
    }

    /// No number that the target shows is ever used again, and none of `jump` after it.
    fn outnumber(&mut self, listing: &Listing, jump: u64) {
        let shown = listing.shown().iter().filter_map(|shown| shown.version).max();
        let last = self.last_version.max(shown).map_or(0, Version::get);
        self.last_version = Version::new(last.saturating_add(jump));
    }

    /// The open rotation ends: what it waited for was evidence of the life that was lost.
    fn close_for_restore(&mut self, now: Moment) {
        self.update(|open| open.last_error = Some("the store was restored".to_owned()));
        self.close(Phase::Abandoned, now);
        self.previous = None;
        // What the target listed then says nothing of the keys of the life that was lost: none of them is a stranger.
        self.versions.values_mut().for_each(|record| record.baseline = None);
        // What failed, failed in another life.
        if let Some(last) = &mut self.rotation {
            last.failed = false;
        }
    }

    /// Endings whose evidence is gone are not decided any more. An emergency is not about evidence, and what the target
    /// refuses already is only to be cleaned up.
    fn drop_unproven_endings(&mut self) {
        self.endings
            .retain(|_, ending| ending.cause == Cause::Emergency || ending.state == EndingState::Ended);
    }

    /// The version that everybody is to use: what was told with the latest order, else the store's own, else what the
    /// target accepts and nobody tells of. Never one that was cut, or that the target refuses.
    fn most_recent(
        &self,
        known: (Incarnation, Order),
        listing: &Listing,
        facts: &Facts<'_>,
    ) -> Option<(Version, Handle)> {
        let usable = |version: Version, handle: &Handle| {
            let dead = self.version(version).is_some_and(|it| it.stage.is_final() || it.handle != *handle);
            let cut = self.fenced.contains(&version) || self.endings.contains_key(&version);
            !dead && !cut && listing.may_accept(handle)
        };
        let mut told: Vec<&Claim> =
            facts.claims.iter().filter(|it| (it.incarnation, it.order) > known).collect();
        told.sort_by_key(|claim| {
            let same = facts.claims.iter().filter(|it| it.serves == claim.serves).count();
            std::cmp::Reverse((claim.incarnation, claim.order, same))
        });
        let mut serves = told.iter().filter_map(|claim| claim.serves.clone());
        let latest = serves.find(|(version, handle)| usable(*version, handle));
        let own = || {
            let current = self.current?;
            let handle = self.version(current)?.handle.clone();
            usable(current, &handle).then_some((current, handle))
        };
        let shown = || {
            let accepted = listing.shown().iter().filter(|it| it.accepted && !it.adopted);
            let mut accepted: Vec<&Shown> = accepted.collect();
            accepted.sort_by_key(|it| std::cmp::Reverse(it.version));
            let mut marked = accepted.into_iter().filter_map(|it| Some((it.version?, &it.handle)));
            let (version, handle) = marked.find(|(version, handle)| usable(*version, handle))?;
            Some((version, handle.clone()))
        };
        // A store that had cut its current version and not replaced it yet still owes that.
        let nothing_owed = !self.owed && !self.resting;
        latest.or_else(own).or_else(|| if nothing_owed { shown() } else { None })
    }

    /// Everybody is to use `current`. One without a secret here is *foreign*: who has it keeps it until it is replaced.
    fn take_up(&mut self, current: Option<(Version, Handle)>, now: Moment) {
        for (version, record) in &mut self.versions {
            if !record.stage.is_final() && !self.endings.contains_key(version) {
                record.stray |= current.as_ref().is_none_or(|(current, _)| current != version);
                record.stage = Stage::Previous;
            }
        }
        let before = self.current.take();
        let Some((version, handle)) = current else {
            // Readers may wait for what takes the place of a version that was cut.
            self.owed |= !self.fenced.is_empty() && !self.resting;
            return;
        };
        let record =
            self.versions.entry(version).or_insert_with(|| VersionRecord::stray(&handle, false, now));
        // One whose expiry was not seen lifted here may die by itself: it is not given to anybody else.
        record.stray |= record.proven.is_none() || !record.lasting;
        record.stage = Stage::Current;
        record.lasting = true;
        if before != Some(version) {
            record.promoted = Some(now);
        }
        self.current = Some(version);
        (self.owed, self.resting) = (false, false);
    }

    /// What the target shows and nobody knew of is stray; what it no longer shows has ended.
    fn take_strays_in(&mut self, listing: &Listing, now: Moment) {
        let Listing::Shown(shown) = listing else { return };
        // Before the adoption the application's own login is nobody's business.
        let marked = || shown.iter().filter_map(|it| Some((it.version?, it)));
        let adopted_once = self.versions.values().any(|it| it.adopted) || marked().any(|(_, it)| !it.adopted);
        for (version, one) in marked().filter(|(_, it)| adopted_once || !it.adopted) {
            self.insert_stray(version, &one.handle, one.adopted, now);
        }
        let open = self.open_rotation().and_then(|open| open.next);
        for (version, record) in &mut self.versions {
            let busy = self.endings.contains_key(version) || [self.current, open].contains(&Some(*version));
            let there = shown.iter().any(|one| one.handle == record.handle);
            if record.stray && !busy && !there && !record.stage.is_final() {
                let cut = self.fenced.contains(version);
                record.stage = if cut { Stage::Revoked } else { Stage::Retired };
                record.ended = Some(now);
                record.doubt = None;
            }
        }
    }

    /// Such an account has one value: every other one was overwritten, and there is nothing to end.
    fn forget_overwritten(&mut self, now: Moment) {
        for (version, record) in &mut self.versions {
            let there = self.current == Some(*version) || self.endings.contains_key(version);
            if !there && !record.stage.is_final() {
                record.stage = if self.fenced.contains(version) { Stage::Revoked } else { Stage::Retired };
                record.ended = Some(now);
            }
        }
    }

    fn record_of(&self, handle: &Handle) -> Option<&VersionRecord> {
        self.versions.values().find(|record| record.handle == *handle)
    }

    /// What was never to be served again and became known only now ends as what it is: cut. Where values come from outside,
    /// also what only its fence tells of: its value could come once more, and nobody here would know it, so that its end
    /// waits for somebody's word.
    fn cut_what_is_fenced(&mut self, facts: &Facts<'_>) {
        if Self::is_given(facts) && self.deleted.is_none() {
            for version in &self.fenced {
                let nameless = || VersionRecord::nameless(*version, facts.now);
                if let Some(record) = nameless().filter(|_| !self.versions.contains_key(version)) {
                    self.versions.insert(*version, record);
                }
            }
        }
        let alive = |version: &&Version| {
            self.version(**version).is_some_and(|it| it.ended.is_none() && !it.stage.is_final())
        };
        let hit: BTreeSet<Version> = self.fenced.iter().filter(alive).copied().collect();
        self.cut(&hit, true, facts);
    }

    /// Whether the current version is one that this store has no secret of.
    pub fn is_foreign(&self) -> bool {
        self.current.and_then(|current| self.version(current)).is_some_and(|record| record.stray)
    }

    /// A version that a restore left behind, that nobody is to use and that nothing ends yet.
    pub fn leftover(&self) -> Option<Version> {
        let open = self.open_rotation().map(|open| [open.next, open.old]).unwrap_or_default();
        let idle = |version: &Version| self.current != Some(*version) && !open.contains(&Some(*version));
        let mut strays = self.versions.iter().filter(|(_, record)| record.stray).map(|(version, _)| *version);
        strays.find(|version| idle(version) && self.is_alive(*version))
    }

    /// Whether a version could be served again from here.
    pub(crate) fn is_servable(&self, version: Version) -> bool {
        self.is_alive(version) && self.version(version).is_some_and(|record| !record.stray)
    }
}

impl VersionRecord {
    /// One that is known only by its name.
    fn stray(handle: &Handle, adopted: bool, now: Moment) -> Self {
        Self { stage: Stage::Previous, adopted, lasting: true, stray: true, ..Self::chosen(handle, now) }
    }

    /// One of which only the number is known, which is its name until another is told.
    fn nameless(version: Version, now: Moment) -> Option<Self> {
        let name = version.to_string().parse().ok()?;
        Some(Self::stray(&name, false, now))
    }

    fn is_nameless(&self, version: Version) -> bool {
        self.handle.as_str() == version.to_string()
    }
}
