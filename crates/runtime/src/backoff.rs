//! How long to wait before the next try: full jitter under a doubling, capped ceiling.

use std::time::Duration;

use crate::random;

/// Waits that grow with each failure. Full jitter: any length up to the ceiling is equally likely, so that many who
/// failed together do not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// The ceiling is `first` after the first failure, doubles with each more, and never passes `cap`.
    pub const fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, failures: 0 }
    }

    /// Counts a failure and says how long to wait.
    pub fn failed(&mut self) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        Duration::from_micros(random::below(micros(ceiling).saturating_add(1)))
    }

    /// Forgets the failures: something worked.
    pub fn worked(&mut self) {
        self.failures = 0;
    }

    /// Failures since something last worked.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    fn ceiling(&self) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        doubled.min(self.cap)
    }
}

/// A random length up to `jitter`, to be added to a schedule.
pub fn jitter(jitter: Duration) -> Duration {
    Duration::from_micros(random::below(micros(jitter).saturating_add(1)))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_under_a_ceiling_that_doubles_up_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for ceiling in [100, 200, 400, 800, 1_000, 1_000] {
            assert_eq!(backoff.ceiling(), Duration::from_millis(ceiling));
            assert!(backoff.failed() <= Duration::from_millis(ceiling));
        }
        for _ in 0..100 {
            assert!(backoff.failed() <= Duration::from_secs(1));
        }
        backoff.worked();
        assert_eq!(backoff.ceiling(), Duration::from_millis(100));
    }

    #[test]
    fn two_who_fail_together_do_not_wait_alike() {
        let mut waits = std::collections::BTreeSet::new();
        for _ in 0..32 {
            waits.insert(Backoff::new(Duration::from_secs(1), Duration::from_secs(1)).failed());
        }
        assert!(waits.len() > 16, "{waits:?}");
    }
}
