//! The stop-watch. Measuring time is what this package is for.

use std::time::Instant;

/// Now.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
