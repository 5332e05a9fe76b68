//! Redis: two real nodes for each test, a user and a rotator of its own on both.

mod adoption;
mod check;
mod nodes;
mod rights;
mod secrecy;
mod weather;
mod world;

use std::any::Any;
use std::sync::Arc;

use rekey_drivers::{Driver, Intent, Sessions};
use rekey_model::Fields;
use rekey_testkit::process::free_port;

use crate::conformance::{self, Subject};
use crate::proxy::Proxy;
use world::World;

impl Subject for World {
    fn driver(&self) -> &dyn Driver {
        &self.driver
    }

    fn intent(&self, version: u64) -> Intent {
        self.intent(version)
    }

    fn taken(&self) -> Intent {
        self.on_all("ACL SETUSER others on >theirs ~* +@all");
        let intent = self.intent(99);
        let handle = intent.handle.as_str().replacen(world::USER, "others", 1).parse().unwrap();
        Intent { handle, ..intent }
    }

    fn nobody_listens(&self) -> Arc<dyn Driver> {
        let nobody = format!("127.0.0.1:{}", free_port().unwrap());
        Arc::new(self.driver_with(|target, _| target.nodes = vec![nobody]))
    }

    fn answers_are_lost(&self) -> Arc<dyn Driver> {
        let proxy = Proxy::losing_the_answer_to(self.nodes[0].port(), b"SETUSER\r\n");
        Arc::new(self.through(0, &proxy))
    }

    fn without_rights(&self) -> Arc<dyn Driver> {
        self.on_all(&format!("ACL SETUSER powerless reset on >{} -@all", world::ROTATOR_PASSWORD));
        Arc::new(self.driver_with(|target, _| target.user = "powerless".into()))
    }

    fn consume(&self, fields: &Fields) -> Box<dyn Any> {
        Box::new(self.consumer(fields))
    }

    fn tells_versions(&self) -> bool {
        false
    }

    fn takes_one_value(&self) -> bool {
        self.driver.fields(&self.intent(1)).is_some()
    }
}

#[tokio::test]
async fn it_does_what_every_driver_does() {
    conformance::all(&World::new()).await;
}

#[tokio::test]
async fn it_does_so_where_a_user_has_one_password() {
    conformance::all(&World::with_one_password()).await;
}

#[tokio::test]
async fn the_one_password_replaces_all_others_at_every_node() {
    let world = World::with_one_password();
    world.on_all(&format!("ACL SETUSER {} >made-by-hand", world::USER));
    let (old, new) = (world.intent(1), world.intent(2));
    world.driver.install(&old).await.unwrap();
    let second = world.driver.install(&new).await.unwrap();
    for node in 0..2 {
        assert!(world.has(node, &new) && !world.has(node, &old));
        assert!(world.nodes[node].client(world::USER, "made-by-hand").is_err());
    }
    world.driver.probe(&second.fields, None).await.unwrap();
}

#[tokio::test]
async fn a_version_and_the_end_of_one_outlive_a_restart_of_every_node() {
    for in_config in [false, true] {
        let mut world = if in_config { World::with_users_in_config() } else { World::new() };
        let (old, new) = (world.intent(1), world.intent(2));
        let first = world.driver.install(&old).await.unwrap();
        let second = world.driver.install(&new).await.unwrap();
        world.restart();
        world.driver.probe(&first.fields, None).await.unwrap();
        world.driver.probe(&second.fields, Some(&old.handle)).await.unwrap();
        world.driver.revoke(&old.handle, Sessions::Leave).await.unwrap();
        world.restart();
        conformance::refused(world.driver.probe(&first.fields, None).await, "a version that was ended");
        world.driver.probe(&second.fields, None).await.unwrap();
    }
}

#[tokio::test]
async fn passwords_rules_and_users_of_others_stay_as_they_are() {
    let world = World::new();
    world.on_all(&format!("ACL SETUSER {} >made-by-hand", world::USER));
    let before = world.rules();
    let intent = world.intent(1);
    world.driver.install(&intent).await.unwrap();
    assert_ne!(world.rules(), before);
    world.driver.revoke(&intent.handle, Sessions::End).await.unwrap();
    world.driver.clean_up(&intent.handle).await.unwrap();
    assert_eq!(world.rules(), before);
    assert!(world.nodes[0].client(world::USER, "made-by-hand").is_ok());
}

#[tokio::test]
async fn a_probe_needs_what_it_names_and_nothing_else() {
    let world = World::new();
    let intent = world.intent(1);
    let installed = world.driver.install(&intent).await.unwrap();
    let probing = |probe: &str| world.driver_with(|_, account| account.probes = vec![probe.to_owned()]);
    assert_eq!(probing("GET orders:1").probe(&installed.fields, None).await.unwrap().probes, 1);
    for (probe, told) in [("GET others:1", "NOPERM"), ("SET orders:1 x", "'set'"), ("NONSENSE", "ERR")] {
        let said = conformance::refused(probing(probe).probe(&installed.fields, None).await, probe);
        assert!(said.contains(told) && said.contains(probe), "{said}");
    }
    world.on_all(&format!("ACL SETUSER {} -ping", world::USER));
    probing("GET orders:1").probe(&installed.fields, None).await.unwrap();
    assert!(world.driver.probe(&installed.fields, None).await.is_ok(), "PING is not the user's to need");
}
