//! Draws, seals and opens what a version is made of, and names it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rekey_drivers::Intent;
use rekey_model::{Fields, Handle, SecretBytes, Version};
use rekey_runtime::random;
use zeroize::Zeroizing;

use super::seen::Seen;
use super::{CommitError, Executor};
use crate::fields::{self, OpenFieldsError};
use crate::seal::Sealed;
use crate::store::CredentialId;
use crate::template;

impl Executor {
    /// Draws the name of a version; and its secret, 32 random bytes as text, which is sealed, unless the target makes that.
    pub(super) fn draw(
        &self,
        seen: &Seen,
        version: Version,
    ) -> Result<(Handle, Option<Sealed>), CommitError> {
        if seen.is_made_there() {
            return Ok((draw_handle(seen, version, None)?, None));
        }
        let mut bytes = Zeroizing::new([0_u8; 32]);
        random::fill(bytes.as_mut_slice());
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
        let secret = SecretBytes::new(text.as_bytes().to_vec());
        let handle = draw_handle(seen, version, Some(&secret))?;
        let secret = Arc::new(secret);
        let early = self.early(seen, &Intent::chosen(version, handle.clone(), Arc::clone(&secret)))?;
        let chosen =
            fields::chosen(&secret, early.as_ref()).map_err(|_size| CommitError::Unsealed(version))?;
        Ok((handle, Some(self.seal_fields(seen.id, version, &chosen)?)))
    }

    /// Seals a value that somebody handed in, as what is chosen for the next version.
    pub(super) fn seal_handed_in(
        &self,
        seen: &Seen,
        version: Version,
        value: &SecretBytes,
    ) -> Result<Sealed, CommitError> {
        let chosen = fields::chosen(value, None).map_err(|_size| CommitError::Unsealed(version))?;
        self.seal_fields(seen.id, version, &chosen)
    }

    /// What holders are given before the target is changed, where a new value kills the old one.
    fn early(&self, seen: &Seen, intent: &Intent) -> Result<Option<Fields>, CommitError> {
        if seen.spec.barrier.is_none() {
            return Ok(None);
        }
        let driver = self.0.drivers.driver(&seen.spec).map_err(CommitError::Target)?;
        let given = driver.fields(intent).ok_or(CommitError::Unsealed(intent.version))?;
        template::derive(&given, &seen.spec.fields).map(Some).map_err(CommitError::Derive)
    }

    /// Seals what a driver gave, and every field that the declaration makes of it.
    pub(super) fn seal_given(
        &self,
        seen: &Seen,
        version: Version,
        given: &Fields,
    ) -> Result<Sealed, CommitError> {
        let all = template::derive(given, &seen.spec.fields).map_err(CommitError::Derive)?;
        self.seal_fields(seen.id, version, &all)
    }

    fn seal_fields(
        &self,
        id: CredentialId,
        version: Version,
        values: &Fields,
    ) -> Result<Sealed, CommitError> {
        fields::seal((&self.0.store, &self.0.seal), id, version, values).map_err(CommitError::Seal)
    }

    /// The fields of a version, as they are sealed.
    pub(super) async fn fields(&self, id: CredentialId, version: Version) -> Result<Fields, CommitError> {
        match fields::open((&self.0.store, &self.0.seal), id, version).await {
            Ok(Some(fields)) => Ok(fields),
            Ok(None) | Err(OpenFieldsError::Read(_)) => Err(CommitError::Unsealed(version)),
            Err(OpenFieldsError::Store(error)) => Err(CommitError::Store(error)),
            Err(OpenFieldsError::Seal(error)) => Err(CommitError::Seal(error)),
        }
    }

    /// What the driver is to make: the same at every try.
    pub(super) async fn intent(&self, seen: &Seen, version: Version) -> Result<Intent, CommitError> {
        let handle = handle_of(seen, version)?;
        let baseline = seen.ledger.version(version).and_then(|record| record.baseline.clone());
        if let Some(baseline) = baseline {
            return Ok(Intent { version, handle, secret: None, baseline, known: seen.ledger.answered() });
        }
        let chosen = self.fields(seen.id, version).await?;
        let secret = chosen.get(fields::CHOSEN).ok_or(CommitError::Unsealed(version))?;
        Ok(Intent::chosen(version, handle, Arc::new(SecretBytes::new(secret.expose().to_vec()))))
    }
}

/// What a version is called at the target.
pub(super) fn handle_of(seen: &Seen, version: Version) -> Result<Handle, CommitError> {
    seen.ledger.version(version).map(|record| record.handle.clone()).ok_or(CommitError::Unsealed(version))
}

/// The name of a version with this secret, never used before and never again.
pub(super) fn draw_handle(
    seen: &Seen,
    version: Version,
    secret: Option<&SecretBytes>,
) -> Result<Handle, CommitError> {
    let name = seen.spec.driver.handle(version, secret, random::nonce);
    name.parse().map_err(|_name| CommitError::Unsealed(version))
}
