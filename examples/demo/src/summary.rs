//! What the demo has measured, and whether anything failed.

use serde::Serialize;

use crate::tally::Stats;

/// How long a login may have been under way, on the slowest machine.
const UNDER_WAY_MS: u64 = 10_000;

/// The figures of one run, as `target/demo/summary.json` holds them.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    /// Rotations that ended in Done.
    pub(crate) rotations: u32,
    /// Rotations that were rolled back.
    pub(crate) rollbacks: u32,
    /// Logins that succeeded.
    pub(crate) logins: u64,
    /// Logins that failed, those refused by a revocation left out.
    pub(crate) failed_logins: u64,
    /// Queries that succeeded.
    pub(crate) queries: u64,
    /// Queries that failed, those cut by a revocation left out.
    pub(crate) failed_queries: u64,
    /// Services that had to be started again.
    pub(crate) service_restarts: u32,
    /// Login roles left at the database that no version needs.
    pub(crate) orphan_roles: u64,
    /// Sessions that the emergency revocation ended under a query.
    pub(crate) cut_by_revocation: u64,
    /// Logins tried with a version that was already cut.
    pub(crate) refused_by_revocation: u64,
    /// How long after every sidecar was fenced the last of these came, in milliseconds; 0: none came later.
    pub(crate) refused_after_all_fenced_ms: u64,
    /// Sessions that the database ended although their version was not revoked.
    pub(crate) lost_sessions: u64,
    /// From the commit of the promotion to the last acknowledgement.
    pub(crate) propagation_ms: Spread,
    /// From the intent of the revocation.
    pub(crate) revocation_ms: Revocation,
    /// The whole run, in seconds.
    pub(crate) seconds: f64,
}

/// Where the values of a sample lie, in milliseconds.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Spread {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

/// How long each part of a revocation took, in milliseconds from its intent.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Revocation {
    /// Until the database refused the version and had no session by it.
    pub(crate) target_cut: u64,
    /// Until every sidecar had confirmed.
    pub(crate) all_fenced: u64,
    /// Until the replacement was current.
    pub(crate) replaced: u64,
}

impl Spread {
    /// The spread of `sample`; nothing at all is zero.
    pub(crate) fn of(mut sample: Vec<u64>) -> Self {
        sample.sort_unstable();
        let at = |share: f64| {
            let last = sample.len().saturating_sub(1);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "an index below the length of a small sample"
            )]
            let index = (share * last as f64).ceil() as usize;
            sample.get(index).copied().unwrap_or(0)
        };
        Self { p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

impl Summary {
    /// Takes the services' counts over.
    pub(crate) fn count(&mut self, total: &Stats) {
        self.logins = total.logins;
        self.failed_logins = total.failed_logins;
        self.queries = total.queries;
        self.failed_queries = total.failed_queries;
        self.cut_by_revocation = total.cut_by_revocation;
        self.refused_by_revocation = total.refused_by_revocation;
        self.lost_sessions = total.lost_sessions;
    }

    /// How late the last login with the revoked version was. One that was under way when the fence came is not late.
    fn late(&self) -> u64 {
        if self.refused_after_all_fenced_ms <= UNDER_WAY_MS { 0 } else { self.refused_after_all_fenced_ms }
    }

    /// Everything that must not have happened, one sentence each.
    pub(crate) fn failures(&self, wanted: u32) -> Vec<String> {
        let none = [
            ("logins failed", self.failed_logins),
            ("queries failed", self.failed_queries),
            ("services were started again", u64::from(self.service_restarts)),
            ("login roles were left behind", self.orphan_roles),
            ("sessions were ended under a service", self.lost_sessions),
            ("ms after every sidecar was fenced somebody tried the revoked version", self.late()),
        ];
        let mut failures: Vec<String> = none
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        if self.rotations < wanted {
            failures.push(format!("only {} of {wanted} rotations were done", self.rotations));
        }
        if self.logins == 0 || self.queries == 0 {
            failures.push("the services did nothing".to_owned());
        }
        failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_read_off_the_sorted_sample() {
        let spread = Spread::of((1..=100).rev().collect());
        assert_eq!((spread.p50, spread.p99, spread.max), (51, 100, 100));
        assert_eq!(Spread::of(vec![]).max, 0);
    }

    #[test]
    fn every_count_that_must_be_zero_is_a_failure_when_it_is_not() {
        let good = Summary { rotations: 20, logins: 1, queries: 1, ..Summary::default() };
        assert!(good.failures(20).is_empty());
        let bad = Summary {
            failed_logins: 1,
            failed_queries: 2,
            service_restarts: 3,
            orphan_roles: 4,
            refused_after_all_fenced_ms: 20_000,
            lost_sessions: 5,
            ..Summary::default()
        };
        assert_eq!(bad.failures(20).len(), 8);
    }
}
