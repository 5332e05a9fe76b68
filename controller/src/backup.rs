//! Copies of a store on SQLite, and putting one back as a store that only reconciles.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rekey_runtime::Clock;

use crate::store::{OpenError, Store, StoreConfig};

/// Copies a store into a new file that only this user may read, whole and durable before it returns.
///
/// What is sealed stays sealed: **without the KEK file the copy opens nothing.** Keep that apart from it.
///
/// The store is only read: a controller that has it open goes on writing.
pub async fn backup(config: &StoreConfig, to: &Path) -> Result<(), OpenError> {
    let to = crate::store::full(to)?;
    let StoreConfig::Sqlite(from) = config else { return Err(OpenError::NotSqlite) };
    let from = crate::store::full(from)?;
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to);
    drop(made.map_err(OpenError::making(&to))?);
    let copied = crate::store::copy_into(&from, &to).await;
    if copied.is_err() {
        // A part of a copy must not pass for one.
        std::fs::remove_file(&to).map_err(OpenError::file(&to))?;
    }
    copied?;
    File::open(&to).and_then(|file| file.sync_all()).map_err(OpenError::file(&to))?;
    crate::store::sync_folder(&to).map_err(OpenError::file(&to))
}

/// Makes the store `to` of the copy `from`, and opens it: a new life, which only reconciles until the holders have
/// reported. A store that is there already is refused.
///
/// A file beside `to` that says how far the lost store was is taken into account.
pub async fn restore(from: &Path, to: &Path, clock: Clock) -> Result<Store, OpenError> {
    let to = crate::store::full(to)?;
    Store::restore(from, &to, clock).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_copy_is_taken_under_a_running_controller_which_goes_on_writing() {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig::Sqlite(folder.path().join("rekey.db"));
        let running = Store::create(&config, Clock::manual()).await.unwrap();
        let copy = folder.path().join("copy.db");
        backup(&config, &copy).await.unwrap();
        running.begin().await.unwrap().commit().await.unwrap();
        assert!(backup(&config, &copy).await.is_err(), "a copy was written over");
        running.close().await;
        let back = restore(&copy, &folder.path().join("restored.db"), Clock::manual()).await.unwrap();
        assert_eq!(back.installation(), running.installation());
        back.close().await;
    }
}
