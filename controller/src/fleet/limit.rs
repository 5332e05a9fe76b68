//! How often somebody may do what costs: a token bucket for each, before any cryptography and any commit.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use rekey_model::{InstanceId, Moment};

/// How many are remembered by one limiter; beyond that the fullest bucket goes, which loses least.
const MOST: usize = 4096;

/// Everything that is limited at the fleet's door.
#[derive(Debug)]
pub(super) struct Limiters {
    /// Asking for an identity without having one, by address: a rack behind one address that comes back after an outage
    /// fits in.
    pub(super) strangers: Limiter<IpAddr>,
    /// Asking for the next leaf, by instance. The shortest leaf lives for 5 s and is renewed at half of that.
    pub(super) renewals: Limiter<InstanceId>,
    /// Opening a session, by instance. A sidecar backs off between two; a lost network lets it try a few at once.
    pub(super) sessions: Limiter<InstanceId>,
}

impl Default for Limiters {
    fn default() -> Self {
        let (ms, second) = (Duration::from_millis, Duration::from_secs(1));
        Self {
            strangers: Limiter::new(400, ms(10)),
            renewals: Limiter::new(20, second),
            sessions: Limiter::new(20, second),
        }
    }
}

/// The buckets of all who do one thing.
#[derive(Debug)]
pub(super) struct Limiter<K> {
    burst: u32,
    each: Duration,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: u32,
    filled: Moment,
}

impl<K: Copy + Eq + Hash> Limiter<K> {
    /// `burst` times at once, and once more after `each`.
    fn new(burst: u32, each: Duration) -> Self {
        Self { burst, each, buckets: Mutex::default() }
    }

    /// How long it takes at the most until somebody who was refused is let through.
    pub(super) fn each(&self) -> Duration {
        self.each
    }

    /// Whether a try of `who` is let through now; counts it if so.
    pub(super) fn admits(&self, who: K, now: Moment) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if buckets.len() >= MOST && !buckets.contains_key(&who) {
            let fullest = buckets.iter().max_by_key(|(_, bucket)| self.filled(**bucket, now).left);
            if let Some(fullest) = fullest.map(|(who, _)| *who) {
                buckets.remove(&fullest);
            }
        }
        let bucket = buckets.entry(who).or_insert(Bucket { left: self.burst, filled: now });
        *bucket = self.filled(*bucket, now);
        let admitted = bucket.left > 0;
        bucket.left = bucket.left.saturating_sub(1);
        admitted
    }

    fn filled(&self, bucket: Bucket, now: Moment) -> Bucket {
        let elapsed = now.at_least_since(bucket.filled).as_millis();
        let more = elapsed.checked_div(self.each.as_millis()).unwrap_or(0);
        if more == 0 {
            return bucket;
        }
        let more = u32::try_from(more).unwrap_or(self.burst);
        Bucket { left: bucket.left.saturating_add(more).min(self.burst), filled: now }
    }
}

/// What counts as one address: an IPv6 peer owns its whole /64.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(four) => IpAddr::V4(four),
        IpAddr::V6(six) => IpAddr::V6((six.to_bits() >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use rekey_model::BootId;

    use super::*;

    fn at(ms: u64) -> Moment {
        Moment { wall_ms: i64::try_from(ms).unwrap(), boot: BootId(1), boot_ms: ms }
    }

    fn limiter() -> Limiter<u32> {
        Limiter::new(400, Duration::from_millis(10))
    }

    #[test]
    fn one_is_slowed_down_and_recovers_and_others_do_not_notice() {
        let limiter = limiter();
        let (noisy, quiet) = (1, 2);
        let admitted = (0..800).filter(|_| limiter.admits(noisy, at(1000))).count();
        assert_eq!(admitted, 400);
        assert!(limiter.admits(quiet, at(1000)));
        assert!(!limiter.admits(noisy, at(1005)));
        assert!(limiter.admits(noisy, at(1020)));
    }

    #[test]
    fn a_slow_trickle_fills_the_bucket_too() {
        let limiter = limiter();
        while limiter.admits(1, at(0)) {}
        let admitted = (0..1000).filter(|ms| limiter.admits(1, at(*ms))).count();
        assert!((95..=100).contains(&admitted), "{admitted}");
    }

    #[test]
    fn a_jump_of_the_wall_clock_fills_no_bucket() {
        let limiter = limiter();
        while limiter.admits(1, at(0)) {}
        let jumped = Moment { wall_ms: 1_000_000, ..at(0) };
        assert!(!limiter.admits(1, jumped));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_asked_least() {
        let limiter = limiter();
        while limiter.admits(0, at(0)) {}
        for i in 1..u32::try_from(2 * MOST).unwrap() {
            limiter.admits(i, at(0));
        }
        assert_eq!(limiter.buckets.lock().unwrap().len(), MOST);
        assert!(!limiter.admits(0, at(0)), "the emptiest bucket was forgotten");
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
