//! The table of hostile certificates: each is rightly signed, and identifies nobody.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, SanType,
};

use super::*;

const ID: &str = "spiffe://rekey.local/sidecar/orders/a";

fn domain() -> TrustDomain {
    "rekey.local".parse().unwrap()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn counter_of(content: Vec<u8>) -> CustomExtension {
    CustomExtension::from_oid_content(COUNTER_OID, content)
}

/// A good leaf after `change`.
fn leaf(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, InstanceId::from_bits(7).to_string());
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names.push(uri(ID));
    params.custom_extensions.push(counter_of(vec![4, 8, 0, 0, 0, 0, 0, 0, 0, 5]));
    change(&mut params);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn read(der: &[u8]) -> Result<Identity, IdentityError> {
    Identity::of_leaf(der, &domain())
}

#[test]
fn a_good_leaf_is_read_as_it_was_written() {
    let sidecar = read(&leaf(|_| {})).unwrap().into_sidecar().unwrap();
    assert_eq!(sidecar.spiffe.as_str(), ID);
    assert_eq!((sidecar.instance, sidecar.counter), (InstanceId::from_bits(7), 5));
    let admin = leaf(|p| {
        p.subject_alt_names = vec![uri("spiffe://rekey.local/admin/alice")];
        p.custom_extensions.clear();
    });
    let admin = read(&admin).unwrap();
    assert!(matches!(&admin, Identity::Admin { name, .. } if name == "alice"), "{admin:?}");
    assert!(admin.into_sidecar().is_none());
}

#[test]
fn names_that_identify_nobody() {
    let named = |names: Vec<SanType>| read(&leaf(|p| p.subject_alt_names = names)).unwrap_err();
    let dns = || SanType::DnsName("rekey.local".try_into().unwrap());
    assert_eq!(named(vec![]), IdentityError::Name);
    assert_eq!(named(vec![uri(ID), uri(ID)]), IdentityError::Name);
    assert_eq!(named(vec![uri(ID), dns()]), IdentityError::Name);
    assert_eq!(named(vec![dns()]), IdentityError::Name);
    for (id, error) in [
        ("spiffe://other.local/sidecar/orders/a", IdentityError::Domain),
        ("spiffe://rekey.local.evil/sidecar/orders/a", IdentityError::Domain),
        ("spiffe://rekey.local/sidecar/../admin/alice", IdentityError::Domain),
        ("spiffe://rekey.local/sidecar/%2e%2e/a", IdentityError::Domain),
        ("SPIFFE://rekey.local/sidecar/a", IdentityError::Domain),
        ("https://rekey.local/sidecar/a", IdentityError::Domain),
        ("spiffe://rekey.local/sidecar/a/", IdentityError::Domain),
        ("spiffe://rekey.local/sidecar", IdentityError::Path),
        ("spiffe://rekey.local/sidecars/a", IdentityError::Path),
        ("spiffe://rekey.local/controller", IdentityError::Path),
        ("spiffe://rekey.local/admin/alice", IdentityError::Instance),
    ] {
        assert_eq!(named(vec![uri(id)]), error, "{id}");
    }
    let deep = leaf(|p| {
        p.subject_alt_names = vec![uri("spiffe://rekey.local/admin/a/b")];
        p.custom_extensions.clear();
    });
    assert_eq!(read(&deep), Err(IdentityError::Path));
}

#[test]
fn the_common_name_stands_in_for_no_uri() {
    let der = leaf(|p| {
        p.subject_alt_names.clear();
        p.distinguished_name.push(DnType::CommonName, ID);
    });
    assert_eq!(read(&der), Err(IdentityError::Name));
}

#[test]
fn the_instance_is_one_common_name_and_nothing_else() {
    let named = |name: &str| {
        read(&leaf(|p| {
            p.distinguished_name = DistinguishedName::new();
            p.distinguished_name.push(DnType::CommonName, name);
        }))
    };
    assert_eq!(named("orders"), Err(IdentityError::Instance));
    assert_eq!(named(&"A".repeat(32)), Err(IdentityError::Instance));
    let none = leaf(|p| p.distinguished_name = DistinguishedName::new());
    assert_eq!(read(&none), Err(IdentityError::Instance));
}

#[test]
fn the_counter_stands_there_once_and_whole() {
    let counted = |extensions: Vec<CustomExtension>| read(&leaf(|p| p.custom_extensions = extensions));
    let good = || counter_of(vec![4, 8, 0, 0, 0, 0, 0, 0, 0, 5]);
    assert_eq!(counted(vec![]), Err(IdentityError::Instance));
    assert_eq!(counted(vec![good(), good()]), Err(IdentityError::Duplicate));
    assert_eq!(counted(vec![counter_of(vec![4, 1, 5])]), Err(IdentityError::Instance));
    assert_eq!(counted(vec![counter_of(vec![4, 8, 5])]), Err(IdentityError::Instance));
    assert_eq!(counted(vec![counter_of(vec![2, 8, 0, 0, 0, 0, 0, 0, 0, 5])]), Err(IdentityError::Instance));
}

#[test]
fn an_authority_or_a_servers_leaf_is_no_client() {
    let usage = |usages: Vec<ExtendedKeyUsagePurpose>| read(&leaf(|p| p.extended_key_usages = usages));
    assert_eq!(usage(vec![]), Err(IdentityError::Usage));
    assert_eq!(usage(vec![ExtendedKeyUsagePurpose::ServerAuth]), Err(IdentityError::Usage));
    let authority = leaf(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(read(&authority), Err(IdentityError::Usage));
    let signer = leaf(|p| p.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
    assert_eq!(read(&signer), Err(IdentityError::Usage));
}

#[test]
fn no_bytes_make_the_reader_fail() {
    let good = leaf(|_| {});
    for length in 0..good.len() {
        assert!(read(&good[..length]).is_err());
    }
    for at in 0..good.len() {
        let mut bent = good.clone();
        bent[at] ^= 0xff;
        drop(read(&bent));
    }
    assert_eq!(read(&[good, vec![0]].concat()), Err(IdentityError::Malformed));
}

#[test]
fn an_extension_that_stands_there_twice_is_refused() {
    let der = leaf(|p| {
        // A second subjectAltName beside the good one: GeneralNames with the URI of an operator.
        let id = b"spiffe://rekey.local/admin/alice";
        let mut content =
            vec![0x30, u8::try_from(id.len() + 2).unwrap(), 0x86, u8::try_from(id.len()).unwrap()];
        content.extend_from_slice(id);
        p.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 17], content));
    });
    assert_eq!(read(&der), Err(IdentityError::Duplicate));
}
