//! What an authority puts into a leaf, whatever a request asks for.

use rcgen::CertificateSigningRequest;
use rekey_model::BootId;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::*;

fn domain() -> TrustDomain {
    "rekey.local".parse().unwrap()
}

fn now() -> Moment {
    Moment { wall_ms: 1_790_000_000_000, boot: BootId(1), boot_ms: 0 }
}

fn says() -> SidecarLeaf {
    SidecarLeaf {
        spiffe: "spiffe://rekey.local/sidecar/orders/a".parse().unwrap(),
        instance: InstanceId::from_bits(7),
        counter: 3,
    }
}

fn request(params: &CertificateParams) -> CertificateSigningRequest {
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap()
}

/// Requests that ask for more than their owner is to get, all rightly signed.
fn hostile_requests() -> Vec<(&'static str, CertificateSigningRequest)> {
    let with = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = CertificateParams::default();
        change(&mut params);
        request(&params)
    };
    let admin = || SanType::URI("spiffe://rekey.local/admin/alice".try_into().unwrap());
    vec![
        ("nothing", with(&|_| {})),
        ("an admin's URI", with(&|p| p.subject_alt_names.push(admin()))),
        (
            "several names",
            with(&|p| {
                p.subject_alt_names.push(admin());
                p.subject_alt_names.push(SanType::DnsName("controller".try_into().unwrap()));
                p.subject_alt_names.push(SanType::IpAddress("127.0.0.1".parse().unwrap()));
                p.subject_alt_names.push(SanType::Rfc822Name("a@b.c".try_into().unwrap()));
            }),
        ),
        ("to be an authority", with(&|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
        (
            "to sign and to serve",
            with(&|p| {
                p.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
                p.extended_key_usages =
                    vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Any];
            }),
        ),
        (
            "another instance and counter",
            with(&|p| {
                p.distinguished_name.push(DnType::CommonName, InstanceId::from_bits(9).to_string());
                p.custom_extensions.push(CustomExtension::from_oid_content(COUNTER_OID, vec![4, 0]));
            }),
        ),
    ]
}

#[test]
fn a_leaf_says_what_is_registered_whatever_the_request_asks_for() {
    let (authority, _key) = Authority::<Sidecar>::create(&domain(), now()).unwrap();
    for (what, request) in hostile_requests() {
        let key = RequestedKey::from_request(request.der()).unwrap();
        let leaf = authority.sidecar_leaf(&key, &says(), Duration::from_hours(1), now()).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&leaf.der).unwrap();
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        let expected = [GeneralName::URI("spiffe://rekey.local/sidecar/orders/a")];
        assert_eq!(names.value.general_names, expected, "{what}");
        assert!(!parsed.is_ca(), "{what}");
        assert!(!parsed.key_usage().unwrap().unwrap().value.key_cert_sign(), "{what}");
        let usage = parsed.extended_key_usage().unwrap().unwrap();
        assert!(usage.value.client_auth && !usage.value.server_auth && !usage.value.any, "{what}");
        let identity = crate::identity::Identity::of_leaf(&leaf.der, &domain()).unwrap();
        let sidecar = identity.into_sidecar().unwrap();
        assert_eq!((sidecar.instance, sidecar.counter), (InstanceId::from_bits(7), 3), "{what}");
    }
}

#[test]
fn a_request_without_proof_of_its_key_is_refused() {
    let mut der = request(&CertificateParams::default()).der().to_vec();
    let last = der.len() - 1;
    der[last] ^= 1;
    let refused = RequestedKey::from_request(&der);
    assert!(matches!(refused, Err(RequestError::Proof | RequestError::Malformed)), "{refused:?}");

    // The key of another request in a request that its own key signed.
    let (one, two) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let der = CertificateParams::default().serialize_request(&one).unwrap().der().to_vec();
    let at = der.windows(65).position(|window| window == one.public_key_raw()).unwrap();
    let mut swapped = der;
    swapped[at..at + 65].copy_from_slice(two.public_key_raw());
    assert_eq!(RequestedKey::from_request(&swapped), Err(RequestError::Proof));
}

#[test]
fn only_p256_requests_are_read() {
    for algorithm in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P384_SHA384] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let der = CertificateParams::default().serialize_request(&key).unwrap();
        assert_eq!(RequestedKey::from_request(der.der()), Err(RequestError::Key));
    }
}

#[test]
fn no_bytes_make_the_reader_of_requests_fail() {
    let good = request(&CertificateParams::default()).der().to_vec();
    for length in 0..good.len() {
        assert!(RequestedKey::from_request(&good[..length]).is_err());
    }
    for at in 0..good.len() {
        let mut bent = good.clone();
        bent[at] ^= 0xff;
        drop(RequestedKey::from_request(&bent));
    }
    let trailing = [good, vec![0]].concat();
    assert_eq!(RequestedKey::from_request(&trailing), Err(RequestError::Malformed));
    assert_eq!(RequestedKey::from_request(&[0x30; 5000]), Err(RequestError::Malformed));
}

#[test]
fn serials_are_random_and_times_are_those_asked_for() {
    let (authority, _key) = Authority::<Sidecar>::create(&domain(), now()).unwrap();
    let key = RequestedKey::from_request(request(&CertificateParams::default()).der()).unwrap();
    let issue = || authority.sidecar_leaf(&key, &says(), Duration::from_secs(5), now()).unwrap();
    let (one, two) = (issue(), issue());
    assert_ne!(one.serial, two.serial);
    assert_eq!(one.serial.len(), 40);
    assert_eq!(one.not_after, 1_790_000_005);
    let (_, parsed) = x509_parser::parse_x509_certificate(&one.der).unwrap();
    assert_eq!(parsed.validity().not_before.timestamp(), 1_790_000_000 - 60);
    assert_eq!(parsed.validity().not_after.timestamp(), one.not_after);
}

#[test]
fn an_authority_opens_with_its_own_key_only() {
    let (made, key) = Authority::<Admin>::create(&domain(), now()).unwrap();
    let opened = Authority::<Admin>::open(made.certificate().to_vec(), &key).unwrap();
    assert!(opened.certificate_pem().ends_with("\n-----END CERTIFICATE-----\n"));
    let requested = RequestedKey::from_request(request(&CertificateParams::default()).der()).unwrap();
    let admin = "spiffe://rekey.local/admin/alice".parse().unwrap();
    let leaf = opened.admin_leaf(&requested, &admin, Duration::from_hours(1), now()).unwrap();
    let (_, issuer) = x509_parser::certificate::X509Certificate::from_der(made.certificate()).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&leaf.der).unwrap();
    parsed.verify_signature(Some(issuer.public_key())).unwrap();
    assert_eq!(parsed.issuer(), issuer.subject());

    let (_, other) = Authority::<Admin>::create(&domain(), now()).unwrap();
    assert!(matches!(Authority::<Admin>::open(made.certificate().to_vec(), &other), Err(CaError::OtherKey)));
    let nonsense = SecretBytes::new(vec![1, 2, 3]);
    assert!(Authority::<Admin>::open(made.certificate().to_vec(), &nonsense).is_err());
}

#[test]
fn the_controllers_leaf_has_its_names_and_its_uri() {
    let (authority, _key) = Authority::<Server>::create(&domain(), now()).unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let identity = authority.server_identity(&domain(), &names, Duration::from_hours(1), now()).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&identity.leaf.der).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    let expected = [
        GeneralName::DNSName("localhost"),
        GeneralName::IPAddress(&[127, 0, 0, 1]),
        GeneralName::URI("spiffe://rekey.local/controller"),
    ];
    assert_eq!(names.value.general_names, expected);
    for bad in ["", "a b", "*", "a/b", "x\n"] {
        let made = authority.server_identity(&domain(), &[bad.into()], Duration::from_hours(1), now());
        assert!(matches!(made, Err(CaError::Name(_))), "{bad:?} was taken");
    }
}
