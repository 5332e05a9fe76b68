//! What is missing is named with what mends it, and the rights of the manual are enough.

use rekey_drivers::rabbitmq::RIGHTS;
use rekey_drivers::{Driver as _, Found, Sessions};
use serde_json::Value;

use super::world::{ROTATOR_PASSWORD, World, piece};
use crate::conformance::refused;

const MANUAL: &str = include_str!("../../../../../docs/drivers.md");

#[tokio::test]
async fn the_rights_of_the_manual_are_enough_and_without_them_nothing_happens() {
    assert!(MANUAL.contains(RIGHTS));
    let world = World::new();
    let (rotator, intent) = (format!("{}_granted", world.name), world.intent(1));
    let driver = world.driver_with(|target, _| target.user = rotator.clone());
    let remedy = RIGHTS.replace("rekey", &rotator);
    world.put_user(&rotator, ROTATOR_PASSWORD, "");
    for tags in ["", "management", "monitoring,policymaker"] {
        world.put_user(&rotator, ROTATOR_PASSWORD, tags);
        let lacks = driver.check().await.unwrap();
        assert!(lacks.len() == 1 && lacks[0].remedy == remedy, "{tags}: {lacks:?}");
        let why = refused(driver.install(&intent).await, "an install without the right");
        assert!(why.contains(&rotator) && why.contains("administrator"), "{tags}: {why}");
        assert_eq!(world.driver.find(&intent).await.unwrap(), Found::Absent);
    }
    world.server.ctl(&remedy).unwrap();
    assert_eq!(driver.check().await.unwrap(), []);
    let installed = driver.install(&intent).await.unwrap();
    driver.probe(&installed.fields, None).await.unwrap();
    let user = world.consumer(&installed.fields);
    assert_eq!(driver.revoke(&intent.handle, Sessions::End).await.unwrap().sessions_ended, 1);
    drop(user);
    driver.clean_up(&intent.handle).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_of_the_rotator_is_a_lack() {
    let world = World::new();
    world.put_user(&format!("{}_rekey", world.name), "changed", "administrator");
    let lacks = world.driver.check().await.unwrap();
    assert!(lacks.len() == 1 && lacks[0].remedy.contains("change_password"), "{lacks:?}");
}

#[tokio::test]
async fn virtual_hosts_that_are_missing_are_named_all_at_once_and_nothing_is_made() {
    let world = World::new();
    for vhost in [world.vhost(), world.other_vhost()] {
        world.server.api("DELETE", &format!("vhosts/{}", piece(&vhost)), &Value::Null);
    }
    let lacks = world.driver.check().await.unwrap();
    let named: Vec<&str> = lacks.iter().map(|lack| lack.remedy.as_str()).collect();
    let [one, two] =
        [world.vhost(), world.other_vhost()].map(|vhost| format!("rabbitmqctl add_vhost '{vhost}'"));
    assert_eq!(named, [one, two]);
    let why = refused(world.driver.install(&world.intent(1)).await, "no virtual host");
    assert!(why.contains(&world.vhost()), "{why}");
    assert_eq!(world.driver.find(&world.intent(1)).await.unwrap(), Found::Absent);
}
