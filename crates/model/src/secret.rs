//! Secret bytes, and the one door to them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::FieldName;

/// Bytes that must not leak: wiped when dropped, compared in constant time, read only through [`SecretBytes::expose`].
///
/// Invariant: there is no `Clone`, `PartialEq`, `Display`, `Serialize`, `AsRef` or `Deref`, and `Debug` shows nothing.
/// Share it by `Arc`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes(Box<[u8]>);

impl SecretBytes {
    /// Takes ownership of `bytes`. A `Vec` with spare room is copied into an exact one and the old buffer wiped.
    pub fn new(bytes: Vec<u8>) -> Self {
        let wiped = Zeroizing::new(bytes);
        Self(wiped.as_slice().into())
    }

    /// The bytes themselves: the one door. `tests/tidy` lists who may call it.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether both hold the same bytes, in time that depends on their length alone.
    pub fn same_as(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// How many bytes there are.
    pub fn size(&self) -> usize {
        self.0.len()
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl From<String> for SecretBytes {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(…)")
    }
}

/// Why a set of fields is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    /// More fields than a credential may have.
    #[error("a credential has at most {most} fields, this has {0}", most = Fields::MOST)]
    TooMany(usize),
    /// More bytes than a credential may have.
    #[error("a credential has at most {most} bytes, this has {0}", most = Fields::MOST_BYTES)]
    TooLarge(usize),
}

/// The fields of one version of a credential, by name: what an application gets.
///
/// At most [`Fields::MOST`] of them with [`Fields::MOST_BYTES`] together, names included.
#[derive(Debug, Clone, Default)]
pub struct Fields(Arc<BTreeMap<FieldName, SecretBytes>>);

impl Fields {
    /// The most fields a credential may have.
    pub const MOST: usize = 64;
    /// The most bytes a credential may have.
    pub const MOST_BYTES: usize = 64 * 1024;

    /// Takes the fields if they keep the limits; refused ones are wiped.
    pub fn new(fields: BTreeMap<FieldName, SecretBytes>) -> Result<Self, FieldsError> {
        if fields.len() > Self::MOST {
            return Err(FieldsError::TooMany(fields.len()));
        }
        let bytes = fields.iter().map(|(name, value)| name.as_str().len() + value.size()).sum();
        if bytes > Self::MOST_BYTES {
            return Err(FieldsError::TooLarge(bytes));
        }
        Ok(Self(Arc::new(fields)))
    }

    /// The field with this name.
    pub fn get(&self, name: &str) -> Option<&SecretBytes> {
        self.0.iter().find(|(field, _)| field.as_str() == name).map(|(_, value)| value)
    }

    /// All fields in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&FieldName, &SecretBytes)> {
        self.0.iter()
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let secret = SecretBytes::new(b"marker-7f3a".to_vec());
        let mut fields = BTreeMap::new();
        fields.insert("password".parse().unwrap(), SecretBytes::new(b"marker-7f3a".to_vec()));
        let shown = format!("{secret:?} {:?}", Fields::new(fields).unwrap());
        assert!(!shown.contains("marker"), "{shown}");
        assert!(!shown.contains("109"), "{shown}");
    }

    #[test]
    fn the_same_bytes_are_the_same_and_others_are_not() {
        let one = SecretBytes::new(b"one".to_vec());
        assert!(one.same_as(&SecretBytes::new(b"one".to_vec())));
        assert!(!one.same_as(&SecretBytes::new(b"two".to_vec())));
        assert!(!one.same_as(&SecretBytes::new(b"ones".to_vec())));
    }

    #[test]
    fn too_much_is_refused() {
        let many = (0..65).map(|i| (format!("f{i}").parse().unwrap(), SecretBytes::new(vec![0]))).collect();
        assert!(matches!(Fields::new(many), Err(FieldsError::TooMany(65))));
        let large = BTreeMap::from([("f".parse().unwrap(), SecretBytes::new(vec![0; Fields::MOST_BYTES]))]);
        assert!(matches!(Fields::new(large), Err(FieldsError::TooLarge(_))));
    }

    /// Fails to compile when a secret gains a trait that would be a second door.
    #[test]
    fn a_secret_has_one_door() {
        trait Lacks<Marker> {
            fn it() {}
        }
        impl<T: ?Sized> Lacks<()> for T {}
        macro_rules! lacks {
            ($type:ty: $($trait:path),*) => {$({
                #[allow(dead_code, reason = "exists so that having the trait makes the call below ambiguous")]
                struct Has;
                impl<T: ?Sized + $trait> Lacks<Has> for T {}
                <$type as Lacks<_>>::it();
            })*};
        }
        lacks!(SecretBytes: Clone, PartialEq, fmt::Display, serde::Serialize, AsRef<[u8]>, std::ops::Deref);
    }
}
