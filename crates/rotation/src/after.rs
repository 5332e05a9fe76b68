//! The one place where a ledger changes: one event, then every edge that is free.

use rekey_model::{Handle, Moment, RotationId, Stage, Version};

use crate::ending::{Cause, EndingState};
use crate::event::{AtTarget, Event, Why};
use crate::facts::{Facts, Mode, Overlap};
use crate::ledger::{Hold, Ledger, VersionRecord};
use crate::phase::{Phase, Rotation};
use crate::refusal::OutOfOrder;

type Changed = Result<(), OutOfOrder>;

impl Ledger {
    /// The ledger after `event`, with every edge taken that is free then. The same ledger if nothing follows from it;
    /// an event that has no edge is refused and changes nothing.
    pub fn after(&self, event: &Event, facts: &Facts<'_>) -> Result<Self, OutOfOrder> {
        let mut ledger = self.clone();
        ledger.apply(event, facts)?;
        ledger.settle(facts);
        Ok(ledger)
    }

    pub(crate) fn apply(&mut self, event: &Event, facts: &Facts<'_>) -> Changed {
        use Event as E;
        let now = facts.now;
        match event {
            E::Look => Ok(()),
            E::Adopt { handle, version: None } => self.adopt(handle, facts),
            E::Adopt { handle, version: Some(version) } => self.adopt_next(*version, handle, facts),
            E::Begin { rotation, why } => self.begin(*rotation, why, facts),
            E::Choose { rotation, version, .. } => self.choose((*rotation, *version), event, facts),
            E::Resumed => {
                self.resumed(now);
                Ok(())
            }
            E::Lost { version, attempt, why } => self.lost((*version, *attempt), why, event, now),
            E::Untouched { version, attempt, why } => self.untouched((*version, *attempt), why, event, facts),
            E::Installed { version, attempt, handle } => {
                self.installed((*version, *attempt), handle.as_ref(), event, now)
            }
            E::Probed { version, attempt } => self.probed((*version, *attempt), event, now),
            E::LetIn { version, attempt, why } => self.let_in((*version, *attempt), why, event, now),
            E::Lifted { version, attempt } => self.lifted((*version, *attempt), event, facts),
            E::Refused { version, attempt, why } => self.refused((*version, *attempt), why, event, facts),
            E::Failed { order, .. } if *order != self.order => Err(self.no_edge(event)),
            E::Failed { why, .. } => self.failed(why, event, now),
            E::Overtaken => self.overtaken(event, facts),
            E::Rollback { reason } => self.rollback(reason, event, now),
            E::NoHolders { .. } => self.no_holders(event),
            E::Ended { version, asked, sessions } => self.ended(*version, (*asked, *sessions), event, facts),
            E::CleanedUp { version } => self.cleaned_up(*version, event),
            E::EndingRefused { version, why } => self.ending_refused(*version, why, event, facts),
            E::Hold { reason, by } => {
                self.hold(reason, by, now);
                Ok(())
            }
            E::Release => {
                self.release(now);
                Ok(())
            }
            E::Retry => self.retry(),
            E::Revoke { .. } => self.revoke(event, facts),
            E::Reconciled { former, listing } => self.reconciled(*former, listing, facts),
            E::Heard => self.heard(facts),
            E::Listed { listing } => self.listed(listing, facts),
            E::Checked { since } => {
                // What was declared since is asked about by itself.
                self.unchecked = self.unchecked.take().filter(|unchecked| unchecked.since != *since);
                Ok(())
            }
            E::Delete { at_target } => self.delete(*at_target, facts),
        }
    }

    pub(crate) fn no_edge(&self, event: &Event) -> OutOfOrder {
        OutOfOrder::NoEdge { event: event.name(), phase: self.open_rotation().map(|open| open.phase) }
    }

    /// The open rotation, if it stands in one of `phases` and its `next` is this very attempt.
    pub(crate) fn awaited(&self, subject: (Version, u32), phases: &[Phase]) -> Option<Phase> {
        let open = self.open_rotation().filter(|open| open.next == Some(subject.0))?;
        let attempt = self.version(subject.0)?.attempt;
        (attempt == subject.1 && phases.contains(&open.phase)).then_some(open.phase)
    }

    fn adopt(&mut self, handle: &Handle, facts: &Facts<'_>) -> Changed {
        if facts.mode == Mode::ReconcileOnly {
            return Err(OutOfOrder::Reconciling);
        }
        if self.deleted.is_some() {
            return Err(OutOfOrder::Deleted);
        }
        if !self.awaits_adoption(facts) {
            return Err(OutOfOrder::NoEdge { event: "adopt", phase: None });
        }
        let mut record = VersionRecord::chosen(handle, facts.now);
        record.adopted = true;
        record.lasting = true;
        record.proven = Some(facts.now);
        self.versions.insert(Version::FIRST, record);
        self.last_version = self.last_version.max(Some(Version::FIRST));
        self.make_current(Version::FIRST, facts.now);
        Ok(())
    }

    /// The value of an account that takes one was changed by somebody else: what works now is the next version, at once.
    fn adopt_next(&mut self, version: Version, handle: &Handle, facts: &Facts<'_>) -> Changed {
        if let Some(obstacle) = self.obstacle(facts) {
            return Err(obstacle);
        }
        let name_is_new = self.versions.values().all(|record| record.handle != *handle);
        let takes_one = facts.policy.overlap != Overlap::Both;
        if self.current.is_none() || version != self.next_version() || !name_is_new || !takes_one {
            return Err(OutOfOrder::NoEdge { event: "adopt", phase: None });
        }
        let mut record = VersionRecord::chosen(handle, facts.now);
        record.lasting = true;
        record.proven = Some(facts.now);
        self.versions.insert(version, record);
        self.last_version = Some(version);
        self.dies(self.current, facts.now);
        self.make_current(version, facts.now);
        Ok(())
    }

    fn begin(&mut self, id: RotationId, why: &Why, facts: &Facts<'_>) -> Changed {
        if self.answers_request(why) {
            return Ok(());
        }
        if let Some(obstacle) = self.obstacle(facts) {
            return Err(obstacle);
        }
        self.rotation = Some(Rotation::begun(id, self.current, why.clone(), facts.now));
        if *why == Why::Leftover { self.begin_clearing(facts) } else { Ok(()) }
    }

    /// Whether the last rotation began by this very request.
    fn answers_request(&self, why: &Why) -> bool {
        let Why::Asked { request, .. } = why else { return false };
        let last = self.rotation.as_ref().map(|last| &last.why);
        !request.is_empty() && matches!(last, Some(Why::Asked { request: earlier, .. }) if earlier == request)
    }

    /// Planned → Chosen; or, where a replacement is owed, none → Chosen.
    fn choose(&mut self, (id, version): (RotationId, Version), event: &Event, facts: &Facts<'_>) -> Changed {
        let no_edge = self.no_edge(event);
        let Event::Choose { handle, baseline, .. } = event else { return Err(no_edge) };
        if facts.mode == Mode::ReconcileOnly {
            return Err(OutOfOrder::Reconciling);
        }
        let name_is_new = self.versions.values().all(|record| record.handle != *handle);
        let has_room = self.lacks_room(facts).is_none();
        if version != self.next_version() || !name_is_new || !has_room || self.deleted.is_some() {
            return Err(no_edge);
        }
        match self.open_rotation() {
            Some(open) if open.phase == Phase::Planned && open.id == id => {
                if let Some(held) = self.held.as_ref().filter(|_| !open.replacement) {
                    return Err(OutOfOrder::Held { reason: held.reason.clone() });
                }
                // While it waited for somebody, another one may have begun.
                if let Some(why) = facts.gate.filter(|_| Self::is_given(facts) && !open.replacement) {
                    return Err(OutOfOrder::Gated { why: why.to_owned() });
                }
            }
            None if self.owed => {
                self.rotation = Some(Rotation::begun(id, self.current, Why::Replacement, facts.now));
            }
            Some(_) | None => return Err(no_edge),
        }
        let record = VersionRecord { baseline: baseline.clone(), ..VersionRecord::chosen(handle, facts.now) };
        self.versions.insert(version, record);
        self.last_version = Some(version);
        self.update(|rotation| {
            rotation.phase = Phase::Chosen;
            rotation.next = Some(version);
        });
        Ok(())
    }

    fn resumed(&mut self, now: Moment) {
        let making = [Phase::Chosen, Phase::CutOver];
        let chosen = self.open_rotation().filter(|open| making.contains(&open.phase));
        if let Some(next) = chosen.and_then(|open| open.next) {
            self.doubt(next, now);
        }
    }

    fn lost(&mut self, subject: (Version, u32), why: &str, event: &Event, now: Moment) -> Changed {
        self.awaited(subject, &[Phase::Chosen, Phase::CutOver]).ok_or_else(|| self.no_edge(event))?;
        self.doubt(subject.0, now);
        self.update(|rotation| rotation.last_error = Some(why.to_owned()));
        Ok(())
    }

    fn installed(
        &mut self,
        subject: (Version, u32),
        handle: Option<&Handle>,
        event: &Event,
        now: Moment,
    ) -> Changed {
        let making = [Phase::Chosen, Phase::CutOver];
        let phase = self.awaited(subject, &making).ok_or_else(|| self.no_edge(event))?;
        if let Some(handle) = handle {
            let mut others = self.versions.iter().filter(|(version, _)| **version != subject.0);
            if let Some((other, _)) = others.find(|(_, record)| record.handle == *handle) {
                // What it made, if anything, is not what it answered with.
                let why = format!("the target answered with {handle}, which is {other}");
                return self.lost(subject, &why, event, now);
            }
            if let Some(record) = self.versions.get_mut(&subject.0) {
                record.handle = handle.clone();
                record.baseline = None;
            }
        }
        if phase == Phase::CutOver {
            self.cut_is_over(subject.0, now);
        }
        self.update(|rotation| {
            rotation.phase = Phase::Installed;
            rotation.last_error = None;
        });
        Ok(())
    }

    pub(crate) fn probed(&mut self, subject: (Version, u32), event: &Event, now: Moment) -> Changed {
        self.awaited(subject, &[Phase::Installed]).ok_or_else(|| self.no_edge(event))?;
        if let Some(record) = self.versions.get_mut(&subject.0) {
            record.proven = Some(now);
        }
        self.enter(Phase::Proven);
        Ok(())
    }

    /// The expiry is lifted. While a lost call may still land and set it again, this is not to be believed.
    fn lifted(&mut self, subject: (Version, u32), event: &Event, facts: &Facts<'_>) -> Changed {
        self.awaited(subject, &[Phase::Proven]).ok_or_else(|| self.no_edge(event))?;
        if !self.unsettled_for(subject.0, facts).is_zero() {
            return Err(self.no_edge(event));
        }
        if let Some(record) = self.versions.get_mut(&subject.0) {
            record.lasting = true;
        }
        Ok(())
    }

    fn refused(&mut self, subject: (Version, u32), why: &str, event: &Event, facts: &Facts<'_>) -> Changed {
        let phases = [Phase::Chosen, Phase::CutOver, Phase::Installed, Phase::Proven];
        let phase = self.awaited(subject, &phases).ok_or_else(|| self.no_edge(event))?;
        let cuts_over = self.open_rotation().is_some_and(|open| open.cut_over.is_some());
        let mut spent = phase == Phase::Installed && !cuts_over;
        self.update(|rotation| {
            rotation.refusals = rotation.refusals.saturating_add(1);
            rotation.last_error = Some(why.to_owned());
            spent |= rotation.refusals >= facts.policy.budget;
        });
        if spent && cuts_over {
            self.refused_after_the_barrier(subject.0, phase, why, facts);
        } else if spent {
            self.undo(why, facts.now);
        }
        Ok(())
    }

    fn failed(&mut self, why: &str, event: &Event, now: Moment) -> Changed {
        if self.is_uncut() {
            self.abandon_uncut(why, now);
            return Ok(());
        }
        match self.way_back(event) {
            Ok(old) => {
                self.turn_back(old, why, now);
            }
            Err(OutOfOrder::NoWayBack { .. }) => {
                self.update(|rotation| {
                    rotation.forward_only = Some(why.to_owned());
                    rotation.last_error = Some(why.to_owned());
                });
            }
            Err(other) => return Err(other),
        }
        Ok(())
    }

    fn rollback(&mut self, reason: &str, event: &Event, now: Moment) -> Changed {
        let why = if reason.is_empty() { "rolled back by an operator" } else { reason };
        if self.is_uncut() {
            self.abandon_uncut(why, now);
            return Ok(());
        }
        let old = self.way_back(event)?;
        self.turn_back(old, why, now);
        Ok(())
    }

    /// The version that the holders could go back to.
    pub(crate) fn way_back(&self, event: &Event) -> Result<Version, OutOfOrder> {
        let open = self.open_rotation().ok_or(OutOfOrder::NoRotation)?;
        if !matches!(open.phase, Phase::Canary | Phase::Rolling | Phase::Grace) {
            return Err(self.no_edge(event));
        }
        let next = open.next.unwrap_or(Version::FIRST);
        let old = open.old.ok_or(OutOfOrder::NoWayBack { next, why: "nothing usable came before it" })?;
        if self.is_servable(old) {
            Ok(old)
        } else if self.is_alive(old) {
            Err(OutOfOrder::NoWayBack { next, why: "the version before it was left behind by a restore" })
        } else {
            Err(OutOfOrder::NoWayBack { next, why: "the version before it is dead" })
        }
    }

    fn no_holders(&mut self, event: &Event) -> Changed {
        let phase = self.open_rotation().map(|open| open.phase);
        let waits = [Phase::Staged, Phase::Barrier, Phase::Rolling, Phase::Grace, Phase::Returning];
        if !phase.is_some_and(|phase| waits.contains(&phase)) {
            return Err(self.no_edge(event));
        }
        self.update(|rotation| rotation.no_holders = true);
        Ok(())
    }

    fn ended(&mut self, version: Version, found: (Moment, u32), event: &Event, facts: &Facts<'_>) -> Changed {
        let (asked, sessions) = found;
        let asked_facts = Facts { now: asked, ..*facts };
        let settled = self.unsettled_for(version, &asked_facts).is_zero();
        let no_edge = self.no_edge(event);
        let ending = self.endings.get_mut(&version).filter(|ending| ending.state != EndingState::Ended);
        let ending = ending.ok_or(no_edge)?;
        ending.state = if settled { EndingState::Ended } else { EndingState::Settling };
        ending.refusals = 0;
        ending.last_error = None;
        let stage = ending.cause.stage();
        if let Some(record) = self.versions.get_mut(&version) {
            record.sessions_ended = record.sessions_ended.saturating_add(sessions);
            record.ended = settled.then_some(facts.now);
        }
        if settled {
            self.restage(Some(version), stage);
        }
        Ok(())
    }

    fn cleaned_up(&mut self, version: Version, event: &Event) -> Changed {
        let ended = self.endings.get(&version).is_some_and(|ending| ending.state == EndingState::Ended);
        if !ended {
            return Err(self.no_edge(event));
        }
        self.endings.remove(&version);
        Ok(())
    }

    fn ending_refused(&mut self, version: Version, why: &str, event: &Event, facts: &Facts<'_>) -> Changed {
        let no_edge = self.no_edge(event);
        let ending = self.endings.get_mut(&version).ok_or(no_edge)?;
        // What was told often enough is no news.
        ending.refusals = ending.refusals.saturating_add(1).min(facts.policy.budget);
        ending.last_error = Some(why.to_owned());
        let spent = ending.refusals >= facts.policy.budget && ending.state != EndingState::Ended;
        self.update(|rotation| {
            let mine = [rotation.old, rotation.next].contains(&Some(version));
            if spent && mine {
                rotation.phase = rotation.phase.stuck();
            }
        });
        Ok(())
    }

    fn hold(&mut self, reason: &str, by: &str, now: Moment) {
        self.held = Some(Hold { reason: reason.to_owned(), by: by.to_owned(), since: now });
    }

    fn release(&mut self, now: Moment) {
        if self.held.take().is_some() {
            self.released = Some(now);
        }
    }

    fn retry(&mut self) -> Changed {
        if self.open_rotation().is_none() && self.endings.is_empty() && self.unchecked.is_none() {
            return Err(OutOfOrder::NoRotation);
        }
        for ending in self.endings.values_mut() {
            ending.refusals = 0;
        }
        self.update(|rotation| {
            rotation.refusals = 0;
            rotation.phase = rotation.phase.unstuck();
            if let Some(cut) = &mut rotation.cut_over {
                (cut.missed, cut.given_up) = (None, 0);
            }
        });
        Ok(())
    }

    fn delete(&mut self, at_target: AtTarget, facts: &Facts<'_>) -> Changed {
        if facts.mode == Mode::ReconcileOnly {
            return Err(OutOfOrder::Reconciling);
        }
        if self.deleted.is_some() {
            return Ok(());
        }
        if let Some(open) = self.open_rotation() {
            return Err(OutOfOrder::Open { id: open.id, phase: open.phase });
        }
        let current = self.current.take();
        self.restage(current, Stage::Previous);
        let not_final = self.versions.iter().filter(|(_, record)| !record.stage.is_final());
        let left = current.filter(|_| at_target == AtTarget::Leave);
        let ending: Vec<Version> =
            not_final.map(|(version, _)| *version).filter(|it| Some(*it) != left).collect();
        for version in ending {
            self.intend(Some(version), Cause::Retire, facts.now);
        }
        self.owed = false;
        self.deleted = Some(facts.now);
        self.order = self.order.next();
        Ok(())
    }
}

impl VersionRecord {
    /// A version that is only chosen.
    pub(crate) fn chosen(handle: &Handle, now: Moment) -> Self {
        Self {
            handle: handle.clone(),
            baseline: None,
            stage: Stage::Pending,
            attempt: 0,
            adopted: false,
            lasting: false,
            created: now,
            proven: None,
            promoted: None,
            doubt: None,
            ended: None,
            sessions_ended: 0,
            stray: false,
        }
    }
}
