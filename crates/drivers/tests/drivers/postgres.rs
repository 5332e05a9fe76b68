//! PostgreSQL: a real cluster for all tests, a database, roles and a rotator of its own for each.

mod adoption;
mod check;
mod fixed;
mod followed;
mod hostile;
mod poison;
mod revocation;
mod rights;
mod secrecy;
mod weather;
pub(crate) mod world;

use std::any::Any;
use std::sync::Arc;

use rekey_drivers::{Driver, Intent, Sessions};
use rekey_model::Fields;

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
        let intent = self.intent(99);
        self.sql(&format!(
            "DO $$BEGIN IF to_regrole('{0}') IS NULL THEN CREATE ROLE {0} LOGIN; END IF; END$$",
            intent.handle
        ));
        intent
    }

    fn nobody_listens(&self) -> Arc<dyn Driver> {
        let port = rekey_testkit::process::free_port().unwrap();
        Arc::new(self.driver_with(|target, _| target.port = port))
    }

    fn answers_are_lost(&self) -> Arc<dyn Driver> {
        let proxy = Proxy::losing_the_answer_to(self.postgres.port(), b"COMMIT");
        Arc::new(self.driver_with(|target, _| target.port = proxy.port()))
    }

    fn without_rights(&self) -> Arc<dyn Driver> {
        let login = self.powerless();
        Arc::new(self.driver_with(|target, _| target.user.clone_from(&login)))
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
async fn it_does_so_on_a_unix_socket_too() {
    let folder = world::shared().socket_folder().display().to_string();
    let world = World::made(|target, _| target.host.clone_from(&folder));
    let intent = world.intent(1);
    let installed = world.driver.install(&intent).await.unwrap();
    world.driver.probe(&installed.fields, None).await.unwrap();
    world.driver.revoke(&intent.handle, Sessions::End).await.unwrap();
    world.driver.clean_up(&intent.handle).await.unwrap();
}
