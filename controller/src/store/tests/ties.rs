//! Ties between credentials.

use super::stage::{Stage, credential, name};
use crate::store::{CredentialRow, Store, Tie, TieKind};

fn pair(word: &str) -> Tie {
    Tie { kind: TieKind::Pair, word: word.to_owned() }
}

async fn tie(store: &Store, row: &CredentialRow, ties: &[Tie]) {
    let mut tx = store.begin().await.unwrap();
    tx.tie(row.id, ties).await.unwrap();
    tx.commit().await.unwrap();
}

async fn tied(store: &Store, tie: &Tie) -> Vec<String> {
    let read = store.tied(tie).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    let held = tx.tied(tie).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(
        read.iter().map(|row| row.id).collect::<Vec<_>>(),
        held.iter().map(|row| row.id).collect::<Vec<_>>()
    );
    read.iter().map(|row| row.name.to_string()).collect()
}

/// The schema of the release before, as its controller left it, with `spec` declared.
async fn of_release_before(stage: &Stage, spec: &str) {
    let store = stage.store().await;
    let row = credential(&store, "orders/db").await;
    store.close().await;
    let row = row.id;
    stage
        .tamper(&format!(
            "DROP TABLE tie; DELETE FROM _sqlx_migrations WHERE version = 4; \
             UPDATE credential SET spec = '{spec}' WHERE id = '{row}'"
        ))
        .await;
}

both! {
    async fn whoever_has_the_same_word_is_tied_until_it_is_declared_otherwise_or_forgotten(stage) {
        let store = stage.store().await;
        let (b, a) = (credential(&store, "b").await, credential(&store, "a").await);
        credential(&store, "c").await;
        tie(&store, &b, &[pair("database"), Tie::of_class("logins", "test")]).await;
        tie(&store, &a, &[pair("database"), Tie::of_class("logins", "production")]).await;
        assert_eq!(tied(&store, &pair("database")).await, ["a", "b"]);
        assert_eq!(tied(&store, &Tie::of_class("logins", "test")).await, ["b"], "a word counts with its kind");
        assert_eq!(tied(&store, &pair("Database")).await, [""; 0]);
        tie(&store, &b, &[pair("other")]).await;
        assert_eq!(tied(&store, &pair("database")).await, ["a"]);
        assert_eq!(tied(&store, &Tie::of_class("logins", "test")).await, [""; 0], "what is not said again is gone");
        let mut tx = store.begin().await.unwrap();
        let row = tx.load(&name("a")).await.unwrap().unwrap();
        tx.delete(&row).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(tied(&store, &pair("database")).await, [""; 0]);
    }

    async fn a_class_that_was_declared_before_there_were_ties_has_its_tie(stage) {
        of_release_before(stage, r#"{"class": "logins", "environment": "staging"}"#).await;
        let store = stage.open().await;
        assert_eq!(tied(&store, &Tie::of_class("logins", "staging")).await, ["orders/db"]);
    }

    async fn one_without_a_class_has_none(stage) {
        of_release_before(stage, r#"{"environment": "staging"}"#).await;
        let store = stage.open().await;
        assert_eq!(stage.peek("SELECT CAST(COUNT(*) AS TEXT) FROM tie").await, "0");
        drop(store);
    }
}
