//! What needs somebody's attention.

use crate::facts::Facts;
use crate::ledger::Ledger;

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
    /// The target refuses an ending.
    Stuck,
    /// What an ended version left at the target cannot be removed.
    CleanUpRefused,
    /// Something failed and there is no way back.
    ForwardOnly,
    /// The login that the application had before Rekey still works.
    AdoptedAlive,
    /// A replacement for a cut version is due and waits.
    ReplacementWaits,
    /// Holders were not reached by an emergency.
    NotReached,
}

impl AlarmKind {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GraceOverdue => "grace_overdue",
            Self::NoLiveHolder => "no_live_holder",
            Self::HoldersVanished => "holders_vanished",
            Self::Stuck => "stuck",
            Self::CleanUpRefused => "clean_up_refused",
            Self::ForwardOnly => "forward_only",
            Self::AdoptedAlive => "adopted_alive",
            Self::ReplacementWaits => "replacement_waits",
            Self::NotReached => "not_reached",
        }
    }
}

impl Ledger {
    /// What needs somebody's attention now.
    pub fn alarms(&self, _facts: &Facts<'_>) -> Vec<Alarm> {
        Vec::new()
    }
}
