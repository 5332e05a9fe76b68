//! What needs somebody's attention.

use std::time::Duration;

use rekey_model::Version;

use crate::emergency::Emergency;
use crate::ending::{Ending, EndingState};
use crate::facts::{Facts, Mode};
use crate::guard::Listed;
use crate::ledger::Ledger;
use crate::phase::{Phase, Rotation};

/// Something that needs somebody's attention, with what to type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// What kind.
    pub kind: AlarmKind,
    /// What is wrong, and with whom.
    pub message: String,
    /// What to type after `rekeyctl`, with `NAME` for the credential's name; none: nothing to do but know it.
    pub next_command: Option<&'static str>,
}

/// Kinds of alarm; the names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AlarmKind {
    /// A grace is past its deadline.
    GraceOverdue,
    /// No holder is live, so that nothing is known.
    NoLiveHolder,
    /// Too many holders vanished without having acknowledged.
    HoldersVanished,
    /// An ending was decided, and has not come for as long as a grace may last.
    EndingOverdue,
    /// The target refuses an ending.
    Stuck,
    /// What an ended version left at the target cannot be removed.
    CleanUpRefused,
    /// Something failed and there is no way back.
    ForwardOnly,
    /// The target refuses the current version: somebody else changed or removed it.
    CurrentFails,
    /// What somebody else's machine rotates cannot be followed: what it left is not there, cannot be read or does not work.
    FollowFails,
    /// A version that is in use is gone from the target, or shut there, and it was not us.
    Missing,
    /// Something comes in at the target by the same account that we did not make.
    Stranger,
    /// A right that rotations need was taken from the rotator.
    RightsMissing,
    /// What was declared could not be checked at its target yet.
    Unchecked,
    /// The login that the application had before Rekey still works.
    AdoptedAlive,
    /// A replacement for a cut version is due and waits.
    ReplacementWaits,
    /// Holders were not reached by an emergency.
    NotReached,
    /// A rotation is due for as long as a grace may last, and waits for another credential.
    Gated,
    /// A holder did not confirm that its readers wait, or the target was away: the only valid value was not changed.
    BarrierMissed,
    /// The store was restored and has no secret of the current version: only its holders have.
    Foreign,
    /// A restore left a version behind, and it cannot be ended while nothing else is in use.
    Leftover,
}

impl AlarmKind {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GraceOverdue => "grace_overdue",
            Self::NoLiveHolder => "no_live_holder",
            Self::HoldersVanished => "holders_vanished",
            Self::EndingOverdue => "ending_overdue",
            Self::Stuck => "stuck",
            Self::CleanUpRefused => "clean_up_refused",
            Self::ForwardOnly => "forward_only",
            Self::CurrentFails => "current_fails",
            Self::FollowFails => "follow_fails",
            Self::Missing => "missing",
            Self::Stranger => "stranger",
            Self::RightsMissing => "rights_missing",
            Self::Unchecked => "unchecked",
            Self::AdoptedAlive => "adopted_alive",
            Self::ReplacementWaits => "replacement_waits",
            Self::NotReached => "not_reached",
            Self::Gated => "gated",
            Self::BarrierMissed => "barrier_missed",
            Self::Foreign => "foreign",
            Self::Leftover => "leftover",
        }
    }
}

impl Ledger {
    /// What needs somebody's attention now.
    pub fn alarms(&self, facts: &Facts<'_>) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        if let Some(open) = self.open_rotation() {
            alarms.extend(self.rotation_alarms(open, facts));
        }
        for (version, ending) in &self.endings {
            alarms.extend(self.ending_alarm(*version, ending, facts));
        }
        let late = self.late_by(facts).is_some_and(|late| late > facts.policy.deadline);
        alarms.extend(self.waits_at_gate(facts).filter(|_| late).map(|why| Alarm {
            kind: AlarmKind::Gated,
            message: format!("overdue, no rotation begins: {why}"),
            next_command: Some("plan rotate NAME"),
        }));
        alarms.extend(self.unchecked.as_ref().map(|unchecked| Alarm {
            kind: AlarmKind::Unchecked,
            message: format!("no rotation begins before its target is checked: {}", unchecked.why),
            next_command: Some("retry NAME"),
        }));
        for (version, record) in self.versions.iter().filter(|(_, it)| it.adopted && !it.stage.is_final()) {
            let message =
                format!("{version} ({}) is the login from before Rekey and still works", record.handle);
            alarms.push(Alarm { kind: AlarmKind::AdoptedAlive, message, next_command: Some("rotate NAME") });
        }
        if self.owed && (facts.mode == Mode::ReconcileOnly || !self.replacement_is_on_its_way(facts)) {
            let message = "the current version was revoked and its replacement waits".to_owned();
            alarms.push(Alarm {
                kind: AlarmKind::ReplacementWaits,
                message,
                next_command: Some("status NAME"),
            });
        }
        alarms.extend(self.foreign_alarm());
        alarms.extend(self.emergencies.iter().filter_map(Emergency::alarm));
        alarms
    }

    fn foreign_alarm(&self) -> Option<Alarm> {
        let Some(current) = self.current else {
            let left = self.leftover().filter(|_| self.resting)?;
            let message = format!("a restore left {left} behind: it ends once another version is in use");
            return Some(Alarm { kind: AlarmKind::Leftover, message, next_command: Some("rotate NAME") });
        };
        let current = Some(current).filter(|_| self.is_foreign())?;
        let message =
            format!("only the sidecars that serve {current} have its secret: the store was restored");
        Some(Alarm { kind: AlarmKind::Foreign, message, next_command: Some("rotate NAME") })
    }

    fn replacement_is_on_its_way(&self, facts: &Facts<'_>) -> bool {
        self.open_rotation().is_some() || self.replacement_begins(facts) && !Self::is_given(facts)
    }

    fn rotation_alarms(&self, open: &Rotation, facts: &Facts<'_>) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        let mut alarm = |kind, message, next_command| alarms.push(Alarm { kind, message, next_command });
        let told = facts.now.at_least_since(open.turned.unwrap_or(open.started));
        let canary = self.canary().and(facts.policy.canary).map_or(Duration::ZERO, |trial| trial.within);
        if matches!(
            open.phase,
            Phase::Staged | Phase::Canary | Phase::Rolling | Phase::Grace | Phase::Returning
        ) {
            if told > facts.policy.deadline.saturating_add(canary) {
                let waits = self.waiting_for(facts).join("; ");
                alarm(
                    AlarmKind::GraceOverdue,
                    format!("overdue, nothing is ended: waits for {waits}"),
                    Some("who NAME"),
                );
            }
            if self.lacks_live_holder(facts) {
                let message = "no sidecar is connected, and nothing is concluded from silence: connect one, \
                    or say that none is to come"
                    .to_owned();
                alarm(AlarmKind::NoLiveHolder, message, Some("retry NAME --no-holders --reason TEXT"));
            }
        }
        if let Some(why) = open.last_error.as_ref().filter(|_| self.barrier_was_missed(open)) {
            // Somebody to be found; or the target is to be mended, and it can be tried before its rest is over.
            let next = if self.unacked(facts).is_empty() { "retry NAME" } else { "sidecar list" };
            alarm(AlarmKind::BarrierMissed, format!("the cut waits: {why}"), Some(next));
        }
        if let Some(vanished) = self.too_many_vanished(open, facts) {
            let message = format!("{vanished} of {} sidecars vanished without acknowledging", open.counted);
            alarm(AlarmKind::HoldersVanished, message, Some("sidecar list"));
        }
        if let Some(why) = &open.forward_only {
            // One that is cut over is tried again once the cause is mended; nothing else can begin before.
            let next_command = match &open.cut_over {
                Some(_) if open.promoted.is_some() => "verify NAME",
                Some(_) => "retry NAME",
                None => "rotate NAME",
            };
            alarm(AlarmKind::ForwardOnly, format!("{why}; there is no way back"), Some(next_command));
        }
        alarms
    }
}

impl Ledger {
    fn ending_alarm(&self, version: Version, ending: &Ending, facts: &Facts<'_>) -> Option<Alarm> {
        if ending.refusals < facts.policy.budget {
            let by_time = self.only_expires(Some(version), facts);
            let overdue = facts.now.at_least_since(ending.since) > facts.policy.deadline && !by_time;
            let message = format!("overdue: waits for {}", self.ending_waits_for(version, ending, facts));
            let next_command = Some("who NAME");
            return overdue.then_some(Alarm { kind: AlarmKind::EndingOverdue, message, next_command });
        }
        let why = ending.last_error.as_deref().unwrap_or("the target refused");
        let (kind, what) = match ending.state {
            EndingState::Intended | EndingState::Settling => (AlarmKind::Stuck, "cannot be ended"),
            EndingState::Ended => (AlarmKind::CleanUpRefused, "is ended, but what it left cannot be removed"),
        };
        Some(Alarm { kind, message: format!("{version} {what}: {why}"), next_command: Some("retry NAME") })
    }
}

impl Emergency {
    fn alarm(&self) -> Option<Alarm> {
        let names: Vec<String> =
            self.holders.values().filter(|it| it.fenced.is_none()).map(|it| it.name.clone()).collect();
        let message = format!("not reached by a revocation: {}", Listed(&names));
        let waits = self.fenced.is_some() && !names.is_empty();
        waits.then_some(Alarm { kind: AlarmKind::NotReached, message, next_command: Some("sidecar list") })
    }
}
