//! What went wrong at a server that undoes what a lost connection has not committed, such as a database: in terms of what
//! may have happened there.
//!
//! What a code or an error of a server means is each driver's to know, beside this.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use crate::DriverError;

/// The longest text of a server that is passed on.
const LONGEST: usize = 500;

/// Why a call did not succeed. Texts hold names, never secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The server cannot be reached, or asks to wait.
    #[error("{0}")]
    Away(String),
    /// All was done, but what it should bring about takes longer.
    #[error("{0}")]
    NotYet(String),
    /// The server or one of our checks says no.
    #[error("{0}")]
    No(String),
}

impl Fault {
    /// A check of ours says no.
    pub(crate) fn no(why: impl Into<String>) -> Self {
        Self::No(why.into())
    }

    /// The same with words about where it happened.
    #[must_use]
    pub(crate) fn during(self, what: &str) -> Self {
        match self {
            Self::Away(text) => Self::Away(format!("{what}: {text}")),
            Self::NotYet(text) => Self::NotYet(format!("{what}: {text}")),
            Self::No(text) => Self::No(format!("{what}: {text}")),
        }
    }

    /// As the caller of a driver sees it; `touched` when something may have been changed for good.
    pub(crate) fn reported(self, touched: bool) -> DriverError {
        match self {
            Self::Away(_) if touched => DriverError::Unknown(Box::new(self)),
            Self::Away(_) | Self::NotYet(_) => DriverError::Unavailable(Box::new(self)),
            Self::No(_) => DriverError::Refused(Box::new(self)),
        }
    }
}

/// Does the `work` of one call of a driver within its limit, and says what a failure means: it sets the flag when
/// something may have been changed for good.
pub(crate) async fn call<T>(
    limit: Duration,
    work: impl AsyncFnOnce(&AtomicBool) -> Result<T, Fault>,
) -> Result<T, DriverError> {
    let touched = AtomicBool::new(false);
    let late = |_elapsed| Err(Fault::Away(format!("no end after {limit:?}")));
    let result = timeout(limit, work(&touched)).await.unwrap_or_else(late);
    result.map_err(|fault| fault.reported(touched.load(Ordering::Relaxed)))
}

/// `text` without control characters, shortened.
pub(crate) fn one_line(text: &str) -> String {
    let mut line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST + 1).collect();
    if line.chars().count() > LONGEST {
        line = line.chars().take(LONGEST).chain(['…']).collect();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_happened_is_unknown_only_after_something_was_committed() {
        let away = || Fault::Away("a".into());
        assert!(matches!(away().reported(false), DriverError::Unavailable(_)));
        assert!(matches!(away().reported(true), DriverError::Unknown(_)));
        assert!(matches!(Fault::no("n").reported(true), DriverError::Refused(_)));
        assert!(matches!(Fault::NotYet("n".into()).reported(true), DriverError::Unavailable(_)));
    }

    #[test]
    fn a_servers_words_stay_on_one_line() {
        assert_eq!(one_line("a\nb\u{1b}[31mc"), "a b [31mc");
        assert_eq!(one_line(&"x".repeat(10_000)).chars().count(), LONGEST + 1);
    }
}
