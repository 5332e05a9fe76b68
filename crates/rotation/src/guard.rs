//! The revoke guard (I5, `ROTATION.md` 4): one function, every unmet condition as data.
use std::fmt;

use rekey_model::Version;

use crate::facts::Facts;
use crate::ledger::Ledger;

/// A condition for ending a version that is not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmet {
    /// The version to be ended, or the one to be served, is not what it must be.
    NotServed,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not yet")
    }
}

impl Ledger {
    /// Every condition for ending `old` while `served` is to be served that is not met. Empty: it may end.
    pub fn unmet(&self, _old: Version, _served: Version, _facts: &Facts<'_>) -> Vec<Unmet> {
        vec![Unmet::NotServed]
    }
}
