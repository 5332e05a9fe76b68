//! The handle of one followed credential.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::Guard;
use rekey_model::{CredentialName, Version};
use tokio::sync::watch;

use crate::client::Owner;
use crate::clock;
use crate::credential::{Credential, Freshness};
use crate::error::Unavailable;
use crate::slot::Slot;
use crate::usage::InUse;

/// A credential that is followed: always the latest value, pushed by the sidecar. Cheap to clone.
///
/// A credential once followed stays so for the life of its [`crate::Client`] and of every handle of it.
#[derive(Clone)]
pub struct Watched {
    held: Arc<Held>,
    seen: watch::Receiver<u64>,
}

/// What a handle shares with its guards: the credential's state, and the life of the background task.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) slot: Arc<Slot>,
    pub(crate) owner: Arc<Owner>,
}

impl Watched {
    pub(crate) fn new(slot: Arc<Slot>, owner: Arc<Owner>) -> Self {
        let seen = slot.turns();
        Self { held: Arc::new(Held { slot, owner }), seen }
    }

    /// The credential's name.
    pub fn name(&self) -> &CredentialName {
        &self.held.slot.name
    }

    /// What is to be used now, or why there is nothing. Wait-free; tens of nanoseconds.
    ///
    /// Read it again for each use rather than holding what it gives: that is what makes a rotation unnoticed. To keep
    /// a value across an `await`, use [`Loaded::keep`]. Where the target takes one version at a time, wait for
    /// [`Watched::ready`] before a login, and try [`Credential::next`] if it is refused.
    #[inline]
    pub fn load(&self) -> Result<Loaded, Unavailable> {
        let value = self.held.slot.value.load();
        if value.is_some() { Ok(Loaded(value)) } else { Err(self.held.slot.why_nothing()) }
    }

    /// Waits until there is something to log in with, at most as long as [`crate::Builder::ready_timeout`] says: also
    /// while the target is just being changed and takes one version at a time ([`Reason::Settling`]), which
    /// [`Watched::load`] cannot wait for. At once where there is.
    ///
    /// [`Reason::Settling`]: crate::Reason::Settling
    pub async fn ready(&self) -> Result<(), Unavailable> {
        self.ready_within(self.held.owner.timeouts().ready).await
    }

    /// As [`Watched::ready`], with a limit of its own.
    pub async fn ready_within(&self, limit: Duration) -> Result<(), Unavailable> {
        if self.until(limit, |live| live.is_some()).await {
            Ok(())
        } else {
            Err(self.held.slot.why_nothing())
        }
    }

    /// Waits until the value changes or is lost; at once if that happened since this handle was made or last asked.
    /// What was overtaken meanwhile is skipped.
    pub async fn changed(&mut self) {
        if self.seen.changed().await.is_err() {
            // Cannot be: the slot that is held here owns the other half. Waiting is the honest answer.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until there is a value of another version than `version`, at most for `limit`. Says whether there is.
    ///
    /// The thing to do after the target refused a login: perhaps a newer version is on its way.
    pub async fn other_than(&self, version: Version, limit: Duration) -> bool {
        self.until(limit, |live| live.is_some_and(|live| live != version)).await
    }

    async fn until(&self, limit: Duration, holds: impl Fn(Option<Version>) -> bool) -> bool {
        let deadline = clock::now() + limit;
        let mut turns = self.held.slot.turns();
        loop {
            turns.mark_unchanged();
            if holds(self.held.slot.usable_version()) {
                return true;
            }
            let settles = self.held.slot.settles_at().map_or(deadline, |at| at.min(deadline));
            let turned = tokio::time::timeout_at(settles, turns.changed()).await;
            if !matches!(turned, Ok(Ok(()))) && clock::now() >= deadline {
                return holds(self.held.slot.usable_version());
            }
        }
    }

    /// The version that is to be used now, if there is one.
    pub fn version(&self) -> Option<Version> {
        self.held.slot.live_version()
    }

    /// How fresh the value is, and whether the sidecar is in reach.
    pub fn freshness(&self) -> Freshness {
        self.held.slot.freshness(self.held.owner.connected())
    }

    /// Says that `version` is in use for as long as what this returns lives. Take it before a login begins.
    pub fn uses(&self, version: Version) -> InUse {
        InUse::new(Arc::clone(&self.held), version)
    }

    /// Reports that the target accepted a use of `version`, such as a login.
    pub fn accepted(&self, version: Version) {
        self.held.slot.usage.outcome(version, |outcomes| outcomes.accepted += 1);
    }

    /// Reports that the target refused a use of `version` because of the credential: wrong password, no such role, key
    /// revoked. Not for a target that is down or full.
    pub fn refused(&self, version: Version) {
        self.held.slot.usage.outcome(version, |outcomes| outcomes.refused += 1);
    }

    /// Whether this process has learned that `version` was revoked in an emergency: the sidecar said so while it was
    /// in use, or replaced it by a version beside which it is not accepted any more.
    ///
    /// The target is cut before the sidecars are told, so this may turn true a moment after the first refusal. It is
    /// no proof of the contrary: the end of a *previous* version alone looks like its retirement from here, and what
    /// happened while the sidecar was away is not known.
    pub fn was_revoked(&self, version: Version) -> bool {
        self.held.slot.was_revoked(version)
    }

    #[cfg(any(feature = "deadpool", feature = "sqlx"))]
    pub(crate) fn owner(&self) -> &Owner {
        &self.held.owner
    }

    #[cfg(feature = "deadpool")]
    pub(crate) fn slot(&self) -> &Arc<Slot> {
        &self.held.slot
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("name", self.name()).field("version", &self.version()).finish()
    }
}

/// A credential as [`Watched::load`] found it. For a moment's use; see [`Loaded::keep`].
pub struct Loaded(Guard<Option<Arc<Credential>>>);

impl Loaded {
    /// The same value to keep for longer. Its version counts as in use until it is dropped.
    pub fn keep(&self) -> Arc<Credential> {
        Arc::clone(self.value())
    }

    #[inline]
    #[expect(clippy::expect_used, reason = "a Loaded is made in one place, around a value")]
    fn value(&self) -> &Arc<Credential> {
        self.0.as_ref().expect("a Loaded holds a value")
    }
}

impl Deref for Loaded {
    type Target = Credential;

    #[inline]
    fn deref(&self) -> &Credential {
        self.value()
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}
