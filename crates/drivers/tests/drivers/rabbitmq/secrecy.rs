//! What the password is shown to: the consumer's login, and nobody else.

use rekey_drivers::{Driver as _, DriverError, Sessions};
use rekey_testkit::certificates::Authority;

use super::world::{ROTATOR_PASSWORD, World};
use crate::conformance::refused;
use crate::proxy::Proxy;

#[tokio::test]
async fn an_install_sends_no_password_and_the_server_logs_none() {
    let world = World::new();
    let intent = world.intent(1);
    // Whoever says it is cut off.
    let proxy = Proxy::losing_the_answer_to(world.server.management_port(), b"plain-marker");
    let address = format!("http://127.0.0.1:{}", proxy.port());
    let driver = world.driver_with(|target, _| target.address = address);
    let installed = driver.install(&intent).await.unwrap();
    driver.probe(&installed.fields, None).await.unwrap();
    driver.revoke(&intent.handle, Sessions::End).await.unwrap();
    let log = world.server.log();
    assert!(log.contains(intent.handle.as_str()), "the log shows what is done");
    assert!(!log.contains("plain-marker") && !log.contains(ROTATOR_PASSWORD));
}

#[tokio::test]
async fn what_can_be_printed_holds_no_password() {
    let world = World::new();
    let intent = world.intent(1);
    let installed = world.driver.install(&intent).await.unwrap();
    world.put_user(intent.handle.as_str(), "another", "");
    let error = world.driver.probe(&installed.fields, None).await.unwrap_err();
    let mut said = format!("{:?} {intent:?} {installed:?} {error:?}", world.driver);
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(one) = cause {
        said += &one.to_string();
        cause = one.source();
    }
    assert!(said.contains("ACCESS_REFUSED"), "{said}");
    for secret in ["plain-marker", ROTATOR_PASSWORD] {
        assert!(!said.contains(secret), "{said}");
    }
}

#[tokio::test]
async fn tls_is_verified_in_full() {
    let world = World::new();
    let (intent, ca) = (world.intent(1), world.server.ca_pem());
    let other = Authority::new("somebody else").unwrap();
    for driver in [world.driver_in_tls(other.pem(), "localhost"), world.driver_in_tls(ca, "127.0.0.2")] {
        let result = driver.install(&intent).await;
        assert!(matches!(result, Err(DriverError::Refused(_) | DriverError::Unavailable(_))), "{result:?}");
    }
    assert!(world.user(intent.handle.as_str()).is_none());
    let driver = world.driver_in_tls(ca, "localhost");
    let installed = driver.install(&intent).await.unwrap();
    driver.probe(&installed.fields, None).await.unwrap();
    let stranger = world.driver_in_tls(other.pem(), "localhost");
    let why = refused(stranger.probe(&installed.fields, None).await, "a broker of another authority");
    assert!(why.contains("TLS"), "{why}");
}
