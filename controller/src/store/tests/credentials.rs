//! Credentials and their saves, the epoch, the commits that are told.

use futures_util::future::join_all;
use rekey_model::{Moment, Order, RotationId, Version};
use rekey_rotation::{Ledger, Phase, Rotation, Why};

use super::stage::{credential, name};
use crate::store::{Changed, StoreError};

both! {
    async fn what_is_saved_is_read_again(stage) {
        let store = stage.store().await;
        let mut row = credential(&store, "orders/db").await;
        row.ledger.order = Order(7);
        row.spec = serde_json::json!({"owner": "ünïcode \u{1f511}", "nested": [1, null, "x"]});
        let mut tx = store.begin().await.unwrap();
        tx.save(&mut row).await.unwrap();
        tx.commit().await.unwrap();
        let read = store.credential(&name("orders/db")).await.unwrap().unwrap();
        assert_eq!((read.id, read.seq, read.spec, read.ledger), (row.id, 2, row.spec, row.ledger));
        assert!(store.credential(&name("orders")).await.unwrap().is_none());
        assert_eq!(store.credentials().await.unwrap().len(), 1);
    }

    async fn a_name_is_taken_once(stage) {
        let store = stage.store().await;
        credential(&store, "orders/db").await;
        let mut tx = store.begin().await.unwrap();
        let again = tx.create(&name("orders/db"), serde_json::Value::Null, Ledger::default()).await;
        assert!(matches!(again, Err(StoreError::Exists("credential"))), "{again:?}");
    }

    async fn of_concurrent_saves_one_wins_and_the_others_are_told(stage) {
        let store = stage.store().await;
        let row = credential(&store, "orders/db").await;
        let save = || async {
            let (mut row, store) = (row.clone(), store.clone());
            row.ledger.order = Order(row.ledger.order.0 + 1);
            let mut tx = store.begin().await?;
            tx.save(&mut row).await?;
            tx.commit().await
        };
        let done = join_all((0..20).map(|_| save())).await;
        assert_eq!(done.iter().filter(|d| d.is_ok()).count(), 1, "{done:?}");
        assert_eq!(done.iter().filter(|d| matches!(d, Err(StoreError::Conflict))).count(), 19, "{done:?}");
        let read = store.credential(&row.name).await.unwrap().unwrap();
        assert_eq!((read.seq, read.ledger.order), (2, Order(1)));
    }

    async fn a_guard_that_was_read_still_holds_when_it_commits(stage) {
        let store = stage.store().await;
        credential(&store, "orders/db").await;
        // Load, look, save: with anything less than one transaction at a time, some of these would be lost.
        let raise = || async {
            let mut tx = store.begin().await?;
            let mut row = tx.load(&name("orders/db")).await?.unwrap();
            row.ledger.order = row.ledger.order.next();
            tx.save(&mut row).await?;
            tx.commit().await
        };
        for done in join_all((0..50).map(|_| raise())).await {
            done.unwrap();
        }
        assert_eq!(store.credential(&name("orders/db")).await.unwrap().unwrap().ledger.order, Order(50));
    }

    async fn a_controller_that_opens_the_store_later_wins(stage) {
        let first = stage.store().await;
        let mut row = credential(&first, "orders/db").await;
        let mut tx = first.begin().await.unwrap();
        tx.save(&mut row).await.unwrap();
        tx.commit().await.unwrap();
        let second = stage.open().await;
        assert!(second.epoch() > first.epoch());
        let lost = first.begin().await;
        assert!(matches!(lost, Err(StoreError::LostEpoch)), "{lost:?}");
        let mut tx = second.begin().await.unwrap();
        tx.save(&mut row).await.unwrap();
        tx.commit().await.unwrap();
        assert!(matches!(first.begin().await, Err(StoreError::LostEpoch)));
    }

    async fn a_transaction_that_has_begun_ends_before_the_epoch_is_taken(stage) {
        let first = stage.store().await;
        let mut row = credential(&first, "orders/db").await;
        let mut tx = first.begin().await.unwrap();
        tx.save(&mut row).await.unwrap();
        let finish = async {
            // The other is waiting by now: it has had many turns.
            for _ in 0..200 {
                tokio::task::yield_now().await;
            }
            tx.commit().await
        };
        let (second, finished) = futures_util::join!(stage.open(), finish);
        finished.unwrap();
        assert_eq!(second.credential(&row.name).await.unwrap().unwrap().seq, 2);
        assert!(matches!(first.begin().await, Err(StoreError::LostEpoch)));
    }

    async fn what_is_not_committed_never_happened(stage) {
        let store = stage.store().await;
        let mut told = store.changes();
        let before = store.meta().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        tx.create(&name("a"), serde_json::Value::Null, Ledger::default()).await.unwrap();
        tx.rollback().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        tx.create(&name("b"), serde_json::Value::Null, Ledger::default()).await.unwrap();
        drop(tx);
        assert!(store.credentials().await.unwrap().is_empty());
        assert_eq!(store.meta().await.unwrap(), before);
        assert!(told.try_recv().is_err());
    }

    async fn a_commit_is_told_once_and_after_it_can_be_read(stage) {
        let store = stage.store().await;
        let mut told = store.changes();
        let mut row = credential(&store, "orders/db").await;
        assert_eq!(told.recv().await.unwrap(), Changed::Credential(row.name.clone()));
        assert!(store.credential(&row.name).await.unwrap().is_some());
        let mut tx = store.begin().await.unwrap();
        tx.save(&mut row).await.unwrap();
        tx.save(&mut row).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(told.recv().await.unwrap(), Changed::Credential(row.name));
        assert!(told.try_recv().is_err());
    }

    async fn who_is_told_can_read_it_at_once(stage) {
        let store = stage.store().await;
        let mut told = store.changes();
        let listen = async {
            for _ in 0..20 {
                let Changed::Credential(name) = told.recv().await.unwrap() else { panic!("told of something else") };
                assert!(store.credential(&name).await.unwrap().is_some(), "{name} was told of before its commit");
            }
        };
        let write = async {
            for number in 0..20 {
                credential(&store, &format!("c{number}")).await;
            }
        };
        futures_util::join!(listen, write);
    }

    async fn commits_are_counted(stage) {
        let store = stage.store().await;
        let before = store.meta().await.unwrap().commits;
        credential(&store, "a").await;
        credential(&store, "b").await;
        assert_eq!(store.meta().await.unwrap().commits, before + 2);
    }

    async fn rotations_are_kept_and_brought_up_to_date(stage) {
        let store = stage.store().await;
        let row = credential(&store, "orders/db").await;
        let mut rotations: Vec<Rotation> = (1..=3).map(|n| rotation(stage.now(), n)).collect();
        let mut tx = store.begin().await.unwrap();
        for (ms, rotation) in (0..).zip(&mut rotations) {
            rotation.started.wall_ms += ms;
            tx.record_rotation(row.id, rotation).await.unwrap();
        }
        rotations[2].phase = Phase::Done;
        rotations[2].ended = Some(stage.now());
        tx.record_rotation(row.id, &rotations[2]).await.unwrap();
        tx.commit().await.unwrap();
        let kept = store.rotations(&row.name, 2).await.unwrap();
        assert_eq!(kept, [rotations[2].clone(), rotations[1].clone()]);
        let (of, found) = store.rotation(rotations[0].id).await.unwrap().unwrap();
        assert_eq!((of, found), (row.name, rotations[0].clone()));
        assert!(store.rotation(RotationId::from_bits(99)).await.unwrap().is_none());
    }

    async fn a_credential_is_forgotten_with_everything_but_its_audit(stage) {
        let store = stage.store().await;
        let row = credential(&store, "orders/db").await;
        let mut tx = store.begin().await.unwrap();
        tx.record_rotation(row.id, &rotation(stage.now(), 1)).await.unwrap();
        tx.delete(&row).await.unwrap();
        tx.commit().await.unwrap();
        assert!(store.credential(&row.name).await.unwrap().is_none());
        assert!(store.rotation(RotationId::from_bits(1)).await.unwrap().is_none());
        // The same name is another credential.
        assert_ne!(credential(&store, "orders/db").await.id, row.id);
        let mut tx = store.begin().await.unwrap();
        assert!(matches!(tx.delete(&row).await, Err(StoreError::Conflict)));
    }

    async fn a_number_that_no_column_holds_is_refused(stage) {
        let store = stage.store().await;
        let row = credential(&store, "orders/db").await;
        let mut tx = store.begin().await.unwrap();
        let dropped = tx.drop_secret(row.id, Version::new(u64::MAX).unwrap()).await;
        assert!(matches!(dropped, Err(StoreError::TooLarge)), "{dropped:?}");
    }
}

fn rotation(now: Moment, id: u128) -> Rotation {
    serde_json::from_value(serde_json::json!({
        "id": RotationId::from_bits(id), "phase": Phase::Planned, "why": Why::TooOld, "replacement": false,
        "started": now, "counted": 0, "no_holders": false, "refusals": 0, "failed": false,
    }))
    .unwrap()
}
