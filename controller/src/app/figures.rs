//! The page of figures, read from the store and kept for a moment: whoever asks often, or at the same time as others,
//! costs the store nothing. A store that does not answer leaves no page, so that nobody takes silence for health.

use std::sync::Arc;
use std::time::Duration;

use rekey_runtime::accept::Connections;
use rekey_runtime::http::Page;
use rekey_runtime::tasks::with_causes;
use rekey_runtime::{Clock, telemetry};
use tokio::sync::Mutex;

use crate::alarms::Ground;
use crate::metrics;

/// How long a page is good.
const KEPT: Duration = Duration::from_secs(5);

/// The page of what stands and what happened at `doors`; none when the store does not answer.
pub(super) fn read(ground: Ground, doors: Vec<(&'static str, Connections)>) -> Page {
    Arc::new(move || {
        let (ground, doors) = (ground.clone(), doors.clone());
        Box::pin(async move {
            match ground.look().await {
                Ok(standing) => {
                    let doors: Vec<_> = doors.iter().map(|(name, door)| (*name, door.counters())).collect();
                    Some(metrics::page(&standing, &doors, ground.clock.now(), telemetry::panics()))
                }
                Err(error) => {
                    tracing::warn!(error = with_causes(&error), "the figures cannot be read");
                    None
                }
            }
        })
    })
}

/// The page that `write` makes, written anew when the last one is old, by one asker at a time.
pub(super) fn kept(write: Page, clock: Clock) -> Page {
    let last: Arc<Mutex<Option<(Duration, String)>>> = Arc::default();
    Arc::new(move || {
        let (write, clock, last) = (Arc::clone(&write), clock.clone(), Arc::clone(&last));
        Box::pin(async move {
            let mut last = last.lock().await;
            if let Some((written, page)) = &*last
                && clock.elapsed().saturating_sub(*written) < KEPT
            {
                return Some(page.clone());
            }
            let page = write().await?;
            *last = Some((clock.elapsed(), page.clone()));
            Some(page)
        })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_page_is_written_once_for_all_who_ask_within_a_moment() {
        let (clock, written) = (Clock::manual(), Arc::new(AtomicU32::new(0)));
        let count = Arc::clone(&written);
        let page = kept(
            Arc::new(move || {
                let number = count.fetch_add(1, Ordering::SeqCst);
                Box::pin(async move {
                    tokio::task::yield_now().await;
                    (number != 2).then(|| number.to_string())
                })
            }),
            clock.clone(),
        );
        let (one, two) = tokio::join!(page(), page());
        assert_eq!((one.as_deref(), two.as_deref()), (Some("0"), Some("0")));
        clock.advance(Duration::from_millis(4_999));
        assert_eq!(page().await.as_deref(), Some("0"));
        clock.advance(Duration::from_millis(1));
        assert_eq!(page().await.as_deref(), Some("1"));
        assert_eq!(written.load(Ordering::SeqCst), 2);
        clock.advance(KEPT);
        assert_eq!(page().await, None, "an old page is not given for one that cannot be written");
        assert_eq!(page().await.as_deref(), Some("3"), "and that is tried at once again");
    }
}
