//! Targets where the new value kills the old one at once: the phases from Chosen to the cut.
//!
//! Holders get the value beforehand as `next`, then let their readers wait behind a barrier while the target is
//! changed, and promote. Until the cut is committed nothing was touched and everything can be taken back; from then on
//! there is only forward, because nobody can know that the old value still works (`docs/rotation.md`, "Targets
//! with one value").

use std::collections::BTreeSet;
use std::time::Duration;

use rekey_model::{Moment, Stage, Version};

use crate::ending::EndingState;
use crate::event::Event;
use crate::facts::{Barrier, Facts, Missing, Overlap};
use crate::holders::later;
use crate::ledger::Ledger;
use crate::phase::{CutOver, Phase, Rotation};
use crate::refusal::OutOfOrder;

/// How often the rest after a barrier that was given up is doubled, at the most.
const MOST_DOUBLINGS: u32 = 5;

impl Barrier {
    /// How long it rests yet because it was lowered without a cut.
    pub(crate) fn rest_left(&self, open: &Rotation, facts: &Facts<'_>) -> Duration {
        let Some((cut, missed)) = open.cut_over.as_ref().and_then(|cut| Some((cut, cut.missed?))) else {
            return Duration::ZERO;
        };
        let doublings = cut.given_up.saturating_sub(1).min(MOST_DOUBLINGS);
        self.pause.saturating_mul(1 << doublings).saturating_sub(facts.now.at_least_since(missed))
    }
}

impl Ledger {
    /// Whether readers are to wait instead of getting a value that is about to be dead.
    pub fn barrier_is_up(&self) -> bool {
        let cutting = [Phase::Barrier, Phase::CutOver, Phase::Installed, Phase::Proven];
        self.open_rotation().is_some_and(|open| {
            open.cut_over.as_ref().is_some_and(|cut| cut.barrier.is_some()) && cutting.contains(&open.phase)
        })
    }

    /// The version that holders are given before it is current, if any.
    pub fn staged(&self) -> Option<Version> {
        let early = [Phase::Staged, Phase::Barrier, Phase::CutOver, Phase::Installed, Phase::Proven];
        let open = self.open_rotation().filter(|open| early.contains(&open.phase))?;
        open.next.filter(|_| open.cut_over.as_ref().is_some_and(|cut| cut.handed_out))
    }

    /// The edges before the cut, where a new value kills the old one.
    pub(crate) fn prepare_cut(&mut self, open: &Rotation, facts: &Facts<'_>) -> bool {
        let Overlap::Neither(barrier) = facts.policy.overlap else { return false };
        if open.phase == Phase::Staged {
            self.raise_barrier(barrier, open, facts)
        } else if open.phase == Phase::Barrier {
            self.leave_barrier(barrier, open, facts)
        } else {
            self.stage(barrier)
        }
    }

    /// Chosen → Staged: holders get `next` beside what they serve, if it is known already.
    fn stage(&mut self, barrier: Barrier) -> bool {
        if barrier.known {
            self.order = self.order.next();
        }
        self.update(|rotation| {
            rotation.phase = Phase::Staged;
            rotation.cut_over = Some(CutOver { handed_out: barrier.known, ..CutOver::default() });
        })
    }

    /// Staged → Barrier: readers are to wait. Where nothing is served there is nobody to wait.
    fn raise_barrier(&mut self, barrier: Barrier, open: &Rotation, facts: &Facts<'_>) -> bool {
        let held = self.held.is_some() && !open.replacement;
        if held || !barrier.rest_left(open, facts).is_zero() || !self.nothing_is_being_cut() {
            return false;
        }
        // What is foreign is shown to nobody from here: its holders can be told neither to wait nor what comes.
        if self.current.is_none() || self.is_foreign() {
            return self.enter(Phase::CutOver);
        }
        if !self.all_acked(facts) {
            return false;
        }
        self.order = self.order.next();
        self.update(|rotation| {
            rotation.phase = Phase::Barrier;
            rotation.cut_over.get_or_insert_default().barrier = Some(facts.now);
        })
    }

    /// Barrier → `CutOver` when every reader waits and what was read before has been used; back to Staged when somebody does not confirm in time, unless it was
    /// declared that the cut then goes on.
    fn leave_barrier(&mut self, barrier: Barrier, open: &Rotation, facts: &Facts<'_>) -> bool {
        let held = self.held.is_some() && !open.replacement;
        let raised = open.cut_over.as_ref().and_then(|cut| cut.barrier);
        let since = raised.map(|raised| facts.now.at_least_since(raised)).unwrap_or_default();
        if held {
            return self.lower_barrier("held", facts.now);
        }
        if self.all_acked(facts) {
            let last = raised.map_or(facts.last_ack(), |raised| later(raised, facts.last_ack()));
            return facts.now.at_least_since(last) >= barrier.drain && self.enter(Phase::CutOver);
        }
        if since <= barrier.confirm {
            return false;
        }
        match barrier.missing {
            Missing::GoOn => since >= barrier.confirm + barrier.drain && self.enter(Phase::CutOver),
            Missing::Hold => {
                let names: Vec<&str> =
                    self.unacked(facts).iter().map(|holder| holder.name.as_str()).collect();
                let why =
                    format!("these did not confirm in time that their readers wait: {}", names.join(", "));
                self.give_up_barrier(&why, facts.now)
            }
        }
    }

    fn lower_barrier(&mut self, why: &str, now: Moment) -> bool {
        self.order = self.order.next();
        self.update(|rotation| {
            rotation.phase = Phase::Staged;
            let cut = rotation.cut_over.get_or_insert_default();
            (cut.barrier, cut.missed) = (None, Some(now));
            rotation.last_error = Some(why.to_owned());
        })
    }

    /// `CutOver` → Staged where the target was not reached and readers wait no longer: they get the old value, which
    /// works, and the cut is tried again later behind another barrier. Not where an earlier call may have changed it.
    pub(crate) fn untouched(
        &mut self,
        subject: (Version, u32),
        why: &str,
        event: &Event,
        facts: &Facts<'_>,
    ) -> Result<(), OutOfOrder> {
        self.awaited(subject, &[Phase::CutOver]).ok_or_else(|| self.no_edge(event))?;
        let raised = self.open_rotation().and_then(|open| open.cut_over.as_ref()?.barrier);
        let doubtful = self.version(subject.0).is_some_and(|record| record.doubt.is_some());
        let Overlap::Neither(barrier) = facts.policy.overlap else { return Err(self.no_edge(event)) };
        let waited = raised.is_some_and(|raised| facts.now.at_least_since(raised) >= barrier.wait);
        if waited && !doubtful {
            self.give_up_barrier(why, facts.now);
        } else {
            self.update(|rotation| rotation.last_error = Some(why.to_owned()));
        }
        Ok(())
    }

    /// The barrier is lowered without a cut, and rests for longer each time.
    fn give_up_barrier(&mut self, why: &str, now: Moment) -> bool {
        self.update(|rotation| {
            let cut = rotation.cut_over.get_or_insert_default();
            cut.given_up = cut.given_up.saturating_add(1).min(MOST_DOUBLINGS + 1);
        });
        self.lower_barrier(why, now)
    }

    /// `CutOver` → Installed: the target has `next`, so what was there before is dead.
    pub(crate) fn cut_is_over(&mut self, next: Version, now: Moment) {
        self.dies(self.open_rotation().and_then(|open| open.old), now);
        if let Some(record) = self.versions.get_mut(&next) {
            // Such a target knows no expiry of a value that is not in use.
            record.lasting = true;
        }
    }

    /// The target takes `version` no longer, without a call that ends it.
    pub(crate) fn dies(&mut self, version: Option<Version>, now: Moment) {
        self.restage(version, Stage::Previous);
        self.restage(version, Stage::Retired);
        if let Some(record) = version.and_then(|version| self.versions.get_mut(&version)) {
            record.ended = record.ended.or(Some(now));
        }
    }

    /// Installed → Proven though a declared probe says no: nobody is to be left with what is dead.
    pub(crate) fn let_in(
        &mut self,
        subject: (Version, u32),
        why: &str,
        event: &Event,
        now: Moment,
    ) -> Result<(), OutOfOrder> {
        if !self.is_cutting() {
            return Err(self.no_edge(event));
        }
        self.probed(subject, event, now)?;
        self.update(|rotation| rotation.forward_only = Some(why.to_owned()));
        Ok(())
    }

    /// Whether the only value at the target is being changed, or was and is not given to everybody yet.
    pub fn is_cutting(&self) -> bool {
        let cut = [Phase::CutOver, Phase::Installed, Phase::Proven];
        self.open_rotation().is_some_and(|open| open.cut_over.is_some() && cut.contains(&open.phase))
    }

    /// Before the cut nothing was touched: `next` is forgotten, and holders drop it. No call at the target.
    pub(crate) fn abandon_uncut(&mut self, why: &str, now: Moment) -> bool {
        let next = self.open_rotation().and_then(|open| open.next);
        self.restage(next, Stage::Abandoned);
        if let Some(record) = next.and_then(|next| self.versions.get_mut(&next)) {
            record.ended = Some(now);
        }
        self.order = self.order.next();
        self.update(|rotation| {
            rotation.last_error = Some(why.to_owned());
            rotation.failed = true;
        });
        self.close(Phase::Abandoned, now)
    }

    /// Whether holders are being prepared and the target is untouched.
    pub(crate) fn is_uncut(&self) -> bool {
        self.open_rotation().is_some_and(|open| matches!(open.phase, Phase::Staged | Phase::Barrier))
    }

    /// Whether the cut waits because somebody did not confirm.
    pub(crate) fn barrier_was_missed(&self, open: &Rotation) -> bool {
        self.is_uncut() && open.cut_over.as_ref().is_some_and(|cut| cut.missed.is_some())
    }

    /// The target said no too often. If no call can have changed it, the old value works: holders go on with it.
    /// Otherwise there is only forward, and somebody has to know.
    pub(crate) fn refused_after_the_barrier(
        &mut self,
        next: Version,
        phase: Phase,
        why: &str,
        facts: &Facts<'_>,
    ) {
        let doubtful = self.version(next).is_some_and(|record| record.doubt.is_some());
        if phase == Phase::CutOver && !doubtful {
            self.abandon_uncut(why, facts.now);
        } else {
            self.update(|rotation| rotation.forward_only = Some(why.to_owned()));
        }
    }

    /// Whether no ending still has to switch the account off: a new value would be switched off with it.
    pub(crate) fn nothing_is_being_cut(&self) -> bool {
        self.endings.values().all(|ending| ending.state == EndingState::Ended)
    }

    /// What an emergency on `hit` hits besides: such an account has one value, and switching it off hits whatever is
    /// there. A version that has not reached the target is only forgotten.
    pub(crate) fn also_hit(&self, hit: &BTreeSet<Version>, overlap: Overlap) -> Vec<Version> {
        if overlap == Overlap::Both {
            return Vec::new();
        }
        let there: Vec<Version> = [self.current, self.cut_to()].into_iter().flatten().collect();
        if there.iter().any(|version| hit.contains(version)) { there } else { Vec::new() }
    }

    /// Whether the target may know `version`: whether ending it needs a call.
    pub(crate) fn is_at_target(&self, version: Version, overlap: Overlap) -> bool {
        overlap == Overlap::Both || self.current == Some(version) || self.cut_to() == Some(version)
    }

    /// The version that the target was, or may have been, cut over to and that is not current yet.
    fn cut_to(&self) -> Option<Version> {
        self.open_rotation().filter(|_| self.is_cutting())?.next
    }
}
