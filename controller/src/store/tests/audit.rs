//! The audit: with the transaction or not at all, and every change of it shows.

use rekey_model::{InstanceId, RotationId, Version};

use super::stage::{Stage, name};
use crate::audit::{Actor, ActorKind, Broken, Entry, Outcome, Verb};
use crate::store::Store;

async fn record(store: &Store, count: usize) {
    let mut tx = store.begin().await.unwrap();
    for number in 0..count {
        let actor = Actor { kind: ActorKind::Admin, id: "ann".into(), authenticated: "mtls 00ff".into() };
        let entry = Entry {
            version: Version::new(3),
            rotation: Some(RotationId::from_bits(4)),
            holder: Some(InstanceId::from_bits(5)),
            request: Some("r-1".into()),
            ..Entry::new(actor, Verb::Rotate, Outcome::Done)
        };
        tx.audit(&entry.about(&name("orders/db")).because(format!("because of {number}"))).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// Lets somebody who owns the database past its triggers.
async fn unguard(stage: &Stage) {
    if stage.is_sqlite() {
        stage.tamper("DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_deleted").await;
    } else {
        stage.tamper("ALTER TABLE audit DISABLE TRIGGER ALL").await;
    }
}

both! {
    async fn what_is_recorded_is_read_newest_first(stage) {
        let store = stage.store().await;
        record(&store, 3).await;
        let mut tx = store.begin().await.unwrap();
        tx.audit(&Entry::new(Actor::controller(), Verb::Start, Outcome::Done)).await.unwrap();
        tx.commit().await.unwrap();
        let all = store.audit(None, None, 10).await.unwrap();
        assert_eq!(all.iter().map(|r| r.seq).collect::<Vec<_>>(), [4, 3, 2, 1]);
        assert_eq!((all[0].verb.as_str(), &all[0].credential), ("start", &None));
        assert_eq!((all[3].reason.as_str(), all[3].version), ("because of 0", Some(3)));
        assert_eq!(all[3].time_ms, stage.now().wall_ms);
        let of = store.audit(Some(&name("orders/db")), Some(3), 10).await.unwrap();
        assert_eq!(of.iter().map(|r| r.seq).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(store.verify_audit().await.unwrap(), Ok(4));
    }

    async fn a_record_is_there_with_its_effect_or_not_at_all(stage) {
        let store = stage.store().await;
        let mut tx = store.begin().await.unwrap();
        tx.audit(&Entry::new(Actor::controller(), Verb::Start, Outcome::Done)).await.unwrap();
        drop(tx);
        record(&store, 1).await;
        assert_eq!(store.verify_audit().await.unwrap(), Ok(1));
    }

    async fn an_empty_audit_verifies_and_a_long_one_too(stage) {
        let store = stage.store().await;
        assert_eq!(store.verify_audit().await.unwrap(), Ok(0));
        record(&store, 700).await;
        record(&store, 700).await;
        assert_eq!(store.verify_audit().await.unwrap(), Ok(1400));
    }

    async fn every_changed_field_shows(stage) {
        let store = stage.store().await;
        record(&store, 3).await;
        unguard(stage).await;
        let changes = [
            "time_wall = time_wall + 1", "installation = 'x'", "actor_kind = 'host'", "actor = 'anna'",
            "authenticated = ''", "verb = 'hold'", "credential = NULL", "credential = ''", "version = NULL",
            "version = 4", "rotation = NULL", "holder = NULL", "outcome = 'failed'", "request = NULL",
            "reason = ''",
        ];
        for change in changes {
            // The whole row is put back afterwards from a copy.
            stage.tamper(&format!(
                "CREATE TABLE kept AS SELECT * FROM audit WHERE seq = 2; UPDATE audit SET {change} WHERE seq = 2"
            )).await;
            assert_eq!(store.verify_audit().await.unwrap(), Err(Broken::Changed(2)), "{change}");
            stage.tamper(
                "DELETE FROM audit WHERE seq = 2; INSERT INTO audit SELECT * FROM kept; DROP TABLE kept"
            ).await;
            assert_eq!(store.verify_audit().await.unwrap(), Ok(3));
        }
    }

    async fn nothing_is_told_apart_from_an_empty_text(stage) {
        let store = stage.store().await;
        let mut tx = store.begin().await.unwrap();
        tx.audit(&Entry::new(Actor::controller(), Verb::Start, Outcome::Done)).await.unwrap();
        tx.commit().await.unwrap();
        unguard(stage).await;
        for column in ["credential", "rotation", "holder", "request"] {
            stage.tamper(&format!("UPDATE audit SET {column} = ''")).await;
            assert_eq!(store.verify_audit().await.unwrap(), Err(Broken::Changed(1)), "{column}");
            stage.tamper(&format!("UPDATE audit SET {column} = NULL")).await;
            assert_eq!(store.verify_audit().await.unwrap(), Ok(1));
        }
    }

    async fn a_record_that_was_taken_out_shows(stage) {
        let store = stage.store().await;
        record(&store, 4).await;
        unguard(stage).await;
        stage.tamper("DELETE FROM audit WHERE seq = 2").await;
        assert_eq!(store.verify_audit().await.unwrap(), Err(Broken::Gap { after: 1, found: 3 }));
        stage.tamper("UPDATE audit SET seq = 2 WHERE seq = 3; UPDATE audit SET seq = 3 WHERE seq = 4").await;
        assert_eq!(store.verify_audit().await.unwrap(), Err(Broken::Link(2)));
    }

    async fn a_tail_that_was_taken_off_shows(stage) {
        let store = stage.store().await;
        record(&store, 4).await;
        unguard(stage).await;
        stage.tamper("DELETE FROM audit WHERE seq > 2").await;
        assert_eq!(store.verify_audit().await.unwrap(), Err(Broken::End { found: 2, expected: 4 }));
        stage.tamper("DELETE FROM audit").await;
        assert_eq!(store.verify_audit().await.unwrap(), Err(Broken::End { found: 0, expected: 4 }));
    }

    async fn a_record_that_was_put_in_shows(stage) {
        let store = stage.store().await;
        record(&store, 3).await;
        unguard(stage).await;
        let columns = "time_wall, installation, actor_kind, actor, authenticated, verb, credential, version, \
                       rotation, holder, outcome, request, reason, prev, hash";
        for (seq, at) in [(0, Broken::Gap { after: 0, found: 0 }), (4, Broken::Link(4))] {
            stage.tamper(&format!("INSERT INTO audit (seq, {columns}) SELECT {seq}, {columns} FROM audit WHERE seq = 3"))
                .await;
            let found = store.verify_audit().await.unwrap();
            assert_eq!(found, Err(at));
            stage.tamper(&format!("DELETE FROM audit WHERE seq = {seq}")).await;
        }
    }

    async fn swapped_records_show(stage) {
        let store = stage.store().await;
        record(&store, 4).await;
        unguard(stage).await;
        stage.tamper(
            "UPDATE audit SET seq = -1 WHERE seq = 2; UPDATE audit SET seq = 2 WHERE seq = 3; \
             UPDATE audit SET seq = 3 WHERE seq = -1"
        ).await;
        assert_eq!(store.verify_audit().await.unwrap(), Err(Broken::Link(2)));
    }

    async fn the_database_refuses_to_change_the_audit(stage) {
        let store = stage.store().await;
        record(&store, 2).await;
        for change in ["UPDATE audit SET reason = 'x'", "DELETE FROM audit WHERE seq = 1"] {
            let refused = stage.try_tamper(change).await.unwrap_err();
            assert!(refused.contains("the audit only grows"), "{refused}");
        }
        assert_eq!(store.verify_audit().await.unwrap(), Ok(2));
    }
}
