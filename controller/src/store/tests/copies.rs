//! Backups, and what becomes of one.

use std::os::unix::fs::PermissionsExt;

use rekey_model::Incarnation;

use super::stage::{Stage, credential, name};
use crate::backup::{backup, restore};
use crate::store::{Mode, OpenError, Store};

#[tokio::test]
async fn a_copy_is_whole_and_only_reconciles() {
    let stage = Stage::sqlite();
    let store = stage.store().await;
    let row = credential(&store, "orders/db").await;
    let copy = stage.folder.path().join("it's a copy");
    backup(&stage.config, &copy).await.unwrap();
    let then = store.meta().await.unwrap();
    credential(&store, "later").await;
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);

    let to = stage.folder.path().join("restored.db");
    let restored = restore(&copy, &to, stage.clock.clone()).await.unwrap();
    let now = restored.meta().await.unwrap();
    assert_eq!((now.mode, now.incarnation), (Mode::ReconcileOnly, Incarnation(2)));
    assert_eq!(now.installation, then.installation, "what is sealed opens");
    let told = restored.audit(None, None, 10).await.unwrap();
    assert_eq!((told[0].verb.as_str(), told[0].reason.as_str()), ("restore", "it was restored from a copy"));
    assert!(restored.verify_audit().await.unwrap().is_ok());
    assert!(now.life != then.life && now.epoch > then.epoch);
    assert_eq!(restored.credential(&row.name).await.unwrap().unwrap().id, row.id);
    assert!(restored.credential(&name("later")).await.unwrap().is_none());
    assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    let leftovers = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().contains("restoring");
    assert!(!std::fs::read_dir(stage.folder.path()).unwrap().any(|e| leftovers(&e.unwrap())));
    // The store that was copied goes on as if nothing had been.
    credential(&store, "later-still").await;
}

#[tokio::test]
async fn a_restore_exceeds_what_the_lost_store_had_reached() {
    let stage = Stage::sqlite();
    let store = stage.store().await;
    let copy = stage.folder.path().join("copy");
    backup(&stage.config, &copy).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.begin_life(Incarnation(8), "test").await.unwrap();
    tx.commit().await.unwrap();
    store.close().await;
    // Still open when its file goes: what it had written stays behind in the write-ahead log.
    let lost = stage.open().await;
    let reached = lost.epoch();
    std::fs::remove_file(stage.path()).unwrap();
    let restored = restore(&copy, &stage.path(), stage.clock.clone()).await.unwrap();
    let now = restored.meta().await.unwrap();
    assert_eq!(now.incarnation, Incarnation(10));
    assert!(now.epoch > reached);
}

#[tokio::test]
async fn a_copy_is_made_while_others_write() {
    let stage = Stage::sqlite();
    let store = stage.store().await;
    let copy = stage.folder.path().join("copy");
    let write = async {
        for number in 0..50 {
            credential(&store, &format!("c{number}")).await;
        }
    };
    let (copied, ()) = futures_util::join!(backup(&stage.config, &copy), write);
    copied.unwrap();
    assert_eq!(store.credentials().await.unwrap().len(), 50);
    let to = stage.folder.path().join("restored.db");
    let restored = restore(&copy, &to, stage.clock.clone()).await.unwrap();
    assert!(restored.credentials().await.unwrap().len() <= 50);
    assert_eq!(restored.verify_audit().await.unwrap(), Ok(1), "that it was restored");
}

#[tokio::test]
async fn nothing_is_written_over() {
    let stage = Stage::sqlite();
    let store = stage.store().await;
    let copy = stage.folder.path().join("copy");
    std::fs::write(&copy, b"precious").unwrap();
    assert!(matches!(backup(&stage.config, &copy).await, Err(OpenError::Present(_))));
    assert_eq!(std::fs::read(&copy).unwrap(), b"precious");
    let good = stage.folder.path().join("good");
    backup(&stage.config, &good).await.unwrap();
    let refused = restore(&good, &stage.path(), stage.clock.clone()).await;
    assert!(matches!(refused, Err(OpenError::Present(_))));
    drop(store.begin().await.unwrap());
}

#[tokio::test]
async fn what_is_no_copy_is_refused_and_leaves_no_store() {
    let stage = Stage::sqlite();
    let store = stage.store().await;
    credential(&store, "a").await;
    let to = stage.folder.path().join("restored.db");
    // The live file without its log is not the whole store.
    let live = restore(&stage.path(), &to, stage.clock.clone()).await;
    assert!(matches!(live, Err(OpenError::NotACopy(_))), "{live:?}");
    let noise = stage.folder.path().join("noise");
    std::fs::write(&noise, vec![7; 8192]).unwrap();
    assert!(restore(&noise, &to, stage.clock.clone()).await.is_err());
    let copy = stage.folder.path().join("copy");
    backup(&stage.config, &copy).await.unwrap();
    let mut bytes = std::fs::read(&copy).unwrap();
    let half = bytes.len() / 2;
    bytes.truncate(half);
    std::fs::write(&copy, bytes).unwrap();
    assert!(restore(&copy, &to, stage.clock.clone()).await.is_err());
    assert!(!to.exists());
    let missing = Store::open(&crate::store::StoreConfig::Sqlite(to), stage.clock.clone()).await;
    assert!(matches!(missing, Err(OpenError::Missing(_))));
}

#[tokio::test]
async fn a_store_on_postgres_is_copied_by_its_own_tools() {
    let stage = Stage::postgres();
    let copy = stage.folder.path().join("copy");
    let refused = backup(&stage.config, &copy).await.unwrap_err();
    assert!(matches!(refused, OpenError::NotSqlite) && refused.to_string().contains("pg_dump"));
    assert!(!copy.exists());
}
