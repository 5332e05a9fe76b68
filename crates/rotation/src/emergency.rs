//! Emergency revocation: its record, and what it does to an open rotation (`ROTATION.md` 3, "Emergency").

use std::collections::{BTreeMap, BTreeSet};

use rekey_model::{Id, InstanceId, Moment, Order, Version};
use serde::{Deserialize, Serialize};

/// Marks the id of an emergency.
#[derive(Debug)]
pub enum EmergencyKind {}
/// One emergency revocation.
pub type EmergencyId = Id<EmergencyKind>;

/// An emergency revocation: what is cut, who was to be fenced, and when each was so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emergency {
    /// Its id.
    pub id: EmergencyId,
    /// What is cut.
    pub versions: BTreeSet<Version>,
    /// Why.
    pub reason: String,
    /// Who revoked.
    pub by: String,
    /// When the intent was durable.
    pub intent: Moment,
    /// The order that came with it: who has acknowledged it, or a later one, is fenced.
    pub order: Order,
    /// The holders that counted at the intent.
    pub holders: BTreeMap<InstanceId, Fencing>,
    /// When the target refused every version and had no session left by it, and no call could make one again (I7).
    pub cut: Option<Moment>,
    /// When the last of the holders that were live was fenced, and somebody to be fenced or nobody.
    pub fenced: Option<Moment>,
    /// Whether the current version was hit and is replaced.
    pub wants_replacement: bool,
    /// The replacement, once it is current.
    pub replacement: Option<Version>,
    /// When the replacement became current.
    pub replaced: Option<Moment>,
    /// When every holder that counts had acknowledged the replacement.
    pub delivered: Option<Moment>,
}

/// One holder of a cut version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fencing {
    /// What people call it.
    pub name: String,
    /// When it acknowledged that it dropped what was cut; none: not reached.
    pub fenced: Option<Moment>,
    /// Whether it was reachable when last looked at.
    pub live: bool,
}

impl Emergency {
    /// Whether nothing is left to wait for, but holders that are not reached.
    pub fn is_finished(&self) -> bool {
        let replaced = !self.wants_replacement || self.delivered.is_some();
        self.cut.is_some() && self.fenced.is_some() && replaced
    }
}
