//! How far webhooks have been told of the audit, and the alarms that the audit knows to be on.

use rekey_model::Moment;
use sqlx::any::AnyRow;

use super::columns::{Columns, moment, number};
use super::{Store, StoreError, Tx};

/// How far one webhook is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRow {
    /// Which.
    pub name: String,
    /// The last record of the audit that it was told, or that it is not to be told.
    pub told: u64,
    /// Since when the next one cannot be told.
    pub failing: Option<Moment>,
    /// Why; empty: nothing is wrong.
    pub last_error: String,
    /// Whether the receiver said that it wants nothing any more.
    pub stopped: bool,
}

impl WebhookRow {
    /// One that was told nothing and lacks nothing.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), told: 0, failing: None, last_error: String::new(), stopped: false }
    }

    fn of(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            name: row.raw("name")?,
            told: row.number("told")?,
            failing: row.moment_if("failing")?,
            last_error: row.raw("last_error")?,
            stopped: row.number("stopped")? != 0,
        })
    }
}

/// An alarm that is on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlarmRow {
    /// Whose; empty: the whole controller's.
    pub credential: String,
    /// Its stable name.
    pub kind: String,
}

impl Store {
    /// All webhooks that were ever begun and not forgotten, by name.
    pub async fn webhooks(&self) -> Result<Vec<WebhookRow>, StoreError> {
        let rows = sqlx::query("SELECT name, told, failing, last_error, stopped FROM webhook ORDER BY name")
            .fetch_all(&mut *self.reader().await?)
            .await?;
        rows.iter().map(WebhookRow::of).collect()
    }

    /// The alarms that the audit knows to be on.
    pub async fn alarms(&self) -> Result<Vec<AlarmRow>, StoreError> {
        let rows = sqlx::query("SELECT credential, kind FROM alarm ORDER BY credential, kind")
            .fetch_all(&mut *self.reader().await?)
            .await?;
        rows.iter()
            .map(|row| Ok(AlarmRow { credential: row.raw("credential")?, kind: row.raw("kind")? }))
            .collect()
    }
}

impl Tx {
    /// Notes how far a webhook is; twice is once.
    pub async fn put_webhook(&mut self, row: &WebhookRow) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO webhook (name, told, failing, last_error, stopped) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (name) DO UPDATE SET told = excluded.told, failing = excluded.failing, \
             last_error = excluded.last_error, stopped = excluded.stopped",
        )
        .bind(row.name.as_str())
        .bind(number(row.told)?)
        .bind(row.failing.map(moment))
        .bind(row.last_error.as_str())
        .bind(i64::from(row.stopped))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Forgets a webhook: if it comes back, it begins where the audit is then. One that is not there is no fault.
    pub async fn drop_webhook(&mut self, name: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM webhook WHERE name = $1").bind(name).execute(self.connection()).await?;
        Ok(())
    }

    /// Notes that an alarm is on; twice is once.
    pub async fn put_alarm(&mut self, alarm: &AlarmRow) -> Result<(), StoreError> {
        let now = moment(self.now());
        sqlx::query(
            "INSERT INTO alarm (credential, kind, began) VALUES ($1, $2, $3) \
             ON CONFLICT (credential, kind) DO NOTHING",
        )
        .bind(alarm.credential.as_str())
        .bind(alarm.kind.as_str())
        .bind(now)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Notes that an alarm is off. One that was off is no fault.
    pub async fn drop_alarm(&mut self, alarm: &AlarmRow) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM alarm WHERE credential = $1 AND kind = $2")
            .bind(alarm.credential.as_str())
            .bind(alarm.kind.as_str())
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
