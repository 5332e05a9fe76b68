//! Whoever comes to a door of the controller with a wrong certificate, or the old way, is refused; the controller goes on.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use rekey_proto::fleet::fleet_client::FleetClient;
use rekey_proto::fleet::identity_client::IdentityClient;
use rekey_proto::fleet::{RenewRequest, Up};
use rekey_runtime::Clock;
use rekey_runtime::tls::{Address, ClientTls, Dial, Roots, connect};
use rekey_testkit::certificates::{Authority, Leaf};
use rekey_testkit::process::poll;
use rekey_testkit::system::Pace;
use rustls::{AlertDescription, HandshakeKind};
use serde_json::Value;
use tonic::Code;

use crate::door::{Visitor, kept_identity};
use crate::story::{PATIENCE, Story};

/// A new operator: the certificate, and where the admin door is.
fn operator(story: &Story, name: &str) -> (Leaf, SocketAddr) {
    story.system.ctl(&["admin", "add", name, "--role", "admin"]).unwrap();
    let folder = story.system.folder().join(".config/rekey");
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).unwrap();
    let contexts: Value = serde_json::from_str(&read("contexts.json")).unwrap();
    let address = contexts["contexts"][name]["controller"].as_str().unwrap();
    let port = address.strip_prefix("localhost:").unwrap().parse().unwrap();
    let door = ([127, 0, 0, 1], port).into();
    let leaf =
        Leaf { certificate: read(&format!("{name}/chain.pem")), key: read(&format!("{name}/key.pem")) };
    (leaf, door)
}

fn visitor(story: &Story, leaf: Option<&Leaf>) -> Visitor {
    Visitor::new(story.system.folder(), leaf)
}

/// How the door is shut in the face of who shows `leaf`.
fn shut(story: &Story, leaf: Option<&Leaf>, door: SocketAddr) -> AlertDescription {
    match visitor(story, leaf).knock(door) {
        Ok(_) => panic!("the door was opened"),
        Err(alert) => alert,
    }
}

#[test]
fn an_expired_leaf_is_refused_and_what_it_had_open_ends_with_it() {
    let pace = Pace { leaf_life: "20s".into(), ..Pace::default() };
    let mut story = Story::begin("expired", 1, pace);
    let fleet = story.system.fleet_address();
    let mut opened = None;
    poll(PATIENCE, || {
        // Half of its life may be over when it is read.
        let leaf = kept_identity(story.system.folder(), "sidecar-1");
        let comes = visitor(&story, Some(&leaf));
        opened = comes.knock(fleet).ok().map(|open| (leaf, comes, open));
        opened.is_some()
    });
    let (leaf, comes, mut open) = opened.expect("a good leaf is refused");
    // The door ends it when the leaf is over: nothing else would for half a minute.
    let stays = std::thread::spawn(move || open.stay());
    assert!(poll(PATIENCE, || stays.is_finished()), "a connection outlives its leaf by far");
    stays.join().unwrap();
    // A certificate is good until the end of its last second.
    let over = poll(PATIENCE, || comes.knock(fleet).is_err());
    assert!(over, "a leaf that is over opens the door");
    assert_eq!(shut(&story, Some(&leaf), fleet), AlertDescription::CertificateExpired);
    // The sidecar itself has a newer one by now, and none of this was of any matter to it.
    story.rotate();
    story.nothing_failed();
}

#[test]
fn a_leaf_of_another_authority_or_of_the_other_door_is_refused() {
    let mut story = Story::begin("others", 1, Pace::default());
    let fleet = story.system.fleet_address();
    let sidecar = kept_identity(story.system.folder(), "sidecar-1");
    let (alice, admin) = operator(&story, "alice");
    assert!(visitor(&story, Some(&sidecar)).knock(fleet).is_ok(), "a good leaf is refused");
    assert!(visitor(&story, Some(&alice)).knock(admin).is_ok(), "a good leaf is refused");
    for (what, refused, door) in [
        ("an operator at the fleet's door", &alice, fleet),
        ("a sidecar at the operators' door", &sidecar, admin),
    ] {
        assert_eq!(shut(&story, Some(refused), door), AlertDescription::UnknownCA, "{what}");
    }
    // The same names, said by an authority that calls itself the same.
    for (name, id, door) in [
        ("Rekey sidecar CA rekey.local", "spiffe://rekey.local/sidecar/orders/sidecar-1", fleet),
        ("Rekey admin CA rekey.local", "spiffe://rekey.local/admin/alice", admin),
    ] {
        let forged = Authority::new(name).unwrap().client(id).unwrap();
        let alert = shut(&story, Some(&forged), door);
        // With the same name in it, the signature is what does not fit.
        let fits = matches!(alert, AlertDescription::UnknownCA | AlertDescription::DecryptError);
        assert!(fits, "{name}: {alert:?}");
    }
    story.rotate();
    story.nothing_failed();
}

#[test]
fn without_a_certificate_nothing_is_given_but_a_way_to_join() {
    let mut story = Story::begin("anonymous", 1, Pace::default());
    let (_, admin) = operator(&story, "alice");
    assert_eq!(shut(&story, None, admin), AlertDescription::CertificateRequired);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (renewed, followed) = runtime.block_on(async {
        let roots = Roots::from_pem(&std::fs::read(story.system.folder().join("ca.pem")).unwrap()).unwrap();
        let tls = ClientTls::new(&roots, None, Clock::system()).unwrap();
        let address: Address = story.system.fleet_address().to_string().parse().unwrap();
        let dial = Dial { address, server_name: Some("localhost".into()) };
        let channel = connect(&tls, &dial).await.unwrap();
        let asked = RenewRequest { csr_der: vec![0x30, 0] };
        let renewed = IdentityClient::new(channel.clone()).renew(asked).await;
        let followed = FleetClient::new(channel).follow(tokio_stream::iter([Up::default()])).await;
        (renewed.err().map(|status| status.code()), followed.err().map(|status| status.code()))
    });
    assert_eq!(renewed, Some(Code::Unauthenticated));
    assert_eq!(followed, Some(Code::Unauthenticated));
    story.rotate();
    story.nothing_failed();
}

/// A hello that offers TLS 1.2 and nothing else: no `supported_versions` extension.
const OLD_HELLO: &[u8] = b"\x16\x03\x01\x00\x4d\x01\x00\x00\x49\x03\x03\
    0123456789abcdef0123456789abcdef\x00\x00\x04\xc0\x2f\xc0\x2b\x01\x00\x00\x1c\
    \x00\x0a\x00\x04\x00\x02\x00\x17\x00\x0b\x00\x02\x01\x00\
    \x00\x0d\x00\x06\x00\x04\x04\x03\x08\x04\x00\x17\x00\x00";

#[test]
fn nothing_is_resumed_and_nothing_older_than_tls_1_3_is_spoken() {
    let story = Story::begin("older", 1, Pace::default());
    let sidecar = kept_identity(story.system.folder(), "sidecar-1");
    let (alice, admin) = operator(&story, "alice");
    for (leaf, door) in [(&sidecar, story.system.fleet_address()), (&alice, admin)] {
        let comes = visitor(&story, Some(leaf));
        for _ in 0..3 {
            let open = comes.knock(door).unwrap_or_else(|alert| panic!("refused: {alert:?}"));
            assert_eq!(open.handshake(), Some(HandshakeKind::Full));
            assert_eq!(open.tickets(), 0);
        }
        let mut old = TcpStream::connect(door).unwrap();
        old.write_all(OLD_HELLO).unwrap();
        let mut said = Vec::new();
        old.read_to_end(&mut said).unwrap();
        assert_eq!(said, [0x15, 3, 3, 0, 2, 2, 70], "an alert, fatal: protocol_version");
    }
    assert_eq!(story.status()["holders"]["live"], 1);
}
