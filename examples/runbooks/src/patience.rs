//! Waiting for what must come: often looked at, and given up by the clock, however long each look takes.

use std::time::{Duration, Instant};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long it is left alone between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until `done`, for two minutes at the most; says whether it was.
pub(crate) fn comes(mut done: impl FnMut() -> bool) -> bool {
    let begun = now();
    while begun.elapsed() < PATIENCE {
        if done() {
            return true;
        }
        std::thread::sleep(PAUSE);
    }
    done()
}

/// Now, for waits and for what rows measure.
#[expect(clippy::disallowed_methods, reason = "a run measures itself; nothing of Rekey depends on it")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
