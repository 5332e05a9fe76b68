//! What is to be done now, what is waited for, and when to look again.

use std::time::Duration;

use rekey_model::Version;

use crate::event::Why;
use crate::facts::Facts;
use crate::ledger::Ledger;

/// Something to be done outside the ledger. Its outcome comes back as an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Begin a rotation: commit [`crate::Event::Begin`] with a fresh id.
    Begin {
        /// Why.
        why: Why,
    },
    /// Draw a name and a secret: commit [`crate::Event::Choose`].
    Choose {
        /// The number to use.
        version: Version,
    },
    /// Make a version at the target.
    Install {
        /// The version.
        version: Version,
        /// Whether an earlier answer was lost, so that one has to look first.
        look_first: bool,
    },
    /// Prove that a version works and has the rights of `old`.
    Probe {
        /// The version.
        version: Version,
        /// The version to compare with.
        old: Option<Version>,
    },
    /// Have the target accept a version without end.
    Lift {
        /// The version.
        version: Version,
    },
    /// Look for sessions of a version.
    Sample {
        /// The version.
        version: Version,
    },
    /// End a version at the target.
    End {
        /// The version.
        version: Version,
        /// Whether it is an emergency, which has a lane of its own.
        emergency: bool,
    },
    /// Remove what an ended version left at the target.
    CleanUp {
        /// The version.
        version: Version,
    },
}

impl Ledger {
    /// What is to be done now. Every step may be done again; doing it twice is doing it once.
    pub fn due(&self, _facts: &Facts<'_>) -> Vec<Step> {
        Vec::new()
    }

    /// What the credential waits for, one sentence each.
    pub fn waiting_for(&self, _facts: &Facts<'_>) -> Vec<String> {
        Vec::new()
    }

    /// When the current version becomes too old, in milliseconds since 1970 UTC; none: not scheduled.
    pub fn next_rotation_ms(&self, _facts: &Facts<'_>) -> Option<i64> {
        None
    }

    /// In how long something may have become due by time alone.
    pub fn look_again(&self, _facts: &Facts<'_>) -> Duration {
        Duration::from_secs(1)
    }
}
