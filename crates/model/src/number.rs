//! Numbers that must never be mistaken for each other.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One value of a credential: 1, 2, 3 …; never reused (I4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(NonZeroU64);

impl Version {
    /// The first version of every credential.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// The version with this number; there is no version 0.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// Its number.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl FromStr for Version {
    type Err = std::num::ParseIntError;
    /// Takes `3` and `v3`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix('v').unwrap_or(text).parse().map(Self)
    }
}

/// Declares a counter that starts at 0 and only rises.
macro_rules! counter {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub u64);

        impl $type {
            /// The number after this one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter!(
    /// Rises with every commit that changes what any holder of a credential is to serve, also when it goes back.
    /// The only evidence of what a holder has swapped to; versions are never compared (`docs/rotation.md`,
    /// "The revoke guard").
    Order
);
counter!(
    /// The number of a holder's complete, atomically swapped snapshot; assigned by the sidecar.
    Generation
);
counter!(
    /// Which life of the store something belongs to; rises when a backup is restored.
    Incarnation
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_written_with_and_without_its_letter() {
        assert_eq!("v3".parse::<Version>().unwrap(), "3".parse().unwrap());
        assert_eq!("v3".parse::<Version>().unwrap().to_string(), "v3");
        for bad in ["0", "v0", "", "v", "-1", "vv1", "1.0"] {
            assert!(bad.parse::<Version>().is_err(), "{bad} was taken");
        }
    }
}
