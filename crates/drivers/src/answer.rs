//! What an answer, or none, means for what may have happened at a server that does what it was sent, whatever becomes of
//! the connection: one over HTTP, a Redis. What a text in it means is each driver's to know, beside this.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use crate::fault::one_line;
use crate::{DriverError, Later};

/// Why a request did not succeed. Texts hold names, never secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failed {
    /// It was not sent, or the server says that it cannot now: nothing happened.
    #[error("{0}")]
    Away(String),
    /// The server asks to be left alone for a while: nothing happened.
    #[error("{text}")]
    Later {
        /// How long.
        after: Duration,
        /// What was said.
        text: String,
    },
    /// It was sent, and what came of it was not told.
    #[error("{0}")]
    Lost(String),
    /// The server or one of our checks says no: nothing happened.
    #[error("{text}")]
    No {
        /// The status; 0 where the check was ours.
        status: u16,
        /// What was said.
        text: String,
    },
}

/// Changes that were done, or sent and not answered, during one call of a driver.
#[derive(Debug, Default)]
pub(crate) struct Touched(AtomicUsize);

impl Touched {
    /// Sends a request that changes something. It counts from now on, since whoever waits may give up in the middle; and no
    /// longer once the answer says that nothing happened.
    pub(crate) async fn by<T>(&self, request: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
        self.sent();
        let outcome = request.await;
        if matches!(outcome, Err(Failed::Away(_) | Failed::Later { .. } | Failed::No { .. })) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
        outcome
    }

    /// Something is changed now, or may be.
    pub(crate) fn sent(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// All that was done by this call was undone by it.
    pub(crate) fn undone(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Does the `work` of one call of a driver within its limit, and says what a failure means.
pub(crate) async fn call<T>(
    limit: Duration,
    work: impl AsyncFnOnce(&Touched) -> Result<T, Failed>,
) -> Result<T, DriverError> {
    let touched = Touched::default();
    let late = |_elapsed| Err(Failed::Lost(format!("no end after {limit:?}")));
    let result = timeout(limit, work(&touched)).await.unwrap_or_else(late);
    result.map_err(|failed| failed.reported(&touched))
}

impl Failed {
    /// A check of ours says no.
    pub(crate) fn no(text: impl Into<String>) -> Self {
        Self::No { status: 0, text: text.into() }
    }

    /// What a status other than success means, with what the server said of it.
    pub(crate) fn answered(status: u16, said: &str) -> Self {
        let said = one_line(said.trim());
        let text = if said.is_empty() { format!("status {status}") } else { said };
        match status {
            // Elsewhere, too many, not now. A gateway's 502 and 504 may come after the effect.
            300..=399 => Self::Away(format!("{text} (it sends us elsewhere, status {status})")),
            408 | 425 | 429 | 503 => Self::Away(text),
            400..=499 => Self::No { status, text },
            _ => Self::Lost(format!("{text} (status {status})")),
        }
    }

    /// The same of a server that said in seconds how long it is to be left alone; a day is the longest that counts.
    #[must_use]
    pub(crate) fn asked_to_wait(self, seconds: Option<u64>) -> Self {
        match (self, seconds) {
            (Self::Away(text), Some(seconds)) => {
                Self::Later { after: Duration::from_secs(seconds.min(86_400)), text }
            }
            (other, _) => other,
        }
    }

    /// Whether the server said no with this status.
    pub(crate) fn is(&self, wanted: u16) -> bool {
        matches!(self, Self::No { status, .. } if *status == wanted)
    }

    /// The same with words about where it happened.
    #[must_use]
    pub(crate) fn during(self, what: &str) -> Self {
        match self {
            Self::Away(text) => Self::Away(format!("{what}: {text}")),
            Self::Later { after, text } => Self::Later { after, text: format!("{what}: {text}") },
            Self::Lost(text) => Self::Lost(format!("{what}: {text}")),
            Self::No { status, text } => Self::No { status, text: format!("{what}: {text}") },
        }
    }

    /// As the caller of a driver sees it: once something was changed, any failure leaves it open.
    pub(crate) fn reported(self, touched: &Touched) -> DriverError {
        match self {
            failed if touched.0.load(Ordering::Relaxed) > 0 => DriverError::Unknown(Box::new(failed)),
            Self::Later { after, text } => DriverError::Unavailable(Box::new(Later { after, why: text })),
            Self::Away(_) | Self::Lost(_) => DriverError::Unavailable(Box::new(self)),
            Self::No { .. } => DriverError::Refused(Box::new(self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[tokio::test]
    async fn a_request_that_is_given_up_in_the_middle_leaves_it_open() {
        let touched = Touched::default();
        let never = touched.by(std::future::pending::<Result<(), Failed>>());
        assert!(timeout(Duration::from_millis(1), never).await.is_err());
        let late = Failed::Lost("late".into()).reported(&touched);
        assert!(matches!(late, DriverError::Unknown(_)), "{late:?}");
    }

    #[test]
    fn a_status_says_what_may_have_happened() {
        for status in [307, 429, 503] {
            assert!(matches!(Failed::answered(status, "w"), Failed::Away(_)), "{status}");
        }
        for status in [400, 403, 404, 409, 422] {
            assert!(Failed::answered(status, "n").is(status));
        }
        for status in [100, 500, 502, 504, 599] {
            assert!(matches!(Failed::answered(status, ""), Failed::Lost(_)), "{status}");
        }
    }

    #[tokio::test]
    async fn once_something_was_changed_any_failure_leaves_it_open() {
        let touched = Touched::default();
        let failures = || [Failed::Away("a".into()), Failed::Lost("l".into()), Failed::no("n")];
        let [away, lost, no] = failures().map(|failed| failed.reported(&touched));
        assert!(matches!(away, DriverError::Unavailable(_)) && matches!(lost, DriverError::Unavailable(_)));
        assert!(matches!(no, DriverError::Refused(_)));
        let unsent: [Result<(), Failed>; 2] = [Err(Failed::Away("a".into())), Err(Failed::no("n"))];
        for outcome in unsent {
            assert!(touched.by(ready(outcome)).await.is_err());
        }
        assert!(matches!(Failed::no("n").reported(&touched), DriverError::Refused(_)));
        assert!(touched.by::<()>(ready(Err(Failed::Lost("l".into())))).await.is_err());
        for failed in failures() {
            assert!(matches!(failed.reported(&touched), DriverError::Unknown(_)));
        }
        touched.undone();
        let later = Failed::answered(429, "slowly").asked_to_wait(Some(7)).reported(&touched);
        assert_eq!(later.retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(Failed::answered(400, "n").asked_to_wait(Some(7)), Failed::answered(400, "n"));
        assert!(matches!(Failed::no("n").reported(&touched), DriverError::Refused(_)));
        assert!(touched.by(ready(Ok(()))).await.is_ok());
        assert!(matches!(Failed::no("n").reported(&touched), DriverError::Unknown(_)));
    }
}
