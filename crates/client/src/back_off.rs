//! How long to wait before the next try: longer each time, never the same for two processes.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Full jitter: each wait is drawn between nothing and a bound that doubles up to a limit.
#[derive(Debug)]
pub(crate) struct BackOff {
    bound: Duration,
}

impl BackOff {
    const FIRST: Duration = Duration::from_millis(50);
    const MOST: Duration = Duration::from_secs(3);

    /// A fresh start.
    pub(crate) fn new() -> Self {
        Self { bound: Self::FIRST }
    }

    /// Forgets earlier failures.
    pub(crate) fn reset(&mut self) {
        self.bound = Self::FIRST;
    }

    /// How long to wait now. Never quite nothing, so that a loop cannot spin.
    pub(crate) fn next(&mut self) -> Duration {
        let bound = self.bound;
        self.bound = (bound * 2).min(Self::MOST);
        // The standard library's hash keys are random; that is random enough to spread reconnects.
        let drawn = RandomState::new().hash_one(()) % 1000;
        Duration::from_millis(5) + bound * u32::try_from(drawn).unwrap_or(0) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_limit_and_differ() {
        let mut back_off = BackOff::new();
        let waits: Vec<_> = (0..200).map(|_| back_off.next()).collect();
        assert!(waits.iter().all(|w| *w <= BackOff::MOST + Duration::from_millis(5)), "{waits:?}");
        assert!(waits[0] <= Duration::from_millis(55));
        assert!(waits[10..].iter().any(|w| *w > Duration::from_millis(500)), "they do not grow");
        assert!(waits[10..].windows(2).any(|w| w[0] != w[1]), "they are all the same");
        back_off.reset();
        assert!(back_off.next() <= Duration::from_millis(55));
    }
}
