//! Making a store, opening one, and the epoch that opening takes.

use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekey_model::{Moment, SecretBytes};
use rekey_rotation::Mode;
use rekey_runtime::{Clock, random};
use sqlx::AnyPool;
use tokio::sync::broadcast;

use super::audit::life_began;
use super::dialect::{Dialect, Use};
use super::meta::{InstallationId, LifeId, Meta, believe_alive};
use super::mirror::{Mirror, Verdict};
use super::{CHANGES_KEPT, Inner, OpenError, Store, migrations};

/// Where the store is.
#[derive(Debug, Clone)]
pub enum StoreConfig {
    /// In a file of this machine: the default.
    Sqlite(PathBuf),
    /// On a PostgreSQL server.
    Postgres(PostgresStore),
}

/// A store on a PostgreSQL server.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    /// A host's name or address, or the folder of a Unix socket (it begins with `/`).
    pub host: String,
    /// The port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The role that the controller logs in as; it owns its tables.
    pub user: String,
    /// Its password; none where the server asks for none.
    pub password: Option<Arc<SecretBytes>>,
    /// How the connection is protected.
    pub tls: StoreTls,
    /// A file of this machine that says how far the store was, by which an older database shows.
    pub mirror: Option<PathBuf>,
}

/// How a connection to PostgreSQL is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreTls {
    /// TLS; the server's certificate must lead to this CA, or a public one (sqlx always trusts those), and name the
    /// host.
    VerifyFull {
        /// The CA's certificate in PEM.
        ca_file: PathBuf,
    },
    /// None: over a Unix socket or the loopback interface only.
    Disable,
}

impl StoreConfig {
    fn dialect(&self) -> Result<Dialect, OpenError> {
        match self {
            Self::Sqlite(path) => full(path).map(Dialect::Sqlite),
            Self::Postgres(server) => Ok(Dialect::Postgres(server.url()?.into())),
        }
    }

    /// Where the file is that tells an older store. SQLite's must be there; PostgreSQL's may be new to this machine,
    /// since another controller may have been on the store before.
    fn mirror(&self, dialect: &Dialect) -> Option<PathBuf> {
        match self {
            Self::Sqlite(_) => dialect.path().map(mirror_beside),
            Self::Postgres(server) => server.mirror.clone(),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(server) => format!("{}:{}/{}", server.host, server.port, server.database),
        }
    }
}

impl PostgresStore {
    fn url(&self) -> Result<String, OpenError> {
        let socket = self.host.starts_with('/');
        let loopback = matches!(self.host.as_str(), "localhost" | "127.0.0.1" | "::1");
        let mode = match &self.tls {
            StoreTls::Disable if socket || loopback => "sslmode=disable".to_owned(),
            StoreTls::Disable => return Err(OpenError::Unprotected),
            StoreTls::VerifyFull { ca_file } => {
                format!("sslmode=verify-full&sslrootcert={}", escaped(&ca_file.to_string_lossy()))
            }
        };
        let password = self.password.as_ref().map(|p| String::from_utf8_lossy(p.expose()).into_owned());
        let password = password.map(|p| format!("&password={}", escaped(&p))).unwrap_or_default();
        Ok(format!(
            "postgres://localhost/?host={}&port={}&dbname={}&user={}&{mode}{password}&application_name=rekey-controller",
            escaped(&self.host),
            self.port,
            escaped(&self.database),
            escaped(&self.user)
        ))
    }
}

fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The path with its folder resolved, so that no part of it reads differently elsewhere.
pub(crate) fn full(path: &Path) -> Result<PathBuf, OpenError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| OpenError::Missing(path.display().to_string()))?;
    Ok(std::fs::canonicalize(folder).map_err(OpenError::file(folder))?.join(name))
}

/// The file beside a database that says how far it was.
pub(crate) fn mirror_beside(database: &Path) -> PathBuf {
    let mut name = database.file_name().unwrap_or_default().to_owned();
    name.push(".commits");
    database.with_file_name(name)
}

impl Store {
    /// Makes a store and opens it. One that is there already is refused, and nothing is changed; one that was begun
    /// and not finished is finished.
    pub async fn create(config: &StoreConfig, clock: Clock) -> Result<Self, OpenError> {
        let dialect = config.dialect()?;
        if let Some(path) = dialect.path() {
            OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(path)
                .map_err(OpenError::file(path))?;
        }
        let pool = dialect.connect(Use::Write).await?;
        migrations::run(&pool, &dialect).await?;
        let made = first_row(&pool).await;
        let written = Meta::read(&mut *pool.acquire().await?).await?;
        pool.close().await;
        match (made?, written) {
            (true, Some(meta)) => {
                config.mirror(&dialect).map(|path| Mirror::create(&path, &meta)).transpose()?;
                Self::open(config, clock).await
            }
            _taken => Err(OpenError::Present(config.shown())),
        }
    }

    /// Opens a store: checks the database, brings its schema up to date, and takes the next epoch, so that a controller
    /// that had it open before can write no more.
    ///
    /// A database that is older than it once was is opened in [`Mode::ReconcileOnly`] and begins a new life.
    pub async fn open(config: &StoreConfig, clock: Clock) -> Result<Self, OpenError> {
        let dialect = config.dialect()?;
        if let Some(path) = dialect.path() {
            must_be_ours(path)?;
        }
        let writer = dialect.connect(Use::Write).await?;
        dialect.check(&mut *writer.acquire().await?).await?;
        migrations::run(&writer, &dialect).await?;
        let mirror_path = config.mirror(&dialect);
        let meta = claim(&writer, &dialect, mirror_path.as_deref(), (&config.shown(), clock.now())).await?;
        let mirror = mirror_path.map(|path| Mirror::create(&path, &meta)).transpose()?;
        let readers = dialect.connect(Use::Read).await?;
        Ok(Self(Arc::new(Inner {
            dialect,
            writer,
            readers,
            epoch: meta.epoch,
            installation: meta.installation,
            mirror,
            changes: broadcast::Sender::new(CHANGES_KEPT),
            clock,
        })))
    }
}

impl Store {
    /// Opens a store to look at: it takes no epoch, so that a controller that has it open goes on, and changes nothing.
    /// [`Store::begin`] is refused ([`super::StoreError::OnlyLooking`]).
    pub async fn look(config: &StoreConfig, clock: Clock) -> Result<Self, OpenError> {
        let dialect = config.dialect()?;
        if let Some(path) = dialect.path() {
            must_be_ours(path)?;
        }
        let readers = dialect.connect(Use::Read).await?;
        let meta = seen(&readers, &config.shown()).await;
        if meta.is_err() {
            readers.close().await;
        }
        let meta = meta?;
        Ok(Self(Arc::new(Inner {
            dialect,
            writer: readers.clone(),
            readers,
            epoch: NO_EPOCH,
            installation: meta.installation,
            mirror: None,
            changes: broadcast::Sender::new(1),
            clock,
        })))
    }
}

/// Before every epoch that a controller can have.
pub(super) const NO_EPOCH: u64 = 0;

/// Whose store a database is, if it is one that this release can read.
async fn seen(readers: &AnyPool, shown: &str) -> Result<Meta, OpenError> {
    let mut on = readers.acquire().await?;
    let missing = || OpenError::Missing(shown.to_owned());
    if !migrations::is_current(&mut on).await? {
        return Err(missing());
    }
    Meta::read(&mut on).await?.ok_or_else(missing)
}

/// Writes the row that makes a database a store; false when it has one.
async fn first_row(pool: &AnyPool) -> Result<bool, OpenError> {
    let (installation, life): (InstallationId, LifeId) = (random::id(), random::id());
    let done = sqlx::query(
        "INSERT INTO meta (one, installation, incarnation, incarnation_id, epoch, mode, commits, audit_seq, \
         audit_head) VALUES (1, $1, 1, $2, 0, 'normal', 0, 0, $3) ON CONFLICT (one) DO NOTHING",
    )
    .bind(installation.to_string())
    .bind(life.to_string())
    .bind(crate::audit::genesis(installation).to_vec())
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Refuses a file that is not there, or that others could have written.
pub(super) fn must_be_ours(path: &Path) -> Result<(), OpenError> {
    let meta = std::fs::metadata(path).map_err(|source| {
        let absent = source.kind() == std::io::ErrorKind::NotFound;
        if absent {
            OpenError::Missing(path.display().to_string())
        } else {
            OpenError::File { path: path.to_owned(), source }
        }
    })?;
    if meta.mode() & 0o022 != 0 {
        return Err(OpenError::Writable(path.to_owned()));
    }
    Ok(())
}

/// Takes the next epoch, in one transaction with the look at how far the store was.
async fn claim(
    writer: &AnyPool,
    dialect: &Dialect,
    mirror: Option<&Path>,
    (shown, now): (&str, Moment),
) -> Result<Meta, OpenError> {
    let mut tx = writer.begin_with(dialect.begin()).await?;
    sqlx::query("UPDATE meta SET commits = commits + 1").execute(&mut *tx).await?;
    let missing = || OpenError::Missing(shown.to_owned());
    let before = Meta::read(&mut tx).await?.ok_or_else(missing)?;
    let elsewhere = |path: &Path| dialect.path().is_none() && !path.exists();
    let verdict = match mirror {
        Some(path) if !elsewhere(path) => Mirror::judge(path, &before)?,
        _none => Verdict::Level,
    };
    let older = matches!(verdict, Verdict::Older { .. });
    let mut meta = match verdict {
        Verdict::Level => Meta { epoch: before.epoch.saturating_add(1), ..before },
        Verdict::Older { incarnation, epoch } => {
            tracing::warn!(
                "the store is older than it once was: it only reconciles until its holders have reported"
            );
            before.reborn((incarnation, epoch), "the database is older than the file beside it says")
        }
    };
    meta.write(&mut tx).await?;
    if older {
        life_began(&mut tx, &mut meta, now).await?;
    }
    if meta.mode == Mode::ReconcileOnly {
        believe_alive(&mut tx, now).await?;
    }
    tx.commit().await?;
    Ok(meta)
}
