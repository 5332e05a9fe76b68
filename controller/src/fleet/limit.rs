//! How often one address may ask for an identity without having one: a token bucket for each, before any cryptography.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

use rekey_model::Moment;

/// How many tries an address may make at once: a rack behind one address that comes back after an outage fits in.
const BURST: u32 = 400;
/// How many tries a second it gets back.
const PER_SECOND: u64 = 100;
/// How many addresses are remembered; beyond that the fullest bucket goes, which loses least.
const MOST_ADDRESSES: usize = 4096;

/// The buckets of all addresses.
#[derive(Debug, Default)]
pub(super) struct Limiter(Mutex<HashMap<IpAddr, Bucket>>);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: u32,
    filled: Moment,
}

impl Bucket {
    fn at(self, now: Moment) -> Self {
        let elapsed = u64::try_from(now.at_least_since(self.filled).as_millis()).unwrap_or(u64::MAX);
        let more = elapsed.saturating_mul(PER_SECOND) / 1000;
        if more == 0 {
            return self;
        }
        let more = u32::try_from(more).unwrap_or(BURST);
        Self { left: self.left.saturating_add(more).min(BURST), filled: now }
    }
}

impl Limiter {
    /// Whether a try from `address` is let through now; counts it if so.
    pub(super) fn admits(&self, address: IpAddr, now: Moment) -> bool {
        let mut buckets = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let address = network(address);
        if buckets.len() >= MOST_ADDRESSES && !buckets.contains_key(&address) {
            let fullest = buckets.iter().max_by_key(|(_, bucket)| bucket.at(now).left).map(|(at, _)| *at);
            if let Some(fullest) = fullest {
                buckets.remove(&fullest);
            }
        }
        let bucket = buckets.entry(address).or_insert(Bucket { left: BURST, filled: now });
        *bucket = bucket.at(now);
        let admitted = bucket.left > 0;
        bucket.left = bucket.left.saturating_sub(1);
        admitted
    }
}

/// What counts as one address: an IPv6 peer owns its whole /64.
fn network(address: IpAddr) -> IpAddr {
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

    #[test]
    fn an_address_is_slowed_down_and_recovers_and_others_do_not_notice() {
        let limiter = Limiter::default();
        let (noisy, quiet) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let admitted = (0..2 * BURST).filter(|_| limiter.admits(noisy, at(1000))).count();
        assert_eq!(admitted, usize::try_from(BURST).unwrap());
        assert!(limiter.admits(quiet, at(1000)));
        assert!(!limiter.admits(noisy, at(1005)));
        assert!(limiter.admits(noisy, at(1020)));
    }

    #[test]
    fn a_slow_trickle_fills_the_bucket_too() {
        let limiter = Limiter::default();
        let noisy = "10.0.0.1".parse().unwrap();
        while limiter.admits(noisy, at(0)) {}
        let admitted = (0..1000).filter(|ms| limiter.admits(noisy, at(*ms))).count();
        assert!((95..=100).contains(&admitted), "{admitted}");
    }

    #[test]
    fn a_jump_of_the_wall_clock_fills_no_bucket() {
        let limiter = Limiter::default();
        let noisy = "10.0.0.1".parse().unwrap();
        while limiter.admits(noisy, at(0)) {}
        let jumped = Moment { wall_ms: 1_000_000, ..at(0) };
        assert!(!limiter.admits(noisy, jumped));
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_and_the_table_is_bounded() {
        let limiter = Limiter::default();
        while limiter.admits("2001:db8::1".parse().unwrap(), at(0)) {}
        assert!(!limiter.admits("2001:db8::2".parse().unwrap(), at(0)));
        for i in 0..u32::try_from(2 * MOST_ADDRESSES).unwrap() {
            limiter.admits(IpAddr::V4(i.into()), at(0));
        }
        assert_eq!(limiter.0.lock().unwrap().len(), MOST_ADDRESSES);
        assert!(!limiter.admits("2001:db8::3".parse().unwrap(), at(0)), "the emptiest bucket was forgotten");
    }
}
