//! What can happen to a credential. Every event names what it is about, so that an answer that comes late, twice or to
//! something that has moved on is refused and changes nothing.

use rekey_model::{Handle, Incarnation, Moment, Order, RotationId, Version};
use serde::{Deserialize, Serialize};

use crate::emergency::EmergencyId;
use crate::restore::Listing;

/// Something that happened. Stored as tagged JSON beside the ledger it led to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Nothing but time, acknowledgements, reports or evidence: take every edge that has become free.
    Look,
    /// The application's login of today, handed in and seen to work, is version 1. Or somebody changed the only value that
    /// an account takes, and the one that works now is handed in: it is the next version, and the one before is dead.
    Adopt {
        /// Its name at the target.
        handle: Handle,
        /// The number of the next version; none: it is the first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<Version>,
    },
    /// A rotation begins.
    Begin {
        /// Its id, drawn at random.
        rotation: RotationId,
        /// Why.
        why: Why,
    },
    /// Number, name and sealed secret of the next version are stored in this commit.
    Choose {
        /// The planned rotation; for the replacement of a cut version, the id of the one that begins here.
        rotation: RotationId,
        /// The number, which must be the one after the last.
        version: Version,
        /// The name at the target; where the target makes secret and name, our marker until it answers.
        handle: Handle,
        /// What the target listed before the first call, where it makes the secret; none where we do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        baseline: Option<Vec<Handle>>,
    },
    /// A call that makes the chosen version may be on its way, and nobody waits for the answer: the controller started,
    /// or could not record what came of it.
    Resumed,
    /// The answer to the making of a version was lost.
    Lost {
        /// The version.
        version: Version,
        /// Which attempt.
        attempt: u32,
        /// What is known.
        why: String,
    },
    /// The target could not be reached to be changed to a version: surely nothing happened there.
    Untouched {
        /// The version.
        version: Version,
        /// Which attempt.
        attempt: u32,
        /// Why.
        why: String,
    },
    /// The target accepts a version.
    Installed {
        /// The version.
        version: Version,
        /// Which attempt.
        attempt: u32,
        /// What the target calls it, where the target says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        handle: Option<Handle>,
    },
    /// A version works: login, probes, privileges.
    Probed {
        /// The version.
        version: Version,
        /// Which attempt.
        attempt: u32,
    },
    /// After a cut: the target lets a version in, and a declared probe says no. What was there before is dead, so that a
    /// login is enough, and somebody has to know.
    LetIn {
        /// The version.
        version: Version,
        /// Which attempt.
        attempt: u32,
        /// What the probe says.
        why: String,
    },
    /// The target was seen to accept a version without end.
    Lifted {
        /// The version.
        version: Version,
        /// Which attempt.
        attempt: u32,
    },
    /// The target or a check refused a version on its way to Proven, or the lifting of its expiry.
    Refused {
        /// The version.
        version: Version,
        /// Which attempt.
        attempt: u32,
        /// Why.
        why: String,
    },
    /// A holder could not use what it was given, or refused logins were reported.
    Failed {
        /// The order that failed; an older one changes nothing.
        order: Order,
        /// Why.
        why: String,
    },
    /// What somebody else rotates was changed again before everybody had moved: the next version takes the place of this.
    Overtaken,
    /// An operator sends the holders back.
    Rollback {
        /// Why.
        reason: String,
    },
    /// An operator lets a rotation go on although no holder is live.
    NoHolders {
        /// Why.
        reason: String,
    },
    /// The target refuses a version and has no session of it.
    Ended {
        /// The version.
        version: Version,
        /// When the call began that found it so.
        asked: Moment,
        /// Sessions that it ended.
        sessions: u32,
    },
    /// Nothing of an ended version is left at the target.
    CleanedUp {
        /// The version.
        version: Version,
    },
    /// The target refused to end or to clean up a version.
    EndingRefused {
        /// The version.
        version: Version,
        /// Why.
        why: String,
    },
    /// An operator puts the brake on.
    Hold {
        /// Why.
        reason: String,
        /// Who.
        by: String,
    },
    /// An operator takes the brake off.
    Release,
    /// An operator wants what is stuck to be tried again now.
    Retry,
    /// An operator cuts versions in an emergency.
    Revoke {
        /// Its id, drawn at random by whoever asks: the same again joins the first, whatever came after it.
        id: EmergencyId,
        /// Only this version; none: every version that has not ended.
        version: Option<Version>,
        /// Why.
        reason: String,
        /// Who.
        by: String,
        /// Whether a cut current version is to be replaced.
        replace: bool,
    },
    /// The restored store is taken up again: what holders said of the life that was lost, and what the target shows.
    Reconciled {
        /// The life in which this ledger was written.
        former: Incarnation,
        /// What the target shows.
        listing: Listing,
    },
    /// A holder that was away told of a life that was lost.
    Heard,
    /// The target was asked which versions it has.
    Listed {
        /// What it shows.
        listing: Listing,
    },
    /// The target was asked, and has everything that rotations need.
    Checked {
        /// When what was asked about was declared.
        since: Moment,
    },
    /// An operator has the credential forgotten.
    Delete {
        /// What becomes of its versions.
        at_target: AtTarget,
    },
}

impl Event {
    /// Its name, as it stands in the stored JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Adopt { .. } => "adopt",
            Self::Begin { .. } => "begin",
            Self::Choose { .. } => "choose",
            Self::Resumed => "resumed",
            Self::Lost { .. } => "lost",
            Self::Untouched { .. } => "untouched",
            Self::Installed { .. } => "installed",
            Self::Probed { .. } => "probed",
            Self::LetIn { .. } => "let_in",
            Self::Lifted { .. } => "lifted",
            Self::Refused { .. } => "refused",
            Self::Failed { .. } => "failed",
            Self::Overtaken => "overtaken",
            Self::Rollback { .. } => "rollback",
            Self::NoHolders { .. } => "no_holders",
            Self::Ended { .. } => "ended",
            Self::CleanedUp { .. } => "cleaned_up",
            Self::EndingRefused { .. } => "ending_refused",
            Self::Hold { .. } => "hold",
            Self::Release => "release",
            Self::Retry => "retry",
            Self::Revoke { .. } => "revoke",
            Self::Reconciled { .. } => "reconciled",
            Self::Heard => "heard",
            Self::Listed { .. } => "listed",
            Self::Checked { .. } => "checked",
            Self::Delete { .. } => "delete",
        }
    }
}

/// Why a rotation begins.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Why {
    /// There is no version yet.
    First,
    /// The current version is older than the schedule allows.
    TooOld,
    /// Somebody asked.
    Asked {
        /// In whose words.
        reason: String,
        /// Who.
        by: String,
        /// The request's id: the same again begins nothing.
        request: String,
    },
    /// The current version was cut.
    Replacement,
    /// The store was restored, and there is no secret of the current version here.
    Foreign,
    /// The store was restored, and a version that it left behind is to end: `next` is what is in use already.
    Leftover,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::First => f.write_str("there is no version yet"),
            Self::TooOld => f.write_str("the schedule says so"),
            Self::Asked { reason, by, .. } if reason.is_empty() => write!(f, "asked by {by}"),
            Self::Asked { reason, by, .. } => write!(f, "asked by {by}: {reason}"),
            Self::Replacement => f.write_str("the current version was revoked"),
            Self::Foreign => {
                f.write_str("the store was restored and does not know the current version's secret")
            }
            Self::Leftover => f.write_str("the store was restored and left a version behind"),
        }
    }
}

/// What becomes of the versions of a credential that is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtTarget {
    /// All end, sessions included.
    End,
    /// The current one is left as it is.
    Leave,
}
