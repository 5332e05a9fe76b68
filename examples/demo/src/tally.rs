//! Counts what the services say they did.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// What one service has counted since it started.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Stats {
    pub(crate) logins: u64,
    pub(crate) failed_logins: u64,
    pub(crate) queries: u64,
    pub(crate) failed_queries: u64,
    pub(crate) cut_by_revocation: u64,
    pub(crate) refused_by_revocation: u64,
    pub(crate) lost_sessions: u64,
    pub(crate) last_refused_by_revocation_ms: u64,
    pub(crate) version: u64,
    pub(crate) generation: u64,
    pub(crate) last_errors: Vec<String>,
}

/// The latest figures of all services, by name.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    files: BTreeMap<String, PathBuf>,
    latest: BTreeMap<String, Stats>,
}

impl Tally {
    /// Reads the figures of `name` from `file` from now on.
    pub(crate) fn follow(&mut self, name: &str, file: PathBuf) {
        self.files.insert(name.to_owned(), file);
        self.latest.insert(name.to_owned(), Stats::default());
    }

    /// Reads all files again. One that cannot be read now keeps its last figures.
    pub(crate) fn read(&mut self) {
        for (name, file) in &self.files {
            let stats = std::fs::read(file).ok().and_then(|text| serde_json::from_slice(&text).ok());
            if let Some(stats) = stats {
                self.latest.insert(name.clone(), stats);
            }
        }
    }

    /// The services in the order of their names.
    pub(crate) fn services(&self) -> impl Iterator<Item = (&str, &Stats)> {
        self.latest.iter().map(|(name, stats)| (name.as_str(), stats))
    }

    /// The sums over all services; no version and no generation.
    pub(crate) fn total(&self) -> Stats {
        self.latest.values().fold(Stats::default(), |sum, one| Stats {
            logins: sum.logins + one.logins,
            failed_logins: sum.failed_logins + one.failed_logins,
            queries: sum.queries + one.queries,
            failed_queries: sum.failed_queries + one.failed_queries,
            cut_by_revocation: sum.cut_by_revocation + one.cut_by_revocation,
            refused_by_revocation: sum.refused_by_revocation + one.refused_by_revocation,
            lost_sessions: sum.lost_sessions + one.lost_sessions,
            last_refused_by_revocation_ms: sum
                .last_refused_by_revocation_ms
                .max(one.last_refused_by_revocation_ms),
            last_errors: [sum.last_errors, one.last_errors.clone()].concat(),
            ..Stats::default()
        })
    }
}
