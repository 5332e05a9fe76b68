//! The schema: the same on both databases, and it only goes forward.

use super::stage::credential;
use crate::store::{OpenError, Store};

both! {
    async fn a_schema_of_a_later_release_is_refused_and_left_alone(stage) {
        let store = stage.store().await;
        credential(&store, "orders/db").await;
        let before = store.meta().await.unwrap();
        let (yes, sum) = if stage.is_sqlite() { ("1", "x'00'") } else { ("true", "'\\x00'") };
        stage.tamper(&format!(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (99, 'later', {yes}, {sum}, 0)"
        )).await;
        let refused = Store::open(&stage.config, stage.clock.clone()).await.unwrap_err();
        assert!(matches!(refused, OpenError::NewerSchema { found: 99, known: 4 }), "{refused:?}");
        let looked = Store::look(&stage.config, stage.clock.clone()).await.unwrap_err();
        assert!(matches!(looked, OpenError::NewerSchema { found: 99, known: 4 }), "{looked:?}");
        assert!(refused.to_string().contains("install the release that wrote it"), "{refused}");
        assert_eq!(store.meta().await.unwrap(), before);
    }

    async fn a_schema_that_somebody_else_made_is_refused(stage) {
        drop(stage.store().await);
        let sum = if stage.is_sqlite() { "x'00'" } else { "'\\x00'" };
        stage.tamper(&format!("UPDATE _sqlx_migrations SET checksum = {sum}")).await;
        let refused = Store::open(&stage.config, stage.clock.clone()).await.unwrap_err();
        assert!(matches!(refused, OpenError::OtherSchema(1)), "{refused:?}");
    }
}

#[test]
fn both_databases_have_the_same_tables() {
    let plain = |text: &str| {
        let tables = text.split("-- The database itself").next().unwrap().to_owned();
        tables.replace(") STRICT;", ");").replace("INTEGER", "BIGINT").replace("BLOB", "BYTEA")
    };
    let sqlite = plain(include_str!("../../../migrations/sqlite/0001_first.sql"));
    assert_eq!(sqlite, plain(include_str!("../../../migrations/postgres/0001_first.sql")));
    let second = plain(include_str!("../../../migrations/sqlite/0002_restore.sql"));
    assert_eq!(second, plain(include_str!("../../../migrations/postgres/0002_restore.sql")));
    let third = plain(include_str!("../../../migrations/sqlite/0003_webhooks.sql"));
    assert_eq!(third, plain(include_str!("../../../migrations/postgres/0003_webhooks.sql")));
    let fourth = plain(include_str!("../../../migrations/sqlite/0004_ties.sql"));
    assert_eq!(fourth, plain(include_str!("../../../migrations/postgres/0004_ties.sql")));
    assert!(sqlite.matches("CREATE TABLE").count() > 10);
}
