//! Sidecar instances: from their join to their removal, with the leaves they were given.

use std::time::Duration;

use rekey_model::{Generation, Incarnation, InstanceId, Moment, SessionId, SpiffeId};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::columns::{Columns, moment, number};
use super::tx::hit;
use super::{Changed, Store, StoreError, Tx};

/// Which leaf an instance has. The counter stands in the leaf; a copy of an older leaf shows by it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leaf {
    /// The counter of the last leaf that was issued.
    pub issued: u64,
    /// The counter of the last leaf that was seen in use.
    pub confirmed: u64,
    /// The SHA-256 of the public key in the last leaf, as hexadecimal digits.
    pub key: Option<String>,
    /// When the last leaf ends, in milliseconds since 1970 UTC.
    pub expires_ms: Option<i64>,
}

/// A sidecar instance as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRow {
    /// Drawn at its join.
    pub id: InstanceId,
    /// What it may have; shared by its replicas.
    pub spiffe: SpiffeId,
    /// The host, as it says.
    pub host: String,
    /// The program, as it says.
    pub software: String,
    /// When it joined.
    pub joined: Moment,
    /// Its current session; messages of any other are void.
    pub session: Option<SessionId>,
    /// How many sessions it has had.
    pub session_seq: u64,
    /// When its lease was last granted or renewed.
    pub last_contact: Option<Moment>,
    /// How long it counts as live from then; zero after a goodbye.
    pub lease: Duration,
    /// Its last generation.
    pub generation: Generation,
    /// Its leaf.
    pub leaf: Leaf,
    /// Why it is locked, such as a second user of one identity.
    pub locked: Option<String>,
    /// When it was removed.
    pub removed: Option<Moment>,
    /// The life of the store in which it last said hello.
    pub heard_in: Incarnation,
}

macro_rules! columns {
    () => {
        "id, spiffe, host, software, joined, session, session_seq, last_contact, lease_ms, generation, leaf_issued, \
         leaf_confirmed, leaf_key, leaf_expires_wall, locked, removed, heard_in"
    };
}

impl InstanceRow {
    fn of(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.parsed("id")?,
            spiffe: row.parsed("spiffe")?,
            host: row.raw("host")?,
            software: row.raw("software")?,
            joined: row.moment("joined")?,
            session: row.parsed_if("session")?,
            session_seq: row.number("session_seq")?,
            last_contact: row.moment_if("last_contact")?,
            lease: row.millis("lease_ms")?,
            generation: Generation(row.number("generation")?),
            leaf: Leaf {
                issued: row.number("leaf_issued")?,
                confirmed: row.number("leaf_confirmed")?,
                key: row.raw("leaf_key")?,
                expires_ms: row.raw("leaf_expires_wall")?,
            },
            locked: row.raw("locked")?,
            removed: row.moment_if("removed")?,
            heard_in: Incarnation(row.number("heard_in")?),
        })
    }

    /// Whether it may do anything at all.
    pub fn welcome(&self) -> bool {
        self.locked.is_none() && self.removed.is_none()
    }
}

async fn one(on: &mut AnyConnection, id: InstanceId) -> Result<Option<InstanceRow>, StoreError> {
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM instance WHERE id = $1"))
        .bind(id.to_string())
        .fetch_optional(on)
        .await?;
    row.as_ref().map(InstanceRow::of).transpose()
}

impl Store {
    /// The instance with this id, locked and removed ones too.
    pub async fn instance(&self, id: InstanceId) -> Result<Option<InstanceRow>, StoreError> {
        one(&mut *self.reader().await?, id).await
    }

    /// All instances, by SPIFFE id, locked and removed ones too.
    pub async fn instances(&self) -> Result<Vec<InstanceRow>, StoreError> {
        let rows = sqlx::query(concat!("SELECT ", columns!(), " FROM instance ORDER BY spiffe, id"))
            .fetch_all(&mut *self.reader().await?)
            .await?;
        rows.iter().map(InstanceRow::of).collect()
    }

    /// The instances that are locked or removed.
    pub async fn unwelcome(&self) -> Result<Vec<InstanceId>, StoreError> {
        let rows = sqlx::query("SELECT id FROM instance WHERE locked IS NOT NULL OR removed IS NOT NULL")
            .fetch_all(&mut *self.reader().await?)
            .await?;
        rows.iter().map(|row| row.parsed("id")).collect()
    }
}

impl Tx {
    /// The instance with this id, as it stays until this transaction ends.
    pub async fn instance(&mut self, id: InstanceId) -> Result<Option<InstanceRow>, StoreError> {
        one(self.connection(), id).await
    }

    /// Records a new instance, joined now; in the transaction that took its token.
    pub async fn join(&mut self, id: InstanceId, spiffe: &SpiffeId, leaf: &Leaf) -> Result<(), StoreError> {
        let now = moment(self.now());
        sqlx::query(
            "INSERT INTO instance (id, spiffe, host, software, joined, session_seq, lease_ms, generation, \
             leaf_issued, leaf_confirmed, leaf_key, leaf_expires_wall) \
             VALUES ($1, $2, '', '', $3, 0, 0, 0, $4, $5, $6, $7)",
        )
        .bind(id.to_string())
        .bind(spiffe.as_str())
        .bind(now)
        .bind(number(leaf.issued)?)
        .bind(number(leaf.confirmed)?)
        .bind(leaf.key.clone())
        .bind(leaf.expires_ms)
        .execute(self.connection())
        .await
        .map_err(StoreError::inserting("instance"))?;
        self.will_tell(Changed::Instances);
        Ok(())
    }

    /// Records the leaf of an instance.
    pub async fn set_leaf(&mut self, id: InstanceId, leaf: &Leaf) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE instance SET leaf_issued = $1, leaf_confirmed = $2, leaf_key = $3, leaf_expires_wall = $4 \
             WHERE id = $5",
        )
        .bind(number(leaf.issued)?)
        .bind(number(leaf.confirmed)?)
        .bind(leaf.key.clone())
        .bind(leaf.expires_ms)
        .bind(id.to_string())
        .execute(self.connection())
        .await?;
        hit(&done, "instance")
    }

    /// Locks an instance: it keeps counting as a holder, and may do nothing more. The first reason stays.
    pub async fn lock_instance(&mut self, id: InstanceId, why: &str) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE instance SET locked = COALESCE(locked, $1) WHERE id = $2")
            .bind(why)
            .bind(id.to_string())
            .execute(self.connection())
            .await?;
        hit(&done, "instance")?;
        self.will_tell(Changed::Instances);
        Ok(())
    }

    /// Removes an instance: it may do nothing more and counts no longer. The row stays, so that it cannot come back.
    pub async fn remove_instance(&mut self, id: InstanceId) -> Result<(), StoreError> {
        self.let_all_go(id).await?;
        let now = moment(self.now());
        let done = sqlx::query(
            "UPDATE instance SET removed = COALESCE(removed, $1), session = NULL, lease_ms = 0 WHERE id = $2",
        )
        .bind(now)
        .bind(id.to_string())
        .execute(self.connection())
        .await?;
        hit(&done, "instance")?;
        self.will_tell(Changed::Instances);
        Ok(())
    }
}
