//! Secrets that others make: what follows where a target's answer, and with it the secret, is lost, and where what
//! somebody else rotates has changed again.
//!
//! Such a call is made once for each version number, because its repetition would make a second secret. A version whose
//! answer was lost is given up: it ends like any other, once no call can make it any more and whatever was made is
//! found, and the rotation chooses another number (`docs/rotation.md`, "Secrets that the target makes").

use std::time::Duration;

use rekey_model::{Handle, Version};

use crate::ending::{Cause, EndingState};
use crate::event::Event;
use crate::facts::{Facts, Making, Overlap};
use crate::guard::Listed;
use crate::ledger::Ledger;
use crate::phase::{Phase, Rotation};
use crate::refusal::OutOfOrder;

impl Ledger {
    /// Whether nobody has seen the secret of `version`: the target makes it, and has not answered. What the ledger calls
    /// it is our marker then, and not a name at the target.
    pub fn is_unanswered(&self, version: Version) -> bool {
        self.version(version).is_some_and(|record| record.baseline.is_some())
    }

    /// What the target calls the versions that it has answered with.
    pub fn answered(&self) -> Vec<Handle> {
        let answered = self.versions.values().filter(|record| record.baseline.is_none());
        answered.map(|record| record.handle.clone()).collect()
    }

    /// Whether the answer to the making of the chosen version is lost, and the call is not to be repeated.
    pub(crate) fn is_lost(&self, open: &Rotation, facts: &Facts<'_>) -> bool {
        let record = open.next.and_then(|next| self.version(next));
        let Some(record) = record.filter(|record| record.doubt.is_some()) else { return false };
        match facts.policy.making {
            Making::Ours | Making::Given | Making::Followed => false,
            Making::Token { life, .. } => {
                let late = facts.policy.settle + facts.policy.slack;
                facts.now.at_most_since(record.created).saturating_add(late) >= life
            }
            Making::Listed | Making::Expiring { .. } => facts.policy.overlap == Overlap::Both,
        }
    }

    /// Chosen → Planned: what a lost call may have made ends, and another version is chosen. Lost too often: → Undoing.
    pub(crate) fn give_up(&mut self, open: &Rotation, facts: &Facts<'_>) -> bool {
        let why = open.last_error.clone().unwrap_or_else(|| "the answer was lost".to_owned());
        let lost = open.refusals.saturating_add(1);
        self.update(|rotation| rotation.refusals = lost);
        if lost >= facts.policy.budget {
            return self.undo(&why, facts.now);
        }
        self.intend(open.next, Cause::Undo, facts.now);
        self.update(|rotation| {
            rotation.phase = Phase::Planned;
            rotation.next = None;
            rotation.last_error = Some(why);
        })
    }

    /// What another version waits for before it is chosen, in words; none: nothing.
    pub(crate) fn lacks_room(&self, facts: &Facts<'_>) -> Option<String> {
        let policy = facts.policy;
        let not_ended = self.endings.iter().filter(|(_, ending)| ending.state != EndingState::Ended);
        let unseen = not_ended.map(|(version, _)| *version).find(|version| self.is_unanswered(*version));
        if let Some(version) = unseen.filter(|_| policy.making.is_listed()) {
            return Some(format!(
                "the end of {version}, which may have been made and nobody has the secret of"
            ));
        }
        let there = self
            .versions
            .iter()
            .filter(|(version, record)| !record.stage.is_final() || self.endings.contains_key(*version));
        let there: Vec<String> = there.map(|(version, _)| version.to_string()).collect();
        let most = policy.slots.filter(|most| there.len() >= usize::try_from(*most).unwrap_or(usize::MAX))?;
        Some(format!("room at the target, which takes {most} values and has {}", Listed(&there)))
    }

    /// Whether the next version is asked of nobody: it comes when somebody gives it.
    pub(crate) fn is_given(facts: &Facts<'_>) -> bool {
        matches!(facts.policy.making, Making::Given | Making::Followed)
    }

    /// Whether somebody else's machine changes it, so that the old value is dead when the new one is there.
    pub(crate) fn is_followed(facts: &Facts<'_>) -> bool {
        facts.policy.making == Making::Followed
    }

    /// Chosen to Grace → Abandoned: what everybody is to use, or was to, is dead, because it was changed again, and the next
    /// one is here. Whoever has not moved yet moves to that; what nobody had yet ends.
    pub(crate) fn overtaken(&mut self, event: &Event, facts: &Facts<'_>) -> Result<(), OutOfOrder> {
        let unproven = [Phase::Chosen, Phase::Installed, Phase::Proven];
        let moves = [Phase::Rolling, Phase::Grace];
        let goes_on = |open: &&Rotation| unproven.contains(&open.phase) || moves.contains(&open.phase);
        let open = self.open_rotation().filter(|_| Self::is_followed(facts)).filter(goes_on);
        let Some((phase, next)) = open.map(|open| (open.phase, open.next)) else {
            return Err(self.no_edge(event));
        };
        if unproven.contains(&phase) {
            self.intend(next, Cause::Undo, facts.now);
        }
        self.update(|rotation| rotation.last_error = Some("it was changed again".to_owned()));
        self.close(Phase::Abandoned, facts.now);
        Ok(())
    }

    /// How long what a lost call made and is given up still works after the call can land no more, where only time ends it.
    pub(crate) fn outlives(&self, version: Version, facts: &Facts<'_>) -> Duration {
        let ghost = self.is_unanswered(version) && self.endings.contains_key(&version);
        let life = facts.policy.making.expires().filter(|_| ghost);
        life.unwrap_or_default()
    }

    /// Whether only time ends `version`: nothing need wait for it.
    pub(crate) fn only_expires(&self, version: Option<Version>, facts: &Facts<'_>) -> bool {
        version.is_some_and(|version| !self.outlives(version, facts).is_zero())
    }
}

impl Making {
    /// Whether what a lost call made is found at the target.
    fn is_listed(self) -> bool {
        match self {
            Self::Listed | Self::Token { expires: None, .. } => true,
            Self::Ours
            | Self::Given
            | Self::Followed
            | Self::Expiring { .. }
            | Self::Token { expires: Some(_), .. } => false,
        }
    }

    /// How long what was made works, where it cannot be found.
    fn expires(self) -> Option<Duration> {
        match self {
            Self::Expiring { life } | Self::Token { expires: Some(life), .. } => Some(life),
            Self::Ours | Self::Given | Self::Followed | Self::Listed | Self::Token { expires: None, .. } => {
                None
            }
        }
    }
}
