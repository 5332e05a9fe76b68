//! Where a rotation stands, and what is recorded about it.

use std::fmt;

use rekey_model::{InstanceId, Moment, RotationId, Version};
use serde::{Deserialize, Serialize};

use crate::event::Why;
use crate::facts::HolderFacts;

/// Where a rotation stands. Its edges are in `after.rs`, and as a table in `tests/table.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Begun; nothing is chosen.
    Planned,
    /// Number, name and secret of `next` are durable; the target may or may not know it.
    Chosen,
    /// Where a new value kills the old one: holders have `next` beside what they serve.
    Staged,
    /// Readers are told to wait; not everybody has said that they do.
    Barrier,
    /// Readers wait, and the target is being changed: no way back.
    CutOver,
    /// The target accepts `next`.
    Installed,
    /// `next` works as a client needs it; its expiry is being lifted.
    Proven,
    /// One holder is to use `next`, all others what they have.
    Canary,
    /// Everybody is to use `next`; not everybody has said so.
    Rolling,
    /// Everybody uses `next`; `old` still works, until the evidence says that nobody needs it.
    Grace,
    /// `old` is being ended: no way back.
    Retiring,
    /// Holders go back to `old`; `next` still works.
    Returning,
    /// `next` is being ended: nobody uses it.
    Undoing,
    /// An ending was refused too often while Retiring: it goes on slowly and alarms.
    StuckRetiring,
    /// An ending was refused too often while Undoing: it goes on slowly and alarms.
    StuckUndoing,
    /// Ended well: `next` is current and `old` is gone.
    Done,
    /// Ended: `next` did not come into use, or was taken back.
    Abandoned,
}

impl Phase {
    /// Every phase, in the order of the table.
    pub const ALL: [Self; 17] = [
        Self::Planned,
        Self::Chosen,
        Self::Staged,
        Self::Barrier,
        Self::CutOver,
        Self::Installed,
        Self::Proven,
        Self::Canary,
        Self::Rolling,
        Self::Grace,
        Self::Retiring,
        Self::Returning,
        Self::Undoing,
        Self::StuckRetiring,
        Self::StuckUndoing,
        Self::Done,
        Self::Abandoned,
    ];

    /// Whether the rotation still goes on.
    pub fn is_open(self) -> bool {
        !matches!(self, Self::Done | Self::Abandoned)
    }

    /// Where an ending that is refused too often leads.
    pub(crate) fn stuck(self) -> Self {
        if self == Self::Retiring {
            Self::StuckRetiring
        } else if self == Self::Undoing {
            Self::StuckUndoing
        } else {
            self
        }
    }

    /// Where a person's retry leads.
    pub(crate) fn unstuck(self) -> Self {
        if self == Self::StuckRetiring {
            Self::Retiring
        } else if self == Self::StuckUndoing {
            Self::Undoing
        } else {
            self
        }
    }

    /// The word for it, as people see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "Planned",
            Self::Chosen => "Chosen",
            Self::Staged => "Staged",
            Self::Barrier => "Barrier",
            Self::CutOver => "CutOver",
            Self::Installed => "Installed",
            Self::Proven => "Proven",
            Self::Canary => "Canary",
            Self::Rolling => "Rolling",
            Self::Grace => "Grace",
            Self::Retiring => "Retiring",
            Self::Returning => "Returning",
            Self::Undoing => "Undoing",
            Self::StuckRetiring | Self::StuckUndoing => "Stuck",
            Self::Done => "Done",
            Self::Abandoned => "Abandoned",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The moving of a credential to a new version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rotation {
    /// Its id.
    pub id: RotationId,
    /// Where it stands.
    pub phase: Phase,
    /// The version it leads to; none before Chosen.
    pub next: Option<Version>,
    /// The version it leads away from; none for the first version and for the replacement of a cut one.
    pub old: Option<Version>,
    /// Why it began.
    pub why: Why,
    /// Whether it replaces a version that was cut: a hold does not stop it.
    pub replacement: bool,
    /// When it began.
    pub started: Moment,
    /// When `next` became current; none before.
    pub promoted: Option<Moment>,
    /// When holders were last told to change: one by the canary, all by the promotion or the return.
    pub turned: Option<Moment>,
    /// How many holders counted at the promotion, or when the canary was told.
    pub counted: u32,
    /// When the last holder that counts had acknowledged `next`, by the controller's clock.
    pub all_acked: Option<Moment>,
    /// When Grace began.
    pub grace_since: Option<Moment>,
    /// When a holder that had not acknowledged was discounted by an operator or by its goodbye, last.
    pub last_discount: Option<Moment>,
    /// Whether an operator said that it may go on although no holder is live.
    pub no_holders: bool,
    /// How often the target refused `next` with its present secret.
    pub refusals: u32,
    /// When it ended.
    pub ended: Option<Moment>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// Whether it was taken back because something failed: nothing begins by itself for a while after.
    pub failed: bool,
    /// What failed when there was no way back: only forward.
    pub forward_only: Option<String>,
    /// How the cut is prepared, where the new value kills the old one.
    #[serde(default)]
    pub cut_over: Option<CutOver>,
    /// Whether it began together with those of other credentials, and goes forward or back with them ([`crate::group`]).
    #[serde(default)]
    pub company: Company,
    /// Who had `next` before all others, where that was declared.
    #[serde(default)]
    pub canary: Option<Canary>,
}

/// Whether a rotation goes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Company {
    /// It does.
    #[default]
    Alone,
    /// It goes together with those of other credentials.
    Grouped,
}

/// The holder that has a new version before all others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Canary {
    /// Which, last; none: nobody was there to try it.
    pub holder: Option<InstanceId>,
    /// What people call it.
    pub name: String,
    /// When it was told.
    pub since: Moment,
    /// What spoke for telling everybody; none: it goes on, or was taken back.
    pub passed: Option<String>,
}

impl Canary {
    /// One that is told now.
    pub(crate) fn told(holder: Option<&HolderFacts>, now: Moment) -> Self {
        let name = holder.map(|holder| holder.name.clone()).unwrap_or_default();
        Self { holder: holder.map(|holder| holder.instance), name, since: now, passed: None }
    }
}

/// How a cut is prepared, where the new value kills the old one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct CutOver {
    /// Whether holders get `next` before it is current.
    pub handed_out: bool,
    /// Since when readers are to wait.
    pub barrier: Option<Moment>,
    /// When the barrier was lowered last without a cut.
    pub missed: Option<Moment>,
    /// How often it was, because a holder did not confirm or the target was away: each time it rests for longer.
    #[serde(default)]
    pub given_up: u32,
}

impl Rotation {
    /// A rotation that begins at `started`.
    pub(crate) fn begun(id: RotationId, old: Option<Version>, why: Why, started: Moment) -> Self {
        let replacement = why == Why::Replacement;
        Self {
            id,
            phase: Phase::Planned,
            next: None,
            old,
            why,
            replacement,
            started,
            promoted: None,
            turned: None,
            counted: 0,
            all_acked: None,
            grace_since: None,
            last_discount: None,
            no_holders: false,
            refusals: 0,
            ended: None,
            last_error: None,
            failed: false,
            forward_only: None,
            cut_over: None,
            company: Company::Alone,
            canary: None,
        }
    }

    /// Whether it goes together with those of other credentials.
    pub fn is_grouped(&self) -> bool {
        self.company == Company::Grouped
    }

    /// How long the holders took: from the commit of the promotion to the last acknowledgement.
    pub fn propagation(&self) -> Option<std::time::Duration> {
        Some(self.all_acked?.at_most_since(self.promoted?))
    }
}
