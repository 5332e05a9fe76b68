//! Making and opening: what is refused, what is noticed, what a lost connection leaves.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rekey_model::Incarnation;

use super::stage::{Stage, credential, name};
use crate::store::{Meta, Mode, OpenError, PostgresStore, Store, StoreConfig, StoreError, StoreTls};

both! {
    async fn a_store_is_made_once(stage) {
        let store = stage.store().await;
        let row = credential(&store, "orders/db").await;
        let again = Store::create(&stage.config, stage.clock.clone()).await.unwrap_err();
        assert!(matches!(again, OpenError::Present(_)), "{again:?}");
        let mut tx = store.begin().await.unwrap();
        assert!(tx.load(&row.name).await.unwrap().is_some(), "nothing was changed, the epoch neither");
    }

    async fn what_was_never_made_is_not_opened(stage) {
        let missing = Store::open(&stage.config, stage.clock.clone()).await.unwrap_err();
        assert!(matches!(missing, OpenError::Missing(_)), "{missing:?}");
        assert!(missing.to_string().contains("rekey-controller init"));
    }

    async fn opening_again_keeps_everything_and_takes_the_next_epoch(stage) {
        let store = stage.store().await;
        let row = credential(&store, "orders/db").await;
        let before = store.meta().await.unwrap();
        store.close().await;
        let store = stage.open().await;
        let after = store.meta().await.unwrap();
        assert_eq!(after, Meta { epoch: before.epoch + 1, commits: before.commits + 1, ..before });
        assert_eq!((after.mode, after.incarnation), (Mode::Normal, Incarnation(1)));
        assert_eq!(store.credential(&row.name).await.unwrap().unwrap().id, row.id);
    }

    async fn looking_takes_the_store_away_from_nobody(stage) {
        let missing = Store::look(&stage.config, stage.clock.clone()).await;
        assert!(matches!(missing, Err(OpenError::Missing(_))), "{missing:?}");
        let store = stage.store().await;
        let before = store.meta().await.unwrap();
        let look = Store::look(&stage.config, stage.clock.clone()).await.unwrap();
        credential(&store, "orders/db").await;
        assert!(look.credential(&name("orders/db")).await.unwrap().is_some());
        assert_eq!((look.installation(), look.verify_audit().await.unwrap()), (store.installation(), Ok(0)));
        assert!(matches!(look.begin().await, Err(StoreError::OnlyLooking)));
        look.close().await;
        assert_eq!(store.meta().await.unwrap().epoch, before.epoch);
    }

    async fn the_mode_is_left_and_kept(stage) {
        let store = stage.store().await;
        let mut tx = store.begin().await.unwrap();
        assert_eq!(tx.mode(), Mode::Normal);
        assert_eq!(tx.begin_life(Incarnation(41), "test").await.unwrap(), Incarnation(42));
        assert_eq!((tx.mode(), tx.incarnation()), (Mode::ReconcileOnly, Incarnation(42)));
        tx.commit().await.unwrap();
        let store = stage.open().await;
        assert_eq!(store.meta().await.unwrap().mode, Mode::ReconcileOnly);
        let mut tx = store.begin().await.unwrap();
        tx.leave_reconciling().await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(stage.open().await.meta().await.unwrap().mode, Mode::Normal);
    }

    async fn a_database_that_was_put_back_only_reconciles(stage) {
        let store = stage.store().await;
        credential(&store, "a").await;
        let then = store.meta().await.unwrap();
        for text in ["b", "c", "d"] {
            credential(&store, text).await;
        }
        store.close().await;
        // What a restore of the database alone leaves: its counter is behind the file.
        stage.tamper(&format!("UPDATE meta SET commits = {}", then.commits)).await;
        let now = stage.open().await.meta().await.unwrap();
        assert_eq!((now.mode, now.incarnation), (Mode::ReconcileOnly, Incarnation(2)));
        assert!(now.life != then.life && now.epoch > then.epoch);
        // It is said once; the next start finds nothing new, and the mode stays.
        let store = stage.open().await;
        let again = store.meta().await.unwrap();
        let told = store.audit(None, None, 10).await.unwrap();
        assert_eq!(told.iter().filter(|record| record.verb == "restore").count(), 1, "{told:?}");
        assert!(store.verify_audit().await.unwrap().is_ok());
        assert_eq!((again.mode, again.incarnation), (Mode::ReconcileOnly, Incarnation(2)));
    }

    async fn a_database_of_an_earlier_life_only_reconciles(stage) {
        let store = stage.store().await;
        let first = store.meta().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        tx.begin_life(Incarnation(5), "test").await.unwrap();
        tx.leave_reconciling().await.unwrap();
        tx.commit().await.unwrap();
        store.close().await;
        stage.tamper(&format!("UPDATE meta SET incarnation = 1, incarnation_id = '{}'", first.life)).await;
        let now = stage.open().await.meta().await.unwrap();
        assert_eq!((now.mode, now.incarnation), (Mode::ReconcileOnly, Incarnation(7)));
    }

    async fn a_file_that_does_not_read_or_belongs_elsewhere_is_not_trusted(stage) {
        let store = stage.store().await;
        credential(&store, "a").await;
        store.close().await;
        let text = std::fs::read_to_string(stage.mirror()).unwrap();
        let other = text.replace(&store.installation().to_string(), &"0".repeat(32));
        std::fs::write(stage.mirror(), other).unwrap();
        let refused = Store::open(&stage.config, stage.clock.clone()).await.unwrap_err();
        assert!(matches!(refused, OpenError::OtherInstallation(_)), "{refused:?}");
        std::fs::write(stage.mirror(), &text[..text.len() - 1]).unwrap();
        assert_eq!(stage.open().await.meta().await.unwrap().mode, Mode::ReconcileOnly);
    }

    async fn the_right_to_write_is_waited_for_and_not_forever(stage) {
        let store = stage.store().await;
        let held = store.begin().await.unwrap();
        tokio::time::pause();
        let busy = store.begin().await;
        tokio::time::resume();
        assert!(matches!(busy, Err(StoreError::Busy)), "{busy:?}");
        drop(held);
        drop(store.begin().await.unwrap());
    }
}

#[tokio::test]
async fn a_moved_database_without_its_file_only_reconciles() {
    let stage = Stage::sqlite();
    let store = stage.store().await;
    credential(&store, "a").await;
    store.close().await;
    std::fs::remove_file(stage.mirror()).unwrap();
    assert_eq!(stage.open().await.meta().await.unwrap().mode, Mode::ReconcileOnly);
}

#[tokio::test]
async fn a_second_machine_on_one_postgres_does_not_stop_the_work() {
    let stage = Stage::postgres();
    let store = stage.store().await;
    credential(&store, "a").await;
    std::fs::remove_file(stage.mirror()).unwrap();
    assert_eq!(stage.open().await.meta().await.unwrap().mode, Mode::Normal);
}

#[tokio::test]
async fn an_init_that_was_cut_off_is_finished() {
    let stage = Stage::sqlite();
    std::fs::write(stage.path(), b"").unwrap();
    std::fs::set_permissions(stage.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(Store::open(&stage.config, stage.clock.clone()).await, Err(OpenError::Missing(_))));
    let store = stage.store().await;
    assert_eq!(store.meta().await.unwrap().mode, Mode::Normal);
}

#[tokio::test]
async fn only_this_user_may_read_the_files() {
    let stage = Stage::sqlite();
    let store = stage.store().await;
    credential(&store, "a").await;
    for entry in std::fs::read_dir(stage.folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
    }
    store.close().await;
    std::fs::set_permissions(stage.path(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let refused = Store::open(&stage.config, stage.clock.clone()).await.unwrap_err();
    assert!(matches!(refused, OpenError::Writable(_)), "{refused:?}");
}

#[tokio::test]
async fn a_damaged_database_is_refused() {
    let stage = Stage::sqlite();
    let store = stage.store().await;
    for number in 0..200 {
        credential(&store, &format!("c{number}")).await;
    }
    store.close().await;
    let mut bytes = std::fs::read(stage.path()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0xA5);
    std::fs::write(stage.path(), bytes).unwrap();
    let refused = Store::open(&stage.config, stage.clock.clone()).await.unwrap_err();
    assert!(matches!(refused, OpenError::Damaged(_)), "{refused:?}");
}

#[tokio::test]
async fn rows_that_no_statement_of_ours_could_have_written_are_damage() {
    let unchecked =
        "PRAGMA ignore_check_constraints = ON; INSERT INTO sealed_key VALUES ('a', 'b', x'00', x'00')";
    let dangling = "PRAGMA foreign_keys = OFF; INSERT INTO version_secret SELECT 'a', 1, 'b', zeroblob(60), zeroblob(60)";
    for statements in [unchecked, dangling] {
        let stage = Stage::sqlite();
        stage.store().await.close().await;
        stage.tamper(statements).await;
        let refused = Store::open(&stage.config, stage.clock.clone()).await.unwrap_err();
        assert!(matches!(refused, OpenError::Damaged(_)), "{refused:?}");
    }
}

/// What a crash leaves on the disk: the database and its log, as they are at that moment.
#[tokio::test]
async fn what_was_committed_is_in_a_crashs_image_and_nothing_else() {
    let stage = Stage::sqlite();
    let store = stage.store().await;
    credential(&store, "committed").await;
    let mut tx = store.begin().await.unwrap();
    tx.create(&name("open"), serde_json::Value::Null, rekey_rotation::Ledger::default()).await.unwrap();
    let image = Stage::sqlite();
    let beside = |stage: &Stage, suffix: &str| format!("{}{suffix}", stage.path().display());
    for suffix in ["", "-wal", ".commits"] {
        std::fs::copy(beside(&stage, suffix), beside(&image, suffix)).unwrap();
    }
    drop(tx);
    let store = image.open().await;
    let names: Vec<String> = store.credentials().await.unwrap().iter().map(|c| c.name.to_string()).collect();
    assert_eq!(names, ["committed"]);
    assert_eq!(store.meta().await.unwrap().mode, Mode::Normal);
}

#[tokio::test]
async fn a_lost_connection_to_postgres_loses_one_transaction_and_no_more() {
    let stage = Stage::postgres();
    let store = stage.store().await;
    let mut row = credential(&store, "a").await;
    let mut tx = store.begin().await.unwrap();
    tx.save(&mut row).await.unwrap();
    stage.tamper("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rekey' AND datname = current_database()").await;
    let lost = tx.commit().await.unwrap_err();
    assert!(matches!(lost, StoreError::Unanswered(_) | StoreError::Unavailable(_)), "{lost:?}");
    // The pool finds out that its connections are dead by trying them.
    let mut read = store.credential(&row.name).await;
    for _try in 0..10 {
        if read.is_ok() {
            break;
        }
        read = store.credential(&row.name).await;
    }
    assert_eq!(read.unwrap().unwrap().seq, 1);
    credential(&store, "b").await;
}

#[tokio::test]
async fn a_password_never_travels_without_protection() {
    let config = StoreConfig::Postgres(PostgresStore {
        host: "db.example".to_owned(),
        port: 5432,
        database: "rekey".to_owned(),
        user: "rekey".to_owned(),
        password: None,
        tls: StoreTls::Disable,
        mirror: None,
    });
    let refused = Store::open(&config, rekey_runtime::Clock::manual()).await.unwrap_err();
    assert!(matches!(refused, OpenError::Unprotected), "{refused:?}");
    let refused =
        tokio::time::timeout(Duration::from_secs(5), Store::create(&config, rekey_runtime::Clock::manual()));
    assert!(matches!(refused.await.unwrap(), Err(OpenError::Unprotected)));
}
