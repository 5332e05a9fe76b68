//! One leaf with its key: how long it is good, and what its key can sign.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, SigningKey};
use rekey_model::{InstanceId, Moment, SecretBytes, SpiffeId};
use rekey_runtime::tls;
use rustls::pki_types::PrivatePkcs8KeyDer;

/// What the proof of a rejoin begins with.
const REJOIN: &[u8] = b"rekey rejoin v1";

/// A leaf, what leads to its CA, and its key.
#[derive(Debug)]
pub struct Leaf {
    /// The leaf first, in DER.
    pub chain: Vec<Vec<u8>>,
    /// The instance that it names.
    pub instance: InstanceId,
    /// The SPIFFE id that it names.
    pub spiffe_id: SpiffeId,
    /// When it came.
    pub since: Moment,
    /// How long it is good from then on.
    pub lives: Duration,
    pub(super) key: LeafKey,
}

/// A key on P-256, in PKCS #8.
#[derive(Debug, Clone)]
pub(super) struct LeafKey(Arc<SecretBytes>);

/// A key that cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[error("use the key of this sidecar")]
pub struct KeyError(#[from] rcgen::Error);

/// An answer of the controller that is no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// No certificate in it.
    #[error("the controller sent no certificate")]
    NoCertificate,
    /// Neither instance nor SPIFFE id can be read.
    #[error("the controller sent an identity that cannot be read")]
    Id(#[from] rekey_model::IdError),
    /// A life of nothing.
    #[error("the controller sent a leaf that has ended already")]
    Dead,
}

impl Leaf {
    /// Whether it has ended at `now`, or is so near its end that a handshake may come too late.
    pub fn is_over(&self, now: Moment) -> bool {
        self.left(now) <= self.lives / 20
    }

    /// What is left of it at `now`.
    pub fn left(&self, now: Moment) -> Duration {
        self.lives.saturating_sub(now.at_most_since(self.since))
    }

    /// Who this sidecar is in a handshake.
    pub fn tls_identity(&self) -> Result<tls::Identity, tls::TlsError> {
        tls::Identity::from_der(self.chain.clone(), self.key.pkcs8())
    }

    /// Signs `csr_der` with the key of this leaf, to get a new one after it has ended.
    pub(super) fn prove(&self, csr_der: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.key.pair()?.sign(&[REJOIN, csr_der].concat())?)
    }
}

impl LeafKey {
    pub(super) fn generate() -> Result<Self, KeyError> {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        Ok(Self::of(pair.serialize_der()))
    }

    /// The key in `pkcs8`, which is taken over and wiped in the end.
    pub(super) fn of(pkcs8: Vec<u8>) -> Self {
        Self(Arc::new(SecretBytes::new(pkcs8)))
    }

    pub(super) fn pkcs8(&self) -> &SecretBytes {
        &self.0
    }

    /// A PKCS #10 request. It names nobody: who this is, is for the controller to say.
    pub(super) fn csr(&self) -> Result<Vec<u8>, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        Ok(params.serialize_request(&self.pair()?)?.der().to_vec())
    }

    pub(super) fn pair(&self) -> Result<KeyPair, KeyError> {
        let der = PrivatePkcs8KeyDer::from(self.0.expose());
        Ok(KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ECDSA_P256_SHA256)?)
    }
}
