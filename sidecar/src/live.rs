//! What this sidecar serves: candidates are checked, then published as one snapshot that readers see whole.
//!
//! `Candidate` --check--> `Checked` --publish--> live. Only the [`Writer`] publishes; everybody else reads [`Live`].
//! Knows neither where candidates come from (`link`) nor how they are asked for (`serve`).

mod answer;
mod candidate;
mod contact;
mod entry;
mod snapshot;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use rekey_runtime::Clock;
use tokio::sync::watch;

pub(crate) use answer::{value_in, version_in};
pub use candidate::{Candidate, Checked, Defect, Mark, Offer, OfferedNext, OfferedVersion, Offline, Refusal};
pub use contact::{Contact, Freshness, Level};
pub use entry::{Content, Entry, Leaving, Served};
pub use snapshot::Snapshot;
pub use writer::{Accepted, HeldCredential, MOST_CREDENTIALS, Scope, Swap, SwappedTo, Writer};

/// The live snapshot, how long ago its source was heard, and the word that either has changed.
#[derive(Debug)]
pub struct Live {
    snapshot: ArcSwap<Snapshot>,
    contact: Contact,
    revision: watch::Sender<u64>,
    clock: Clock,
}

/// One credential as it is to be given out.
#[derive(Clone)]
pub struct Reading {
    /// An encoded `rekey.v1.Credential`.
    pub answer: Bytes,
    /// How fresh it is.
    pub freshness: Freshness,
    /// When it may have to be looked at again although nothing was swapped, in milliseconds since boot.
    pub look_again_ms: Option<u64>,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("freshness", &self.freshness).finish_non_exhaustive()
    }
}

/// Why a credential cannot be given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// Nothing has come from the source yet.
    Waiting,
    /// There is no such credential here.
    NotFound,
    /// What is held may no longer be served without word from the source.
    Stale,
    /// Cut in an emergency; `owed`: a replacement is on its way.
    Revoked {
        /// Whether a reader may wait for the replacement.
        owed: bool,
    },
    /// The target is being changed, and takes one value at a time.
    Settling {
        /// Until when readers wait, in milliseconds since boot.
        until_ms: u64,
    },
}

impl Live {
    /// Nothing yet, with the time from `clock`.
    pub fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            contact: Contact::default(),
            revision: watch::Sender::new(0),
            clock,
        })
    }

    /// The snapshot that is live now. Not to be held across an await.
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// What there is to give for `name` now.
    pub fn read(&self, name: &str) -> Result<Reading, Unreadable> {
        self.snapshot.load().read(name, &self.contact, self.clock.now())
    }

    /// Waits until `name` is no longer cut with a replacement owed, but not longer than `most`.
    pub async fn wait_for_replacement(&self, name: &str, most: Duration) {
        self.wait_while(name, most, |why| matches!(why, Unreadable::Revoked { owed: true })).await;
    }

    /// Waits until the target of `name` is no longer being changed, or until `until_ms` since boot.
    pub async fn wait_for_the_cut(&self, name: &str, until_ms: u64) {
        let most = Duration::from_millis(until_ms.saturating_sub(self.clock.now().boot_ms));
        self.wait_while(name, most, |why| matches!(why, Unreadable::Settling { .. })).await;
    }

    async fn wait_while(&self, name: &str, most: Duration, waits: impl Fn(Unreadable) -> bool) {
        let mut revisions = self.revisions();
        let given_up = self.clock.sleep(most);
        tokio::pin!(given_up);
        while self.read(name).is_err_and(&waits) {
            tokio::select! {
                changed = revisions.changed() => if changed.is_err() { return },
                () = &mut given_up => return,
            }
        }
    }

    /// Returns when the source has said once what there is.
    pub async fn complete(&self) {
        let mut revisions = self.revisions();
        while !self.snapshot.load().is_complete() {
            if revisions.changed().await.is_err() {
                return;
            }
        }
    }

    /// Tells of every swap, and of every change in what may be served. Carries no data: it means *look again*.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// How the source is being heard.
    pub fn contact(&self) -> &Contact {
        &self.contact
    }

    /// The time that deadlines are counted by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Notes that the source granted a lease of `lease`, asked for at `sent_ms` since boot.
    pub fn granted(&self, sent_ms: u64, lease: Duration) {
        if self.contact.granted(sent_ms, lease, self.clock.now().boot_ms) {
            self.nudge();
        }
    }

    /// Notes a word from the source.
    pub fn heard(&self) {
        self.contact.heard(self.clock.now().boot_ms);
    }

    /// Counts one stream as level with the source for as long as the guard lives.
    pub fn level(self: &Arc<Self>) -> Level {
        Level::new(Arc::clone(self))
    }

    fn publish(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
        self.nudge();
    }

    fn nudge(&self) {
        self.revision.send_modify(|revision| *revision = revision.wrapping_add(1));
    }
}

#[cfg(test)]
mod tests;
