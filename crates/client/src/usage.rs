//! Which versions of one credential this process may still use, and how its logins went.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rekey_model::Version;
use rekey_proto::local as wire;
use tokio::sync::Notify;

use crate::credential::Credential;
use crate::watched::Held;

/// The most versions whose outcomes are remembered, and the most that are reported as in use.
const MOST_VERSIONS: usize = 64;

/// What became of the uses of one version, in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outcomes {
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
}

/// By version.
pub(crate) type OutcomesByVersion = BTreeMap<Version, Outcomes>;

/// The use of one credential by this process.
#[derive(Debug)]
pub(crate) struct Usage {
    ledger: Mutex<Ledger>,
    /// Wakes whoever sends reports; one for the whole client.
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Ledger {
    /// How many guards there are.
    guards: BTreeMap<Version, usize>,
    /// Values that somebody may have kept. The live one is always among them.
    values: Vec<(Version, Weak<Credential>)>,
    outcomes: OutcomesByVersion,
}

impl Usage {
    pub(crate) fn new(changed: Arc<Notify>) -> Self {
        Self { ledger: Mutex::default(), changed }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a value before it becomes the live one.
    pub(crate) fn handed_out(&self, value: &Arc<Credential>) {
        let mut ledger = self.ledger();
        ledger.values.retain(|(_, value)| value.strong_count() > 0);
        ledger.values.push((value.version(), Arc::downgrade(value)));
        drop(ledger);
        self.changed.notify_one();
    }

    /// Says that the live value has changed or gone.
    pub(crate) fn look_again(&self) {
        self.changed.notify_one();
    }

    fn begin(&self, version: Version) {
        let mut ledger = self.ledger();
        let guards = ledger.guards.entry(version).or_default();
        *guards += 1;
        let first = *guards == 1;
        drop(ledger);
        if first {
            self.changed.notify_one();
        }
    }

    fn end(&self, version: Version) {
        let mut ledger = self.ledger();
        let left = ledger.guards.get_mut(&version).map(|guards| {
            *guards = guards.saturating_sub(1);
            *guards
        });
        if left == Some(0) {
            ledger.guards.remove(&version);
            drop(ledger);
            self.changed.notify_one();
        }
    }

    /// Counts one attempt to use `version`.
    pub(crate) fn outcome(&self, version: Version, count: impl FnOnce(&mut Outcomes)) {
        let mut ledger = self.ledger();
        count(ledger.outcomes.entry(version).or_default());
        if ledger.outcomes.len() > MOST_VERSIONS {
            ledger.outcomes.pop_first();
        }
        drop(ledger);
        self.changed.notify_one();
    }

    /// Every version that this process may still use, the oldest first: those hold a retirement back.
    pub(crate) fn versions(&self) -> Vec<Version> {
        let mut ledger = self.ledger();
        ledger.values.retain(|(_, value)| value.strong_count() > 0);
        let mut versions: Vec<_> =
            ledger.guards.keys().copied().chain(ledger.values.iter().map(|(version, _)| *version)).collect();
        versions.sort_unstable();
        versions.dedup();
        versions.truncate(MOST_VERSIONS);
        versions
    }

    /// What became of all attempts so far.
    pub(crate) fn outcomes(&self) -> OutcomesByVersion {
        self.ledger().outcomes.clone()
    }
}

/// `now` less what was there `before`, as the wire says it.
pub(crate) fn since(now: &OutcomesByVersion, before: &OutcomesByVersion) -> Vec<wire::VersionOutcome> {
    let entries = now.iter().map(|(version, now)| {
        let before = before.get(version).copied().unwrap_or_default();
        wire::VersionOutcome {
            version: version.get(),
            accepted: now.accepted.saturating_sub(before.accepted),
            refused: now.refused.saturating_sub(before.refused),
        }
    });
    entries.filter(|entry| entry.accepted > 0 || entry.refused > 0).collect()
}

/// Says that a version is in use for as long as it lives, for instance beside an open connection.
///
/// Hold one from *before* a login begins until the connection is closed: the old version is not ended under it.
#[must_use = "the version counts as in use only while this lives"]
pub struct InUse {
    held: Arc<Held>,
    version: Version,
}

impl InUse {
    pub(crate) fn new(held: Arc<Held>, version: Version) -> Self {
        held.slot.usage.begin(version);
        Self { held, version }
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.held.slot.usage.end(self.version);
    }
}

impl fmt::Debug for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InUse").field("name", &self.held.slot.name).field("version", &self.version).finish()
    }
}
