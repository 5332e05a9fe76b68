//! Everything that has been decided about one credential: durable, and changed only by [`Ledger::after`].

use std::collections::{BTreeMap, BTreeSet};

use rekey_model::{Handle, Moment, Order, Stage, Version};
use serde::{Deserialize, Serialize};

use crate::alone::Alone;
use crate::emergency::Emergency;
use crate::ending::Ending;
use crate::phase::Rotation;

/// Everything that has been decided about one credential.
///
/// The store keeps it as one JSON document, saved by compare-and-set. Readers may look at every field; only
/// [`Ledger::after`] makes the next one. One open rotation a credential is structural: there is one place for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// Rises by one in every commit that changes what any holder is to serve, also when it goes back.
    pub order: Order,
    /// The highest version number ever chosen; numbers are never used again (I4).
    pub last_version: Option<Version>,
    /// What everybody is to use; none before the first promotion and after an emergency without a sibling.
    pub current: Option<Version>,
    /// The version that is left, or that was left in a return, while it is still accepted at the target.
    pub previous: Option<Version>,
    /// Every version there ever was.
    pub versions: BTreeMap<Version, VersionRecord>,
    /// The open rotation, or the one that ended last.
    pub rotation: Option<Rotation>,
    /// Versions that are to end or have ended and are not cleaned up yet. None is ever dropped before (I8).
    pub endings: BTreeMap<Version, Ending>,
    /// Versions cut in an emergency: no holder may ever serve one of them again.
    pub fenced: BTreeSet<Version>,
    /// The operator's brake.
    pub held: Option<Hold>,
    /// When the brake was taken off last: the quiet window starts again from then.
    pub released: Option<Moment>,
    /// A replacement is due: the current version was cut.
    pub owed: bool,
    /// The credential was cut and no replacement was wanted: nothing begins by itself until somebody asks.
    pub resting: bool,
    /// Emergencies: all that are unfinished, and the latest that are finished.
    pub emergencies: Vec<Emergency>,
    /// What is still open after a restore.
    pub restore: AfterRestore,
    /// Whether any sidecar ever held it. From then on an empty set of holders agrees to nothing.
    pub ever_held: bool,
    /// How long holders may serve alone: the bound that is in force, last, and those that some may still go by.
    pub alone: Vec<Alone>,
    /// When it was declared to be forgotten; holders drop it, nothing begins any more.
    pub deleted: Option<Moment>,
    /// It was declared while its target could not be asked whether everything is there that rotations need: no rotation
    /// begins before it was.
    pub unchecked: Option<Unchecked>,
}

/// A declaration whose target was not asked yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Unchecked {
    /// When it was declared: tells this declaration from a later one.
    pub since: Moment,
    /// Why it could not be asked.
    pub why: String,
}

/// What is still open after a restore of the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AfterRestore {
    /// The order with which the ledger was put back, if an emergency has changed it since: what holders tell of the life
    /// that was lost is compared with that.
    pub written: Option<Order>,
    /// Whether the target is still to be asked which versions it has, because it could not be at once.
    pub unlisted: bool,
}

/// One version of a credential.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VersionRecord {
    /// What it is called at the target.
    pub handle: Handle,
    /// What the target listed before the first call that makes this version, for as long as its answer was not had: only
    /// where the target makes the secret. `handle` is our marker until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Vec<Handle>>,
    /// Where it stands.
    pub stage: Stage,
    /// Which attempt at this version `handle` belongs to. An answer to another attempt changes nothing.
    pub attempt: u32,
    /// Whether it is the login that the application had before Rekey.
    pub adopted: bool,
    /// Whether the target was seen to accept it without end: the expiry of an unused version is lifted.
    pub lasting: bool,
    /// When it was chosen.
    pub created: Moment,
    /// When it was proven to work.
    pub proven: Option<Moment>,
    /// When it became current, last.
    pub promoted: Option<Moment>,
    /// Since when a call that makes it may be on its way without anybody waiting for the answer; none: no such call.
    pub doubt: Option<Moment>,
    /// When the target refused it and had no session of it left.
    pub ended: Option<Moment>,
    /// How many of its sessions were ended with it.
    pub sessions_ended: u32,
    /// Whether a restore of the store left it behind: there is no secret of it here, or nobody vouches for it. It is
    /// never given out again, and ends once nobody uses it.
    #[serde(default)]
    pub stray: bool,
}

/// An operator's brake: stops all automatic decisions about a credential, in every phase.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hold {
    /// Why.
    pub reason: String,
    /// Who put it on.
    pub by: String,
    /// When.
    pub since: Moment,
}

impl Ledger {
    /// The ledger of what was declared anew: where its target could not be asked, that is to be done. The one change that
    /// does not come from [`Ledger::after`]: it is saved with the declaration that it is about.
    #[must_use]
    pub fn declared(self, unchecked: Option<Unchecked>) -> Self {
        Self { unchecked, ..self }
    }

    /// The rotation that has not ended, if any.
    pub fn open_rotation(&self) -> Option<&Rotation> {
        self.rotation.as_ref().filter(|rotation| rotation.phase.is_open())
    }

    /// The record of a version.
    pub fn version(&self, version: Version) -> Option<&VersionRecord> {
        self.versions.get(&version)
    }

    /// Whether the target may still accept a version and nothing ends it.
    pub fn is_alive(&self, version: Version) -> bool {
        let known = self.version(version).is_some_and(|record| !record.stage.is_final());
        known && !self.fenced.contains(&version) && !self.endings.contains_key(&version)
    }

    /// Whether nothing of a deleted credential is left to do, so that its rows may go.
    pub fn is_forgettable(&self) -> bool {
        self.deleted.is_some() && self.endings.is_empty()
    }
}
