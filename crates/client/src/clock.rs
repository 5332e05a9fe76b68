//! The only place of this package that asks for the time.

use tokio::time::Instant;

/// Now, for measuring how long something takes; stands still when a test pauses time.
#[expect(clippy::disallowed_methods, reason = "the SDK links no runtime of ours; this is its one clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
