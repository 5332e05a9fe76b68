//! What went wrong, in terms of what may have happened at the nodes.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::DriverError;

/// The longest text of a server that is passed on.
const LONGEST: usize = 300;

/// Why a call did not succeed. Texts hold names, never secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// No answer came.
    #[error("{0}")]
    Lost(String),
    /// The server answered that it cannot now; it did nothing.
    #[error("{0}")]
    Wait(String),
    /// The server or one of our checks says no; it did nothing.
    #[error("{0}")]
    No(String),
}

/// Changes that were done, or sent and not answered, during one call.
#[derive(Debug, Default)]
pub(super) struct Touched(AtomicUsize);

impl Touched {
    /// A change is about to be sent.
    pub(super) fn sending(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The server answered that it did not do it.
    pub(super) fn not_done(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Fault {
    /// A check of ours says no.
    pub(super) fn no(why: impl Into<String>) -> Self {
        Self::No(why.into())
    }

    /// What a server's error means.
    pub(super) fn told(text: &str) -> Self {
        let shown = one_line(text);
        if asks_to_wait(text) { Self::Wait(shown) } else { Self::No(shown) }
    }

    /// The same with words about where it happened.
    #[must_use]
    pub(super) fn during(self, what: &str) -> Self {
        match self {
            Self::Lost(text) => Self::Lost(format!("{what}: {text}")),
            Self::Wait(text) => Self::Wait(format!("{what}: {text}")),
            Self::No(text) => Self::No(format!("{what}: {text}")),
        }
    }

    /// As the caller of a driver sees it: once one node was changed, a failure at any leaves it open.
    pub(super) fn reported(self, touched: &Touched) -> DriverError {
        match self {
            fault if touched.0.load(Ordering::Relaxed) > 0 => DriverError::Unknown(Box::new(fault)),
            Self::Lost(_) | Self::Wait(_) => DriverError::Unavailable(Box::new(self)),
            Self::No(_) => DriverError::Refused(Box::new(self)),
        }
    }
}

/// All results, or what is wrong: every node that failed is named, and a no weighs more than a wait.
pub(super) fn worst<T>(results: Vec<Result<T, Fault>>) -> Result<Vec<T>, Fault> {
    let (mut good, mut texts, mut refused, mut lost) = (Vec::new(), Vec::new(), false, false);
    for result in results {
        match result {
            Ok(value) => good.push(value),
            Err(fault) => {
                refused |= matches!(fault, Fault::No(_));
                lost |= matches!(fault, Fault::Lost(_));
                texts.push(fault.to_string());
            }
        }
    }
    let text = texts.join("; ");
    match (texts.is_empty(), refused, lost) {
        (true, ..) => Ok(good),
        (false, true, _) => Err(Fault::No(text)),
        (false, false, true) => Err(Fault::Lost(text)),
        (false, false, false) => Err(Fault::Wait(text)),
    }
}

/// Whether the same command may succeed later without anybody changing anything.
fn asks_to_wait(text: &str) -> bool {
    let code = text.split(' ').next().unwrap_or_default();
    ["LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "OOM", "MISCONF", "UNKILLABLE"]
        .contains(&code)
        || ["ERR max number of clients", "ERR There was an error trying to save", "ERR Rewriting config file"]
            .iter()
            .any(|words| text.starts_with(words))
}

/// `text` without control characters, shortened.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart() {
        for wait in ["LOADING Redis is loading", "BUSY Redis is busy", "ERR max number of clients reached"] {
            assert!(matches!(Fault::told(wait), Fault::Wait(_)), "{wait}");
        }
        for no in ["NOPERM this user", "WRONGPASS invalid", "ERR unknown", "BUSYGROUP taken", ""] {
            assert!(matches!(Fault::told(no), Fault::No(_)), "{no}");
        }
    }

    #[test]
    fn once_a_node_was_changed_any_failure_leaves_it_open() {
        let touched = Touched::default();
        let faults = || [Fault::Lost("l".into()), Fault::Wait("w".into()), Fault::no("n")];
        let [lost, wait, no] = faults().map(|fault| fault.reported(&touched));
        assert!(matches!(lost, DriverError::Unavailable(_)) && matches!(wait, DriverError::Unavailable(_)));
        assert!(matches!(no, DriverError::Refused(_)));
        touched.sending();
        touched.sending();
        touched.not_done();
        for fault in faults() {
            assert!(matches!(fault.reported(&touched), DriverError::Unknown(_)));
        }
        touched.not_done();
        assert!(matches!(Fault::no("n").reported(&touched), DriverError::Refused(_)));
    }

    #[test]
    fn every_node_that_failed_is_named() {
        let wait = || Err(Fault::Wait("b: w".into()));
        assert_eq!(worst(vec![Ok(1), Ok(2)]), Ok(vec![1, 2]));
        assert_eq!(worst(vec![Ok(1), wait()]), Err(Fault::Wait("b: w".into())));
        assert_eq!(worst(vec![Err(Fault::no("a: n")), wait(), Ok(1)]), Err(Fault::no("a: n; b: w")));
        assert_eq!(
            worst(vec![Err::<u8, _>(Fault::Lost("a".into())), wait()]),
            Err(Fault::Lost("a; b: w".into()))
        );
    }

    #[test]
    fn a_servers_words_stay_on_one_line() {
        assert_eq!(one_line("a\nb\u{1b}[31mc"), "a b [31mc");
        assert_eq!(one_line(&"x".repeat(10_000)).len(), LONGEST);
    }
}
