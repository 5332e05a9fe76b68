//! The page of figures, kept for a moment: whoever asks often, or at the same time as others, costs the store nothing.

use std::sync::Arc;
use std::time::Duration;

use rekey_runtime::Clock;
use tokio::sync::Mutex;

use rekey_runtime::http::Page;

/// How long a page is good.
const KEPT: Duration = Duration::from_secs(5);

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
                return page.clone();
            }
            let page = write().await;
            *last = Some((clock.elapsed(), page.clone()));
            page
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
                    number.to_string()
                })
            }),
            clock.clone(),
        );
        let (one, two) = tokio::join!(page(), page());
        assert_eq!((one.as_str(), two.as_str()), ("0", "0"));
        clock.advance(Duration::from_millis(4_999));
        assert_eq!(page().await, "0");
        clock.advance(Duration::from_millis(1));
        assert_eq!(page().await, "1");
        assert_eq!(written.load(Ordering::SeqCst), 2);
    }
}
