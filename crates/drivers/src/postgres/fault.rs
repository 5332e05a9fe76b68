//! What an error of PostgreSQL means.

use std::error::Error as _;
use std::io;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

pub(super) use crate::fault::{Fault, one_line};

impl Fault {
    /// What went wrong at a login. Nothing was done yet, whatever it was.
    pub(crate) fn of_login(error: &Error) -> Self {
        if let Some(code) = error.code() {
            return Self::by_code(code, format!("login: {}", told(error)));
        }
        let text = format!("login: {}", told(error));
        let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        let away = match io {
            Some(io) => !matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput),
            None => error.is_closed(),
        };
        if away { Self::Away(text) } else { Self::No(text) }
    }

    /// What went wrong with a statement. The server undoes the transaction when the connection is lost.
    pub(super) fn of_statement(error: &Error) -> Self {
        let text = told(error);
        let lost =
            || error.is_closed() || error.source().is_some_and(<dyn std::error::Error>::is::<io::Error>);
        match error.code() {
            Some(code) => Self::by_code(code, text),
            None if lost() => Self::Away(text),
            None => Self::No(text),
        }
    }

    fn by_code(code: &SqlState, text: String) -> Self {
        if asks_to_wait(code.code()) && !(*code == SqlState::PROTOCOL_VIOLATION && pooler_says_no(&text)) {
            Self::Away(text)
        } else {
            Self::No(text)
        }
    }
}

/// Whether the same request may succeed later without anybody changing anything.
pub(super) fn asks_to_wait(code: &str) -> bool {
    // Connection, rollback by the server, resources, operator intervention (57014 is a timeout), system, internal;
    // then: a transaction that waited too long, a standby, a lock.
    ["08", "40", "53", "57", "58", "XX"].iter().any(|class| code.starts_with(class))
        || ["25P03", "25P04", "25006", "55P03", "55006"].contains(&code)
}

/// Whether a pooler means no. PgBouncer has one code for all that it has to say, its own and what a server told it at a login.
fn pooler_says_no(text: &str) -> bool {
    let words = [
        "authentication failed",
        "not permitted to log in",
        "no such ",
        "not allowed",
        "access needed",
        "wrong password",
    ];
    words.iter().any(|words| text.contains(words))
}

/// Whether an answer to COMMIT leaves open whether it was done.
pub(super) fn leaves_commit_open(error: &Error) -> bool {
    error
        .code()
        .is_none_or(|code| ["08", "57", "58", "XX"].iter().any(|class| code.code().starts_with(class)))
}

/// The server's message and code, or ours, on one line. Its details may quote rows and are left out, but for the list
/// of what still depends on a role.
fn told(error: &Error) -> String {
    match error.as_db_error() {
        Some(db) if *db.code() == SqlState::DEPENDENT_OBJECTS_STILL_EXIST => {
            one_line(&format!("{}: {} (2BP01)", db.message(), db.detail().unwrap_or_default()))
        }
        Some(db) => format!("{} ({})", one_line(db.message()), db.code().code()),
        None => match error.source() {
            Some(source) => format!("{error}: {}", one_line(&source.to_string())),
            None => error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart() {
        for wait in ["08006", "40001", "53300", "57P03", "57014", "25006", "55P03", "XX000"] {
            assert!(asks_to_wait(wait), "{wait}");
        }
        let by_pooler = |text: &str| Fault::by_code(&SqlState::PROTOCOL_VIOLATION, text.to_owned());
        assert!(matches!(by_pooler("login: SASL authentication failed (08P01)"), Fault::No(_)));
        assert!(matches!(by_pooler("admin access needed (08P01)"), Fault::No(_)));
        assert!(matches!(by_pooler("server login has been failing, try again later"), Fault::Away(_)));
        for no in ["28P01", "28000", "42501", "42601", "42704", "42710", "2BP01", "23505", "3D000", "0LP01"] {
            assert!(!asks_to_wait(no), "{no}");
        }
    }
}
