//! Seals what is stored: a data key for every value, wrapped by the key of the installation (the KEK).
//!
//! AES-256-GCM-SIV throughout. A sealed value is bound to its place: moved to another row, column, version or
//! installation it does not open. **The KEK lives in a file outside the store. When it is lost, every sealed value is
//! lost with it: no backup of the store brings them back, every credential has to be rotated by hand and every sidecar
//! joined anew. Keep a copy of it, apart from the backups of the store.**

mod kek;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::{Zeroize, Zeroizing};

use rekey_model::{SecretBytes, Version};
use rekey_runtime::random;

use crate::store::{CredentialId, InstallationId};

pub use self::kek::{Kek, KekError, KekId};

/// Where a sealed value belongs.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Whose store.
    pub installation: InstallationId,
    /// Of what.
    pub subject: Subject<'a>,
    /// In which column.
    pub column: Column,
}

/// What a sealed value is part of.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// One version of a credential.
    Version(CredentialId, Version),
    /// A key of the controller itself, by name, such as `ca/server`.
    Key(&'a str),
}

/// The columns that hold sealed values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// The secret that we chose, or that a provider gave us.
    Secret,
    /// A private key in PKCS #8.
    PrivateKey,
    /// A key for HMAC.
    MacKey,
}

impl Column {
    fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::PrivateKey => "private-key",
            Self::MacKey => "mac-key",
        }
    }
}

impl Place<'_> {
    /// What the payload is bound to: no KEK id, so that a data key can be wrapped anew while the payload stays.
    fn payload_data(&self) -> Vec<u8> {
        let mut data = b"rekey/v1".to_vec();
        let mut part = |bytes: &[u8]| {
            data.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
            data.extend_from_slice(bytes);
        };
        part(self.installation.to_string().as_bytes());
        match self.subject {
            Subject::Version(credential, version) => {
                part(b"version");
                part(credential.to_string().as_bytes());
                part(&version.get().to_be_bytes());
            }
            Subject::Key(name) => {
                part(b"key");
                part(name.as_bytes());
                part(&[]);
            }
        }
        part(self.column.as_str().as_bytes());
        data
    }

    /// What the wrap of the data key is bound to: the same, and the KEK.
    fn wrap_data(&self, kek: &KekId) -> Vec<u8> {
        let mut data = self.payload_data();
        data.extend_from_slice(b"kek");
        data.extend_from_slice(kek.as_str().as_bytes());
        data
    }
}

/// A sealed value, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Which KEK wrapped the data key.
    pub kek: KekId,
    /// The data key: nonce, wrapped key, tag.
    pub dek: Vec<u8>,
    /// The value: nonce, ciphertext, tag.
    pub ciphertext: Vec<u8>,
}

/// Why a value was not sealed or not opened. Says nothing about the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// An empty value is not stored.
    #[error("there is nothing to seal")]
    Empty,
    /// It was sealed under another KEK.
    #[error(
        "it is sealed under KEK {sealed}, the file holds KEK {held}: give the controller the KEK file of this store. \
         Without it, what is sealed cannot be opened by anybody"
    )]
    OtherKek {
        /// The KEK that it was sealed under.
        sealed: KekId,
        /// The KEK that we have.
        held: KekId,
    },
    /// It was changed, or belongs elsewhere.
    #[error("it does not open: it was changed, or moved from another place")]
    Refused,
    /// The cipher refused to work.
    #[error("sealing failed")]
    Failed,
}

const KEY_BYTES: usize = 32;

/// Seals and opens. Clones share the key.
#[derive(Debug, Clone)]
pub struct Seal {
    kek: std::sync::Arc<Kek>,
}

impl Seal {
    /// Reads the KEK from its file.
    pub fn open(file: &std::path::Path) -> Result<Self, KekError> {
        Kek::read(file).map(Self::new)
    }

    /// Seals under this KEK.
    pub fn new(kek: Kek) -> Self {
        Self { kek: std::sync::Arc::new(kek) }
    }

    /// Which KEK this is.
    pub fn kek(&self) -> &KekId {
        self.kek.id()
    }

    /// Seals `value` for `place` under a data key of its own.
    pub fn seal(&self, place: &Place<'_>, value: &[u8]) -> Result<Sealed, SealError> {
        if value.is_empty() {
            return Err(SealError::Empty);
        }
        let mut dek = Zeroizing::new([0_u8; KEY_BYTES]);
        random::fill(dek.as_mut_slice());
        let ciphertext = encrypt(dek.as_slice(), &place.payload_data(), value)?;
        let kek = self.kek.id().clone();
        let wrapped = encrypt(self.kek.key(), &place.wrap_data(&kek), dek.as_slice())?;
        Ok(Sealed { kek, dek: wrapped, ciphertext })
    }

    /// Opens what was sealed for `place`.
    pub fn unseal(&self, place: &Place<'_>, sealed: &Sealed) -> Result<SecretBytes, SealError> {
        if sealed.kek != *self.kek.id() {
            return Err(SealError::OtherKek { sealed: sealed.kek.clone(), held: self.kek.id().clone() });
        }
        let dek = decrypt(self.kek.key(), &place.wrap_data(&sealed.kek), &sealed.dek)?;
        decrypt(dek.expose(), &place.payload_data(), &sealed.ciphertext)
    }
}

fn cipher(key: &[u8]) -> Result<LessSafeKey, SealError> {
    UnboundKey::new(&AES_256_GCM_SIV, key).map(LessSafeKey::new).map_err(|_unspecified| SealError::Failed)
}

/// Nonce, ciphertext, tag. The nonce is random; the plain copy is overwritten by the ciphertext in place.
fn encrypt(key: &[u8], bound_to: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let nonce: [u8; NONCE_LEN] = random::array();
    let mut buffer = Zeroizing::new(plain.to_vec());
    let tag = cipher(key)?
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound_to), &mut buffer)
        .map_err(|_unspecified| SealError::Failed)?;
    Ok([nonce.as_slice(), buffer.as_slice(), tag.as_ref()].concat())
}

fn decrypt(key: &[u8], bound_to: &[u8], stored: &[u8]) -> Result<SecretBytes, SealError> {
    let (nonce, rest) = stored.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Refused)?;
    let mut buffer = Zeroizing::new(rest.to_vec());
    let plain = cipher(key)?
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(bound_to), buffer.as_mut_slice())
        .map_err(|_unspecified| SealError::Refused)?;
    let secret = SecretBytes::new(plain.to_vec());
    plain.zeroize();
    Ok(secret)
}

#[cfg(test)]
mod tests;
