//! Tokens, instances, operators.

use std::time::Duration;

use futures_util::future::join_all;
use rekey_model::InstanceId;

use super::stage::Stage;
use crate::store::{AdminRow, Changed, Leaf, Store, StoreError, TokenRow};
use crate::tokens::{JoinToken, TokenHash};

async fn token(stage: &Stage, store: &Store, id: &str) -> TokenHash {
    let hash = JoinToken::draw().hash();
    let row = TokenRow {
        id: id.to_owned(),
        spiffe: "spiffe://rekey.local/sidecar/orders/a".parse().unwrap(),
        made: stage.now(),
        life: Duration::from_mins(10),
        made_by: "ann".to_owned(),
    };
    let mut tx = store.begin().await.unwrap();
    tx.put_token(&hash, &row).await.unwrap();
    tx.commit().await.unwrap();
    assert!(store.tokens().await.unwrap().contains(&row));
    hash
}

fn admin(name: &str, fingerprint: &str) -> AdminRow {
    AdminRow {
        name: name.to_owned(),
        roles: vec!["viewer".to_owned(), "operator".to_owned()],
        fingerprint: fingerprint.to_owned(),
        expires_ms: 77,
        last_seen: None,
        removed: None,
    }
}

both! {
    async fn of_a_thousand_who_use_one_token_one_joins(stage) {
        let store = stage.store().await;
        let hash = token(stage, &store, "t1").await;
        let join = |bits: u128| {
            let store = store.clone();
            async move {
                let mut tx = store.begin().await.unwrap();
                let taken = tx.take_token(&hash).await.unwrap();
                let Some(taken) = taken else { return false };
                tx.join(InstanceId::from_bits(bits), &taken.spiffe, &Leaf::default()).await.unwrap();
                tx.commit().await.unwrap();
                true
            }
        };
        let joined = join_all((1..=1000).map(join)).await;
        assert_eq!(joined.iter().filter(|&&joined| joined).count(), 1);
        assert_eq!(store.instances().await.unwrap().len(), 1);
        assert!(store.tokens().await.unwrap().is_empty());
    }

    async fn a_token_that_was_taken_and_not_committed_still_works(stage) {
        let store = stage.store().await;
        let hash = token(stage, &store, "t1").await;
        let mut tx = store.begin().await.unwrap();
        assert!(tx.take_token(&hash).await.unwrap().is_some());
        drop(tx);
        let mut tx = store.begin().await.unwrap();
        assert!(tx.take_token(&hash).await.unwrap().is_some());
    }

    async fn an_expired_token_is_as_good_as_none(stage) {
        let store = stage.store().await;
        let hash = token(stage, &store, "t1").await;
        stage.clock.advance(Duration::from_secs(10 * 60 - 1));
        assert!(!store.tokens().await.unwrap()[0].expired(stage.now()));
        stage.clock.advance(Duration::from_secs(1));
        let mut tx = store.begin().await.unwrap();
        assert!(tx.take_token(&hash).await.unwrap().is_none());
        assert!(tx.take_token(&JoinToken::draw().hash()).await.unwrap().is_none());
    }

    async fn a_wall_clock_that_was_set_back_prolongs_no_token(stage) {
        let store = stage.store().await;
        let hash = token(stage, &store, "t1").await;
        stage.clock.advance(Duration::from_mins(11));
        stage.clock.jump_wall(-11 * 60_000);
        let mut tx = store.begin().await.unwrap();
        assert!(tx.take_token(&hash).await.unwrap().is_none());
    }

    async fn a_revoked_token_is_gone(stage) {
        let store = stage.store().await;
        let hash = token(stage, &store, "t1").await;
        let mut tx = store.begin().await.unwrap();
        tx.revoke_token("t1").await.unwrap();
        assert!(matches!(tx.revoke_token("t1").await, Err(StoreError::Absent("token"))));
        tx.commit().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        assert!(tx.take_token(&hash).await.unwrap().is_none());
    }

    async fn the_store_keeps_no_text_of_a_token(stage) {
        let store = stage.store().await;
        let hash = token(stage, &store, "t1").await;
        assert_eq!(stage.peek("SELECT hash FROM token").await, hash.to_string());
    }

    async fn an_instance_is_kept_with_its_leaf(stage) {
        let store = stage.store().await;
        let (id, spiffe) = (InstanceId::from_bits(7), "spiffe://rekey.local/sidecar/a".parse().unwrap());
        let mut tx = store.begin().await.unwrap();
        tx.join(id, &spiffe, &Leaf { issued: 1, ..Leaf::default() }).await.unwrap();
        let leaf = Leaf { issued: 2, confirmed: 1, key: Some("ab".into()), expires_ms: Some(-5) };
        tx.set_leaf(id, &leaf).await.unwrap();
        let row = tx.instance(id).await.unwrap().unwrap();
        tx.commit().await.unwrap();
        assert_eq!((&row.leaf, row.joined, row.welcome()), (&leaf, stage.now(), true));
        assert_eq!(store.instances().await.unwrap(), [row]);
        let mut tx = store.begin().await.unwrap();
        assert!(matches!(tx.join(id, &spiffe, &leaf).await, Err(StoreError::Exists("instance"))));
        drop(tx);
        let mut tx = store.begin().await.unwrap();
        let nobody = tx.set_leaf(InstanceId::from_bits(8), &leaf).await;
        assert!(matches!(nobody, Err(StoreError::Absent("instance"))));
    }

    async fn an_operator_is_known_by_one_certificate(stage) {
        let store = stage.store().await;
        let mut told = store.changes();
        let mut tx = store.begin().await.unwrap();
        tx.put_admin(&admin("ann", "aa")).await.unwrap();
        tx.put_admin(&admin("bob", "bb")).await.unwrap();
        tx.put_admin(&admin("ann", "cc")).await.unwrap();
        tx.admin_seen("ann").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(told.recv().await.unwrap(), Changed::Admins);
        assert!(store.admin_with("aa").await.unwrap().is_none(), "the certificate before is void");
        let ann = store.admin_with("cc").await.unwrap().unwrap();
        assert_eq!((ann.last_seen, &ann.roles), (Some(stage.now()), &admin("ann", "cc").roles));
        let mut tx = store.begin().await.unwrap();
        let stolen = tx.put_admin(&admin("eve", "bb")).await;
        assert!(matches!(stolen, Err(StoreError::Exists("certificate"))), "{stolen:?}");
        drop(tx);
        let reserve = token(stage, &store, "in-reserve").await;
        let mut tx = store.begin().await.unwrap();
        tx.remove_admin("ann").await.unwrap();
        assert!(matches!(tx.remove_admin("eve").await, Err(StoreError::Absent("operator"))));
        tx.commit().await.unwrap();
        assert_eq!(store.admin_with("cc").await.unwrap().unwrap().removed, Some(stage.now()));
        assert_eq!(store.admins().await.unwrap().len(), 2);
        let mut tx = store.begin().await.unwrap();
        assert!(tx.take_token(&reserve).await.unwrap().is_none(), "a token that was made in reserve outlived its maker");
    }
}
