//! What went wrong, in terms of what may have happened at the server.

use crate::DriverError;

/// The longest text of a server that is passed on.
const LONGEST: usize = 500;

/// Codes after which the same request may succeed later without anybody changing anything: too many connections, no room,
/// no memory, shutdown, network, locks, limits of time, read-only (a failover), killed.
const WAIT: [u16; 19] = [
    1021, 1037, 1040, 1041, 1053, 1077, 1129, 1158, 1159, 1160, 1161, 1203, 1205, 1213, 1226, 1290, 1317,
    1927, 1969,
];

/// Codes that leave open whether a statement was done.
const OPEN: [u16; 6] = [1053, 1077, 1317, 1927, 1969, 1021];

/// Why a call did not succeed. Texts hold names, never secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
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

/// An error as the server tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) code: u16,
    pub(super) text: String,
}

impl Told {
    /// Whether it leaves open what became of a statement.
    pub(super) fn leaves_open(&self) -> bool {
        OPEN.contains(&self.code)
    }
}

impl From<Told> for Fault {
    fn from(told: Told) -> Self {
        let text = format!("{} ({})", one_line(&told.text), told.code);
        if WAIT.contains(&told.code) { Self::Away(text) } else { Self::No(text) }
    }
}

impl Fault {
    /// A check of ours says no.
    pub(super) fn no(why: impl Into<String>) -> Self {
        Self::No(why.into())
    }

    /// The same with words about where it happened.
    #[must_use]
    pub(super) fn during(self, what: &str) -> Self {
        match self {
            Self::Away(text) => Self::Away(format!("{what}: {text}")),
            Self::NotYet(text) => Self::NotYet(format!("{what}: {text}")),
            Self::No(text) => Self::No(format!("{what}: {text}")),
        }
    }

    /// As the caller of a driver sees it; `touched` when something may have been changed.
    pub(super) fn reported(self, touched: bool) -> DriverError {
        match self {
            Self::Away(_) if touched => DriverError::Unknown(Box::new(self)),
            Self::Away(_) | Self::NotYet(_) => DriverError::Unavailable(Box::new(self)),
            Self::No(_) => DriverError::Refused(Box::new(self)),
        }
    }
}

/// `text` without control characters, shortened.
pub(super) fn one_line(text: &str) -> String {
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

    fn fault(code: u16) -> Fault {
        Told { code, text: "a\nb".into() }.into()
    }

    #[test]
    fn codes_are_told_apart() {
        for wait in [1040, 1205, 1290, 1969] {
            assert_eq!(fault(wait), Fault::Away(format!("a b ({wait})")));
        }
        for no in [1045, 1044, 1142, 1227, 1396, 1959, 4151] {
            assert_eq!(fault(no), Fault::No(format!("a b ({no})")));
        }
        assert!(OPEN.iter().all(|code| WAIT.contains(code)));
    }

    #[test]
    fn what_may_have_happened_is_unknown_only_after_something_was_sent() {
        let away = || Fault::Away("a".into());
        assert!(matches!(away().reported(false), DriverError::Unavailable(_)));
        assert!(matches!(away().reported(true), DriverError::Unknown(_)));
        assert!(matches!(Fault::no("n").reported(true), DriverError::Refused(_)));
        assert!(matches!(Fault::NotYet("n".into()).reported(true), DriverError::Unavailable(_)));
    }
}
