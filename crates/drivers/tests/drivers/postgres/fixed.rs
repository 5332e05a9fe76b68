//! One login whose password changes in place.

use std::any::Any;
use std::sync::Arc;

use rekey_drivers::postgres::{FixedRole, RIGHTS_FOR_ADOPTION};
use rekey_drivers::{Driver, Intent, Sessions};
use rekey_model::{Fields, SecretBytes, Version};

use super::world::{World, fixed};
use crate::conformance::{self, Subject, refused};
use crate::proxy::Proxy;

/// A world with a login that has a password from before.
struct One {
    world: World,
    driver: FixedRole,
}

impl One {
    fn new() -> Self {
        let world = World::new();
        let (role, rekey) = (format!("{}_fixed", world.name), format!("{}_rekey", world.name));
        world.sql(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'plain-marker-before'; GRANT {} TO {role}; {}",
            world.owner_role(),
            RIGHTS_FOR_ADOPTION.replace("orders_legacy", &role).replace("rekey", &rekey),
        ));
        let driver = fixed(&world, |_, _| {});
        Self { world, driver }
    }

    fn version(&self, version: u64, secret: String) -> Intent {
        let version = Version::new(version).unwrap();
        let handle = format!("{}_fixed#{version}", self.world.name).parse().unwrap();
        Intent::chosen(version, handle, Arc::new(SecretBytes::from(secret)))
    }
}

impl Subject for One {
    fn driver(&self) -> &dyn Driver {
        &self.driver
    }

    fn intent(&self, version: u64) -> Intent {
        self.version(version, format!("plain-marker-{version}"))
    }

    fn taken(&self) -> Intent {
        unreachable!("the login is the one that is declared")
    }

    fn nobody_listens(&self) -> Arc<dyn Driver> {
        let port = rekey_testkit::process::free_port().unwrap();
        Arc::new(fixed(&self.world, |target, _| target.port = port))
    }

    fn answers_are_lost(&self) -> Arc<dyn Driver> {
        let proxy = Proxy::losing_the_answer_to(self.world.postgres.port(), b"COMMIT");
        Arc::new(fixed(&self.world, |target, _| target.port = proxy.port()))
    }

    fn without_rights(&self) -> Arc<dyn Driver> {
        let login = self.world.powerless();
        Arc::new(fixed(&self.world, |target, _| target.user.clone_from(&login)))
    }

    fn consume(&self, fields: &Fields) -> Box<dyn Any> {
        Box::new(self.world.consumer(fields))
    }

    fn tells_versions(&self) -> bool {
        false
    }

    fn takes_one_value(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn it_does_what_every_driver_does() {
    conformance::all(&One::new()).await;
}

#[tokio::test]
async fn the_password_of_today_is_looked_at_and_stays() {
    let one = One::new();
    let today = |secret: &str| Intent {
        handle: format!("{}_fixed", one.world.name).parse().unwrap(),
        ..one.version(1, secret.to_owned())
    };
    refused(one.driver.install(&today("wrong")).await, "a password that is wrong");
    let installed = one.driver.install(&today("plain-marker-before")).await.unwrap();
    one.driver.probe(&installed.fields, None).await.unwrap();
    one.driver.install(&one.intent(2)).await.unwrap();
    refused(one.driver.probe(&installed.fields, None).await, "the password of before");
}

#[tokio::test]
async fn a_login_is_told_apart_from_what_the_declared_probes_say() {
    let one = One::new();
    let driver = fixed(&one.world, |_, account| account.probes = vec!["SELECT 1 FROM nowhere".to_owned()]);
    let first = driver.install(&one.intent(1)).await.unwrap();
    refused(driver.probe(&first.fields, None).await, "there is no such table");
    driver.log_in(&first.fields).await.unwrap();
    driver.install(&one.intent(2)).await.unwrap();
    refused(driver.log_in(&first.fields).await, "a password that is dead");
}

#[tokio::test]
async fn an_emergency_leaves_no_password_and_no_session_and_a_new_value_brings_the_login_back() {
    let one = One::new();
    let first = one.driver.install(&one.intent(1)).await.unwrap();
    let user = one.world.consumer(&first.fields);
    user.sql("SELECT 1").unwrap();
    let cut = one.driver.revoke(&first.handle, Sessions::End).await.unwrap();
    assert_eq!(cut.sessions_ended, 1);
    user.sql("SELECT 1").unwrap_err();
    refused(one.driver.probe(&first.fields, None).await, "a login with no password");
    let second = one.driver.install(&one.intent(2)).await.unwrap();
    one.driver.clean_up(&first.handle).await.unwrap();
    one.driver.probe(&second.fields, None).await.unwrap();
}

#[tokio::test]
async fn a_login_that_may_do_more_than_log_in_is_not_changed() {
    let one = One::new();
    one.world.sql(&format!("ALTER ROLE {}_fixed CREATEROLE", one.world.name));
    let why = refused(one.driver.install(&one.intent(1)).await, "a powerful login");
    assert!(why.contains("may make roles"), "{why}");
    refused(one.driver.revoke(&one.intent(1).handle, Sessions::End).await, "a powerful login");
}

#[tokio::test]
async fn a_login_that_is_not_there_is_named() {
    let one = One::new();
    let driver = fixed(&one.world, |_, account| account.role = "nobody_here".to_owned());
    let why = refused(driver.install(&one.intent(1)).await, "a login that is not there");
    assert!(why.contains("there is no login nobody_here"), "{why}");
}

#[tokio::test]
async fn what_is_missing_is_named_with_what_mends_it() {
    let one = One::new();
    let lacks = async |driver: &FixedRole| -> Vec<String> {
        driver.check().await.unwrap().iter().map(ToString::to_string).collect()
    };
    assert!(lacks(&one.driver).await.is_empty());
    let absent = lacks(&fixed(&one.world, |_, account| account.role = "nobody_here".to_owned())).await;
    assert!(absent.concat().contains("CREATE ROLE nobody_here LOGIN"), "{absent:?}");
    let rotator = format!("{}_rekey", one.world.name);
    one.world
        .sql(&format!("ALTER ROLE {rotator} NOCREATEROLE; ALTER ROLE {}_fixed CREATEROLE", one.world.name));
    let both = lacks(&one.driver).await;
    assert!(both.len() == 2 && both.concat().contains("no more than a login"), "{both:?}");
}

#[tokio::test]
async fn no_password_reaches_the_servers_log() {
    let one = One::new();
    let intent = one.version(1, format!("only-here-{}", one.world.name));
    one.driver.install(&intent).await.unwrap();
    let log = one.world.postgres.log();
    assert!(log.contains(&format!("ALTER ROLE \"{}_fixed\" PASSWORD", one.world.name)), "it logs statements");
    assert!(!log.contains("only-here-"));
}
