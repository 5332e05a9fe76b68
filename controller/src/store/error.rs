//! What the store could not do, in terms of what the caller does next.

use std::error::Error;
use std::path::PathBuf;

/// Why a read or a change did not happen. The text holds no secret and no stored value.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody saved first. Load again and decide again.
    #[error("somebody else saved it first: load it again")]
    Conflict,
    /// A controller that opened the store later writes now. End.
    #[error("another controller has taken over the store")]
    LostEpoch,
    /// The store was opened to look at.
    #[error("the store was opened to look at, not to write")]
    OnlyLooking,
    /// What is to be made is there already.
    #[error("there is already such a {0}")]
    Exists(&'static str),
    /// What is to be changed is not there.
    #[error("there is no such {0}")]
    Absent(&'static str),
    /// The one transaction did not become free in time. Nothing happened; try again.
    #[error("the store is busy")]
    Busy,
    /// A number that a column cannot hold.
    #[error("a number is too large for the store")]
    TooLarge,
    /// A value cannot be written as JSON.
    #[error("a value does not encode")]
    Encode(#[source] serde_json::Error),
    /// What is stored does not read: somebody else wrote it, or it is damaged.
    #[error("column {column} holds what does not read")]
    Corrupt {
        /// The column.
        column: &'static str,
        /// Why it does not read.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The database did not do it; nothing happened.
    #[error("the store is not available")]
    Unavailable(#[source] sqlx::Error),
    /// The commit was not answered. It may have happened: load again.
    #[error("the commit was not answered: it may have happened")]
    Unanswered(#[source] sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolTimedOut) { Self::Busy } else { Self::Unavailable(error) }
    }
}

impl StoreError {
    /// For an insert: a row that is there already says so.
    pub(super) fn inserting(what: &'static str) -> impl Fn(sqlx::Error) -> Self {
        move |error| {
            let there =
                error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation);
            if there { Self::Exists(what) } else { error.into() }
        }
    }
}

/// Why a store was not opened, made, copied or restored.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no store yet.
    #[error("there is no store at {0}: make one with `rekey-controller init`")]
    Missing(String),
    /// There is one already; nothing was changed.
    #[error("there is already a store at {0}: nothing was changed")]
    Present(String),
    /// Written by a later release.
    #[error(
        "the store has schema {found}, this release knows {known}: install the release that wrote it, or a later one \
         (a schema never goes back)"
    )]
    NewerSchema {
        /// What the store has.
        found: i64,
        /// What this binary has.
        known: i64,
    },
    /// The schema in the store is not the one that this release would have made.
    #[error("the store's schema {0} is not the one that this release has under that number")]
    OtherSchema(i64),
    /// The library has known faults.
    #[error("SQLite {0} is too old: 3.51.3 is needed")]
    OldSqlite(String),
    /// A setting that the safety of the data rests on was not taken.
    #[error("SQLite did not take `{0}`")]
    Setting(&'static str),
    /// The database is damaged.
    #[error("the database is damaged, restore a backup: {0}")]
    Damaged(String),
    /// Others could change the file.
    #[error("{0} may be written by others: run `chmod 600` on it")]
    Writable(PathBuf),
    /// The file beside the database belongs to another installation.
    #[error("{0} belongs to the store of another installation")]
    OtherInstallation(PathBuf),
    /// The connection to PostgreSQL could be read or answered by others.
    #[error("a store on another host needs `verify-full`")]
    Unprotected,
    /// The server of PostgreSQL is not the one that is meant, or shows the wrong certificate.
    #[error(
        "the certificate of the store's PostgreSQL does not hold: it must be by an authority in store.postgres.ca_file \
         and name store.postgres.host"
    )]
    Untrusted(#[source] std::io::Error),
    /// A copy is one file; this one is not all of it.
    #[error("{0} has a -wal file beside it: it is no copy made by `rekey-controller backup`")]
    NotACopy(PathBuf),
    /// Only SQLite is copied by Rekey.
    #[error("this store is on PostgreSQL: back it up with pg_dump, and restore with pg_restore")]
    NotSqlite,
    /// A file could not be read or written.
    #[error("{path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The migrations did not run.
    #[error("the schema could not be brought up to date")]
    Migrating(#[source] sqlx::migrate::MigrateError),
    /// The database did not answer as it should.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> Self {
        if damaged(&error) {
            return Self::Damaged(error.to_string());
        }
        if let sqlx::Error::Io(error) = error {
            return if untrusted(&error) {
                Self::Untrusted(error)
            } else {
                Self::Store(sqlx::Error::Io(error).into())
            };
        }
        Self::Store(error.into())
    }
}

/// Whether a handshake ended because of the server's certificate.
fn untrusted(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

/// Whether SQLite says that the file is corrupt (11) or no database (26), in any of their finer codes.
fn damaged(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    // PostgreSQL's codes have five characters, always.
    let number = code.filter(|code| code.len() < 5).and_then(|code| code.parse::<u32>().ok());
    number.is_some_and(|number| matches!(number & 0xFF, 11 | 26))
}

impl OpenError {
    /// For a file that must not be there yet.
    pub(crate) fn making(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| {
            let there = source.kind() == std::io::ErrorKind::AlreadyExists;
            if there { Self::Present(path.display().to_string()) } else { Self::File { path, source } }
        }
    }

    /// For a file that is to be read or written.
    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}
