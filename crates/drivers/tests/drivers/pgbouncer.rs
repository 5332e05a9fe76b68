//! PostgreSQL with a pooler before it, whose users stand in a file: the cluster that all tests share, and a real
//! `PgBouncer` for each.

mod asking;
mod endings;
mod file;
mod world;

use std::any::Any;
use std::sync::Arc;

use rekey_drivers::{Driver, Intent, Sessions};
use rekey_model::Fields;

use crate::conformance::{self, Subject};
use crate::proxy::Proxy;
use world::World;

impl Subject for World {
    fn driver(&self) -> &dyn Driver {
        self.driver.as_ref()
    }

    fn intent(&self, version: u64) -> Intent {
        self.database.intent(version)
    }

    fn taken(&self) -> Intent {
        self.database.taken()
    }

    fn nobody_listens(&self) -> Arc<dyn Driver> {
        let nobody = || rekey_testkit::process::free_port().unwrap();
        self.driver_with(|places| (places.server, places.port) = (nobody(), nobody()))
    }

    fn answers_are_lost(&self) -> Arc<dyn Driver> {
        let proxy = Proxy::losing_the_answer_to(self.pooler.port(), b"RELOAD");
        self.driver_with(|places| places.port = proxy.port())
    }

    fn without_rights(&self) -> Arc<dyn Driver> {
        let login = self.database.powerless();
        self.driver_with(|places| places.rotator.clone_from(&login))
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
async fn it_does_so_over_tls_and_by_a_unix_socket_at_the_console() {
    let tls = "{ ca_file: ca.pem, server_name: localhost }".to_owned();
    let by_tls = World::with(Vec::new(), Some(vec!["localhost".into()]), |places| places.tls = tls);
    let by_socket = World::new();
    let folder = by_socket.pooler.socket_folder().display().to_string();
    let socket_driver = by_socket.driver_with(|places| places.pooler = folder);
    for (world, driver) in [(&by_tls, &by_tls.driver), (&by_socket, &socket_driver)] {
        let intent = world.database.intent(1);
        let installed = driver.install(&intent).await.unwrap();
        driver.probe(&installed.fields, None).await.unwrap();
        driver.revoke(&intent.handle, Sessions::End).await.unwrap();
        driver.clean_up(&intent.handle).await.unwrap();
    }
}
