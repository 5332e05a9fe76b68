//! How long ago the source was heard, and until when it counts this sidecar as live.
//!
//! Everything is in milliseconds since boot, suspend included: no wall clock enters a deadline. A lease counts from the
//! *sending* of what it answers, so this sidecar never thinks it live for longer than the controller does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rekey_model::millis;

use super::{Live, Offline};

/// What is known of the source. Readers on any thread.
#[derive(Debug, Default)]
pub struct Contact {
    heard_ms: AtomicU64,
    granted_ms: AtomicU64,
    lease_until_ms: AtomicU64,
    level: AtomicUsize,
}

/// How fresh an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// Since the source was last heard.
    pub age: Duration,
    /// Whether the source is out of reach, so that a newer version may exist.
    pub stale: bool,
}

impl Contact {
    /// Notes a lease asked for at `sent_ms`; says whether one had ended that now lasts again.
    pub(super) fn granted(&self, sent_ms: u64, lease: Duration, now_ms: u64) -> bool {
        self.heard(now_ms);
        if sent_ms < self.granted_ms.load(Ordering::Acquire) {
            return false;
        }
        let until = sent_ms.saturating_add(millis(lease));
        let before = self.lease_until_ms.swap(until, Ordering::AcqRel);
        self.granted_ms.store(sent_ms, Ordering::Release);
        before <= now_ms
    }

    pub(super) fn heard(&self, now_ms: u64) {
        self.heard_ms.fetch_max(now_ms, Ordering::AcqRel);
    }

    /// Whether a stream is level with the source and the lease lasts.
    pub fn in_reach(&self, now_ms: u64) -> bool {
        self.level.load(Ordering::Acquire) > 0 && now_ms < self.lease_until_ms.load(Ordering::Acquire)
    }

    /// When the lease ends, if it is not granted again.
    pub(super) fn lease_until_ms(&self) -> u64 {
        self.lease_until_ms.load(Ordering::Acquire)
    }

    /// Since the source was last heard; `None`: not yet.
    pub fn age(&self, now_ms: u64) -> Option<Duration> {
        let heard = self.heard_ms.load(Ordering::Acquire);
        (heard > 0).then(|| Duration::from_millis(now_ms.saturating_sub(heard)))
    }

    /// How fresh what is held is.
    pub(super) fn freshness(&self, now_ms: u64) -> Freshness {
        let age = now_ms.saturating_sub(self.heard_ms.load(Ordering::Acquire));
        Freshness { age: Duration::from_millis(age), stale: !self.in_reach(now_ms) }
    }

    /// When `offline` ends serving if the source stays silent; `None`: never.
    pub(super) fn serve_until(&self, offline: Offline) -> Option<u64> {
        let lease = self.lease_until_ms.load(Ordering::Acquire);
        match offline {
            Offline::FailClosed => Some(lease),
            Offline::UntilExpiry(None) => None,
            Offline::UntilExpiry(Some(most)) => {
                let alone = self.granted_ms.load(Ordering::Acquire).saturating_add(millis(most));
                Some(lease.max(alone))
            }
        }
    }
}

/// One stream that is level with the source; dropping it says that it no longer is.
#[derive(Debug)]
pub struct Level(Arc<Live>);

impl Level {
    pub(super) fn new(live: Arc<Live>) -> Self {
        live.contact.level.fetch_add(1, Ordering::AcqRel);
        live.nudge();
        Self(live)
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        self.0.contact.level.fetch_sub(1, Ordering::AcqRel);
        self.0.nudge();
    }
}
