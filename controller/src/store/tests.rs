//! One suite for both databases: every test of `both!` runs on SQLite and on PostgreSQL.

/// Makes two tests of each function: one on SQLite, one on a database of its own in a private PostgreSQL.
macro_rules! both {
    ($($(#[$doc:meta])* async fn $name:ident($stage:ident) $body:block)*) => {
        $($(#[$doc])* async fn $name($stage: &$crate::store::tests::stage::Stage) $body)*
        mod on_sqlite {
            $(#[tokio::test] async fn $name() {
                super::$name(&$crate::store::tests::stage::Stage::sqlite()).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test] async fn $name() {
                super::$name(&$crate::store::tests::stage::Stage::postgres()).await;
            })*
        }
    };
}

mod audit;
mod claims;
mod copies;
mod credentials;
mod holders;
mod identities;
mod opening;
mod schema;
mod secrets;
pub(crate) mod stage;
mod ties;
mod webhooks;
