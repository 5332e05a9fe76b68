//! MariaDB: a real server for all tests, a database, a role and a rotator of its own for each.

mod adoption;
mod check;
mod mysql8_double;
mod rights;
mod two_passwords;
mod weather;
mod world;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use rekey_drivers::{Driver, DriverError, Found, Intent, Listed, Sessions};
use rekey_model::{Fields, Span};
use rekey_testkit::certificates::Authority;

use crate::conformance::{self, Subject, refused};
use crate::proxy::Proxy;
use world::World;

impl Subject for World<'_> {
    fn driver(&self) -> &dyn Driver {
        &self.driver
    }

    fn intent(&self, version: u64) -> Intent {
        self.intent(version)
    }

    fn taken(&self) -> Intent {
        let intent = self.intent(99);
        self.sql(&format!("CREATE USER IF NOT EXISTS {} IDENTIFIED BY 'theirs'", intent.handle));
        intent
    }

    fn nobody_listens(&self) -> Arc<dyn Driver> {
        let port = rekey_testkit::process::free_port().unwrap();
        Arc::new(self.driver_with(|target, _| target.port = port))
    }

    fn answers_are_lost(&self) -> Arc<dyn Driver> {
        let proxy = Proxy::losing_the_answer_to(self.server.port(), b"IDENTIFIED VIA");
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

async fn a_whole_life(world: &World<'_>, driver: &dyn Driver) {
    let intent = world.intent(1);
    let installed = driver.install(&intent).await.unwrap();
    driver.probe(&installed.fields, None).await.unwrap();
    driver.revoke(&intent.handle, Sessions::End).await.unwrap();
    driver.clean_up(&intent.handle).await.unwrap();
    assert_eq!(world.accounts(intent.handle.as_str()), "0");
}

#[tokio::test]
async fn it_does_what_every_driver_does() {
    conformance::all(&World::new()).await;
}

#[tokio::test]
async fn it_does_so_on_a_unix_socket_too() {
    let socket = world::shared().socket().display().to_string();
    let world = World::made(|target, _| target.host.clone_from(&socket));
    a_whole_life(&world, &world.driver).await;
}

#[tokio::test]
async fn it_does_so_in_tls_and_refuses_the_certificate_of_another_authority_or_name() {
    let world = World::new();
    let ca = world.server.ca_pem();
    a_whole_life(&world, &world.driver_in_tls(ca, "localhost")).await;
    let other = Authority::new("somebody else").unwrap();
    for driver in [world.driver_in_tls(other.pem(), "localhost"), world.driver_in_tls(ca, "127.0.0.2")] {
        let result = driver.install(&world.intent(2)).await;
        assert!(matches!(result, Err(DriverError::Refused(_) | DriverError::Unavailable(_))), "{result:?}");
    }
    assert_eq!(world.accounts(world.intent(2).handle.as_str()), "0");
}

#[tokio::test]
async fn the_server_is_never_told_a_password() {
    let world = World::new();
    a_whole_life(&world, &world.driver).await;
    let log = world.server.log();
    assert!(log.contains(&format!("CREATE USER '{}_v1_", world.name)), "the log shows statements");
    assert!(!log.contains(&format!("plain-marker-{}", world.name)));
}

#[tokio::test]
async fn what_was_given_up_cannot_land_after_the_time_to_settle() {
    let world = World::new();
    let proxy = Proxy::holding_back(world.server.port(), b"CREATE USER", Duration::from_secs(12));
    let driver = world.driver_with(|target, _| {
        target.port = proxy.port();
        target.transit = Span::new(Duration::from_secs(1));
        target.connect_timeout = Span::new(Duration::from_secs(3));
        target.statement_timeout = Span::new(Duration::from_secs(3));
        target.call_timeout = Span::new(Duration::from_secs(6));
    });
    let intent = world.intent(1);
    let result = driver.install(&intent).await;
    assert!(matches!(result, Err(DriverError::Unknown(_))), "{result:?}");
    assert!(proxy.passed_all_on(Duration::from_mins(1)));
    for _ in 0..5 {
        assert_eq!(world.driver.find(&intent).await.unwrap(), Found::Absent);
    }
}

#[tokio::test]
async fn a_version_that_may_do_less_fails_its_probe_and_what_is_missing_is_named() {
    let world = World::new();
    let (name, old, new) = (&world.name, world.intent(1), world.intent(2));
    world.driver.install(&old).await.unwrap();
    let installed = world.driver.install(&new).await.unwrap();
    world.driver.probe(&installed.fields, Some(&old.handle)).await.unwrap();
    world.sql(&format!("CREATE DATABASE {name}_more; CREATE TABLE {name}_more.items (id int, price int)"));
    world.sql(&format!("GRANT INSERT ON {name}_more.items TO {}", old.handle));
    world.sql(&format!("GRANT SELECT (price) ON {name}_more.items TO {}", old.handle));
    let why = refused(world.driver.probe(&installed.fields, Some(&old.handle)).await, "a lesser version");
    for missing in ["INSERT on w", "_more.items", "SELECT on w", "_more.items.price"] {
        assert!(why.contains(missing), "{missing}: {why}");
    }
    world.sql(&format!("GRANT SELECT, INSERT ON {name}_more.* TO {name}_app"));
    world.driver.probe(&installed.fields, Some(&old.handle)).await.unwrap();
}

#[tokio::test]
async fn a_probe_may_read_and_not_write_and_is_named_when_it_fails() {
    for (probe, good) in [
        ("SELECT id FROM orders", true),
        ("INSERT INTO orders VALUES (2)", false),
        ("DROP TABLE orders", false),
        ("SELECT * FROM nothing", false),
        ("SELECT 1; SELECT 2", false),
    ] {
        let world = World::made(|_, account| account.probes = vec![probe.into()]);
        let installed = world.driver.install(&world.intent(1)).await.unwrap();
        let proven = world.driver.probe(&installed.fields, None).await;
        if good {
            assert_eq!(proven.unwrap().probes, 1);
        } else {
            let why = refused(proven, probe);
            assert!(why.contains(&format!("probe 1 ({probe})")), "{why}");
        }
        assert_eq!(world.value(&format!("SELECT COUNT(*) FROM {}.orders", world.name)), "1");
    }
}

#[tokio::test]
async fn a_definer_is_not_dropped_and_what_needs_it_is_named() {
    let world = World::new();
    let intent = world.intent(1);
    let installed = world.driver.install(&intent).await.unwrap();
    let mut consumer = world.consumer(&installed.fields);
    let made = [
        "CREATE VIEW seen AS SELECT id FROM orders",
        "CREATE PROCEDURE done() SELECT 1",
        "CREATE TRIGGER noted BEFORE INSERT ON orders FOR EACH ROW SET @a = 1",
        "CREATE EVENT daily ON SCHEDULE EVERY 1 DAY DO SELECT 1",
    ];
    for statement in made {
        assert!(consumer.ask(&format!("{statement}; SELECT 1")).is_some(), "{statement}");
    }
    drop(consumer);
    world.driver.revoke(&intent.handle, Sessions::End).await.unwrap();
    let why = refused(world.driver.clean_up(&intent.handle).await, "a clean-up of a definer");
    for what in ["view w", ".seen", "routine w", ".done", "trigger w", ".noted", "event w", ".daily"] {
        assert!(why.contains(what), "{what}: {why}");
    }
    let name = &world.name;
    world.sql(&format!(
        "USE {name}; DROP VIEW seen; DROP PROCEDURE done; DROP TRIGGER noted; DROP EVENT daily"
    ));
    world.driver.clean_up(&intent.handle).await.unwrap();
}

#[tokio::test]
async fn a_revoked_login_that_somebody_unlocks_has_no_password() {
    let world = World::new();
    let intent = world.intent(1);
    let installed = world.driver.install(&intent).await.unwrap();
    world.driver.revoke(&intent.handle, Sessions::End).await.unwrap();
    world.sql(&format!("ALTER USER {} ACCOUNT UNLOCK", intent.handle));
    refused(world.driver.probe(&installed.fields, None).await, "a login with a leaked password");
}

#[tokio::test]
async fn versions_that_carry_our_mark_are_listed() {
    let world = World::new();
    let (one, two) = (world.intent(1), world.intent(2));
    world.driver.install(&one).await.unwrap();
    world.driver.install(&two).await.unwrap();
    world.driver.revoke(&one.handle, Sessions::Leave).await.unwrap();
    world.sql(&format!("CREATE USER {}_v3_stranger", world.name));
    let Listed::Versions(listed) = world.driver.list().await.unwrap() else { panic!("it can tell") };
    let shown: Vec<_> =
        listed.iter().map(|v| (v.version.unwrap(), v.handle.clone(), v.accepted, v.adopted)).collect();
    assert_eq!(shown, [(one.version, one.handle, false, false), (two.version, two.handle, true, false)]);
}
