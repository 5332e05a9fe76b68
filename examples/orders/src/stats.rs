//! The figures, and the file that shows them to whoever watches this example.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rekey_client::Watched;
use serde::Serialize;

use crate::verdict::chain;

/// The most errors that are remembered.
const MOST_ERRORS: usize = 10;

/// What is counted. `verdict.rs` says what the less obvious ones mean.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) logins: AtomicU64,
    pub(crate) failed_logins: AtomicU64,
    pub(crate) queries: AtomicU64,
    pub(crate) failed_queries: AtomicU64,
    pub(crate) cut_by_revocation: AtomicU64,
    pub(crate) refused_by_revocation: AtomicU64,
    pub(crate) last_refused_ms: AtomicU64,
    pub(crate) lost_sessions: AtomicU64,
    pub(crate) without_credential: AtomicU64,
    pub(crate) undecided: AtomicU64,
    last_errors: Mutex<VecDeque<String>>,
}

/// What the file shows.
#[derive(Debug, Serialize)]
pub(crate) struct Snapshot {
    /// The process, to notice a restart.
    pid: u32,
    /// Logins that the database accepted: those of the pool and the fresh ones.
    logins: u64,
    /// Logins that failed, for whatever reason but a revocation.
    failed_logins: u64,
    /// Statements that worked.
    queries: u64,
    /// Statements that failed, but for those in a session that a revocation cut.
    failed_queries: u64,
    /// Sessions that a revocation cut.
    cut_by_revocation: u64,
    /// Logins refused because their version was revoked.
    refused_by_revocation: u64,
    /// When the last of these was refused, in milliseconds since 1970; 0: none was.
    last_refused_by_revocation_ms: u64,
    /// Sessions that an administrator ended although their version was not revoked.
    lost_sessions: u64,
    /// Times that there was nothing to log in with, also not after a while.
    without_credential: u64,
    /// Troubles that still wait for a verdict.
    undecided: u64,
    /// What new logins use now; 0 while there is nothing to use.
    version: u64,
    /// The snapshot that this version was first part of; 0 while there is none.
    generation: u64,
    /// Whether the sidecar is connected.
    connected: bool,
    /// Whether a newer version may exist that nobody here has heard of.
    stale: bool,
    /// The last errors, the newest last. No secrets: these are the database's and the SDK's words.
    last_errors: Vec<String>,
    /// Whether these are the last figures of a graceful end.
    ended: bool,
}

/// Counts one more.
pub(crate) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Stats {
    /// Remembers an error for the file.
    pub(crate) fn note(&self, what: &str, error: &dyn Error) {
        self.remember(format!("{what}: {}", chain(error)));
    }

    pub(crate) fn remember(&self, error: String) {
        let mut errors = self.last_errors.lock().unwrap_or_else(PoisonError::into_inner);
        errors.push_back(error);
        if errors.len() > MOST_ERRORS {
            errors.pop_front();
        }
    }

    /// The figures as they are now.
    pub(crate) fn snapshot(&self, orders: &Watched, ended: bool) -> Snapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let credential = orders.load().ok();
        let freshness = orders.freshness();
        Snapshot {
            pid: std::process::id(),
            logins: read(&self.logins),
            failed_logins: read(&self.failed_logins),
            queries: read(&self.queries),
            failed_queries: read(&self.failed_queries),
            cut_by_revocation: read(&self.cut_by_revocation),
            refused_by_revocation: read(&self.refused_by_revocation),
            last_refused_by_revocation_ms: read(&self.last_refused_ms),
            lost_sessions: read(&self.lost_sessions),
            without_credential: read(&self.without_credential),
            undecided: read(&self.undecided),
            version: credential.as_ref().map_or(0, |credential| credential.version().get()),
            generation: credential.as_ref().map_or(0, |credential| credential.generation().0),
            connected: freshness.connected,
            stale: freshness.stale,
            last_errors: self
                .last_errors
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .cloned()
                .collect(),
            ended,
        }
    }
}

/// Replaces the file as a whole, so that nobody reads half of it.
pub(crate) fn write(path: Option<&Path>, snapshot: &Snapshot) -> io::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let beside = path.with_extension("new");
    std::fs::write(&beside, serde_json::to_vec(snapshot)?)?;
    std::fs::rename(&beside, path)
}
