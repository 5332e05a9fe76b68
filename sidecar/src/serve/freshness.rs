//! How fresh an answer is, in the words of the wire.

use rekey_proto::encoded;

use crate::live::Freshness;

impl From<Freshness> for encoded::Freshness {
    fn from(freshness: Freshness) -> Self {
        let age_ms = u64::try_from(freshness.age.as_millis()).unwrap_or(u64::MAX);
        Self { age_ms, stale: freshness.stale }
    }
}
