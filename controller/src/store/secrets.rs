//! The sealed secrets of versions: a row is never changed, only removed, and put anew when the driver has answered with
//! what it made. Nothing else is ever written with them.

use rekey_model::Version;

use super::columns::{Columns, number};
use super::{CredentialId, Store, StoreError, Tx};
use crate::seal::Sealed;

pub(super) fn sealed(row: &sqlx::any::AnyRow) -> Result<Sealed, StoreError> {
    Ok(Sealed { kek: row.parsed("kek")?, dek: row.raw("dek")?, ciphertext: row.raw("ciphertext")? })
}

impl Store {
    /// The sealed secret of a version; none when there never was one, or it was dropped.
    pub async fn secret(&self, of: CredentialId, version: Version) -> Result<Option<Sealed>, StoreError> {
        let row = sqlx::query(
            "SELECT kek, dek, ciphertext FROM version_secret WHERE credential = $1 AND version = $2",
        )
        .bind(of.to_string())
        .bind(number(version.get())?)
        .fetch_optional(&mut *self.reader().await?)
        .await?;
        row.as_ref().map(sealed).transpose()
    }
}

impl Tx {
    /// Stores the sealed secret of a version. A second one for the same version is refused ([`StoreError::Exists`]).
    pub async fn put_secret(
        &mut self,
        of: CredentialId,
        version: Version,
        sealed: &Sealed,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO version_secret (credential, version, kek, dek, ciphertext) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(of.to_string())
        .bind(number(version.get())?)
        .bind(sealed.kek.as_str())
        .bind(sealed.dek.as_slice())
        .bind(sealed.ciphertext.as_slice())
        .execute(self.connection())
        .await
        .map_err(StoreError::inserting("secret"))?;
        Ok(())
    }

    /// Removes the sealed secret of a version that is final. Absent is success.
    pub async fn drop_secret(&mut self, of: CredentialId, version: Version) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM version_secret WHERE credential = $1 AND version = $2")
            .bind(of.to_string())
            .bind(number(version.get())?)
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
