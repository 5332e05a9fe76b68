//! How far webhooks are, and which alarms are on.

use crate::audit::{Actor, Entry, Outcome, Verb};
use crate::store::{AlarmRow, WebhookRow};

both! {
    async fn a_webhook_is_as_far_as_was_noted_last_also_after_a_start(stage) {
        let store = stage.store().await;
        let mut tx = store.begin().await.unwrap();
        let first = WebhookRow {
            name: "ops".to_owned(), told: 3, failing: None, last_error: String::new(), stopped: false,
        };
        tx.put_webhook(&first).await.unwrap();
        let later = WebhookRow {
            told: 7, failing: Some(tx.now()), last_error: "the server said 500".to_owned(), stopped: true, ..first
        };
        tx.put_webhook(&later).await.unwrap();
        tx.commit().await.unwrap();
        store.close().await;
        let store = stage.open().await;
        assert_eq!(store.webhooks().await.unwrap(), [later]);
        let mut tx = store.begin().await.unwrap();
        tx.drop_webhook("ops").await.unwrap();
        tx.drop_webhook("ops").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(store.webhooks().await.unwrap(), []);
    }

    async fn an_alarm_is_on_until_it_is_off(stage) {
        let store = stage.store().await;
        let alarm = |credential: &str| AlarmRow { credential: credential.to_owned(), kind: "stuck".to_owned() };
        let mut tx = store.begin().await.unwrap();
        for credential in ["orders/db", "", "orders/db"] {
            tx.put_alarm(&alarm(credential)).await.unwrap();
        }
        tx.commit().await.unwrap();
        assert_eq!(store.alarms().await.unwrap(), [alarm(""), alarm("orders/db")]);
        let mut tx = store.begin().await.unwrap();
        tx.drop_alarm(&alarm("orders/db")).await.unwrap();
        tx.drop_alarm(&alarm("orders/db")).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(store.alarms().await.unwrap(), [alarm("")]);
    }

    async fn the_audit_is_read_onwards_from_a_place(stage) {
        let store = stage.store().await;
        let before = store.meta().await.unwrap().audit_seq;
        for _ in 0..3 {
            let mut tx = store.begin().await.unwrap();
            tx.audit(&Entry::new(Actor::controller(), Verb::Hold, Outcome::Done)).await.unwrap();
            tx.commit().await.unwrap();
        }
        let places = async |after, most| -> Vec<u64> {
            store.audit_after(after, most).await.unwrap().into_iter().map(|record| record.seq).collect()
        };
        assert_eq!(places(before, 2).await, [before + 1, before + 2]);
        assert_eq!(places(before + 2, 2).await, [before + 3]);
        assert!(places(before + 3, 2).await.is_empty());
    }
}
