//! The controller's own keys, sealed, and the certificates of its CAs. Both are written once.

use super::columns::Columns;
use super::secrets::sealed;
use super::{Store, StoreError, Tx};
use crate::seal::Sealed;

impl Store {
    /// The sealed key with this name, such as `ca/server`.
    pub async fn key(&self, name: &str) -> Result<Option<Sealed>, StoreError> {
        let row = sqlx::query("SELECT kek, dek, ciphertext FROM sealed_key WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut *self.reader().await?)
            .await?;
        row.as_ref().map(sealed).transpose()
    }

    /// The certificate with this name, in DER.
    pub async fn certificate(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let row = sqlx::query("SELECT der FROM certificate WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut *self.reader().await?)
            .await?;
        row.map(|row| row.raw("der")).transpose()
    }
}

impl Tx {
    /// Stores a key of the controller. One with that name is refused ([`StoreError::Exists`]).
    pub async fn put_key(&mut self, name: &str, sealed: &Sealed) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO sealed_key (name, kek, dek, ciphertext) VALUES ($1, $2, $3, $4)")
            .bind(name)
            .bind(sealed.kek.as_str())
            .bind(sealed.dek.as_slice())
            .bind(sealed.ciphertext.as_slice())
            .execute(self.connection())
            .await
            .map_err(StoreError::inserting("key"))?;
        Ok(())
    }

    /// Stores a certificate in DER. One with that name is refused ([`StoreError::Exists`]).
    pub async fn put_certificate(&mut self, name: &str, der: &[u8]) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO certificate (name, der) VALUES ($1, $2)")
            .bind(name)
            .bind(der)
            .execute(self.connection())
            .await
            .map_err(StoreError::inserting("certificate"))?;
        Ok(())
    }
}
