//! The leases of one session: when to ask for the next, and what a grant is worth.

use std::collections::VecDeque;
use std::time::Duration;

use rekey_model::millis;

/// How long the controller may take to answer the first message.
const WELCOME: Duration = Duration::from_secs(10);
/// How many questions may be open; a grant for an older one is worth nothing.
const MOST_OPEN: usize = 8;

/// Every time is in milliseconds since boot.
#[derive(Debug)]
pub(super) struct Leases {
    asked: VecDeque<(u64, u64)>,
    last: u64,
    last_asked_ms: u64,
    granted_for: Option<Duration>,
    over_ms: u64,
}

impl Leases {
    /// Number 0 is the hello, sent now; its answer is the welcome.
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            asked: VecDeque::from([(0, now_ms)]),
            last: 0,
            last_asked_ms: now_ms,
            granted_for: None,
            over_ms: now_ms.saturating_add(millis(WELCOME)),
        }
    }

    /// When to ask: after a third of the lease; never before the welcome.
    pub(super) fn ask_at(&self) -> Option<u64> {
        let lease = self.granted_for?;
        Some(self.last_asked_ms.saturating_add(millis(lease / 3).max(1)))
    }

    /// The number of the question that is sent now.
    pub(super) fn ask(&mut self, now_ms: u64) -> u64 {
        self.last += 1;
        self.last_asked_ms = now_ms;
        self.asked.push_back((self.last, now_ms));
        if self.asked.len() > MOST_OPEN {
            self.asked.pop_front();
        }
        self.last
    }

    /// When question `number` was sent, if a grant for it is worth something.
    pub(super) fn granted(&mut self, number: u64, lease: Duration) -> Option<u64> {
        let place = self.asked.iter().position(|(asked, _)| *asked == number)?;
        let (_, sent_ms) = self.asked.drain(..=place).next_back()?;
        self.granted_for = Some(lease);
        self.over_ms = sent_ms.saturating_add(millis(lease));
        Some(sent_ms)
    }

    /// When the controller has been silent for too long: this session is worth nothing then.
    pub(super) fn over_at(&self) -> u64 {
        self.over_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_millis(900);

    #[test]
    fn a_lease_counts_from_the_question_and_is_asked_for_at_a_third() {
        let mut leases = Leases::new(1_000);
        assert_eq!((leases.ask_at(), leases.over_at()), (None, 11_000));
        assert_eq!(leases.granted(0, LEASE), Some(1_000));
        assert_eq!((leases.ask_at(), leases.over_at()), (Some(1_300), 1_900));
        assert_eq!(leases.ask(1_350), 1);
        assert_eq!(leases.ask(1_700), 2);
        assert_eq!(leases.granted(1, LEASE), Some(1_350));
        assert_eq!(leases.over_at(), 2_250);
        assert_eq!(leases.granted(2, LEASE), Some(1_700));
        assert_eq!(leases.over_at(), 2_600);
    }

    #[test]
    fn a_grant_counts_once_and_never_for_a_question_before_it() {
        let mut leases = Leases::new(0);
        leases.granted(0, LEASE);
        leases.ask(300);
        leases.ask(600);
        assert_eq!(leases.granted(2, LEASE), Some(600));
        for stale in [0, 1, 2, 3] {
            assert_eq!(leases.granted(stale, LEASE), None, "{stale}");
        }
        assert_eq!(leases.over_at(), 1_500);
    }
}
