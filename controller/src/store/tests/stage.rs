//! What a test of the store stands on: an empty place for a store in either database, and a clock to set.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use std::sync::{Arc, Mutex, Weak};

use rekey_model::{CredentialName, Moment, SecretBytes};
use rekey_rotation::Ledger;
use rekey_runtime::Clock;
use rekey_testkit::postgres::{Options, Postgres};
use tempfile::TempDir;

use crate::store::dialect::{Dialect, Use};
use crate::store::{CredentialRow, PostgresStore, Store, StoreConfig, StoreTls};

/// A place for one store.
pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    pub(crate) config: StoreConfig,
    server: Option<(Arc<Postgres>, String)>,
    pub(crate) clock: Clock,
}

/// The one server of this test binary; it ends with the last test that uses it.
static SERVER: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
static DATABASES: AtomicU64 = AtomicU64::new(0);

fn server() -> Arc<Postgres> {
    let mut shared = SERVER.lock().unwrap();
    if let Some(running) = shared.upgrade() {
        return running;
    }
    let started = Arc::new(Postgres::start(Options::default()));
    started.sql("CREATE ROLE rekey LOGIN PASSWORD 'not a secret'");
    *shared = Arc::downgrade(&started);
    started
}

impl Stage {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig::Sqlite(folder.path().join("a store #1?.db"));
        Self { folder, config, server: None, clock: Clock::manual() }
    }

    pub(crate) fn postgres() -> Self {
        let server = server();
        let database = format!("store_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        server.sql(&format!("CREATE DATABASE {database} OWNER rekey"));
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig::Postgres(PostgresStore {
            host: server.socket_folder().display().to_string(),
            port: server.port(),
            database: database.clone(),
            user: "rekey".to_owned(),
            password: Some(Arc::new(SecretBytes::new(b"not a secret".to_vec()))),
            tls: StoreTls::Disable,
            mirror: Some(folder.path().join("commits")),
        });
        Self { folder, config, server: Some((server, database)), clock: Clock::manual() }
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.server.is_none()
    }

    /// The database's file.
    pub(crate) fn path(&self) -> PathBuf {
        match &self.config {
            StoreConfig::Sqlite(path) => path.clone(),
            StoreConfig::Postgres(_) => panic!("a store on PostgreSQL has no file"),
        }
    }

    /// The file that tells how far the store was.
    pub(crate) fn mirror(&self) -> PathBuf {
        match &self.config {
            StoreConfig::Sqlite(path) => crate::store::open::mirror_beside(path),
            StoreConfig::Postgres(server) => server.mirror.clone().unwrap(),
        }
    }

    pub(crate) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Makes the store.
    pub(crate) async fn store(&self) -> Store {
        Store::create(&self.config, self.clock.clone()).await.unwrap()
    }

    /// Opens the store again, as the next controller does.
    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.config, self.clock.clone()).await.unwrap()
    }

    /// Runs statements as somebody who can do everything to the database.
    pub(crate) async fn tamper(&self, statements: &str) {
        self.try_tamper(statements).await.unwrap();
    }

    pub(crate) async fn try_tamper(&self, statements: &str) -> Result<(), String> {
        if let Some((server, database)) = &self.server {
            let superuser = server.connection(Postgres::SUPERUSER, server.password(), database);
            return server.try_sql(superuser, statements).map(drop).map_err(|e| format!("{e:#}"));
        }
        let pool = Dialect::Sqlite(self.path()).connect(Use::Write).await.unwrap();
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned())).execute(&pool).await;
        pool.close().await;
        done.map(drop).map_err(|e| e.to_string())
    }

    /// Reads one text as somebody who can do everything to the database.
    pub(crate) async fn peek(&self, statement: &str) -> String {
        if let Some((server, database)) = &self.server {
            return server.sql_in(database, statement).remove(0).remove(0).unwrap();
        }
        let pool = Dialect::Sqlite(self.path()).connect(Use::Read).await.unwrap();
        let read = sqlx::query_scalar(sqlx::AssertSqlSafe(statement.to_owned())).fetch_one(&pool).await;
        pool.close().await;
        read.unwrap()
    }
}

pub(crate) fn name(text: &str) -> CredentialName {
    text.parse().unwrap()
}

/// Makes a credential in a transaction of its own.
pub(crate) async fn credential(store: &Store, text: &str) -> CredentialRow {
    let mut tx = store.begin().await.unwrap();
    let row = tx.create(&name(text), serde_json::json!({"owner": "team"}), Ledger::default()).await.unwrap();
    tx.commit().await.unwrap();
    row
}
