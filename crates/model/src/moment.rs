//! A reading of the clocks, and how much time can have passed since.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::millis;

/// Which boot of which machine a reading belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub u64);

/// A reading of both clocks of the machine that keeps the store: the wall clock, which may jump, and the time since
/// boot (suspend included), which cannot but says nothing about other boots.
///
/// No moment made by another machine enters a guard (I19).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Moment {
    /// Milliseconds since 1970 UTC.
    pub wall_ms: i64,
    /// The boot that `boot_ms` counts from.
    pub boot: BootId,
    /// Milliseconds since that boot, suspend included.
    pub boot_ms: u64,
}

impl Moment {
    /// The wall clock `span` later, in milliseconds since 1970 UTC: to be shown, never to decide by.
    pub fn wall_ms_after(&self, span: Duration) -> i64 {
        self.wall_ms.saturating_add_unsigned(millis(span))
    }

    /// The clock since boot `span` later, in milliseconds.
    pub fn boot_ms_after(&self, span: Duration) -> u64 {
        self.boot_ms.saturating_add(millis(span))
    }

    /// The least time that can have passed since `earlier`: what a grace may count on (I20).
    pub fn at_least_since(self, earlier: Self) -> Duration {
        self.readings_since(earlier).0
    }

    /// The most time that can have passed since `earlier`: what a lease or an expiry must reckon with (I20).
    pub fn at_most_since(self, earlier: Self) -> Duration {
        self.readings_since(earlier).1
    }

    fn readings_since(self, earlier: Self) -> (Duration, Duration) {
        let wall =
            Duration::from_millis(u64::try_from(self.wall_ms.saturating_sub(earlier.wall_ms)).unwrap_or(0));
        if self.boot != earlier.boot {
            return (wall, wall);
        }
        let boot = Duration::from_millis(self.boot_ms.saturating_sub(earlier.boot_ms));
        (wall.min(boot), wall.max(boot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall_ms: i64, boot: u64, boot_ms: u64) -> Moment {
        Moment { wall_ms, boot: BootId(boot), boot_ms }
    }

    #[test]
    fn a_jump_of_the_wall_clock_shortens_no_grace_and_lengthens_no_lease() {
        let start = at(1_000, 1, 500);
        let forward = at(87_401_000, 1, 1_500);
        assert_eq!(forward.at_least_since(start), Duration::from_secs(1));
        assert_eq!(forward.at_most_since(start), Duration::from_secs(87_400));
        let back = at(-5_000, 1, 1_500);
        assert_eq!(back.at_least_since(start), Duration::ZERO);
        assert_eq!(back.at_most_since(start), Duration::from_secs(1));
    }

    #[test]
    fn across_boots_the_wall_clock_is_all_there_is() {
        assert_eq!(at(3_000, 2, 10).at_least_since(at(1_000, 1, 9_999)), Duration::from_secs(2));
        assert_eq!(at(0, 2, 10).at_least_since(at(1_000, 1, 0)), Duration::ZERO);
    }
}
