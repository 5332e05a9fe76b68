//! How often was read, and why not: for the page of figures.

use std::sync::atomic::{AtomicU64, Ordering};

use super::unreadable::Refused;
use crate::live::Unreadable;

/// How something was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Fetch,
    List,
    Watch,
    Report,
}

/// By method, as they stand in [`Method`].
const METHODS: [&str; 5] = ["get", "fetch", "list", "watch", "report"];
/// By reason, as [`reason`] numbers them.
const REASONS: [&str; 6] = ["waiting", "not_found", "stale", "revoked", "invalid", "settling"];

/// Counts since the start; of whom and what they are, nothing.
#[derive(Debug, Default)]
pub struct Counts {
    answers: [AtomicU64; 5],
    refused: [AtomicU64; 6],
    files_behind: AtomicU64,
}

impl Counts {
    /// Answers by the method that asked for them, refusals included.
    pub fn answers(&self) -> impl Iterator<Item = (&'static str, u64)> {
        METHODS.into_iter().zip(self.answers.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Refusals by their reason.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.into_iter().zip(self.refused.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Files that are not as they should be, because of the disk.
    pub fn behind(&self) -> u64 {
        self.files_behind.load(Ordering::Relaxed)
    }

    /// Notes how many files are not as they should be.
    pub(crate) fn files_behind(&self, count: u64) {
        self.files_behind.store(count, Ordering::Relaxed);
    }

    /// Counts one answer.
    pub(super) fn answered(&self, method: Method, refused: Option<&Refused>) {
        count(&self.answers, method as usize);
        if let Some(refused) = refused {
            count(&self.refused, reason(refused));
        }
    }
}

fn count(counts: &[AtomicU64], index: usize) {
    if let Some(count) = counts.get(index) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn reason(refused: &Refused) -> usize {
    match refused {
        Refused::Live(Unreadable::Waiting) => 0,
        Refused::Live(Unreadable::NotFound) => 1,
        Refused::Live(Unreadable::Stale) => 2,
        Refused::Live(Unreadable::Revoked { .. }) => 3,
        Refused::Invalid(_) => 4,
        Refused::Live(Unreadable::Settling { .. }) => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_counted_under_its_own_name() {
        let counts = Counts::default();
        let methods = [Method::Get, Method::Fetch, Method::List, Method::Watch, Method::Report];
        let whys = [
            Refused::Live(Unreadable::Waiting),
            Refused::Live(Unreadable::NotFound),
            Refused::Live(Unreadable::Stale),
            Refused::Live(Unreadable::Revoked { owed: true }),
            Refused::Invalid("".parse::<rekey_model::CredentialName>().unwrap_err()),
        ];
        counts.answered(Method::Get, Some(&Refused::Live(Unreadable::Settling { until_ms: 0 })));
        for (times, (method, why)) in methods.into_iter().zip(&whys).enumerate() {
            (0..=times).for_each(|_| counts.answered(method, Some(why)));
        }
        counts.answered(Method::Get, None);
        let answers: Vec<_> = counts.answers().collect();
        assert_eq!(answers, [("get", 3), ("fetch", 2), ("list", 3), ("watch", 4), ("report", 5)]);
        let refused: Vec<_> = counts.refused().map(|(_, count)| count).collect();
        assert_eq!(refused, [1, 2, 3, 4, 5, 1]);
    }
}
