//! Whether a leaf was ours and its owner still has the key, though its time is over: what lets a sidecar come back after
//! a long outage.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rekey_model::Moment;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::{Authority, Sidecar};

/// What the proof of the key is a signature over, before the request.
const PROOF: &[u8] = b"rekey rejoin v1";

/// Why an expired leaf is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExpiredError {
    /// Not a certificate.
    #[error("the leaf cannot be read")]
    Malformed,
    /// Not issued by this authority, or not for a client.
    #[error("the leaf is not one of ours")]
    Stranger,
    /// It begins in the future.
    #[error("the leaf is not valid yet")]
    Early,
    /// It ended too long ago.
    #[error("the leaf ended too long ago")]
    TooLate,
    /// The proof is not by the leaf's key.
    #[error("the proof is not by the leaf's key")]
    Proof,
}

impl Authority<Sidecar> {
    /// Accepts `leaf` as TLS would have done in its last second, if that is at most `window` ago and `proof` is a
    /// signature by its key over the request `csr`.
    pub fn accept_expired(
        &self,
        leaf: &[u8],
        (csr, proof): (&[u8], &[u8]),
        window: Duration,
        now: Moment,
    ) -> Result<(), ExpiredError> {
        let (rest, parsed) = X509Certificate::from_der(leaf).map_err(|_x509| ExpiredError::Malformed)?;
        if !rest.is_empty() {
            return Err(ExpiredError::Malformed);
        }
        let seconds = now.wall_ms / 1000;
        let (begin, end) =
            (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
        if begin > seconds {
            return Err(ExpiredError::Early);
        }
        if seconds.saturating_sub(end) > i64::try_from(window.as_secs()).unwrap_or(i64::MAX) {
            return Err(ExpiredError::TooLate);
        }
        let last = u64::try_from(end.min(seconds)).map_err(|_negative| ExpiredError::Malformed)?;
        self.verify(leaf, last).ok_or(ExpiredError::Stranger)?;
        let message = [PROOF, csr].concat();
        let key = parsed.public_key().subject_public_key.data.as_ref();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
            .verify(&message, proof)
            .map_err(|_unspecified| ExpiredError::Proof)
    }

    /// The very check of the accept layer, at another time.
    fn verify(&self, leaf: &[u8], at: u64) -> Option<()> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate().clone()).ok()?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().ok()?;
        let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
        verifier.verify_client_cert(&CertificateDer::from(leaf), &[], at).ok().map(|_verified| ())
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
    use rekey_model::{BootId, InstanceId};

    use super::super::{Admin, RequestedKey, SidecarLeaf};
    use super::*;

    const WINDOW: Duration = Duration::from_hours(7 * 24);

    fn at(seconds: i64) -> Moment {
        Moment { wall_ms: (1_790_000_000 + seconds) * 1000, boot: BootId(1), boot_ms: 0 }
    }

    fn authority() -> Authority<Sidecar> {
        Authority::create(&"rekey.local".parse().unwrap(), at(0)).unwrap().0
    }

    /// A leaf of an hour with its key pair.
    fn issued(authority: &Authority<Sidecar>) -> (Vec<u8>, rcgen::KeyPair) {
        let pair = rcgen::KeyPair::generate().unwrap();
        let request = rcgen::CertificateParams::default().serialize_request(&pair).unwrap();
        let says = SidecarLeaf {
            spiffe: "spiffe://rekey.local/sidecar/a".parse().unwrap(),
            instance: InstanceId::from_bits(7),
            counter: 1,
        };
        let key = RequestedKey::from_request(request.der()).unwrap();
        (authority.sidecar_leaf(&key, &says, Duration::from_hours(1), at(0)).unwrap().der, pair)
    }

    fn proof(pair: &rcgen::KeyPair, message: &[u8]) -> Vec<u8> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pair.serialized_der()).unwrap();
        key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    #[test]
    fn an_expired_leaf_is_accepted_within_the_window_and_not_after() {
        let authority = authority();
        let (leaf, pair) = issued(&authority);
        let good = proof(&pair, b"rekey rejoin v1csr");
        let accept = |now| authority.accept_expired(&leaf, (b"csr", &good), WINDOW, now);
        assert_eq!(accept(at(10)), Ok(()));
        assert_eq!(accept(at(3600 + 100)), Ok(()));
        assert_eq!(accept(at(3600 + 7 * 86400)), Ok(()));
        assert_eq!(accept(at(3600 + 7 * 86400 + 1)), Err(ExpiredError::TooLate));
        assert_eq!(accept(at(-61)), Err(ExpiredError::Early));
    }

    #[test]
    fn the_proof_is_by_the_key_and_over_this_request() {
        let authority = authority();
        let (leaf, pair) = issued(&authority);
        let accept = |proof: &[u8]| authority.accept_expired(&leaf, (b"csr", proof), WINDOW, at(4000));
        let stranger = rcgen::KeyPair::generate().unwrap();
        for bad in [
            proof(&pair, b"csr"),
            proof(&pair, b"rekey rejoin v1other"),
            proof(&stranger, b"rekey rejoin v1csr"),
            vec![],
        ] {
            assert_eq!(accept(&bad), Err(ExpiredError::Proof));
        }
    }

    #[test]
    fn a_leaf_of_another_authority_or_a_bent_one_is_a_stranger() {
        let (ours, other) = (authority(), authority());
        let (leaf, pair) = issued(&other);
        let good = proof(&pair, b"rekey rejoin v1csr");
        let accept = |leaf: &[u8]| ours.accept_expired(leaf, (b"csr", &good), WINDOW, at(4000));
        assert_eq!(accept(&leaf), Err(ExpiredError::Stranger));
        let admins = Authority::<Admin>::create(&"rekey.local".parse().unwrap(), at(0)).unwrap().0;
        let request = rcgen::CertificateParams::default().serialize_request(&pair).unwrap();
        let key = RequestedKey::from_request(request.der()).unwrap();
        let admin = "spiffe://rekey.local/admin/alice".parse().unwrap();
        let admin = admins.admin_leaf(&key, &admin, Duration::from_hours(1), at(0)).unwrap().der;
        assert_eq!(accept(&admin), Err(ExpiredError::Stranger));
        let (mine, pair) = issued(&ours);
        let good = proof(&pair, b"rekey rejoin v1csr");
        assert_eq!(ours.accept_expired(&mine, (b"csr", &good), WINDOW, at(4000)), Ok(()));
        for index in 0..mine.len() {
            let mut bent = mine.clone();
            bent[index] ^= 0x01;
            assert!(ours.accept_expired(&bent, (b"csr", &good), WINDOW, at(4000)).is_err(), "{index}");
        }
    }
}
