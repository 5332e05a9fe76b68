//! Who is who: SPIFFE ids, grants, and the random ids of instances, sessions and rotations.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not `spiffe://<trust domain>/<path>` in the one grammar.
    #[error(
        "a SPIFFE id is spiffe://<trust domain>/<path> in a-z, 0-9, '-', '_' and '.', at most 255 characters"
    )]
    Spiffe,
    /// A `*` elsewhere than as the last segment.
    #[error("a grant is a SPIFFE id, exact or with /* as its last segment")]
    Grant,
    /// Not 32 hexadecimal digits.
    #[error("an id has 32 hexadecimal digits")]
    Random,
}

/// The name of an installation, first part of all its SPIFFE ids, such as `rekey.local`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(String);

impl TrustDomain {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id with `path` (which begins with `/`) in this domain.
    pub fn id(&self, path: &str) -> Result<SpiffeId, IdError> {
        format!("spiffe://{}{path}", self.0).parse()
    }
}

impl FromStr for TrustDomain {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let fits = !text.is_empty() && text.len() <= 200 && text.bytes().all(fits) && !text.starts_with('.');
        if fits { Ok(Self(text.to_owned())) } else { Err(IdError::Spiffe) }
    }
}

impl TryFrom<String> for TrustDomain {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<TrustDomain> for String {
    fn from(domain: TrustDomain) -> Self {
        domain.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SPIFFE id: `spiffe://<trust domain>/<path>`. Authorises; says nothing about which replica.
///
/// Nothing is decoded or normalised; `.` and `..` are no segments. (SPIFFE-ID 2.1-2.4, made narrower: lower case only.)
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId(String);

impl SpiffeId {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows the trust domain, with its first `/`.
    pub fn path(&self) -> &str {
        let rest = self.0.strip_prefix(SCHEME).unwrap_or_default();
        rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or_default()
    }

    /// Whether it lies in `domain`.
    pub fn is_in(&self, domain: &TrustDomain) -> bool {
        let rest = self.0.strip_prefix(SCHEME).unwrap_or_default();
        rest.split('/').next() == Some(domain.as_str())
    }
}

const SCHEME: &str = "spiffe://";

fn fits(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_' | b'.')
}

impl FromStr for SpiffeId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let rest = text.strip_prefix(SCHEME).filter(|_| text.len() <= 255).ok_or(IdError::Spiffe)?;
        let (domain, path) = rest.split_once('/').ok_or(IdError::Spiffe)?;
        let segment = |s: &str| !s.is_empty() && s != "." && s != ".." && s.bytes().all(fits);
        let good = domain.parse::<TrustDomain>().is_ok() && path.split('/').all(segment);
        if good { Ok(Self(text.to_owned())) } else { Err(IdError::Spiffe) }
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.0
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whom a credential is delivered to: one SPIFFE id, or all below a path (`spiffe://rekey.local/sidecar/orders/*`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Grant(String);

impl Grant {
    /// Whether `id` is meant. `…/*` means every id that begins with `…/`, however deep, and not `…` itself.
    pub fn covers(&self, id: &SpiffeId) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => id.as_str().starts_with(prefix),
            None => id.as_str() == self.0,
        }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Grant {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let exact = text.strip_suffix("/*").unwrap_or(text);
        exact.parse::<SpiffeId>().map_err(|_spiffe| IdError::Grant)?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Grant {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Grant> for String {
    fn from(grant: Grant) -> Self {
        grant.0
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// 128 random bits, shown as 32 hexadecimal digits. `K` only keeps kinds apart.
#[derive(Serialize, Deserialize)]
#[serde(try_from = "String", into = "String", bound = "")]
pub struct Id<K>(u128, std::marker::PhantomData<fn() -> K>);

impl<K> Id<K> {
    /// The id with these bits, which the caller draws at random.
    pub fn from_bits(bits: u128) -> Self {
        Self(bits, std::marker::PhantomData)
    }

    /// Its bits.
    pub fn bits(self) -> u128 {
        self.0
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
impl<K> std::hash::Hash for Id<K> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}
impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl<K> FromStr for Id<K> {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits =
            text.len() == 32 && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
        if !digits {
            return Err(IdError::Random);
        }
        u128::from_str_radix(text, 16).map(Self::from_bits).map_err(|_digits| IdError::Random)
    }
}
impl<K> TryFrom<String> for Id<K> {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}
impl<K> From<Id<K>> for String {
    fn from(id: Id<K>) -> Self {
        id.to_string()
    }
}

/// Marks the id of a sidecar instance.
#[derive(Debug)]
pub enum Instance {}
/// Marks the id of one stream of a sidecar.
#[derive(Debug)]
pub enum Session {}
/// Marks the id of a rotation.
#[derive(Debug)]
pub enum Rotation {}

/// One sidecar instance, made at its join: three replicas share a SPIFFE id and are three instances.
pub type InstanceId = Id<Instance>;
/// One stream of a sidecar, drawn afresh at each hello.
pub type SessionId = Id<Session>;
/// One rotation.
pub type RotationId = Id<Rotation>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_ids_are_refused() {
        let hostile = [
            "",
            "spiffe://",
            "spiffe://a",
            "spiffe://a/",
            "spiffe:///b",
            "spiffe://a//b",
            "spiffe://a/../b",
            "SPIFFE://a/b",
            "spiffe://a/b/",
            "spiffe://a/b?c",
            "spiffe://a/b#c",
            "spiffe://u@a/b",
            "spiffe://a:1/b",
            "spiffe://a/%2e%2e",
            "spiffe://a/*",
            "https://a/b",
            "spiffe://a/b c",
            "spiffe://A/b",
            "spiffe://a/b\0",
        ];
        for bad in hostile {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_grant_covers_what_it_says_and_no_more() {
        let id = |text: &str| text.parse::<SpiffeId>().unwrap();
        let below: Grant = "spiffe://d/sidecar/orders/*".parse().unwrap();
        assert!(below.covers(&id("spiffe://d/sidecar/orders/a")));
        assert!(below.covers(&id("spiffe://d/sidecar/orders/a/b")));
        assert!(!below.covers(&id("spiffe://d/sidecar/orders")));
        assert!(!below.covers(&id("spiffe://d/sidecar/orders2/a")));
        let exact: Grant = "spiffe://d/sidecar/orders".parse().unwrap();
        assert!(exact.covers(&id("spiffe://d/sidecar/orders")));
        assert!(!exact.covers(&id("spiffe://d/sidecar/orders/a")));
        for bad in ["*", "spiffe://d/*/a", "spiffe://d/a*", "spiffe://d/a/**", "spiffe://*/a"] {
            assert!(bad.parse::<Grant>().is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn the_path_and_the_domain_are_told_apart() {
        let id: SpiffeId = "spiffe://rekey.local/sidecar/a".parse().unwrap();
        assert_eq!(id.path(), "/sidecar/a");
        assert!(id.is_in(&"rekey.local".parse().unwrap()));
        assert!(!id.is_in(&"rekey".parse().unwrap()));
    }

    #[test]
    fn random_ids_read_as_they_are_written() {
        let id = InstanceId::from_bits(7);
        assert_eq!(id.to_string().parse::<InstanceId>().unwrap(), id);
        assert!("7".parse::<InstanceId>().is_err());
        assert!("+0000000000000000000000000000007".parse::<InstanceId>().is_err());
    }
}
