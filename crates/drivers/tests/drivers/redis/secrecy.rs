//! What the password is shown to: the consumer's login, and nobody else.

use rekey_drivers::redis::{Persist, TlsSettings};
use rekey_drivers::{Driver, DriverError};
use rekey_testkit::certificates::Authority;
use rekey_testkit::redis::{Options, Redis};

use super::world::{ROTATOR_PASSWORD, RULES, USER, World, build, target};
use crate::conformance::refused;
use crate::proxy::Proxy;

#[tokio::test]
async fn an_install_sends_no_password() {
    let world = World::new();
    let intent = world.intent(1);
    // Whoever says it is cut off.
    let proxies = [0, 1].map(|node| Proxy::losing_the_answer_to(world.nodes[node].port(), b"plain-marker"));
    let driver = world.driver_with(|target, _| {
        target.nodes = proxies.iter().map(|proxy| format!("127.0.0.1:{}", proxy.port())).collect();
    });
    let installed = driver.install(&intent).await.unwrap();
    driver.probe(&installed.fields, None).await.unwrap_err();
    world.driver.probe(&installed.fields, None).await.unwrap();
}

#[tokio::test]
async fn what_can_be_printed_holds_no_password() {
    let world = World::new();
    let intent = world.intent(1);
    let installed = world.driver.install(&intent).await.unwrap();
    world.on_all(&format!("ACL SETUSER {USER} resetpass"));
    let error = world.driver.probe(&installed.fields, None).await.unwrap_err();
    let mut said = format!("{:?} {intent:?} {installed:?} {error:?}", world.driver);
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(one) = cause {
        said += &one.to_string();
        cause = one.source();
    }
    assert!(said.contains("WRONGPASS"), "{said}");
    for secret in ["plain-marker", ROTATOR_PASSWORD] {
        assert!(!said.contains(secret), "{said}");
    }
}

#[tokio::test]
async fn tls_is_verified_in_full() {
    let users =
        vec![format!("rekey on >{ROTATOR_PASSWORD} -@all +acl +client +time"), format!("{USER} {RULES}")];
    let node = Redis::start(Options { tls: Some(vec!["localhost".into()]), users, ..Options::default() });
    let world = World::new();
    let account = rekey_drivers::redis::Account {
        user: USER.into(),
        adopt: None,
        one_password: false,
        probes: Vec::new(),
    };
    let speaking = |host: &str, ca: &str| {
        let nodes = vec![format!("{host}:{}", node.port())];
        let tls = TlsSettings { ca_file: Some("not-read-here".into()), ..TlsSettings::default() };
        build(
            &rekey_drivers::redis::TargetSettings { tls, ..target(nodes, Persist::AclFile) },
            &account,
            Some(ca),
        )
    };
    let (intent, ca) = (world.intent(1), node.ca_pem().unwrap());
    let other = Authority::new("another authority").unwrap();
    refused(speaking("localhost", other.pem()).install(&intent).await, "another authority");
    refused(speaking("127.0.0.1", ca).install(&intent).await, "another name");
    let plain = build(&target(vec![node.address()], Persist::AclFile), &account, None);
    let error = plain.install(&intent).await.unwrap_err();
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    let driver = speaking("localhost", ca);
    let installed = driver.install(&intent).await.unwrap();
    driver.probe(&installed.fields, None).await.unwrap();
}
