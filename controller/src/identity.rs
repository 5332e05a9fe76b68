//! Who a peer is, read from the leaf that TLS verified: exactly one URI name, our own grammar, nothing else believed.
//!
//! This is the only reader of leaves. The bytes are those that the verifier saw; that they lead to the right authority
//! is the accept layer's word. What a peer may do is decided by those who ask.

use rekey_model::{InstanceId, SpiffeId, TrustDomain};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{OID_X509_EXT_SUBJECT_ALT_NAME, Oid};
use x509_parser::prelude::FromDer;

use crate::ca::COUNTER_OID;

#[cfg(test)]
mod tests;

/// Below this path of the trust domain are sidecars.
pub const SIDECARS: &str = "/sidecar/";
/// Below this path of the trust domain are operators, one segment each.
pub const ADMINS: &str = "/admin/";

/// Why a certificate identifies nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not a certificate, or bytes after it.
    #[error("the certificate cannot be read")]
    Malformed,
    /// An extension that stands there twice.
    #[error("the certificate has an extension twice")]
    Duplicate,
    /// A certificate that may sign others, or not be used by a client.
    #[error("the certificate is not for a client")]
    Usage,
    /// None, several, or another kind of name.
    #[error("the certificate must have exactly one name, a URI")]
    Name,
    /// A URI that is no SPIFFE id of this installation.
    #[error("the certificate is of another installation")]
    Domain,
    /// A SPIFFE id that is neither a sidecar's nor an operator's.
    #[error("the certificate is for neither a sidecar nor an operator")]
    Path,
    /// A sidecar without its instance or counter, or an operator with a counter.
    #[error("the certificate lacks the instance or the counter")]
    Instance,
}

/// A sidecar as its leaf names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarIdentity {
    /// Authorises; shared by replicas.
    pub spiffe: SpiffeId,
    /// Which replica it is.
    pub instance: InstanceId,
    /// Which of the instance's leaves this is.
    pub counter: u64,
    /// When the leaf ends, in seconds since 1970 UTC.
    pub not_after: i64,
}

/// Who a peer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A sidecar.
    Sidecar(SidecarIdentity),
    /// An operator.
    Admin {
        /// The last segment of its id.
        name: String,
        /// The whole id.
        spiffe: SpiffeId,
    },
}

impl Identity {
    /// Reads the leaf `der`, which a verifier has accepted, as somebody of `domain`.
    pub fn of_leaf(der: &[u8], domain: &TrustDomain) -> Result<Self, IdentityError> {
        let (rest, leaf) = X509Certificate::from_der(der).map_err(|_x509| IdentityError::Malformed)?;
        if !rest.is_empty() {
            return Err(IdentityError::Malformed);
        }
        no_duplicates(&leaf)?;
        for_a_client(&leaf)?;
        let spiffe = only_name(&leaf)?;
        if !spiffe.is_in(domain) {
            return Err(IdentityError::Domain);
        }
        let counter = counter(&leaf)?;
        if spiffe.path().strip_prefix(SIDECARS).is_some() {
            let instance = instance(&leaf).ok_or(IdentityError::Instance)?;
            let counter = counter.ok_or(IdentityError::Instance)?;
            let not_after = leaf.validity().not_after.timestamp();
            return Ok(Self::Sidecar(SidecarIdentity { spiffe, instance, counter, not_after }));
        }
        match spiffe.path().strip_prefix(ADMINS) {
            Some(_) if counter.is_some() => Err(IdentityError::Instance),
            Some(name) if !name.contains('/') => Ok(Self::Admin { name: name.to_owned(), spiffe }),
            _ => Err(IdentityError::Path),
        }
    }

    /// The sidecar, if it is one.
    pub fn into_sidecar(self) -> Option<SidecarIdentity> {
        match self {
            Self::Sidecar(sidecar) => Some(sidecar),
            Self::Admin { .. } => None,
        }
    }
}

fn no_duplicates(leaf: &X509Certificate<'_>) -> Result<(), IdentityError> {
    leaf.extensions_map().map(|_| ()).map_err(|_twice| IdentityError::Duplicate)
}

fn for_a_client(leaf: &X509Certificate<'_>) -> Result<(), IdentityError> {
    let usage = leaf
        .extended_key_usage()
        .map_err(|_x509| IdentityError::Malformed)?
        .is_some_and(|usage| usage.value.client_auth);
    let signs = leaf.key_usage().map_err(|_x509| IdentityError::Malformed)?;
    let signs = leaf.is_ca() || signs.is_some_and(|usage| usage.value.key_cert_sign());
    if usage && !signs { Ok(()) } else { Err(IdentityError::Usage) }
}

fn only_name(leaf: &X509Certificate<'_>) -> Result<SpiffeId, IdentityError> {
    let names = leaf
        .extensions()
        .iter()
        .find(|extension| extension.oid == OID_X509_EXT_SUBJECT_ALT_NAME)
        .ok_or(IdentityError::Name)?;
    let ParsedExtension::SubjectAlternativeName(names) = names.parsed_extension() else {
        return Err(IdentityError::Malformed);
    };
    match names.general_names.as_slice() {
        [GeneralName::URI(uri)] => uri.parse().map_err(|_id| IdentityError::Domain),
        _ => Err(IdentityError::Name),
    }
}

fn counter(leaf: &X509Certificate<'_>) -> Result<Option<u64>, IdentityError> {
    let oid = Oid::from(COUNTER_OID).map_err(|_oid| IdentityError::Malformed)?;
    let Some(extension) = leaf.extensions().iter().find(|extension| extension.oid == oid) else {
        return Ok(None);
    };
    let bytes = extension.value.strip_prefix(&[0x04, 8]).ok_or(IdentityError::Instance)?;
    let bytes = bytes.try_into().map_err(|_length| IdentityError::Instance)?;
    Ok(Some(u64::from_be_bytes(bytes)))
}

fn instance(leaf: &X509Certificate<'_>) -> Option<InstanceId> {
    let mut names = leaf.subject().iter_common_name();
    let only = names.next()?;
    if names.next().is_some() {
        return None;
    }
    only.as_str().ok()?.parse().ok()
}
