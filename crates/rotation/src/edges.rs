//! The edges that nobody asks for: taken whenever what they wait for is there. And the few moves that edges share.

use rekey_model::{Moment, Stage, Version};

use crate::ending::{Cause, Ending, EndingState};
use crate::facts::{Facts, Mode};
use crate::holders::later;
use crate::ledger::Ledger;
use crate::phase::{Phase, Rotation};
use crate::refusal::OutOfOrder;

/// More edges than can follow each other without an event between.
const CHAIN: usize = 8;

impl Ledger {
    /// Takes every edge that is free now, and records what time and holders have brought.
    pub(crate) fn settle(&mut self, facts: &Facts<'_>) {
        self.ever_held |= !facts.holders.is_empty();
        self.note_goodbyes(facts);
        if facts.live().next().is_some() {
            // Who said that nobody is to come was told otherwise.
            self.update(|rotation| rotation.no_holders = false);
        }
        if facts.mode == Mode::Normal {
            for _ in 0..CHAIN {
                if !self.take_edge(facts) {
                    break;
                }
            }
        }
        self.follow_emergencies(facts);
        self.follow_bound(facts);
    }

    /// Takes one free edge. One line an edge. Two of a grouped rotation are taken for all at once ([`crate::group`]).
    fn take_edge(&mut self, facts: &Facts<'_>) -> bool {
        let Some(open) = self.open_rotation().cloned() else { return false };
        let (next, old) = (open.next, open.old);
        match open.phase {
            Phase::Chosen if self.is_lost(&open, facts) => self.give_up(&open, facts),
            Phase::Chosen | Phase::Staged | Phase::Barrier => self.prepare_cut(&open, facts),
            Phase::Proven if self.may_promote(&open) && !open.is_grouped() => self.lead(&open, facts),
            Phase::Canary => self.follow_canary(&open, facts),
            Phase::Rolling if self.all_acked(facts) => self.enter_grace(facts),
            Phase::Grace if old.is_none_or(|old| !self.is_alive(old)) => {
                self.all_acked(facts) && self.close(Phase::Done, facts.now)
            }
            Phase::Grace if self.nothing_unmet(old, next, facts) && !open.is_grouped() => {
                self.intend(old, Cause::Retire, facts.now) && self.enter(Phase::Retiring)
            }
            Phase::Returning if self.nothing_unmet(next, old, facts) => {
                self.intend(next, Cause::Undo, facts.now) && self.enter(Phase::Undoing)
            }
            Phase::Retiring | Phase::StuckRetiring if self.has_ended(old) => {
                self.close(Phase::Done, facts.now)
            }
            Phase::Undoing | Phase::StuckUndoing
                if self.has_ended(next) || self.only_expires(next, facts) =>
            {
                self.close(Phase::Abandoned, facts.now)
            }
            Phase::Planned
            | Phase::CutOver
            | Phase::Installed
            | Phase::Proven
            | Phase::Rolling
            | Phase::Grace
            | Phase::Retiring
            | Phase::Returning
            | Phase::Undoing
            | Phase::StuckRetiring
            | Phase::StuckUndoing
            | Phase::Done
            | Phase::Abandoned => false,
        }
    }

    pub(crate) fn may_promote(&self, open: &Rotation) -> bool {
        let lasting = open.next.and_then(|next| self.version(next)).is_some_and(|record| record.lasting);
        // After a cut readers wait, and there is only forward: a hold would only make them wait for longer.
        lasting && (self.held.is_none() || open.replacement || open.cut_over.is_some())
    }

    pub(crate) fn nothing_unmet(
        &self,
        old: Option<Version>,
        served: Option<Version>,
        facts: &Facts<'_>,
    ) -> bool {
        old.zip(served).is_some_and(|(old, served)| self.unmet(old, served, facts).is_empty())
    }

    fn has_ended(&self, version: Option<Version>) -> bool {
        let ending = version.and_then(|version| self.endings.get(&version));
        ending.is_none_or(|ending| ending.state == EndingState::Ended)
    }

    /// Proven or Canary → Rolling: everybody is to use `next`.
    pub(crate) fn promote(&mut self, open: &Rotation, facts: &Facts<'_>) -> bool {
        let Some(next) = open.next else { return false };
        if Self::is_followed(facts) {
            // Whoever made the new value has killed the old one.
            self.cut_is_over(next, facts.now);
        }
        self.restage(open.old, Stage::Previous);
        self.previous = open.old.filter(|_| open.cut_over.is_none() && !Self::is_followed(facts));
        self.make_current(next, facts.now);
        self.owed = false;
        self.resting = false;
        for emergency in
            self.emergencies.iter_mut().filter(|it| it.wants_replacement && it.replaced.is_none())
        {
            emergency.replacement = Some(next);
            emergency.replaced = Some(facts.now);
        }
        let counted = u32::try_from(facts.counting().count()).unwrap_or(u32::MAX);
        self.update(|rotation| {
            rotation.phase = Phase::Rolling;
            rotation.promoted = Some(facts.now);
            rotation.turned = Some(facts.now);
            rotation.counted = counted;
            rotation.last_error = None;
        })
    }

    /// Nobody is to move: what a restore left behind is `old`, and its grace begins at once.
    pub(crate) fn begin_clearing(&mut self, facts: &Facts<'_>) -> Result<(), OutOfOrder> {
        let no_edge = OutOfOrder::NoEdge { event: "begin", phase: None };
        let (next, old) = self.current.zip(self.leftover()).ok_or(no_edge)?;
        let counted = u32::try_from(facts.counting().count()).unwrap_or(u32::MAX);
        self.restage(Some(old), Stage::Previous);
        self.update(|rotation| {
            rotation.phase = Phase::Grace;
            (rotation.next, rotation.old) = (Some(next), Some(old));
            rotation.turned = Some(facts.now);
            rotation.grace_since = Some(facts.now);
            rotation.counted = counted;
        });
        Ok(())
    }

    /// Rolling → Grace: everybody has moved.
    fn enter_grace(&mut self, facts: &Facts<'_>) -> bool {
        let last = facts.last_ack();
        self.update(|rotation| {
            rotation.phase = Phase::Grace;
            rotation.all_acked = Some(rotation.promoted.map_or(last, |promoted| later(promoted, last)));
            rotation.grace_since = Some(facts.now);
        })
    }

    /// Canary, Rolling or Grace → Returning: the holders go back to `old`, which is alive.
    pub(crate) fn turn_back(&mut self, old: Version, why: &str, now: Moment) -> bool {
        if self.canary().is_some() {
            // It is what all others use.
            self.order = self.order.next();
        } else {
            let next = self.open_rotation().and_then(|open| open.next);
            self.restage(next, Stage::Previous);
            self.previous = next;
            self.make_current(old, now);
        }
        self.update(|rotation| {
            rotation.phase = Phase::Returning;
            rotation.turned = Some(now);
            rotation.last_error = Some(why.to_owned());
            rotation.failed = true;
            rotation.no_holders = false;
            rotation.last_discount = None;
        })
    }

    /// Any phase before promotion → Undoing. The ending is decided even when surely nothing is there.
    pub(crate) fn undo(&mut self, why: &str, now: Moment) -> bool {
        let next = self.open_rotation().and_then(|open| open.next);
        self.intend(next, Cause::Undo, now);
        self.update(|rotation| {
            rotation.phase = Phase::Undoing;
            rotation.last_error = Some(why.to_owned());
            rotation.failed = true;
        })
    }

    /// Everybody is to use `version` from now on.
    pub(crate) fn make_current(&mut self, version: Version, now: Moment) {
        self.restage(Some(version), Stage::Current);
        if let Some(record) = self.versions.get_mut(&version) {
            record.promoted = Some(now);
        }
        self.current = Some(version);
        self.order = self.order.next();
    }

    /// Decides that `version` ends. What is decided already stays, but an emergency overrules any other cause.
    pub(crate) fn intend(&mut self, version: Option<Version>, cause: Cause, now: Moment) -> bool {
        let Some(version) = version else { return false };
        if self.is_being_made(version) {
            self.doubt(version, now);
        }
        let fresh = Ending {
            cause,
            state: EndingState::Intended,
            since: now,
            refusals: 0,
            last_error: None,
            inherited: false,
        };
        let ending = self.endings.entry(version).or_insert(fresh);
        if cause == Cause::Emergency {
            (ending.cause, ending.inherited) = (cause, false);
        }
        true
    }

    /// Whether a call that makes `version` may be on its way with somebody waiting for the answer.
    fn is_being_made(&self, version: Version) -> bool {
        let making = [Phase::Chosen, Phase::CutOver];
        self.open_rotation().is_some_and(|open| making.contains(&open.phase) && open.next == Some(version))
    }

    /// A call that makes `version` may be on its way from before `now`, and nobody waits for its answer.
    pub(crate) fn doubt(&mut self, version: Version, now: Moment) {
        if let Some(record) = self.versions.get_mut(&version) {
            record.doubt = Some(now);
        }
    }

    /// Gives a version its stage, if it may have it.
    pub(crate) fn restage(&mut self, version: Option<Version>, stage: Stage) {
        let record = version.and_then(|version| self.versions.get_mut(&version));
        if let Some(record) = record.filter(|record| record.stage.may_become(stage)) {
            record.stage = stage;
        }
    }

    /// Ends the rotation. What was previous is gone for the holders, which is a change for them.
    pub(crate) fn close(&mut self, phase: Phase, now: Moment) -> bool {
        if self.previous.take().is_some() {
            self.order = self.order.next();
        }
        self.update(|rotation| {
            rotation.phase = phase;
            rotation.ended = Some(now);
        })
    }

    pub(crate) fn enter(&mut self, phase: Phase) -> bool {
        self.update(|rotation| rotation.phase = phase)
    }

    /// Changes the open rotation, if there is one.
    pub(crate) fn update(&mut self, change: impl FnOnce(&mut Rotation)) -> bool {
        let open = self.rotation.as_mut().filter(|rotation| rotation.phase.is_open());
        open.map(change).is_some()
    }

    /// Keeps when somebody last left without acknowledging, so that the floor starts again even if its rows go.
    fn note_goodbyes(&mut self, facts: &Facts<'_>) {
        let Some(turned) = self.open_rotation().and_then(|open| open.turned) else { return };
        let Some(gone) = self.last_goodbye(facts) else { return };
        if later(turned, gone) == gone && gone != turned {
            self.update(|open| {
                open.last_discount = Some(open.last_discount.map_or(gone, |last| later(last, gone)));
            });
        }
    }
}
