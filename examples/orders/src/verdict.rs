//! Tells what an emergency revocation was meant to cut from what should not have happened.
//!
//! A revocation cuts the target first and tells the sidecars a moment later, so at the time of the error nobody here
//! can know. Therefore each trouble waits for a verdict, at most five seconds. It is put down to a revocation only if
//! the SDK has learned by then that *that very version* was revoked: see `Watched::was_revoked`. Else it is a failure,
//! also when a *previous* version alone was revoked, which from here looks like its retirement.
//!
//! | trouble | version was revoked | it was not |
//! |---|---|---|
//! | a session ended by the database's administrator (57P01), idle or not | `cut_by_revocation` | `lost_sessions` |
//! | a query that failed because of that | no count of its own | `failed_queries` |
//! | a login refused (class 28) | `refused_by_revocation` | `failed_logins` |

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rekey_client::{Version, Watched};

use crate::stats::{Stats, add};

/// How often the undecided ones are looked at.
const TICK: Duration = Duration::from_millis(50);
/// How many looks each gets.
const LOOKS: u32 = 100;
/// How many may be undecided at once; more count as failures at once.
const MOST: usize = 1000;

/// Something that is fine in an emergency and not fine else.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trouble {
    /// A session was terminated.
    Session(Version),
    /// A query failed because its session was terminated.
    Query(Version),
    /// A login was refused.
    Refused(Version),
}

/// Where troubles wait for their verdict.
pub(crate) struct Desk {
    orders: Watched,
    stats: Arc<Stats>,
    undecided: Mutex<Vec<Undecided>>,
}

struct Undecided {
    trouble: Trouble,
    error: String,
    looks: u32,
    /// When it happened, in milliseconds since 1970.
    at_ms: u64,
}

impl Desk {
    pub(crate) fn new(orders: Watched, stats: Arc<Stats>) -> Self {
        Self { orders, stats, undecided: Mutex::default() }
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Hands in a trouble.
    pub(crate) fn judge(&self, trouble: Trouble, error: &dyn Error) {
        let mut undecided = self.undecided.lock().unwrap_or_else(PoisonError::into_inner);
        let looks = if undecided.len() < MOST { LOOKS } else { 0 };
        undecided.push(Undecided { trouble, error: chain(error), looks, at_ms: now_ms() });
        drop(undecided);
        add(&self.stats.undecided);
        self.look();
    }

    /// Decides what can be decided, again and again.
    pub(crate) async fn keep_looking(&self) {
        loop {
            tokio::time::sleep(TICK).await;
            self.look();
        }
    }

    /// Decides everything: what is not known to be a revocation by now never will be.
    pub(crate) async fn close(&self) {
        for _ in 0..20 {
            self.look();
            if self.undecided.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                return;
            }
            tokio::time::sleep(TICK).await;
        }
        for undecided in self.undecided.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            undecided.looks = 0;
        }
        self.look();
    }

    fn look(&self) {
        let mut undecided = self.undecided.lock().unwrap_or_else(PoisonError::into_inner);
        undecided.retain_mut(|entry| {
            let revoked = self.orders.was_revoked(entry.trouble.version());
            let decided = revoked || entry.looks == 0;
            if decided {
                self.decide(entry, revoked);
            }
            entry.looks = entry.looks.saturating_sub(1);
            !decided
        });
    }

    fn decide(&self, entry: &Undecided, revoked: bool) {
        self.stats.undecided.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        match (entry.trouble, revoked) {
            (Trouble::Session(_), true) => add(&self.stats.cut_by_revocation),
            (Trouble::Session(_), false) => add(&self.stats.lost_sessions),
            (Trouble::Query(_), true) => {}
            (Trouble::Query(_), false) => add(&self.stats.failed_queries),
            (Trouble::Refused(_), true) => {
                add(&self.stats.refused_by_revocation);
                self.stats.last_refused_ms.fetch_max(entry.at_ms, std::sync::atomic::Ordering::Relaxed);
            }
            (Trouble::Refused(_), false) => add(&self.stats.failed_logins),
        }
        if !revoked {
            self.stats.remember(format!("{:?}: {}", entry.trouble, entry.error));
        }
    }
}

impl Trouble {
    fn version(self) -> Version {
        let (Self::Session(version) | Self::Query(version) | Self::Refused(version)) = self;
        version
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "an application has its own clock; this one only dates its figures"
)]
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
