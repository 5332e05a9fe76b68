//! Emergency revocation: its record, and what it does to an open rotation (`docs/rotation.md`, "Emergency").

use std::collections::{BTreeMap, BTreeSet};

use rekey_model::{Id, InstanceId, Moment, Order, Stage, Version};
use serde::{Deserialize, Serialize};

use crate::ending::Cause;
use crate::event::Event;
use crate::facts::Facts;
use crate::ledger::Ledger;
use crate::phase::{Phase, Rotation};
use crate::refusal::OutOfOrder;

/// How many finished emergencies are kept.
const KEPT: usize = 8;

/// Marks the id of an emergency.
#[derive(Debug)]
pub enum EmergencyKind {}
/// One emergency revocation.
pub type EmergencyId = Id<EmergencyKind>;

/// An emergency revocation: what is cut, who was to be fenced, and when each was so.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Emergency {
    /// Its id.
    pub id: EmergencyId,
    /// What is cut.
    pub versions: BTreeSet<Version>,
    /// Why.
    pub reason: String,
    /// Who revoked.
    pub by: String,
    /// When the intent was durable.
    pub intent: Moment,
    /// The order that came with it: who has acknowledged it, or a later one, is fenced.
    pub order: Order,
    /// The holders that counted at the intent.
    pub holders: BTreeMap<InstanceId, Fencing>,
    /// When the target refused every version and had no session left by it, and no call could make one again (I7).
    pub cut: Option<Moment>,
    /// When no live holder was left that had not confirmed; at once if none was live, which says nothing of the others.
    pub fenced: Option<Moment>,
    /// Whether the current version was hit and is replaced.
    pub wants_replacement: bool,
    /// The replacement, once it is current.
    pub replacement: Option<Version>,
    /// When the replacement became current.
    pub replaced: Option<Moment>,
    /// When every live holder had acknowledged the replacement: at least one, unless nobody ever held the credential.
    pub delivered: Option<Moment>,
}

/// One holder of a cut version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fencing {
    /// What people call it.
    pub name: String,
    /// When it acknowledged that it dropped what was cut; none: not reached.
    pub fenced: Option<Moment>,
    /// Whether it was reachable when last looked at.
    pub live: bool,
}

impl Emergency {
    /// Whether nothing is left to wait for, but holders that are not reached.
    pub fn is_finished(&self) -> bool {
        let replaced = !self.wants_replacement || self.delivered.is_some();
        self.cut.is_some() && self.fenced.is_some() && replaced
    }
}

impl Ledger {
    /// The emergency that cut `version`, or for none the latest one.
    pub fn emergency_on(&self, version: Option<Version>) -> Option<&Emergency> {
        self.emergencies.iter().rev().find(|it| version.is_none_or(|version| it.versions.contains(&version)))
    }

    /// One commit: fence, endings, order, the list of holders, what is owed, and the edge of the open rotation.
    pub(crate) fn revoke(&mut self, event: &Event, facts: &Facts<'_>) -> Result<(), OutOfOrder> {
        let Event::Revoke { id, version, reason, by, replace } = event else {
            return Err(self.no_edge(event));
        };
        if self.emergencies.iter().any(|earlier| earlier.id == *id) {
            // The same request again: what came after it, its replacement above all, is not meant.
            return Ok(());
        }
        self.take_claimed_in(facts);
        let mut hit = self.not_ended(*version)?;
        if hit.is_empty() {
            return self.emergency_on(*version).map(|_| ()).ok_or(OutOfOrder::NothingLeft);
        }
        hit.extend(self.also_hit(&hit, facts.policy.overlap));
        let served = facts.claims.iter().filter_map(|claim| claim.serves.as_ref());
        let told = served.filter(|(version, _)| hit.contains(version)).count() > 0;
        let hits_current = self.current.is_some_and(|current| hit.contains(&current)) || told;
        self.cut(&hit, *replace, facts);
        if hits_current && self.current.is_none() {
            self.owed = *replace;
            self.resting = !replace;
        }
        self.emergencies.push(Emergency {
            id: *id,
            versions: hit,
            reason: reason.clone(),
            by: by.clone(),
            intent: facts.now,
            order: self.order,
            holders: facts
                .counting()
                .map(|holder| (holder.instance, Fencing::awaited(&holder.name)))
                .collect(),
            cut: None,
            fenced: None,
            wants_replacement: hits_current && self.owed,
            replacement: None,
            replaced: None,
            delivered: None,
        });
        self.forget_finished();
        Ok(())
    }

    /// Cuts `hit`: fences and endings, what is owed, the edge of the open rotation. Nothing, where nothing is hit.
    pub(crate) fn cut(&mut self, hit: &BTreeSet<Version>, replace: bool, facts: &Facts<'_>) {
        if hit.is_empty() {
            return;
        }
        for version in hit {
            let stray = self.version(*version).is_some_and(|record| record.stray);
            if stray || self.is_at_target(*version, facts.policy.overlap) {
                self.intend(Some(*version), Cause::Emergency, facts.now);
            } else if let Some(record) = self.versions.get_mut(version) {
                record.ended = Some(facts.now);
            }
            self.restage(Some(*version), Stage::Revoked);
        }
        self.fenced.extend(hit);
        if self.current.is_some_and(|current| hit.contains(&current)) {
            self.current = None;
            self.owed = replace;
        }
        self.previous = self.previous.filter(|previous| !hit.contains(previous));
        self.order = self.order.next();
        self.bend_rotation(hit, replace, facts);
        self.resting = self.current.is_none() && !self.owed;
    }

    /// The versions meant that the target may still accept and that no emergency has cut yet.
    fn not_ended(&self, version: Option<Version>) -> Result<BTreeSet<Version>, OutOfOrder> {
        if let Some(version) = version.filter(|version| !self.versions.contains_key(version)) {
            return Err(OutOfOrder::NoSuchVersion(version));
        }
        let meant =
            self.versions.iter().filter(|(number, _)| version.is_none_or(|version| version == **number));
        let open = meant.filter(|(number, record)| record.ended.is_none() && !self.fenced.contains(number));
        Ok(open.map(|(number, _)| *number).collect())
    }

    /// What becomes of the open rotation: one line a cell of the table that `tests/emergencies.rs` checks.
    fn bend_rotation(&mut self, hit: &BTreeSet<Version>, replace: bool, facts: &Facts<'_>) {
        let Some(open) = self.open_rotation().cloned() else { return };
        let now = facts.now;
        let next = open.next.is_some_and(|next| hit.contains(&next));
        let old = open.old.is_some_and(|old| hit.contains(&old));
        match (open.phase, next, old) {
            (_, false, false) => {}
            (
                Phase::Planned
                | Phase::Chosen
                | Phase::Staged
                | Phase::Barrier
                | Phase::Installed
                | Phase::Proven,
                false,
                true,
            ) => self.become_replacement(&open, replace, now),
            (Phase::Canary, false, true) => self.promote_canary(&open, facts),
            (Phase::Rolling | Phase::Grace, true, false) => self.fall_back(open.old, Phase::Abandoned, now),
            (Phase::Rolling | Phase::Grace, false, true) => {
                self.update(|rotation| rotation.old = None);
            }
            (Phase::Returning, false, true) => self.fall_back(open.next, Phase::Abandoned, now),
            (Phase::Retiring | Phase::StuckRetiring, _, _) => self.close_cut(Phase::Done, now),
            (
                Phase::Planned
                | Phase::Chosen
                | Phase::Staged
                | Phase::Barrier
                | Phase::CutOver
                | Phase::Installed
                | Phase::Proven
                | Phase::Canary
                | Phase::Rolling
                | Phase::Grace
                | Phase::Returning
                | Phase::Undoing
                | Phase::StuckUndoing
                | Phase::Done
                | Phase::Abandoned,
                _,
                _,
            ) => self.close_cut(Phase::Abandoned, now),
        }
    }

    /// `old` was cut before `next` came into use: the rotation goes on as its replacement, if one is wanted.
    fn become_replacement(&mut self, open: &Rotation, replace: bool, now: Moment) {
        if replace {
            self.update(|rotation| {
                rotation.old = None;
                rotation.replacement = true;
            });
        } else if open.cut_over.is_some() {
            self.abandon_uncut("the version before it was revoked", now);
        } else {
            self.intend(open.next, Cause::Undo, now);
            self.close_cut(Phase::Abandoned, now);
        }
    }

    /// `old` was cut while one holder used `next`: that beats nothing, so everybody does. There is no way back.
    fn promote_canary(&mut self, open: &Rotation, facts: &Facts<'_>) {
        self.update(|rotation| rotation.old = None);
        let open = Rotation { old: None, ..open.clone() };
        self.let_all_have_it(&open, "the version before it was revoked", facts);
    }

    /// What was current is cut, its sibling lives: holders use that, which beats nothing.
    fn fall_back(&mut self, sibling: Option<Version>, phase: Phase, now: Moment) {
        self.previous = None;
        if let Some(sibling) = sibling.filter(|sibling| self.current.is_none() && self.is_servable(*sibling))
        {
            self.make_current(sibling, now);
        }
        self.close_cut(phase, now);
    }

    /// An emergency ends the rotation. Its endings go on.
    fn close_cut(&mut self, phase: Phase, now: Moment) {
        self.update(|rotation| rotation.failed = false);
        self.close(phase, now);
    }

    fn forget_finished(&mut self) {
        while self.emergencies.len() > KEPT {
            let Some(oldest) = self.emergencies.iter().position(Emergency::is_finished) else { return };
            self.emergencies.remove(oldest);
        }
    }

    /// Records what time and holders have brought to the emergencies.
    pub(crate) fn follow_emergencies(&mut self, facts: &Facts<'_>) {
        let somebody = facts.live().next().is_some() || self.nobody_ever(facts);
        let delivered = somebody && facts.live().all(|holder| holder.has_acked(self.order));
        let versions = &self.versions;
        for emergency in &mut self.emergencies {
            let gone = |version| versions.get(version).is_none_or(|record| record.ended.is_some());
            if emergency.cut.is_none() && emergency.versions.iter().all(gone) {
                emergency.cut = Some(facts.now);
            }
            emergency.follow_holders(facts);
            if emergency.replaced.is_some() && emergency.delivered.is_none() && delivered {
                emergency.delivered = Some(facts.now);
            }
        }
    }
}

impl Emergency {
    fn follow_holders(&mut self, facts: &Facts<'_>) {
        for (instance, fencing) in self.holders.iter_mut().filter(|(_, fencing)| fencing.fenced.is_none()) {
            let holder = facts.holders.iter().find(|holder| holder.instance == *instance);
            let acked = holder.and_then(|holder| holder.acked).filter(|acked| acked.order >= self.order);
            fencing.fenced = acked.map(|acked| acked.at);
            fencing.live = holder.is_some_and(|holder| holder.is_live(facts));
        }
        let waits = self.holders.values().any(|fencing| fencing.fenced.is_none() && fencing.live);
        if self.fenced.is_none() && !waits {
            self.fenced = Some(facts.now);
        }
    }
}

impl Fencing {
    fn awaited(name: &str) -> Self {
        Self { name: name.to_owned(), fenced: None, live: true }
    }
}
