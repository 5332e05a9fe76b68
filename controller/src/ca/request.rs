//! What is taken from a certificate request: its key, once its owner has proved to have it. Nothing else of it is read.

use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ECDSA_WITH_SHA256};
use x509_parser::prelude::FromDer;

/// The most bytes a request may have.
const MOST_BYTES: usize = 4096;

/// Why a certificate request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not a PKCS #10 request in DER, or more than one.
    #[error("the certificate request cannot be read")]
    Malformed,
    /// A key of another kind.
    #[error("the certificate request must be for an ECDSA P-256 key and signed with SHA-256")]
    Key,
    /// The signature is not by the key.
    #[error("the certificate request is not signed by its key")]
    Proof,
}

/// The public key of a request whose signature was checked: a P-256 point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedKey(Vec<u8>);

impl RequestedKey {
    /// Reads the key of the request `der` and checks that the request is signed by it.
    ///
    /// Names, usages and extensions that the request asks for are not looked at: they change nothing.
    pub fn from_request(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > MOST_BYTES {
            return Err(RequestError::Malformed);
        }
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|_x509| RequestError::Malformed)?;
        if !rest.is_empty() {
            return Err(RequestError::Malformed);
        }
        let key = &request.certification_request_info.subject_pki;
        let curve = key.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
        let point = key.subject_public_key.data.as_ref();
        let fits = key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
            && curve == Some(OID_EC_P256)
            && point.len() == 65
            && point.first() == Some(&4)
            && request.signature_algorithm.algorithm == OID_SIG_ECDSA_WITH_SHA256;
        if !fits {
            return Err(RequestError::Key);
        }
        request.verify_signature().map_err(|_x509| RequestError::Proof)?;
        Ok(Self(point.to_vec()))
    }

    /// SHA-256 of the point, in hexadecimal: which key it is, for lists.
    pub fn fingerprint(&self) -> String {
        hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.0))
    }
}

impl PublicKeyData for RequestedKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}
