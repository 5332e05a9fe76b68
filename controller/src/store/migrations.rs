//! The schema's steps. They only go forward: a step that was released never changes, and none is undone.

use sqlx::SqlSafeStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, AnyPool};

use super::OpenError;
use super::columns::Columns;
use super::dialect::Dialect;

/// One step in both dialects.
struct Step {
    number: i64,
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

const STEPS: &[Step] = &[
    Step {
        number: 1,
        name: "first",
        sqlite: include_str!("../../migrations/sqlite/0001_first.sql"),
        postgres: include_str!("../../migrations/postgres/0001_first.sql"),
    },
    Step {
        number: 2,
        name: "restore",
        sqlite: include_str!("../../migrations/sqlite/0002_restore.sql"),
        postgres: include_str!("../../migrations/postgres/0002_restore.sql"),
    },
    Step {
        number: 3,
        name: "webhooks",
        sqlite: include_str!("../../migrations/sqlite/0003_webhooks.sql"),
        postgres: include_str!("../../migrations/postgres/0003_webhooks.sql"),
    },
    Step {
        number: 4,
        name: "ties",
        sqlite: include_str!("../../migrations/sqlite/0004_ties.sql"),
        postgres: include_str!("../../migrations/postgres/0004_ties.sql"),
    },
];

fn steps(dialect: &Dialect) -> Vec<Migration> {
    let migration = |step: &Step| {
        let text = if dialect.path().is_some() { step.sqlite } else { step.postgres };
        Migration::new(step.number, step.name.into(), MigrationType::Simple, text.into_sql_str(), false)
    };
    STEPS.iter().map(migration).collect()
}

/// The step that this release ends with.
fn latest() -> i64 {
    STEPS.iter().map(|step| step.number).max().unwrap_or(0)
}

/// Whether the schema is exactly the one of this release; false when there is none. Changes nothing.
pub(super) async fn is_current(on: &mut AnyConnection) -> Result<bool, OpenError> {
    let found = sqlx::query("SELECT MAX(version) AS n FROM _sqlx_migrations").fetch_one(on).await;
    // A database without that table is no store.
    let Ok(row) = found else { return Ok(false) };
    let (found, known) = (row.raw::<Option<i64>>("n")?.unwrap_or(0), latest());
    if found > known {
        return Err(OpenError::NewerSchema { found, known });
    }
    Ok(found == known)
}

/// Brings the schema up to date. A schema that a later release wrote is refused, and nothing is changed.
pub(super) async fn run(pool: &AnyPool, dialect: &Dialect) -> Result<(), OpenError> {
    let known = latest();
    Migrator::with_migrations(steps(dialect)).run(pool).await.map_err(|error| {
        if let MigrateError::VersionMissing(found) = error {
            return OpenError::NewerSchema { found, known };
        }
        if let MigrateError::VersionMismatch(step) = error {
            return OpenError::OtherSchema(step);
        }
        OpenError::Migrating(error)
    })
}
