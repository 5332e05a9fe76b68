//! What an error of MariaDB or MySQL means.

pub(super) use crate::fault::{Fault, one_line};

/// Codes after which the same request may succeed later without anybody changing anything: too many connections, no room,
/// no memory, shutdown, network, locks, limits of time, read-only (a failover), killed.
const WAIT: [u16; 19] = [
    1021, 1037, 1040, 1041, 1053, 1077, 1129, 1158, 1159, 1160, 1161, 1203, 1205, 1213, 1226, 1290, 1317,
    1927, 1969,
];

/// Codes that leave open whether a statement was done.
const OPEN: [u16; 6] = [1053, 1077, 1317, 1927, 1969, 1021];

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
}
