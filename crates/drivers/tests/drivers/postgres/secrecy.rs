//! Where a password must not show.

use rekey_drivers::{Driver, Expiry, Sessions};

use super::world::{ROTATOR_PASSWORD, World};
use crate::conformance::refused;

#[tokio::test]
async fn the_servers_log_of_all_statements_holds_no_password() {
    let world = World::new();
    let intent = world.intent(1);
    let installed = world.driver.install(&intent).await.unwrap();
    world.driver.install(&intent).await.unwrap();
    world.driver.probe(&installed.fields, None).await.unwrap();
    world.driver.set_expiry(&intent.handle, Expiry::Never).await.unwrap();
    world.driver.revoke(&intent.handle, Sessions::End).await.unwrap();
    world.driver.clean_up(&intent.handle).await.unwrap();
    let log = world.postgres.log();
    assert!(log.contains(&format!("CREATE ROLE \"{}\"", intent.handle)), "statements are not logged");
    assert!(!log.contains(&format!("plain-marker-{}", world.name)));
}

#[tokio::test]
async fn what_can_be_printed_holds_no_password() {
    let world = World::new();
    let intent = world.intent(1);
    let installed = world.driver.install(&intent).await.unwrap();
    world.driver.revoke(&intent.handle, Sessions::End).await.unwrap();
    let refusal = world.driver.probe(&installed.fields, None).await;
    let wrong = world.driver_with(|target, _| target.user = "nobody-of-this-name".into());
    let stranger = wrong.install(&intent).await;
    let shown = format!("{:?} {intent:?} {installed:?} {refusal:?} {stranger:?}", world.driver);
    assert!(!shown.contains("plain-marker") && !shown.contains(ROTATOR_PASSWORD), "{shown}");
}

#[tokio::test]
async fn a_password_that_the_consumer_changed_is_noticed() {
    let world = World::new();
    let intent = world.intent(1);
    let installed = world.driver.install(&intent).await.unwrap();
    let consumer = world.consumer(&installed.fields);
    consumer.sql(&format!("SET ROLE NONE; ALTER ROLE {} PASSWORD 'another'", intent.handle)).unwrap();
    let why = refused(world.driver.probe(&installed.fields, None).await, "a probe with a changed password");
    assert!(why.starts_with("login: password authentication failed"), "{why}");
    let next = world.intent(2);
    let installed = world.driver.install(&next).await.unwrap();
    world.driver.probe(&installed.fields, Some(&intent.handle)).await.unwrap();
}
