//! One credential within a snapshot: its ready-made answer and what decides whether it may be given.

use bytes::Bytes;
use rekey_model::{CredentialName, Generation, Handle, Moment, Version};

use super::{Contact, Mark, Offline, Reading, Unreadable};

/// One credential within a snapshot.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name.
    pub name: CredentialName,
    /// The change that it came with.
    pub mark: Mark,
    /// What there is.
    pub content: Content,
    /// Versions that local processes may have got from here, in rising order.
    pub known: Box<[Version]>,
}

/// What there is of a credential.
#[derive(Debug, Clone)]
pub enum Content {
    /// A version to give out.
    Served(Served),
    /// Nothing has been made yet.
    Waiting,
    /// Everything was cut; `owed`: a replacement is on its way.
    Revoked {
        /// Whether readers may wait for it.
        owed: bool,
    },
}

/// A version to give out.
#[derive(Clone)]
pub struct Served {
    /// The version.
    pub version: Version,
    /// What it is called at the target.
    pub handle: Handle,
    /// The snapshot that it was first part of.
    pub generation: Generation,
    /// Earlier versions that the target still accepts.
    pub previous: Vec<Leaving>,
    pub(super) answer: Bytes,
    pub(super) offline: Offline,
    pub(super) ends_ms: Option<u64>,
    pub(super) settling: Option<Settling>,
}

/// The target is about to be changed, and takes one value at a time: readers wait, then get both.
#[derive(Clone)]
pub(super) struct Settling {
    /// Until when readers wait, in milliseconds since boot.
    pub(super) until_ms: u64,
    /// What comes after the version that is served, if that is known.
    pub(super) next: Option<Version>,
    /// What they get then.
    pub(super) answer: Bytes,
}

/// An earlier version that the target still accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaving {
    /// The version.
    pub version: Version,
    /// Until when, as far as it is known, in milliseconds since boot.
    pub until_ms: u64,
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served")
            .field("version", &self.version)
            .field("handle", &self.handle)
            .field("generation", &self.generation)
            .field("previous", &self.previous)
            .finish_non_exhaustive()
    }
}

impl Entry {
    /// The version that is served, if any.
    pub fn version(&self) -> Option<Version> {
        match &self.content {
            Content::Served(served) => Some(served.version),
            Content::Waiting | Content::Revoked { .. } => None,
        }
    }

    pub(super) fn read(&self, contact: &Contact, now: Moment) -> Result<Reading, Unreadable> {
        let served = match &self.content {
            Content::Served(served) => served,
            Content::Waiting => return Err(Unreadable::Waiting),
            Content::Revoked { owed } => return Err(Unreadable::Revoked { owed: *owed }),
        };
        let bound = contact.serve_until(served.offline);
        let good_until = match (bound, served.ends_ms) {
            (Some(bound), Some(ends)) => Some(bound.min(ends)),
            (bound, ends) => bound.or(ends),
        };
        if good_until.is_some_and(|until| now.boot_ms >= until) {
            return Err(Unreadable::Stale);
        }
        let settling = served.settling.as_ref();
        if let Some(settling) = settling.filter(|settling| now.boot_ms < settling.until_ms) {
            return Err(Unreadable::Settling { until_ms: settling.until_ms });
        }
        let answer = settling.map_or(&served.answer, |settling| &settling.answer);
        let freshness = contact.freshness(now.boot_ms);
        let fresh_until = (!freshness.stale).then(|| contact.lease_until_ms());
        let look_again_ms = [good_until, fresh_until].into_iter().flatten().min();
        Ok(Reading { answer: answer.clone(), freshness, look_again_ms })
    }
}
