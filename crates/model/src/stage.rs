//! The stage of one version of a credential.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a version stands in its life.
///
/// pending → next → current → previous → retired; previous ↔ current on a return; pending, next or previous → abandoned;
/// any → revoked. Retired, revoked and abandoned are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Made or being made at the target; nobody may use it.
    Pending,
    /// Held by sidecars and accepted by verifiers, not handed out as current.
    Next,
    /// What everybody is to use.
    Current,
    /// In its grace: still accepted, no longer handed out.
    Previous,
    /// Ended by evidence that nobody uses it.
    Retired,
    /// Ended in an emergency.
    Revoked,
    /// Never came into use, or was taken back; ended.
    Abandoned,
}

impl Stage {
    /// Whether nothing can follow.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Retired | Self::Revoked | Self::Abandoned)
    }

    /// Whether a version may go from this stage to `to`.
    pub fn may_become(self, to: Self) -> bool {
        use Stage as S;
        matches!(
            (self, to),
            (S::Pending, S::Next | S::Current | S::Abandoned)
                | (S::Next, S::Current | S::Abandoned)
                | (S::Current, S::Previous)
                | (S::Previous, S::Current | S::Retired | S::Abandoned)
        ) || (to == S::Revoked && !self.is_final())
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Next => "next",
            Self::Current => "current",
            Self::Previous => "previous",
            Self::Retired => "retired",
            Self::Revoked => "revoked",
            Self::Abandoned => "abandoned",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
