//! Endings: a lane of their own. What has been decided to end ends, however often the target says no.

use rekey_model::{Moment, Stage, Version};
use serde::{Deserialize, Serialize};

use crate::facts::{Facts, Mode, Overlap};
use crate::ledger::Ledger;

/// Why a version ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Nobody uses it any more.
    Retire,
    /// It never came into use, or was taken back.
    Undo,
    /// It was cut.
    Emergency,
}

impl Cause {
    /// The stage of a version that ended for this cause.
    pub fn stage(self) -> Stage {
        match self {
            Self::Retire => Stage::Retired,
            Self::Undo => Stage::Abandoned,
            Self::Emergency => Stage::Revoked,
        }
    }
}

/// How far an ending is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndingState {
    /// Decided.
    Intended,
    /// The target refused it once, but a call that makes it may still land: it is ended again when none can.
    Settling,
    /// The target refuses it and no call can make it again; what it owned is still to be cleaned up.
    Ended,
}

/// The end of one version at the target: decided once, done again and again until it is so (I8).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ending {
    /// Why.
    pub cause: Cause,
    /// How far.
    pub state: EndingState,
    /// When it was decided.
    pub since: Moment,
    /// How often the target refused, since the last retry by a person.
    pub refusals: u32,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// Whether it was decided in a life of the store that was lost: what it is about may have been ended in that life.
    #[serde(default)]
    pub inherited: bool,
}

impl Ledger {
    /// Whether the ending of `version` comes from a life of the store that was lost, at an account that takes one value:
    /// another may have taken its place in that life, and would be switched off with it. Somebody who revokes in this life
    /// means whatever is there.
    pub fn ends_for_a_lost_life(&self, version: Version, facts: &Facts<'_>) -> bool {
        let here = facts.mode == Mode::ReconcileOnly && self.restore.written.is_none();
        let inherited = self.endings.get(&version).is_some_and(|ending| ending.inherited || here);
        inherited && facts.policy.overlap != Overlap::Both
    }

    /// Whether the sessions of a version that ends are waited for instead of ended: in peace nobody is cut. An
    /// emergency, and the deletion of a credential, end them.
    pub fn spares_sessions(&self, version: Version) -> bool {
        let in_peace = self.endings.get(&version).is_some_and(|ending| ending.cause != Cause::Emergency);
        in_peace && self.deleted.is_none()
    }
}
