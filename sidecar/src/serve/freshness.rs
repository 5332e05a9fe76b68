//! How fresh an answer is, in the words of the wire.

use rekey_model::millis;
use rekey_proto::encoded;

use crate::live::Freshness;

impl From<Freshness> for encoded::Freshness {
    fn from(freshness: Freshness) -> Self {
        Self { age_ms: millis(freshness.age), stale: freshness.stale }
    }
}
