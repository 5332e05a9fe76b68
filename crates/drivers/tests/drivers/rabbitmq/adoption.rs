//! The user that an application has today becomes version 1, and is left in the end.

use rekey_drivers::rabbitmq::Adopt;
use rekey_drivers::{Driver as _, Expiry, Found, Listed, Sessions};
use serde_json::json;

use super::world::{World, piece};
use crate::conformance::refused;

#[tokio::test]
async fn a_user_is_adopted_as_it_is_and_left_without_a_password() {
    let world = World::new();
    let legacy = format!("{}_legacy", world.name);
    let driver = world.driver_with(|_, account| account.adopt = Some(Adopt { login: legacy.clone() }));
    let intent = world.intent_called(1, &legacy);
    refused(driver.install(&intent).await, "nobody to adopt");
    let lacks = driver.check().await.unwrap();
    assert!(lacks.len() == 1 && lacks[0].what.contains(&legacy), "{lacks:?}");

    world.put_user(&legacy, &format!("plain-marker-{}-1", world.name), "monitoring");
    for vhost in [world.vhost(), world.other_vhost()] {
        world.permit_at(&vhost, &legacy, ["", "^orders", "^orders"]);
    }
    assert_eq!(driver.check().await.unwrap(), []);
    let before = world.user(&legacy).unwrap();
    let installed = driver.install(&intent).await.unwrap();
    assert_eq!(world.user(&legacy).unwrap(), before, "nothing is changed");
    assert_eq!(driver.find(&intent).await.unwrap(), Found::Present);
    driver.set_expiry(&intent.handle, Expiry::Never).await.unwrap();
    driver.probe(&installed.fields, None).await.unwrap();
    let Listed::Versions(listed) = driver.list().await.unwrap() else { panic!("it can tell") };
    assert!(
        listed.iter().any(|one| one.adopted && one.accepted && one.handle == intent.handle),
        "{listed:?}"
    );

    let second = world.intent(2);
    let new = driver.install(&second).await.unwrap();
    driver.probe(&new.fields, Some(&intent.handle)).await.unwrap();
    refused(driver.clean_up(&intent.handle).await, "a clean-up of what works");
    driver.revoke(&intent.handle, Sessions::End).await.unwrap();
    driver.clean_up(&intent.handle).await.unwrap();
    refused(driver.probe(&installed.fields, None).await, "the adopted user after its end");
    let after = world.user(&legacy).unwrap();
    assert_eq!((&after["password_hash"], &after["tags"]), (&json!(""), &json!(["monitoring"])));
    refused(driver.install(&intent).await, "a late adoption");
}

#[tokio::test]
async fn a_wrong_password_an_administrator_and_limited_topics_are_not_adopted() {
    let world = World::new();
    let legacy = format!("{}_legacy", world.name);
    let driver = world.driver_with(|_, account| account.adopt = Some(Adopt { login: legacy.clone() }));
    world.put_user(&legacy, "another-password", "");
    let intent = world.intent_called(1, &legacy);
    let why = refused(driver.install(&intent).await, "a wrong password");
    assert!(why.contains("ACCESS_REFUSED"), "{why}");
    world.put_user(&legacy, "another-password", "administrator");
    let why = refused(driver.install(&intent).await, "an administrator");
    assert!(why.contains("administrator"), "{why}");
    world.put_user(&legacy, "another-password", "");
    world.permit(&legacy, ["", "", ""]);
    let topic = json!({ "exchange": "amq.topic", "write": "^a", "read": "^a" });
    world.server.api("PUT", &format!("topic-permissions/{}/{legacy}", piece(&world.vhost())), &topic);
    let why = refused(driver.install(&intent).await, "a user with limited topics");
    assert!(why.contains("topic permissions"), "{why}");
}
