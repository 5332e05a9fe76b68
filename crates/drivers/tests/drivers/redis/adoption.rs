//! The password that the application has today.

use std::sync::Arc;

use rekey_drivers::redis::Adopt;
use rekey_drivers::{Driver, Found, Intent, Sessions};
use rekey_model::SecretBytes;

use super::world::{USER, World};
use crate::conformance::refused;

/// `printf %s todays-password | sha256sum`
const SHA256: &str = "278f5a12e996b54ff257af4bc4b231b69c1fbcfaa451fd784ec26e034c37414d";

#[tokio::test]
async fn todays_password_becomes_a_version_only_if_it_is_the_declared_one_and_works() {
    let world = World::new();
    let driver = world.driver_with(|_, account| account.adopt = Some(Adopt { sha256: SHA256.into() }));
    let handed = |password: &str| Intent {
        handle: format!("{USER}#{SHA256}").parse().unwrap(),
        secret: Some(Arc::new(SecretBytes::from(password.to_owned()))),
        ..world.intent(1)
    };
    refused(driver.install(&handed("another")).await, "another password");
    let why = refused(driver.install(&handed("todays-password")).await, "one that does not work");
    assert!(why.contains("no such password to adopt"), "{why}");
    assert_eq!(driver.find(&handed("todays-password")).await.unwrap(), Found::Absent);
    world.on_all(&format!("ACL SETUSER {USER} >todays-password"));
    let before = world.rules();
    let installed = driver.install(&handed("todays-password")).await.unwrap();
    assert_eq!(world.rules(), before, "adopting changes nothing");
    driver.probe(&installed.fields, None).await.unwrap();
    driver.revoke(&installed.handle, Sessions::Leave).await.unwrap();
    refused(driver.probe(&installed.fields, None).await, "a password that was ended");
    driver.clean_up(&installed.handle).await.unwrap();
}
