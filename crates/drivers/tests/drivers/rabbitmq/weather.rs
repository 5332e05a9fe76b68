//! A server that stands still or was restarted: nothing is lost, and it is waited for.

use std::time::Duration;

use rekey_drivers::{Driver as _, DriverError, Found, Sessions};
use rekey_model::Span;
use rekey_testkit::rabbitmq::RabbitMq;

use super::world::World;
use crate::conformance::refused;

#[tokio::test]
async fn a_server_that_stands_still_is_waited_for_and_a_restart_loses_nothing() {
    let mut server = RabbitMq::start();
    let (driver, hasty, old, new, fields) = {
        let world = World::at(&server);
        let (old, new) = (world.intent(1), world.intent(2));
        let fields = world.driver.install(&old).await.unwrap().fields;
        let hasty =
            world.driver_with(|target, _| target.request_timeout = Span::new(Duration::from_millis(300)));
        (world.driver, hasty, old, new, fields)
    };
    server.pause();
    for failed in [
        hasty.install(&new).await.map(drop),
        hasty.find(&new).await.map(drop),
        hasty.probe(&fields, None).await.map(drop),
        hasty.usage(&old.handle).await.map(drop),
        hasty.revoke(&old.handle, Sessions::End).await.map(drop),
        hasty.check().await.map(drop),
    ] {
        assert!(matches!(failed, Err(DriverError::Unavailable(_))), "{failed:?}");
    }
    server.resume();
    assert_eq!(driver.find(&new).await.unwrap(), Found::Absent, "a look that was given up changes nothing");
    let second = driver.install(&new).await.unwrap();
    driver.revoke(&old.handle, Sessions::End).await.unwrap();
    server.restart().unwrap();
    assert_eq!(driver.find(&old).await.unwrap(), Found::Present, "its mark is kept");
    refused(driver.probe(&fields, None).await, "a version that was ended before the restart");
    driver.probe(&second.fields, None).await.unwrap();
}
