//! What can be printed, and whom a secret is shown to.

use std::error::Error;

use rekey_drivers::{Driver, DriverError, Sessions};
use rekey_testkit::certificates::Authority;

use super::world::{World, build};
use crate::conformance::refused;

#[tokio::test]
async fn what_can_be_printed_holds_no_secret() {
    let world = World::new();
    let intent = World::intent(1);
    let made = world.driver.install(&intent).await.unwrap();
    world.driver.revoke(&made.handle, Sessions::End).await.unwrap();
    let error = world.driver.probe(&made.fields, None).await.unwrap_err();
    let mut said = format!("{:?} {intent:?} {made:?} {error:?}", world.driver);
    let mut cause: Option<&dyn Error> = Some(&error);
    while let Some(one) = cause {
        said += &one.to_string();
        cause = one.source();
    }
    assert!(said.contains("invalid role or secret ID"), "{said}");
    let text = |name: &str| String::from_utf8(made.fields.get(name).unwrap().expose().to_vec()).unwrap();
    for secret in [text("secret_id"), text("role_id"), world.token.clone()] {
        assert!(!said.contains(&secret), "{said}");
    }
}

#[tokio::test]
async fn tls_is_verified_in_full() {
    let world = World::new();
    let intent = World::intent(1);
    let other = Authority::new("another authority").unwrap();
    let driver = build(&world.target, &world.account, &world.token, Some(other.pem()));
    let said = refused(driver.install(&intent).await, "another authority");
    assert!(said.contains("TLS"), "{said}");
    let plain_port = world.bao.port();
    let driver = world.driver_with(|target, _, _| target.address = format!("https://localhost:{plain_port}"));
    let error = driver.install(&intent).await.unwrap_err();
    assert!(matches!(error, DriverError::Unavailable(_) | DriverError::Refused(_)), "{error:?}");
    assert!(world.secret_ids().is_empty());
}
