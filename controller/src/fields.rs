//! How the fields of a version are written as bytes before they are sealed, and read after.
//!
//! A count, then each name and value with its length, big-endian. What is written is exact, so it is also all that is
//! ever wiped; what is read is checked whole before anything of it is used.

use std::collections::BTreeMap;

use rekey_model::{FieldName, Fields, FieldsError, NameError, SecretBytes, Version};

use crate::seal::{Column, Place, Seal, SealError, Sealed, Subject};
use crate::store::{CredentialId, Store, StoreError};

/// What a secret is called while it is only chosen; once a version is installed, the driver's fields take its place.
pub const CHOSEN: &str = "chosen";

/// A secret that is only chosen, and what holders are given early of it, as they are sealed.
pub fn chosen(secret: &SecretBytes, early: Option<&Fields>) -> Result<Fields, FieldsError> {
    let copy = |value: &SecretBytes| SecretBytes::new(value.expose().to_vec());
    let early = early.into_iter().flat_map(Fields::iter).map(|(name, value)| (name.clone(), copy(value)));
    let chosen = CHOSEN.parse().into_iter().map(|name| (name, copy(secret)));
    Fields::new(early.chain(chosen).collect())
}

/// The fields that holders get.
pub fn handed_out(fields: &Fields) -> impl Iterator<Item = (&FieldName, &SecretBytes)> {
    fields.iter().filter(|(name, _)| name.as_str() != CHOSEN)
}

/// Why unsealed bytes are not fields.
#[derive(Debug, thiserror::Error)]
pub enum FieldsReadError {
    /// Too short, too long, or a field twice.
    #[error("the stored fields cannot be read")]
    Malformed,
    /// A name outside the grammar.
    #[error("the stored fields have a wrong name")]
    Name(#[source] NameError),
    /// More than a credential may have.
    #[error("the stored fields are too many or too long")]
    Size(#[source] FieldsError),
}

/// Why the fields of a version are not to be had. Says nothing about them.
#[derive(Debug, thiserror::Error)]
pub enum OpenFieldsError {
    /// The store.
    #[error("the store cannot be read")]
    Store(#[from] StoreError),
    /// The sealed secret.
    #[error("the sealed secret does not open")]
    Seal(#[from] SealError),
    /// What was sealed.
    #[error("what was sealed are no fields")]
    Read(#[from] FieldsReadError),
}

/// Whose secret it is, and where it stands: what is sealed opens nowhere else.
fn place(store: &Store, id: CredentialId, version: Version) -> Place<'static> {
    let installation = store.installation();
    Place { installation, subject: Subject::Version(id, version), column: Column::Secret }
}

/// Seals the fields of a version.
pub fn seal(
    (store, seal): (&Store, &Seal),
    id: CredentialId,
    version: Version,
    fields: &Fields,
) -> Result<Sealed, SealError> {
    seal.seal(&place(store, id, version), write(fields).expose())
}

/// Opens the fields of a version; none where nothing is sealed.
pub async fn open(
    (store, seal): (&Store, &Seal),
    id: CredentialId,
    version: Version,
) -> Result<Option<Fields>, OpenFieldsError> {
    let Some(sealed) = store.secret(id, version).await? else { return Ok(None) };
    Ok(Some(read(&seal.unseal(&place(store, id, version), &sealed)?)?))
}

/// Writes `fields` for sealing.
pub fn write(fields: &Fields) -> SecretBytes {
    let size = fields.iter().map(|(name, value)| 1 + name.as_str().len() + 4 + value.size()).sum::<usize>();
    // Exactly as long as needed: a buffer that grows would leave copies behind.
    let mut bytes = Vec::with_capacity(1 + size);
    bytes.push(u8::try_from(fields.len()).unwrap_or(u8::MAX));
    for (name, value) in fields.iter() {
        bytes.push(u8::try_from(name.as_str().len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(&u32::try_from(value.size()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(value.expose());
    }
    SecretBytes::new(bytes)
}

/// Reads what [`write()`] wrote.
pub fn read(bytes: &SecretBytes) -> Result<Fields, FieldsReadError> {
    let (count, mut rest) = bytes.expose().split_first().ok_or(FieldsReadError::Malformed)?;
    let mut fields = BTreeMap::new();
    for _ in 0..*count {
        let (length, after) = rest.split_first().ok_or(FieldsReadError::Malformed)?;
        let (name, after) = after.split_at_checked((*length).into()).ok_or(FieldsReadError::Malformed)?;
        let (length, after) = after.split_first_chunk::<4>().ok_or(FieldsReadError::Malformed)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (value, after) = after.split_at_checked(length).ok_or(FieldsReadError::Malformed)?;
        let name = std::str::from_utf8(name).map_err(|_utf8| FieldsReadError::Malformed)?;
        let name: FieldName = name.parse().map_err(FieldsReadError::Name)?;
        if fields.insert(name, SecretBytes::new(value.to_vec())).is_some() {
            return Err(FieldsReadError::Malformed);
        }
        rest = after;
    }
    if !rest.is_empty() {
        return Err(FieldsReadError::Malformed);
    }
    Fields::new(fields).map_err(FieldsReadError::Size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(of: &[(&str, &[u8])]) -> Fields {
        let fields = of.iter().map(|(name, value)| (name.parse().unwrap(), SecretBytes::new(value.to_vec())));
        Fields::new(fields.collect()).unwrap()
    }

    #[test]
    fn fields_read_as_they_were_written() {
        let lists: [&[(&str, &[u8])]; 3] =
            [&[], &[("password", b"a\0b")], &[("password", b""), ("username", b"orders_app_v3")]];
        for of in lists {
            let read = read(&write(&fields(of))).unwrap();
            assert_eq!(read.len(), of.len());
            for (name, value) in of {
                assert_eq!(read.get(name).unwrap().expose(), *value);
            }
        }
    }

    #[test]
    fn what_was_not_written_so_is_refused_and_nothing_fails() {
        let good = write(&fields(&[("password", b"secret"), ("username", b"orders")]));
        for length in 0..good.size() {
            assert!(read(&SecretBytes::new(good.expose()[..length].to_vec())).is_err(), "{length}");
        }
        let longer = [good.expose(), b"x"].concat();
        assert!(read(&SecretBytes::new(longer)).is_err());
        let one = &write(&fields(&[("password", b"secret")])).expose()[1..].to_vec();
        let twice = [&[2], one.as_slice(), one.as_slice()].concat();
        assert!(matches!(read(&SecretBytes::new(twice)), Err(FieldsReadError::Malformed)));
    }
}
