//! Copying a store on SQLite, and making one of a copy.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rekey_model::{Incarnation, Moment};
use rekey_runtime::Clock;

use super::audit::life_began;
use super::dialect::{Dialect, Use, whole};
use super::meta::Meta;
use super::mirror::{Mirror, sync_folder};
use super::open::{mirror_beside, must_be_ours};
use super::{OpenError, Store, StoreConfig, StoreError, migrations};

/// Copies the database `from` into the empty file `to`, and checks the copy. Writers go on meanwhile.
pub(crate) async fn copy_into(from: &Path, to: &Path) -> Result<(), OpenError> {
    must_be_ours(from)?;
    let own = Dialect::Sqlite(from.to_owned()).connect(Use::Write).await?;
    let done = sqlx::query("VACUUM INTO $1").bind(to.to_string_lossy().into_owned()).execute(&own).await;
    own.close().await;
    done?;
    let copy = Dialect::Sqlite(to.to_owned()).connect(Use::Read).await?;
    let checked = match copy.acquire().await {
        Ok(mut on) => whole(&mut on).await,
        Err(error) => Err(error.into()),
    };
    copy.close().await;
    checked
}

impl Store {
    /// Makes the store `to` of the copy `from`. It only gets its name when it has begun its new life.
    pub(crate) async fn restore(from: &Path, to: &Path, clock: Clock) -> Result<Self, OpenError> {
        if to.exists() {
            return Err(OpenError::Present(to.display().to_string()));
        }
        let unfinished = beside(to, ".restoring");
        copy_file(from, &unfinished)?;
        let meta = begin_life(&unfinished, to, clock.now()).await?;
        remove_log_of_the_lost(to)?;
        // A link, since a rename would replace what came there meanwhile.
        std::fs::hard_link(&unfinished, to).map_err(OpenError::making(to))?;
        std::fs::remove_file(&unfinished).map_err(OpenError::file(&unfinished))?;
        sync_folder(to).map_err(OpenError::file(to))?;
        drop(Mirror::create(&mirror_beside(to), &meta)?);
        Self::open(&StoreConfig::Sqlite(to.to_owned()), clock).await
    }
}

/// Removes the write-ahead log that a lost database left: SQLite would play it into the one that takes its place.
fn remove_log_of_the_lost(to: &Path) -> Result<(), OpenError> {
    for left in [beside(to, "-wal"), beside(to, "-shm")] {
        match std::fs::remove_file(&left) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(OpenError::file(&left)(error));
            }
            _gone => {}
        }
    }
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Copies a copy. What an earlier attempt left is written over.
fn copy_file(from: &Path, to: &Path) -> Result<(), OpenError> {
    if beside(from, "-wal").metadata().is_ok_and(|wal| wal.len() > 0) {
        return Err(OpenError::NotACopy(from.to_owned()));
    }
    let mut source = std::fs::File::open(from).map_err(OpenError::file(from))?;
    let copied = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(to)
        .and_then(|mut target| io::copy(&mut source, &mut target).and_then(|_bytes| target.sync_all()));
    copied.map_err(OpenError::file(to))
}

/// Checks the copy and begins its new life: above the copy's own, and above that of the store that was lost, as far as
/// the file beside it knows.
async fn begin_life(copy: &Path, to: &Path, now: Moment) -> Result<Meta, OpenError> {
    let dialect = Dialect::Sqlite(copy.to_owned());
    let pool = dialect.connect(Use::Write).await?;
    let begun = async {
        let mut on = pool.acquire().await?;
        dialect.check(&mut on).await?;
        drop(on);
        migrations::run(&pool, &dialect).await?;
        let mut tx = pool.begin_with(dialect.begin()).await?;
        let missing = || OpenError::Missing(copy.display().to_string());
        let before = Meta::read(&mut tx).await?.ok_or_else(missing)?;
        let (incarnation, epoch) = Mirror::seen(&mirror_beside(to)).unwrap_or((Incarnation(0), 0));
        let mut meta = before.reborn((incarnation, epoch), "it was restored from a copy");
        meta.write(&mut tx).await?;
        life_began(&mut tx, &mut meta, now).await?;
        tx.commit().await.map_err(StoreError::Unanswered)?;
        Ok::<_, OpenError>(meta)
    };
    let begun = begun.await;
    pool.close().await;
    begun
}
