//! What differs between the two databases: how to reach them, how a transaction begins, what is set at connect.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, ConnectOptions, Connection, Executor};

use super::OpenError;

/// How long anybody waits for a connection, and so for the one right to write.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which database, and where.
#[derive(Clone)]
pub(super) enum Dialect {
    /// A file.
    Sqlite(PathBuf),
    /// A server; the text holds the password and is shown to nobody.
    Postgres(Box<str>),
}

impl std::fmt::Debug for Dialect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "SQLite at {}", path.display()),
            Self::Postgres(_) => f.write_str("PostgreSQL"),
        }
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// The one that writes.
    Write,
    /// Those that read.
    Read,
}

/// Nothing is reused from a freed page, nothing is mapped, and nothing is acknowledged before it is on the disk.
const SQLITE_WRITE: &str = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
     PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON; PRAGMA mmap_size = 0; PRAGMA trusted_schema = OFF; \
     PRAGMA cell_size_check = ON;";
const SQLITE_READ: &str = "PRAGMA busy_timeout = 10000; PRAGMA query_only = ON; PRAGMA mmap_size = 0; \
     PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;";
/// A controller that stops in the middle of a transaction loses it, so that another can go on.
const POSTGRES: &str = "SET statement_timeout = '10s'; SET lock_timeout = '10s'; \
     SET idle_in_transaction_session_timeout = '30s'; SET synchronous_commit = on; \
     SET default_transaction_isolation = 'read committed';";

impl Dialect {
    /// The file, if it is SQLite.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }

    /// What begins a transaction that will write. SQLite takes the lock here; PostgreSQL with the first statement.
    pub(super) fn begin(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
            Self::Postgres(_) => "BEGIN",
        }
    }

    /// What begins a transaction that reads everything as it is at one moment.
    pub(super) fn snapshot(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "BEGIN",
            Self::Postgres(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }

    /// Connects. Writers are one; readers several.
    pub(super) async fn connect(&self, usage: Use) -> Result<AnyPool, OpenError> {
        sqlx::any::install_default_drivers();
        let statements = match (self, usage) {
            (Self::Sqlite(_), Use::Write) => SQLITE_WRITE,
            (Self::Sqlite(_), Use::Read) => SQLITE_READ,
            (Self::Postgres(_), _) => POSTGRES,
        };
        let url = match self {
            Self::Sqlite(path) => sqlite_url(path),
            Self::Postgres(url) => url.to_string(),
        };
        let options = url.parse::<AnyConnectOptions>()?.disable_statement_logging();
        // The pool tries again and again and then only says that it took too long; this says what is wrong.
        let mut first = options.connect().await?;
        first.execute(sqlx::raw_sql(statements)).await?;
        first.close().await?;
        let pool = AnyPoolOptions::new()
            .max_connections(if usage == Use::Write { 1 } else { 4 })
            .acquire_timeout(PATIENCE)
            .idle_timeout(None)
            .max_lifetime(None)
            .after_connect(move |connection, _meta| {
                Box::pin(async move { connection.execute(sqlx::raw_sql(statements)).await.map(drop) })
            })
            .connect_with(options)
            .await?;
        Ok(pool)
    }

    /// Checks that the database is one to trust: the library's release, what it was set to, its integrity.
    pub(super) async fn check(&self, on: &mut AnyConnection) -> Result<(), OpenError> {
        if self.path().is_none() {
            return Ok(());
        }
        let version = text(on, "SELECT sqlite_version() AS v").await?;
        if !recent(&version) {
            return Err(OpenError::OldSqlite(version));
        }
        if text(on, "SELECT journal_mode AS v FROM pragma_journal_mode").await? != "wal" {
            return Err(OpenError::Setting("journal_mode = WAL"));
        }
        if text(on, "SELECT CAST(synchronous AS TEXT) AS v FROM pragma_synchronous").await? != "2" {
            return Err(OpenError::Setting("synchronous = FULL"));
        }
        if text(on, "SELECT CAST(foreign_keys AS TEXT) AS v FROM pragma_foreign_keys").await? != "1" {
            return Err(OpenError::Setting("foreign_keys = ON"));
        }
        if text(on, "SELECT CAST(secure_delete AS TEXT) AS v FROM pragma_secure_delete").await? != "1" {
            return Err(OpenError::Setting("secure_delete = ON"));
        }
        whole(on).await
    }
}

/// Refuses a damaged database, and says what is damaged.
pub(crate) async fn whole(on: &mut AnyConnection) -> Result<(), OpenError> {
    let found = text(on, "SELECT integrity_check AS v FROM pragma_integrity_check LIMIT 1").await?;
    if found != "ok" {
        return Err(OpenError::Damaged(found));
    }
    let broken = text(on, "SELECT CAST(COUNT(*) AS TEXT) AS v FROM pragma_foreign_key_check").await?;
    if broken != "0" {
        return Err(OpenError::Damaged(format!("{broken} rows point to nothing")));
    }
    Ok(())
}

async fn text(on: &mut AnyConnection, statement: &'static str) -> Result<String, OpenError> {
    use super::columns::Columns;
    Ok(sqlx::query(statement).fetch_one(on).await?.raw("v")?)
}

fn recent(version: &str) -> bool {
    let numbers: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
    numbers >= vec![3, 51, 3]
}

/// Every byte that could mean something in a URL is escaped.
fn sqlite_url(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-');
    let escaped: String = path
        .as_os_str()
        .as_bytes()
        .iter()
        .map(|&b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect();
    format!("sqlite://{escaped}?mode=rw")
}
