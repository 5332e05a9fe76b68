//! Join tokens that were not used: their hash, never their text.

use std::time::Duration;

use rekey_model::{Moment, SpiffeId};
use sqlx::any::AnyRow;

use super::columns::{Columns, millis, moment};
use super::tx::hit;
use super::{Store, StoreError, Tx};
use crate::tokens::TokenHash;

/// A join token as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// What it is called in lists; tells nothing of the token.
    pub id: String,
    /// Who joins with it.
    pub spiffe: SpiffeId,
    /// When it was made.
    pub made: Moment,
    /// How long it works.
    pub life: Duration,
    /// Who made it.
    pub made_by: String,
}

impl TokenRow {
    fn of(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.raw("id")?,
            spiffe: row.parsed("spiffe")?,
            made: row.moment("made")?,
            life: row.millis("life_ms")?,
            made_by: row.raw("made_by")?,
        })
    }

    /// Whether it can have expired by `now`: the longest time that may have passed counts.
    pub fn expired(&self, now: Moment) -> bool {
        now.at_most_since(self.made) >= self.life
    }
}

impl Store {
    /// All tokens that were not used, oldest first, expired ones too.
    pub async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        let rows = sqlx::query("SELECT id, spiffe, made, life_ms, made_by FROM token ORDER BY made, id")
            .fetch_all(&mut *self.reader().await?)
            .await?;
        rows.iter().map(TokenRow::of).collect()
    }

    /// Whether there is a token with this hash, expired or not.
    pub async fn has_token(&self, hash: &TokenHash) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT COUNT(*) AS n FROM token WHERE hash = $1")
            .bind(hash.to_string())
            .fetch_one(&mut *self.reader().await?)
            .await?;
        Ok(row.number("n")? > 0)
    }
}

impl Tx {
    /// Stores a token under the hash of its text.
    pub async fn put_token(&mut self, hash: &TokenHash, token: &TokenRow) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO token (id, hash, spiffe, made, life_ms, made_by) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(token.id.as_str())
        .bind(hash.to_string())
        .bind(token.spiffe.as_str())
        .bind(moment(token.made))
        .bind(millis(token.life)?)
        .bind(token.made_by.as_str())
        .execute(self.connection())
        .await
        .map_err(StoreError::inserting("token"))?;
        Ok(())
    }

    /// Uses a token up: of any number of callers, one gets it, once its transaction commits. None: unknown, used or
    /// expired, which look the same; an expired one is gone all the same.
    pub async fn take_token(&mut self, hash: &TokenHash) -> Result<Option<TokenRow>, StoreError> {
        let row =
            sqlx::query("DELETE FROM token WHERE hash = $1 RETURNING id, spiffe, made, life_ms, made_by")
                .bind(hash.to_string())
                .fetch_optional(self.connection())
                .await?;
        let token = row.as_ref().map(TokenRow::of).transpose()?;
        let now = self.now();
        Ok(token.filter(|token| !token.expired(now)))
    }

    /// Makes a token useless.
    pub async fn revoke_token(&mut self, id: &str) -> Result<(), StoreError> {
        let done = sqlx::query("DELETE FROM token WHERE id = $1").bind(id).execute(self.connection()).await?;
        hit(&done, "token")
    }
}
