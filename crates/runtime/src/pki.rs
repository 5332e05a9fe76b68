//! Certificates for tests: an authority and what it signs, at the time of a manual clock.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rekey_model::SecretBytes;

use crate::tls::{Identity, Roots};

/// The name of every test server.
pub(crate) const SERVER: &str = "rekey.test";

/// An authority that lives only in a test.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), der }
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::from_der([self.der.clone()]).unwrap()
    }

    /// A server's identity, good for a year.
    pub(crate) fn server(&self) -> Identity {
        let params = CertificateParams::new(vec![SERVER.to_owned()]).unwrap();
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth, Duration::from_hours(24 * 365))
    }

    /// A client's identity, good for this long from the moment at which a manual clock starts.
    pub(crate) fn client(&self, life: Duration) -> Identity {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI("spiffe://rekey.test/sidecar/a".try_into().unwrap())];
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth, life)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
        life: Duration,
    ) -> Identity {
        let key = KeyPair::generate().unwrap();
        params.extended_key_usages = vec![usage];
        params.not_before = rcgen::date_time_ymd(2025, 12, 31);
        params.not_after = rcgen::date_time_ymd(2026, 1, 1) + life;
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        Identity::from_der(vec![leaf.der().to_vec()], &SecretBytes::new(key.serialize_der())).unwrap()
    }
}
