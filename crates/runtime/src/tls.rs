//! TLS 1.3 and nothing older, on both sides, without resumption, and swapped while it serves.
//!
//! A swap rebuilds the whole configuration: the next connection uses it, those that live go on until they are cut or
//! their certificate expires (`accept`). Certificates are judged by our own [`crate::Clock`].

use std::sync::Arc;

use rekey_model::SecretBytes;
use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

mod client;
mod connect;
mod server;

pub use client::ClientTls;
pub use connect::{
    Address, AddressError, ConnectError, Dial, connect, connect_lazy, connect_unix, connect_unix_lazy,
};
pub use server::{ClientAuth, Leaf, ServerTls};

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The text holds no certificate, or one that cannot be read.
    #[error("cannot read the certificates: they must be PEM, CERTIFICATE blocks only, at least one")]
    Certificates,
    /// The key cannot be used. What is wrong with it is not told.
    #[error("cannot read the private key: it must be PKCS #8 in DER or PEM")]
    Key,
    /// Key and certificate do not belong together.
    #[error("the private key is not the key of the certificate")]
    Mismatch,
    /// rustls refuses the whole.
    #[error("cannot set up TLS")]
    Setup(#[source] rustls::Error),
    /// The roots cannot judge client certificates.
    #[error("cannot judge client certificates by these roots")]
    Roots(#[source] rustls::server::VerifierBuilderError),
}

/// Makes aws-lc-rs the provider for code that asks the process for one. Call it early in every `main`; twice is once.
pub fn install_provider() {
    if aws_lc_rs::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed before");
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Certificates that are trusted to sign others.
#[derive(Debug, Clone)]
pub struct Roots(Arc<RootCertStore>);

impl Roots {
    /// Reads PEM text with one or more certificates.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsError> {
        Self::of(certificates(pem)?)
    }

    /// Takes certificates in DER, at least one.
    pub fn from_der(certificates: impl IntoIterator<Item = Vec<u8>>) -> Result<Self, TlsError> {
        Self::of(certificates.into_iter().map(CertificateDer::from).collect())
    }

    fn of(certificates: Vec<CertificateDer<'static>>) -> Result<Self, TlsError> {
        let mut store = RootCertStore::empty();
        for certificate in certificates {
            store.add(certificate).map_err(TlsError::Setup)?;
        }
        if store.is_empty() { Err(TlsError::Certificates) } else { Ok(Self(Arc::new(store))) }
    }
}

/// A certificate with its chain and its key: who we are. Clones share it.
#[derive(Debug, Clone)]
pub struct Identity(Arc<CertifiedKey>);

impl Identity {
    /// Takes the chain in DER, leaf first, and the key as PKCS #8 in DER; refuses a key that is not the leaf's.
    pub fn from_der(chain: Vec<Vec<u8>>, key: &SecretBytes) -> Result<Self, TlsError> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.expose()));
        Self::of(chain.into_iter().map(CertificateDer::from).collect(), &key)
    }

    /// The same, in PEM.
    pub fn from_pem(chain: &[u8], key: &SecretBytes) -> Result<Self, TlsError> {
        let key = PrivateKeyDer::from_pem_slice(key.expose()).map_err(|_secret| TlsError::Key)?;
        Self::of(certificates(chain)?, &key)
    }

    /// The leaf in DER.
    pub fn leaf(&self) -> &[u8] {
        self.0.cert.first().map(AsRef::as_ref).unwrap_or_default()
    }

    fn of(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'_>) -> Result<Self, TlsError> {
        if chain.is_empty() {
            return Err(TlsError::Certificates);
        }
        let key = aws_lc_rs::sign::any_supported_type(key).map_err(|_secret| TlsError::Key)?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => Ok(Self(Arc::new(certified))),
            Err(_mismatch_or_unknown) => Err(TlsError::Mismatch),
        }
    }

    fn certified(&self) -> CertifiedKey {
        CertifiedKey::new(self.0.cert.clone(), Arc::clone(&self.0.key))
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(TlsError::Certificates),
    }
}

#[cfg(test)]
mod tests;
