//! RabbitMQ: a real server for all tests, virtual hosts and a rotator of its own for each.

mod adoption;
mod check;
mod endings;
mod secrecy;
mod weather;
mod world;

use std::any::Any;
use std::sync::Arc;

use rekey_drivers::{Driver, DriverError, Expiry, Found, Intent, Listed, Sessions, Survey};
use rekey_model::Fields;
use rekey_testkit::process::free_port;
use serde_json::{Value, json};

use crate::conformance::{self, Subject, refused};
use crate::proxy::Proxy;
use world::{World, piece};

impl Subject for World<'_> {
    fn driver(&self) -> &dyn Driver {
        &self.driver
    }

    fn intent(&self, version: u64) -> Intent {
        self.intent(version)
    }

    fn taken(&self) -> Intent {
        let intent = self.intent(99);
        self.put_user(intent.handle.as_str(), "theirs", "rekey:other:orders/queue");
        intent
    }

    fn nobody_listens(&self) -> Arc<dyn Driver> {
        let (address, port) = (format!("http://127.0.0.1:{}", free_port().unwrap()), free_port().unwrap());
        Arc::new(self.driver_with(|target, _| {
            target.address = address;
            target.consumer_port = Some(port);
        }))
    }

    fn answers_are_lost(&self) -> Arc<dyn Driver> {
        let proxy = Proxy::losing_the_answer_to(self.server.management_port(), b"PUT /api/users/");
        let address = format!("http://127.0.0.1:{}", proxy.port());
        Arc::new(self.driver_with(|target, _| target.address = address))
    }

    fn without_rights(&self) -> Arc<dyn Driver> {
        let name = format!("{}_powerless", self.name);
        self.put_user(&name, world::ROTATOR_PASSWORD, "management");
        Arc::new(self.driver_with(|target, _| target.user = name))
    }

    fn consume(&self, fields: &Fields) -> Box<dyn Any> {
        Box::new(self.consumer(fields))
    }
}

#[tokio::test]
async fn it_does_what_every_driver_does() {
    conformance::all(&World::new()).await;
}

#[tokio::test]
async fn a_version_has_what_is_declared_and_nothing_beside_it() {
    let world = World::new();
    let intent = world.intent(1);
    let name = intent.handle.as_str();
    world.driver.install(&intent).await.unwrap();
    let user = world.user(name).unwrap();
    assert_eq!(user["tags"], json!(["reporting", "rekey:test:orders/queue"]));
    world.put_vhost("extra");
    world.permit_at("extra", name, [".*", ".*", ".*"]);
    world.permit(name, ["", "", ""]);
    refused(world.driver.set_expiry(&intent.handle, Expiry::Never).await, "rights that are not the declared");
    let installed = world.driver.install(&intent).await.unwrap();
    let mut shown = world.server.api("GET", &format!("users/{name}/permissions"), &Value::Null);
    let shown = shown.as_array_mut().unwrap();
    shown.sort_by_key(|entry| entry["vhost"].as_str().unwrap().to_owned());
    let entry = |vhost: String| json!({ "user": name, "vhost": vhost, "configure": "", "write": "^orders", "read": ".*" });
    assert_eq!(*shown, [entry(world.other_vhost()), entry(world.vhost())]);
    world.driver.set_expiry(&intent.handle, Expiry::Never).await.unwrap();
    assert_eq!(world.driver.probe(&installed.fields, None).await.unwrap().probes, 2);
}

#[tokio::test]
async fn a_probe_fails_where_a_right_or_a_virtual_host_is_missing() {
    let world = World::new();
    let intent = world.intent(1);
    let name = intent.handle.as_str();
    let installed = world.driver.install(&intent).await.unwrap();
    world.driver.probe(&installed.fields, None).await.unwrap();
    world.permit(name, ["", "^orders", "^nothing"]);
    let why = refused(world.driver.probe(&installed.fields, None).await, "another right");
    assert!(why.contains(&format!("declared permissions at {}", world.vhost())), "{why}");
    world.server.api("DELETE", &format!("permissions/{}/{name}", piece(&world.vhost())), &Value::Null);
    let why = refused(world.driver.probe(&installed.fields, None).await, "no right at all");
    assert!(why.contains("login at") && why.contains("NOT_ALLOWED"), "{why}");
    world.driver.install(&intent).await.unwrap();
    world.driver.probe(&installed.fields, None).await.unwrap();
}

#[tokio::test]
async fn a_version_that_may_do_less_fails_its_probe_and_what_is_missing_is_named() {
    let world = World::new();
    let (old, new) = (world.intent(1), world.intent(2));
    world.driver.install(&old).await.unwrap();
    let installed = world.driver.install(&new).await.unwrap();
    world.driver.probe(&installed.fields, Some(&old.handle)).await.unwrap();
    world.put_vhost("third");
    world.permit_at("third", old.handle.as_str(), ["", "", ".*"]);
    world.permit(old.handle.as_str(), ["^tmp", "^orders", "^some"]);
    let why = refused(world.driver.probe(&installed.fields, Some(&old.handle)).await, "a lesser version");
    for missing in ["configure \"^tmp\"", "the virtual host third"] {
        assert!(why.contains(missing), "{missing}: {why}");
    }
    assert!(!why.contains("^some"), "the new one reads all: {why}");
}

#[tokio::test]
async fn a_refusal_in_the_middle_leaves_nothing_behind() {
    let world = World::new();
    let intent = world.intent(1);
    let driver = world.driver_with(|_, account| account.permissions[1].read = "(".into());
    let why = refused(driver.install(&intent).await, "an expression that is none");
    assert!(why.contains("invalid_regexp"), "{why}");
    assert_eq!(world.driver.find(&intent).await.unwrap(), Found::Absent);
    // Of a version that was there, it is not said that nothing happened.
    world.driver.install(&intent).await.unwrap();
    let result = driver.install(&intent).await;
    assert!(matches!(result, Err(DriverError::Unknown(_))), "{result:?}");
    assert_eq!(world.driver.find(&intent).await.unwrap(), Found::Present);
}

#[tokio::test]
async fn what_a_lost_answer_left_half_made_is_completed() {
    let world = World::new();
    let intent = world.intent(1);
    let proxy = Proxy::losing_the_answer_to(world.server.management_port(), b"PUT /api/permissions/");
    let address = format!("http://127.0.0.1:{}", proxy.port());
    let driver = world.driver_with(|target, _| target.address = address);
    let result = driver.install(&intent).await;
    assert!(matches!(result, Err(DriverError::Unknown(_))), "{result:?}");
    assert_eq!(world.driver.find(&intent).await.unwrap(), Found::Present);
    refused(world.driver.set_expiry(&intent.handle, Expiry::Never).await, "a half");
    let installed = world.driver.install(&intent).await.unwrap();
    world.driver.probe(&installed.fields, None).await.unwrap();
}

#[tokio::test]
async fn versions_and_strangers_are_listed() {
    let world = World::new();
    let (one, two) = (world.intent(1), world.intent(2));
    world.driver.install(&one).await.unwrap();
    world.driver.install(&two).await.unwrap();
    world.driver.revoke(&one.handle, Sessions::End).await.unwrap();
    let stranger = format!("{}_v3_stranger", world.name);
    world.put_user(&stranger, "theirs", "");
    let Listed::Versions(listed) = world.driver.list().await.unwrap() else { panic!("it can tell") };
    let ours = |handle| listed.iter().find(|version| version.handle == handle).unwrap();
    let (one, two) = (ours(one.handle.clone()), ours(two.handle.clone()));
    assert_eq!((one.version.unwrap().get(), one.accepted, one.adopted), (1, false, false));
    assert_eq!((two.version.unwrap().get(), two.accepted, two.adopted), (2, true, false));
    // The mark is the credential's, whatever its worlds in these tests are called.
    let of_world = |name: &str| name.starts_with(&format!("{}_", world.name));
    assert_eq!(listed.iter().filter(|version| of_world(version.handle.as_str())).count(), 2);
    let Survey::Seen(seen) = world.driver.survey().await.unwrap() else { panic!("it can tell") };
    let seen: Vec<_> = seen.iter().filter(|sighting| of_world(&sighting.name)).collect();
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen.iter().any(|sighting| sighting.name == stranger && sighting.shut.is_none()), "{seen:?}");
}
