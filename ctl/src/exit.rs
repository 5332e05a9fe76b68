//! The exit codes: one list, documented in docs/rekeyctl.md and printed by `rekeyctl exit-codes`.

use serde::Serialize;
use tonic::Code;

use crate::output::{Style, View};
use crate::table::columns;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed in a way that has no number of its own.
    Failed = 1,
    /// Typed wrongly.
    Usage = 2,
    /// Refused: it cannot be done in the state that things are in.
    Refused = 3,
    /// No such credential, rotation, sidecar, token, operator or context.
    NotFound = 4,
    /// The controller was not reached.
    Unreachable = 5,
    /// Not allowed.
    Denied = 6,
    /// Waited as long as was said; what was begun goes on.
    TimedOut = 7,
    /// Revoked, with something left to do.
    RevokeIncomplete = 8,
    /// The rotation did not succeed.
    RotationFailed = 9,
    /// A file or a value is not right.
    Invalid = 10,
}

/// All codes with what they mean, in their order.
pub const ALL: [(Exit, &str, &str); 11] = [
    (Exit::Ok, "ok", "done; for --wait: and succeeded"),
    (Exit::Failed, "failed", "failed; the message says why"),
    (Exit::Usage, "usage", "typed wrongly; nothing was sent"),
    (Exit::Refused, "refused", "refused in the present state, such as a rotation that is open already"),
    (Exit::NotFound, "not_found", "no such credential, rotation, sidecar, token, operator or context"),
    (Exit::Unreachable, "unreachable", "the controller was not reached, or is not ready"),
    (Exit::Denied, "denied", "your role does not allow it, or the controller does not know you"),
    (Exit::TimedOut, "timed_out", "waited as long as was said; what was begun goes on"),
    (
        Exit::RevokeIncomplete,
        "revoke_incomplete",
        "revoked, but the receipt lists something that is left to do",
    ),
    (Exit::RotationFailed, "rotation_failed", "the rotation was abandoned, or is stuck and needs you"),
    (Exit::Invalid, "invalid", "a file or a value is not right; nothing was changed"),
];

/// The same as text, for `--help`.
pub const TEXT: &str = "Lists the exit codes.

   0  ok                 done; for --wait: and succeeded
   1  failed             failed; the message says why
   2  usage              typed wrongly; nothing was sent
   3  refused            refused in the present state, such as a rotation that is open already
   4  not_found          no such credential, rotation, sidecar, token, operator or context
   5  unreachable        the controller was not reached, or is not ready
   6  denied             your role does not allow it, or the controller does not know you
   7  timed_out          waited as long as was said; what was begun goes on
   8  revoke_incomplete  revoked, but the receipt lists something that is left to do
   9  rotation_failed    the rotation was abandoned, or is stuck and needs you
  10  invalid            a file or a value is not right; nothing was changed";

/// The list as an answer.
#[derive(Debug, Serialize)]
pub struct List {
    exit_codes: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    code: u8,
    kind: &'static str,
    meaning: &'static str,
}

impl List {
    /// All codes.
    pub fn new() -> Self {
        let row = |&(exit, kind, meaning): &(Exit, _, _)| Row { code: exit.number(), kind, meaning };
        Self { exit_codes: ALL.iter().map(row).collect() }
    }
}

impl Default for List {
    fn default() -> Self {
        Self::new()
    }
}

impl View for List {
    fn text(&self, _style: Style) -> String {
        let rows = self
            .exit_codes
            .iter()
            .map(|row| [row.code.to_string(), row.kind.to_owned(), row.meaning.to_owned()]);
        columns(["CODE", "KIND", "MEANING"], rows)
    }
}

impl Exit {
    /// Its number.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Its word, as in the table.
    pub fn word(self) -> &'static str {
        ALL.iter().find(|(exit, ..)| *exit == self).map_or("failed", |(_, word, _)| word)
    }

    /// The exit code for a refused call.
    pub fn of(code: Code) -> Self {
        match code {
            Code::Ok => Self::Ok,
            Code::FailedPrecondition | Code::Aborted | Code::AlreadyExists | Code::ResourceExhausted => {
                Self::Refused
            }
            Code::NotFound => Self::NotFound,
            Code::Unavailable => Self::Unreachable,
            Code::PermissionDenied | Code::Unauthenticated => Self::Denied,
            Code::DeadlineExceeded | Code::Cancelled => Self::TimedOut,
            Code::InvalidArgument | Code::OutOfRange => Self::Invalid,
            Code::Unknown | Code::Unimplemented | Code::Internal | Code::DataLoss => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_text_the_manual_and_the_list_say_the_same() {
        let manual =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rekeyctl.md")).unwrap();
        for (exit, word, meaning) in ALL {
            let number = exit.number();
            let line = format!("{number:>4}  {word:<17}  {meaning}");
            assert!(TEXT.lines().any(|l| l == line), "--help lacks {line:?}");
            let row = format!("| {number} | `{word}` | {meaning} |");
            assert!(manual.contains(&row), "docs/rekeyctl.md lacks {row:?}");
        }
        assert_eq!(TEXT.lines().count(), ALL.len() + 2);
    }

    #[test]
    fn codes_are_numbered_without_gaps() {
        let numbers: Vec<u8> = ALL.iter().map(|(exit, ..)| exit.number()).collect();
        assert_eq!(numbers, (0..11).collect::<Vec<u8>>());
    }
}
