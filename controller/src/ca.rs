//! The three certificate authorities of an installation, and the leaves they issue.
//!
//! The *server* authority signs the controller's own leaf, the *sidecar* authority those of sidecars, the *admin*
//! authority those of operators. None is trusted where another is: a stolen sidecar key opens no admin door.
//! Keys come and go as PKCS #8 in [`SecretBytes`]; the store seals them. Who may have a leaf is decided elsewhere.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rekey_model::{InstanceId, Moment, SecretBytes, SpiffeId, TrustDomain};
use rekey_runtime::random;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

mod expired;
mod request;
#[cfg(test)]
mod tests;

pub use expired::ExpiredError;
pub use request::{RequestError, RequestedKey};

/// The private extension that carries the counter of a sidecar's leaf. An arc of our own below the one for UUIDs, so
/// nobody had to register it.
pub const COUNTER_OID: &[u64] = &[2, 25, 0x7265_6b65_7901];

/// How far a leaf's beginning lies in the past, for peers whose clock is behind.
pub const BACKDATED: Duration = Duration::from_mins(1);

/// How long an authority lives.
const AUTHORITY_LIFE: Duration = Duration::from_hours(10 * 365 * 24);

/// Why an authority or a leaf could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The stored certificate or key cannot be used.
    #[error("the stored authority cannot be read")]
    Open(#[source] rcgen::Error),
    /// The stored key is not the key of the stored certificate.
    #[error("the stored key does not belong to the stored certificate")]
    OtherKey,
    /// The certificate could not be made.
    #[error("the certificate could not be made")]
    Issue(#[source] rcgen::Error),
    /// The crypto library made no key.
    #[error("no key could be made")]
    Key,
    /// A name that the controller's leaf is to carry is neither a host name nor an address.
    #[error("`{0}` is neither a host name nor an address")]
    Name(String),
    /// The times of the certificate lie outside what it can say.
    #[error("the clock of this machine is wrong")]
    Clock,
}

/// What an authority signs for.
pub trait Role {
    /// The word for it in the authority's name.
    const NAME: &'static str;
}

/// Signs the controller's own leaf.
#[derive(Debug)]
pub enum Server {}
/// Signs the leaves of sidecars.
#[derive(Debug)]
pub enum Sidecar {}
/// Signs the leaves of operators.
#[derive(Debug)]
pub enum Admin {}

impl Role for Server {
    const NAME: &'static str = "server";
}
impl Role for Sidecar {
    const NAME: &'static str = "sidecar";
}
impl Role for Admin {
    const NAME: &'static str = "admin";
}

/// A self-signed authority that can issue leaves of its role.
pub struct Authority<R> {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    role: PhantomData<fn() -> R>,
}

/// A leaf as it was issued.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The certificate.
    pub der: Vec<u8>,
    /// Its serial number in lower-case hexadecimal.
    pub serial: String,
    /// When it ends, in seconds since 1970 UTC.
    pub not_after: i64,
}

/// What a sidecar's leaf says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarLeaf {
    /// Whom it authorises.
    pub spiffe: SpiffeId,
    /// Which instance it is.
    pub instance: InstanceId,
    /// Which of the instance's leaves it is.
    pub counter: u64,
}

/// The controller's own leaf with its key.
#[derive(Debug)]
pub struct ServerIdentity {
    /// The leaf.
    pub leaf: Leaf,
    /// Its key, PKCS #8.
    pub key: SecretBytes,
}

impl<R> fmt::Debug for Authority<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl<R: Role> Authority<R> {
    /// Makes a new authority of `domain` and returns it with its key, which exists nowhere else.
    pub fn create(domain: &TrustDomain, now: Moment) -> Result<(Self, SecretBytes), CaError> {
        let key = new_key()?;
        let mut params = blank(&format!("Rekey {} CA {domain}", R::NAME));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_times(&mut params, now, AUTHORITY_LIFE)?;
        let pair = key_pair(&key)?;
        let certificate = params.self_signed(&pair).map_err(CaError::Issue)?.der().clone();
        Ok((Self { issuer: Issuer::new(params, pair), certificate, role: PhantomData }, key))
    }

    /// Takes an authority from its certificate and key; refuses a pair that does not belong together.
    pub fn open(certificate: Vec<u8>, key: &SecretBytes) -> Result<Self, CaError> {
        let certificate = CertificateDer::from(certificate);
        let pair = key_pair(key)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate)
            .map_err(|_x509| CaError::Open(rcgen::Error::CouldNotParseCertificate))?;
        if parsed.public_key().subject_public_key.data.as_ref() != pair.public_key_raw() {
            return Err(CaError::OtherKey);
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, pair).map_err(CaError::Open)?;
        Ok(Self { issuer, certificate, role: PhantomData })
    }

    /// The authority's certificate in DER: what its verifiers trust.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The same in PEM, for a file.
    pub fn certificate_pem(&self) -> String {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(&self.certificate);
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        for (i, c) in text.chars().enumerate() {
            if i > 0 && i % 64 == 0 {
                pem.push('\n');
            }
            pem.push(c);
        }
        pem.push_str("\n-----END CERTIFICATE-----\n");
        pem
    }

    fn issue(
        &self,
        key: &impl rcgen::PublicKeyData,
        mut params: CertificateParams,
        life: Duration,
        now: Moment,
    ) -> Result<Leaf, CaError> {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let not_after = set_times(&mut params, now, life)?;
        let serial = params.serial_number.as_ref().map(SerialNumber::to_bytes).unwrap_or_default();
        let certificate = params.signed_by(key, &self.issuer).map_err(CaError::Issue)?;
        Ok(Leaf { der: certificate.der().to_vec(), serial: hex::encode(serial), not_after })
    }
}

impl Authority<Sidecar> {
    /// Issues a sidecar's leaf: one URI name, the instance as common name, the counter in its extension.
    pub fn sidecar_leaf(
        &self,
        key: &RequestedKey,
        says: &SidecarLeaf,
        life: Duration,
        now: Moment,
    ) -> Result<Leaf, CaError> {
        let mut params = client(&says.instance.to_string(), &says.spiffe)?;
        let mut counter = vec![0x04, 8];
        counter.extend_from_slice(&says.counter.to_be_bytes());
        params.custom_extensions.push(CustomExtension::from_oid_content(COUNTER_OID, counter));
        self.issue(key, params, life, now)
    }
}

impl Authority<Admin> {
    /// Issues an operator's leaf, `spiffe://<domain>/admin/<name>`.
    pub fn admin_leaf(
        &self,
        key: &RequestedKey,
        spiffe: &SpiffeId,
        life: Duration,
        now: Moment,
    ) -> Result<Leaf, CaError> {
        let name = spiffe.path().rsplit('/').next().unwrap_or_default();
        self.issue(key, client(name, spiffe)?, life, now)
    }
}

impl Authority<Server> {
    /// Draws a key and issues the controller's own leaf for `names` (host names or addresses) and
    /// `spiffe://<domain>/controller`.
    pub fn server_identity(
        &self,
        domain: &TrustDomain,
        names: &[String],
        life: Duration,
        now: Moment,
    ) -> Result<ServerIdentity, CaError> {
        let mut params = blank("rekey-controller");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            params.subject_alt_names.push(server_name(name)?);
        }
        params.subject_alt_names.push(uri(&format!("spiffe://{domain}/controller"))?);
        let key = new_key()?;
        let leaf = self.issue(&key_pair(&key)?, params, life, now)?;
        Ok(ServerIdentity { leaf, key })
    }
}

fn server_name(name: &str) -> Result<SanType, CaError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let wrong = || CaError::Name(name.to_owned());
    rustls::pki_types::DnsName::try_from(name).map_err(|_dns| wrong())?;
    Ok(SanType::DnsName(name.try_into().map_err(|_ascii| wrong())?))
}

fn uri(text: &str) -> Result<SanType, CaError> {
    Ok(SanType::URI(text.try_into().map_err(CaError::Issue)?))
}

/// What every client's leaf has in common.
fn client(common_name: &str, spiffe: &SpiffeId) -> Result<CertificateParams, CaError> {
    let mut params = blank(common_name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names.push(uri(spiffe.as_str())?);
    Ok(params)
}

fn blank(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(serial());
    params
}

/// A serial number of 158 random bits: positive, and always of the same length.
fn serial() -> SerialNumber {
    let mut bytes: [u8; 20] = random::array();
    if let Some(first) = bytes.first_mut() {
        *first = (*first & 0x3f) | 0x40;
    }
    SerialNumber::from_slice(&bytes)
}

/// Sets both ends in whole seconds and returns the later one.
fn set_times(params: &mut CertificateParams, now: Moment, life: Duration) -> Result<i64, CaError> {
    let seconds = u64::try_from(now.wall_ms / 1000).map_err(|_negative| CaError::Clock)?;
    let end = seconds.saturating_add(life.as_secs().max(1));
    // Year 9999 is the last that a certificate can say.
    if end > 253_402_300_799 || seconds < BACKDATED.as_secs() {
        return Err(CaError::Clock);
    }
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(seconds) - BACKDATED;
    params.not_after = epoch + Duration::from_secs(end);
    i64::try_from(end).map_err(|_large| CaError::Clock)
}

fn new_key() -> Result<SecretBytes, CaError> {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
    let system = aws_lc_rs::rand::SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &system)
        .map_err(|_unspecified| CaError::Key)?;
    Ok(SecretBytes::new(document.as_ref().to_vec()))
}

fn key_pair(key: &SecretBytes) -> Result<KeyPair, CaError> {
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(key.expose()), &PKCS_ECDSA_P256_SHA256)
        .map_err(CaError::Open)
}
