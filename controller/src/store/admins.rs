//! Operators: who they are, what they may do, which certificate they come with.

use rekey_model::Moment;
use sqlx::any::AnyRow;

use super::columns::{Columns, json, moment};
use super::tx::hit;
use super::{Changed, Store, StoreError, Tx};

/// An operator as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminRow {
    /// The name; the last part of the SPIFFE id.
    pub name: String,
    /// What they may do, by word.
    pub roles: Vec<String>,
    /// The SHA-256 of the one certificate that works, as hexadecimal digits.
    pub fingerprint: String,
    /// When that certificate ends, in milliseconds since 1970 UTC.
    pub expires_ms: i64,
    /// When they last called.
    pub last_seen: Option<Moment>,
    /// When they were removed.
    pub removed: Option<Moment>,
}

impl AdminRow {
    fn of(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            name: row.raw("name")?,
            roles: row.json("roles")?,
            fingerprint: row.raw("fingerprint")?,
            expires_ms: row.raw("expires_wall")?,
            last_seen: row.moment_if("last_seen")?,
            removed: row.moment_if("removed")?,
        })
    }
}

impl Store {
    /// All operators by name, removed ones too.
    pub async fn admins(&self) -> Result<Vec<AdminRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT name, roles, fingerprint, expires_wall, last_seen, removed FROM admin ORDER BY name",
        )
        .fetch_all(&mut *self.reader().await?)
        .await?;
        rows.iter().map(AdminRow::of).collect()
    }

    /// The operator with this certificate, removed or not.
    pub async fn admin_with(&self, fingerprint: &str) -> Result<Option<AdminRow>, StoreError> {
        let row = sqlx::query(
            "SELECT name, roles, fingerprint, expires_wall, last_seen, removed FROM admin WHERE fingerprint = $1",
        )
        .bind(fingerprint)
        .fetch_optional(&mut *self.reader().await?)
        .await?;
        row.as_ref().map(AdminRow::of).transpose()
    }
}

impl Tx {
    /// Makes an operator, or gives one another certificate and other roles; one that was removed is there again.
    /// [`StoreError::Exists`]: somebody else has that certificate.
    pub async fn put_admin(&mut self, admin: &AdminRow) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO admin (name, roles, fingerprint, expires_wall) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (name) DO UPDATE SET roles = excluded.roles, fingerprint = excluded.fingerprint, \
             expires_wall = excluded.expires_wall, removed = NULL",
        )
        .bind(admin.name.as_str())
        .bind(json(&admin.roles)?)
        .bind(admin.fingerprint.as_str())
        .bind(admin.expires_ms)
        .execute(self.connection())
        .await
        .map_err(StoreError::inserting("certificate"))?;
        self.will_tell(Changed::Admins);
        Ok(())
    }

    /// Notes that an operator called, now.
    pub async fn admin_seen(&mut self, name: &str) -> Result<(), StoreError> {
        let now = moment(self.now());
        let done = sqlx::query("UPDATE admin SET last_seen = $1 WHERE name = $2")
            .bind(now)
            .bind(name)
            .execute(self.connection())
            .await?;
        hit(&done, "operator")
    }

    /// Ends an operator's access, now. Twice is once.
    pub async fn remove_admin(&mut self, name: &str) -> Result<(), StoreError> {
        let now = moment(self.now());
        let done = sqlx::query("UPDATE admin SET removed = COALESCE(removed, $1) WHERE name = $2")
            .bind(now)
            .bind(name)
            .execute(self.connection())
            .await?;
        hit(&done, "operator")?;
        // Whoever holds an operator's stolen key may have made tokens in reserve.
        sqlx::query("DELETE FROM token WHERE made_by = $1").bind(name).execute(self.connection()).await?;
        self.will_tell(Changed::Admins);
        Ok(())
    }
}
