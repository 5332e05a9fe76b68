//! What sidecars said of earlier lives of the store, kept until it is taken in.

use std::collections::BTreeSet;

use rekey_model::{CredentialName, Handle, Incarnation, InstanceId, Order, Version};
use rekey_rotation::Claim;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::columns::{Columns, json, number};
use super::{Changed, Store, StoreError, Tx};

/// The most fences that are kept of one claim.
const MOST_FENCES: usize = 1024;

fn read(row: &AnyRow) -> Result<Claim, StoreError> {
    let version = row.number_if("version")?.and_then(Version::new);
    let handle: Option<Handle> = row.parsed_if("handle")?;
    Ok(Claim {
        incarnation: Incarnation(row.number("incarnation")?),
        order: Order(row.number("claimed_order")?),
        serves: version.zip(handle),
        fenced: row.json("fenced")?,
    })
}

async fn of_credential(on: &mut AnyConnection, name: &CredentialName) -> Result<Vec<Claim>, StoreError> {
    let rows = sqlx::query(
        "SELECT k.incarnation AS incarnation, k.claimed_order AS claimed_order, k.version AS version, \
         k.handle AS handle, k.fenced AS fenced FROM claim k JOIN credential c ON c.id = k.credential \
         WHERE c.name = $1 ORDER BY k.instance",
    )
    .bind(name.as_str())
    .fetch_all(on)
    .await?;
    rows.iter().map(read).collect()
}

impl Store {
    /// What sidecars said of a credential that is not taken in yet.
    pub async fn claims_of(&self, name: &CredentialName) -> Result<Vec<Claim>, StoreError> {
        of_credential(&mut *self.reader().await?, name).await
    }
}

impl Tx {
    /// What sidecars said of a credential that is not taken in yet, as it stays until this transaction ends.
    pub async fn claims_of(&mut self, name: &CredentialName) -> Result<Vec<Claim>, StoreError> {
        of_credential(self.connection(), name).await
    }

    /// Keeps what an instance says. What it said before is not forgotten: a restarted sidecar holds nothing, and what
    /// its processes hold is still what it told of.
    pub async fn put_claim(
        &mut self,
        instance: InstanceId,
        name: &CredentialName,
        claim: &Claim,
    ) -> Result<(), StoreError> {
        let before = self.claim(instance, name).await?;
        let mut fenced = claim.fenced.clone();
        let (mut mark, mut serves) = ((claim.incarnation, claim.order), claim.serves.clone());
        if let Some(before) = before {
            fenced.extend(before.fenced);
            let newer = (before.incarnation, before.order) > mark;
            serves = if newer { before.serves.or(serves) } else { serves.or(before.serves) };
            mark = mark.max((before.incarnation, before.order));
        }
        let fenced: BTreeSet<Version> = fenced.into_iter().rev().take(MOST_FENCES).collect();
        let (version, handle) = serves.unzip();
        sqlx::query(
            "INSERT INTO claim (instance, credential, incarnation, claimed_order, version, handle, fenced) \
             SELECT CAST($1 AS TEXT), id, $3, $4, $5, CAST($6 AS TEXT), CAST($7 AS TEXT) FROM credential \
             WHERE name = $2 ON CONFLICT (instance, credential) DO UPDATE SET incarnation = excluded.incarnation, \
             claimed_order = excluded.claimed_order, version = excluded.version, handle = excluded.handle, \
             fenced = excluded.fenced",
        )
        .bind(instance.to_string())
        .bind(name.as_str())
        .bind(number(mark.0.0)?)
        .bind(number(mark.1.0)?)
        .bind(version.map(|version| number(version.get())).transpose()?)
        .bind(handle.map(|handle| handle.to_string()))
        .bind(json(&fenced)?)
        .execute(self.connection())
        .await?;
        self.will_tell(Changed::Holders(name.clone()));
        Ok(())
    }

    async fn claim(
        &mut self,
        instance: InstanceId,
        name: &CredentialName,
    ) -> Result<Option<Claim>, StoreError> {
        let row = sqlx::query(
            "SELECT incarnation, claimed_order, version, handle, fenced FROM claim \
             WHERE instance = $1 AND credential = (SELECT id FROM credential WHERE name = $2)",
        )
        .bind(instance.to_string())
        .bind(name.as_str())
        .fetch_optional(self.connection())
        .await?;
        row.as_ref().map(read).transpose()
    }

    /// Forgets what sidecars said of a credential: it is taken in by this transaction.
    pub async fn drop_claims(&mut self, name: &CredentialName) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM claim WHERE credential = (SELECT id FROM credential WHERE name = $1)")
            .bind(name.as_str())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Notes that the instance has said hello in the present life of the store.
    pub async fn heard(&mut self, instance: InstanceId) -> Result<(), StoreError> {
        let life = number(self.incarnation().0)?;
        sqlx::query("UPDATE instance SET heard_in = $1 WHERE id = $2")
            .bind(life)
            .bind(instance.to_string())
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
