//! Copies of a store on SQLite, and putting one back as a store that only reconciles.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rekey_model::Moment;

use crate::store::{OpenError, Store};

/// Copies a store into a new file that only this user may read, whole and durable before it returns.
///
/// What is sealed stays sealed: **without the KEK file the copy opens nothing.** Keep that apart from it.
pub async fn backup(store: &Store, to: &Path) -> Result<(), OpenError> {
    let to = crate::store::full(to)?;
    if store.sqlite_path().is_none() {
        return Err(OpenError::NotSqlite);
    }
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to);
    drop(made.map_err(OpenError::making(&to))?);
    let copied = store.copy_into(&to).await;
    if copied.is_err() {
        // A part of a copy must not pass for one.
        std::fs::remove_file(&to).map_err(OpenError::file(&to))?;
    }
    copied?;
    File::open(&to).and_then(|file| file.sync_all()).map_err(OpenError::file(&to))?;
    crate::store::sync_folder(&to).map_err(OpenError::file(&to))
}

/// Makes the store `to` of the copy `from`, and opens it: a new life, which only reconciles until the holders have
/// reported (`ROTATION.md` 8). A store that is there already is refused.
///
/// A file beside `to` that says how far the lost store was is taken into account.
pub async fn restore(
    from: &Path,
    to: &Path,
    clock: impl Fn() -> Moment + Send + Sync + 'static,
) -> Result<Store, OpenError> {
    let to = crate::store::full(to)?;
    Store::restore(from, &to, clock).await
}
