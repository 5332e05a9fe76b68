//! Who holds what, and what they have acknowledged: the evidence that endings rest on. What sidecars say comes in
//! through `sessions.rs`; who may hold what is decided by others and written here.

use std::time::Duration;

use rekey_model::{CredentialName, Generation, InstanceId, Moment, Order, SessionId, SpiffeId, Version};
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection};

use super::columns::{Columns, moment, number};
use super::{Changed, Store, StoreError, Tx};

/// What a holder has acknowledged in its current session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acked {
    /// The highest order.
    pub order: Order,
    /// The version that came with it.
    pub version: Option<Version>,
    /// When it first acknowledged that order; kept by a later session that still held it.
    pub at: Moment,
}

/// What a holder has refused in its current session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nacked {
    /// The order.
    pub order: Order,
    /// Why, in its words.
    pub reason: String,
}

/// What a holder says of the processes behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// The order that was live at the holder when it reported.
    pub order: Order,
    /// What it reported, as JSON.
    pub report: serde_json::Value,
    /// When it was committed.
    pub at: Moment,
}

/// One instance that holds a credential, or did and is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolderRow {
    /// The credential.
    pub credential: CredentialName,
    /// The instance.
    pub instance: InstanceId,
    /// What authorises it.
    pub spiffe: SpiffeId,
    /// Its host, as it says.
    pub host: String,
    /// Its current session.
    pub session: Option<SessionId>,
    /// When its lease was last granted or renewed.
    pub last_contact: Option<Moment>,
    /// How long it counts as live from then; zero after a goodbye.
    pub lease: Duration,
    /// Its last generation.
    pub generation: Generation,
    /// Whether the instance is locked.
    pub locked: bool,
    /// When the hello was committed that began its present, unbroken possession.
    pub since: Moment,
    /// Whether it held nothing of the credential then.
    pub came_empty: bool,
    /// What it has acknowledged; a hello takes it away, only an ack brings it back.
    pub acked: Option<Acked>,
    /// What it has refused.
    pub nacked: Option<Nacked>,
    /// Whether it lost its grant and has not acknowledged that yet.
    pub withdrawn: bool,
    /// What it reported last.
    pub reported: Option<Reported>,
    /// When it said goodbye, had dropped what was withdrawn, or was removed: it counts no longer.
    pub gone: Option<Moment>,
}

impl HolderRow {
    fn of(row: &AnyRow) -> Result<Self, StoreError> {
        let acked = match (row.number_if("acked_order")?, row.moment_if("acked_at")?) {
            (Some(order), Some(at)) => Some(Acked {
                order: Order(order),
                version: row.number_if("acked_version")?.and_then(Version::new),
                at,
            }),
            _none => None,
        };
        let nacked = match (row.number_if("nacked_order")?, row.raw::<Option<String>>("nacked_reason")?) {
            (Some(order), Some(reason)) => Some(Nacked { order: Order(order), reason }),
            _none => None,
        };
        let reported =
            match (row.number_if("usage_order")?, row.json_if("usage")?, row.moment_if("usage_at")?) {
                (Some(order), Some(report), Some(at)) => Some(Reported { order: Order(order), report, at }),
                _none => None,
            };
        Ok(Self {
            credential: row.parsed("name")?,
            instance: row.parsed("instance")?,
            spiffe: row.parsed("spiffe")?,
            host: row.raw("host")?,
            session: row.parsed_if("session")?,
            last_contact: row.moment_if("last_contact")?,
            lease: row.millis("lease_ms")?,
            generation: Generation(row.number("generation")?),
            locked: row.raw::<Option<String>>("locked")?.is_some(),
            since: row.moment("since")?,
            came_empty: row.number("came_empty")? != 0,
            acked,
            nacked,
            withdrawn: row.number("withdrawn")? != 0,
            reported,
            gone: row.moment_if("gone")?,
        })
    }
}

macro_rules! holders {
    ($rest:literal) => {
        concat!(
            "SELECT c.name AS name, i.id AS instance, i.spiffe AS spiffe, i.host AS host, i.session AS session, \
             i.last_contact AS last_contact, i.lease_ms AS lease_ms, i.generation AS generation, \
             i.locked AS locked, h.acked_order AS acked_order, h.acked_version AS acked_version, \
             h.acked_at AS acked_at, h.nacked_order AS nacked_order, h.nacked_reason AS nacked_reason, \
             h.withdrawn AS withdrawn, h.usage AS usage, h.usage_order AS usage_order, h.usage_at AS usage_at, \
             h.since AS since, h.came_empty AS came_empty, h.gone AS gone \
             FROM holding h JOIN instance i ON i.id = h.instance JOIN credential c ON c.id = h.credential ",
            $rest
        )
    };
}

/// What changes one holding: $1 is the instance and $2 the credential's name.
macro_rules! holding {
    ($set:literal $(, $rest:literal)?) => {
        concat!(
            "UPDATE holding SET ", $set,
            " WHERE instance = $1 AND credential = (SELECT id FROM credential WHERE name = $2)",
            $($rest)?
        )
    };
}
pub(super) use holding;

/// An update of one holding, to be bound from $3 on.
pub(super) type Update<'q> = Query<'q, Any, AnyArguments>;

async fn of_credential(on: &mut AnyConnection, name: &CredentialName) -> Result<Vec<HolderRow>, StoreError> {
    let rows = sqlx::query(holders!("WHERE c.name = $1 ORDER BY i.spiffe, i.id"))
        .bind(name.as_str())
        .fetch_all(on)
        .await?;
    rows.iter().map(HolderRow::of).collect()
}

async fn of_instance(on: &mut AnyConnection, id: InstanceId) -> Result<Vec<HolderRow>, StoreError> {
    let rows =
        sqlx::query(holders!("WHERE i.id = $1 ORDER BY c.name")).bind(id.to_string()).fetch_all(on).await?;
    rows.iter().map(HolderRow::of).collect()
}

impl Store {
    /// Everybody who holds a credential, and those who did and are gone.
    pub async fn holders_of(&self, name: &CredentialName) -> Result<Vec<HolderRow>, StoreError> {
        of_credential(&mut *self.reader().await?, name).await
    }

    /// Everything an instance holds.
    pub async fn holdings_of(&self, id: InstanceId) -> Result<Vec<HolderRow>, StoreError> {
        of_instance(&mut *self.reader().await?, id).await
    }
}

impl Tx {
    /// Everybody who holds a credential, as it stays until this transaction ends: what a guard reads.
    pub async fn holders_of(&mut self, name: &CredentialName) -> Result<Vec<HolderRow>, StoreError> {
        of_credential(self.connection(), name).await
    }

    /// Everything an instance holds, as it stays until this transaction ends.
    pub async fn holdings_of(&mut self, id: InstanceId) -> Result<Vec<HolderRow>, StoreError> {
        of_instance(self.connection(), id).await
    }

    /// From now on the instance may have the credential and counts as a holder of it. Twice is once; an unknown name
    /// changes nothing.
    pub async fn grant(&mut self, instance: InstanceId, name: &CredentialName) -> Result<(), StoreError> {
        self.possess(instance, name, None).await
    }

    /// Writes that the instance holds the credential, having held `held` of it before.
    pub(super) async fn possess(
        &mut self,
        instance: InstanceId,
        name: &CredentialName,
        held: Option<Order>,
    ) -> Result<(), StoreError> {
        let now = moment(self.now());
        sqlx::query(
            "INSERT INTO holding (instance, credential, since, came_empty, withdrawn) \
             SELECT CAST($1 AS TEXT), id, CAST($3 AS TEXT), CASE WHEN $4 < 0 THEN 1 ELSE 0 END, 0 \
             FROM credential WHERE name = $2 \
             ON CONFLICT (instance, credential) DO UPDATE SET withdrawn = 0, gone = NULL, \
             since = CASE WHEN $4 < 0 THEN excluded.since ELSE holding.since END, \
             came_empty = CASE WHEN $4 < 0 THEN 1 ELSE holding.came_empty END, \
             kept_order = CASE WHEN holding.kept_order = $4 THEN holding.kept_order END, \
             kept_at = CASE WHEN holding.kept_order = $4 THEN holding.kept_at END",
        )
        .bind(instance.to_string())
        .bind(name.as_str())
        .bind(now)
        .bind(held.map_or(Ok(-1), |order| number(order.0))?)
        .execute(self.connection())
        .await?;
        self.will_tell(Changed::Holders(name.clone()));
        Ok(())
    }

    /// The instance may no longer have the credential; it counts until it has dropped it ([`Tx::let_go`]).
    pub async fn withdraw(&mut self, instance: InstanceId, name: &CredentialName) -> Result<(), StoreError> {
        self.change_holding(instance, name, holding!("withdrawn = 1"), |update| update).await
    }

    /// The instance counts no longer as a holder of the credential, from now on and until its next hello: it has
    /// dropped it, or an operator removed it. The first time stays.
    pub async fn let_go(&mut self, instance: InstanceId, name: &CredentialName) -> Result<(), StoreError> {
        let now = moment(self.now());
        let sql = holding!("gone = COALESCE(gone, $3)");
        self.change_holding(instance, name, sql, |update| update.bind(now)).await
    }

    /// Changes one holding by `sql`, which [`holding!`] made and `bind` completes; tells of it if that changed anything.
    pub(super) async fn change_holding(
        &mut self,
        instance: InstanceId,
        name: &CredentialName,
        sql: &'static str,
        bind: impl FnOnce(Update<'static>) -> Update<'static>,
    ) -> Result<(), StoreError> {
        let update = bind(sqlx::query(sql).bind(instance.to_string()).bind(name.to_string()));
        if update.execute(self.connection()).await?.rows_affected() > 0 {
            self.will_tell(Changed::Holders(name.clone()));
        }
        Ok(())
    }

    /// The instance counts no longer as a holder of anything.
    pub(super) async fn let_all_go(&mut self, instance: InstanceId) -> Result<(), StoreError> {
        let now = moment(self.now());
        sqlx::query("UPDATE holding SET gone = COALESCE(gone, $1) WHERE instance = $2")
            .bind(now)
            .bind(instance.to_string())
            .execute(self.connection())
            .await?;
        self.will_tell_of_holdings(instance).await
    }

    /// Tells after the commit of everything that an instance holds.
    pub(super) async fn will_tell_of_holdings(&mut self, instance: InstanceId) -> Result<(), StoreError> {
        let rows = sqlx::query(
            "SELECT c.name AS name FROM holding h JOIN credential c ON c.id = h.credential WHERE h.instance = $1",
        )
        .bind(instance.to_string())
        .fetch_all(self.connection())
        .await?;
        for row in &rows {
            let name = row.parsed("name")?;
            self.will_tell(Changed::Holders(name));
        }
        Ok(())
    }
}
