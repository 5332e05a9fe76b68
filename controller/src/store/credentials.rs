//! Credentials: what was declared, where the rotation stands, and the rotations that were.

use rekey_model::{CredentialName, Id, Order, RotationId, Version};
use rekey_rotation::{Ledger, Rotation};
use rekey_runtime::random;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::columns::{Columns, json, moment, number};
use super::tx::hit;
use super::{Changed, Store, StoreError, Tx};

/// Marks the id of a credential.
#[derive(Debug)]
pub enum Credential {}

/// Tells credentials apart that have had the same name; part of what every sealed secret is bound to.
pub type CredentialId = Id<Credential>;

/// A credential as it is stored.
#[derive(Debug, Clone)]
pub struct CredentialRow {
    /// Never changes, never used again.
    pub id: CredentialId,
    /// Its name.
    pub name: CredentialName,
    /// What was declared, as JSON.
    pub spec: serde_json::Value,
    /// Where its rotation stands.
    pub ledger: Ledger,
    /// Rises with each save; what [`Tx::save`] compares.
    pub seq: u64,
}

impl CredentialRow {
    fn of(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.parsed("id")?,
            name: row.parsed("name")?,
            spec: row.json("spec")?,
            ledger: row.json("ledger")?,
            seq: row.number("seq")?,
        })
    }
}

async fn one(on: &mut AnyConnection, name: &CredentialName) -> Result<Option<CredentialRow>, StoreError> {
    let row = sqlx::query("SELECT id, name, spec, ledger, seq FROM credential WHERE name = $1")
        .bind(name.as_str())
        .fetch_optional(on)
        .await?;
    row.as_ref().map(CredentialRow::of).transpose()
}

async fn all(on: &mut AnyConnection) -> Result<Vec<CredentialRow>, StoreError> {
    let rows =
        sqlx::query("SELECT id, name, spec, ledger, seq FROM credential ORDER BY name").fetch_all(on).await?;
    rows.iter().map(CredentialRow::of).collect()
}

/// All that have `word` among their ties of `kind`, by name.
pub(super) async fn all_tied(
    on: &mut AnyConnection,
    kind: &str,
    word: &str,
) -> Result<Vec<CredentialRow>, StoreError> {
    let rows = sqlx::query(
        "SELECT c.id AS id, c.name AS name, c.spec AS spec, c.ledger AS ledger, c.seq AS seq FROM tie t \
         JOIN credential c ON c.id = t.credential WHERE t.kind = $1 AND t.word = $2 ORDER BY c.name",
    )
    .bind(kind)
    .bind(word)
    .fetch_all(on)
    .await?;
    rows.iter().map(CredentialRow::of).collect()
}

impl Store {
    /// The credential with this name.
    pub async fn credential(&self, name: &CredentialName) -> Result<Option<CredentialRow>, StoreError> {
        one(&mut *self.reader().await?, name).await
    }

    /// All credentials, by name.
    pub async fn credentials(&self) -> Result<Vec<CredentialRow>, StoreError> {
        all(&mut *self.reader().await?).await
    }

    /// The rotation with this id, and its credential.
    pub async fn rotation(&self, id: RotationId) -> Result<Option<(CredentialName, Rotation)>, StoreError> {
        let row = sqlx::query(
            "SELECT r.record AS record, c.name AS name \
             FROM rotation r JOIN credential c ON c.id = r.credential WHERE r.id = $1",
        )
        .bind(id.to_string())
        .fetch_optional(&mut *self.reader().await?)
        .await?;
        row.map(|row| Ok((row.parsed("name")?, row.json("record")?))).transpose()
    }

    /// The last `most` rotations of a credential, newest first.
    pub async fn rotations(&self, name: &CredentialName, most: u32) -> Result<Vec<Rotation>, StoreError> {
        let rows = sqlx::query(
            "SELECT r.record AS record FROM rotation r \
             JOIN credential c ON c.id = r.credential WHERE c.name = $1 ORDER BY r.started_wall DESC, r.id LIMIT $2",
        )
        .bind(name.as_str())
        .bind(i64::from(most))
        .fetch_all(&mut *self.reader().await?)
        .await?;
        rows.iter().map(|row| row.json("record")).collect()
    }
}

impl Tx {
    /// The credential with this name, as it stays until this transaction ends.
    pub async fn load(&mut self, name: &CredentialName) -> Result<Option<CredentialRow>, StoreError> {
        one(self.connection(), name).await
    }

    /// All credentials, by name.
    pub async fn load_all(&mut self) -> Result<Vec<CredentialRow>, StoreError> {
        all(self.connection()).await
    }

    /// Makes a credential. [`StoreError::Exists`] when the name is taken.
    ///
    /// Where a credential of this name was forgotten, orders and versions go on from its last ones: sidecars remember
    /// them, and would neither apply a lower order nor serve a version that was fenced.
    pub async fn create(
        &mut self,
        name: &CredentialName,
        spec: serde_json::Value,
        mut ledger: Ledger,
    ) -> Result<CredentialRow, StoreError> {
        let earlier = sqlx::query("SELECT last_order, last_version FROM forgotten WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional(self.connection())
            .await?;
        if let Some(earlier) = earlier {
            ledger.order = ledger.order.max(Order(earlier.number("last_order")?).next());
            ledger.last_version = ledger.last_version.max(Version::new(earlier.number("last_version")?));
        }
        let row = CredentialRow { id: random::id(), name: name.clone(), spec, ledger, seq: 1 };
        sqlx::query("INSERT INTO credential (id, name, spec, ledger, seq) VALUES ($1, $2, $3, $4, 1)")
            .bind(row.id.to_string())
            .bind(name.as_str())
            .bind(json(&row.spec)?)
            .bind(json(&row.ledger)?)
            .execute(self.connection())
            .await
            .map_err(StoreError::inserting("credential"))?;
        self.will_tell(Changed::Credential(name.clone()));
        Ok(row)
    }

    /// Saves spec and ledger if nobody has since `row` was loaded, and raises its `seq`; else [`StoreError::Conflict`].
    pub async fn save(&mut self, row: &mut CredentialRow) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE credential SET spec = $1, ledger = $2, seq = seq + 1 WHERE id = $3 AND seq = $4",
        )
        .bind(json(&row.spec)?)
        .bind(json(&row.ledger)?)
        .bind(row.id.to_string())
        .bind(number(row.seq)?)
        .execute(self.connection())
        .await?;
        if done.rows_affected() != 1 {
            return Err(StoreError::Conflict);
        }
        row.seq = row.seq.saturating_add(1);
        self.will_tell(Changed::Credential(row.name.clone()));
        Ok(())
    }

    /// Forgets a credential with its secrets, rotations and holders. The audit keeps its name.
    pub async fn delete(&mut self, row: &CredentialRow) -> Result<(), StoreError> {
        let done = sqlx::query("DELETE FROM credential WHERE id = $1 AND seq = $2")
            .bind(row.id.to_string())
            .bind(number(row.seq)?)
            .execute(self.connection())
            .await?;
        if done.rows_affected() != 1 {
            return Err(StoreError::Conflict);
        }
        sqlx::query(
            "INSERT INTO forgotten (name, last_order, last_version) VALUES ($1, $2, $3) \
             ON CONFLICT (name) DO UPDATE SET last_order = excluded.last_order, \
             last_version = excluded.last_version",
        )
        .bind(row.name.as_str())
        .bind(number(row.ledger.order.0)?)
        .bind(number(row.ledger.last_version.map_or(0, Version::get))?)
        .execute(self.connection())
        .await?;
        self.will_tell(Changed::Credential(row.name.clone()));
        Ok(())
    }

    /// Writes a rotation into the history, or how far it has come since.
    pub async fn record_rotation(
        &mut self,
        credential: CredentialId,
        rotation: &Rotation,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "INSERT INTO rotation (id, credential, record, started, started_wall, ended) \
             VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (id) DO UPDATE SET record = excluded.record, ended = excluded.ended \
             WHERE rotation.credential = excluded.credential",
        )
        .bind(rotation.id.to_string())
        .bind(credential.to_string())
        .bind(json(rotation)?)
        .bind(moment(rotation.started))
        .bind(rotation.started.wall_ms)
        .bind(rotation.ended.map(moment))
        .execute(self.connection())
        .await?;
        hit(&done, "rotation")
    }
}
