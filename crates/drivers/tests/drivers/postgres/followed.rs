//! One login whose password somebody else rotates, at a target whose config names no rotator.

use std::path::Path;
use std::sync::Arc;

use rekey_drivers::{Account, BuildError, Driver, DriverError, Intent, Owner, Sessions, Target, Usage};
use rekey_model::{SecretBytes, Version};
use rekey_settings::{Document, Section};

use super::world::World;
use crate::conformance::refused;

/// A world with a login that somebody else looks after.
fn world() -> World {
    let world = World::new();
    world.sql(&format!("CREATE ROLE {}_rds LOGIN PASSWORD 'first'", world.name));
    world
}

fn read<T>(text: &str, take: impl FnOnce(&Section<'_>) -> Option<T>) -> Result<T, String> {
    Document::parse("test", text).unwrap().read(take).map_err(|problems| problems.to_string())
}

fn target(port: u16, more: &str) -> Result<Target, String> {
    let text = format!("postgres: {{ host: 127.0.0.1, port: {port}, tls: {{ mode: disable }}{more} }}");
    read(&text, |section| rekey_drivers::target(section, Path::new("/nowhere")))
}

fn account(name: &str, more: &str) -> Account {
    let text = format!("postgres: {{ target: rds, database: {name}, role: {name}_rds{more} }}");
    read(&text, rekey_drivers::account).unwrap()
}

const FOLLOWS: &str = ", follows: { orders: { file: orders, by: \"the database team\" } }";

fn driver(target: &Target, account: &Account) -> Result<Arc<dyn Driver>, BuildError> {
    let owner = Owner { installation: "test".into(), credential: "orders/rds".parse().unwrap() };
    target.driver(account, &owner, |_| None)
}

#[tokio::test]
async fn what_works_is_let_in_and_nothing_is_changed() {
    let world = world();
    let (target, account) =
        (target(world.postgres.port(), FOLLOWS).unwrap(), account(&world.name, ", follow: orders"));
    let place = target.place(&account).unwrap().unwrap();
    assert_eq!((place.shown().as_str(), place.by.as_str()), ("/nowhere/orders", "the database team"));
    assert!(place.read().unwrap_err().contains("cannot read /nowhere/orders"));
    let driver = driver(&target, &account).unwrap();
    let version = |version: u64, secret: &str| {
        let handle = format!("{}_rds#v{version}", world.name).parse().unwrap();
        let secret = SecretBytes::new(secret.as_bytes().to_vec());
        Intent::chosen(Version::new(version).unwrap(), handle, Arc::new(secret))
    };
    assert_eq!(driver.check().await.unwrap(), []);
    let first = driver.install(&version(1, "first")).await.unwrap();
    driver.probe(&first.fields, None).await.unwrap();
    let wrong = driver.install(&version(2, "second")).await.unwrap();
    refused(driver.probe(&wrong.fields, None).await, "a password that nobody set");
    world.sql(&format!("ALTER ROLE {}_rds PASSWORD 'second'", world.name));
    driver.probe(&wrong.fields, None).await.unwrap();
    refused(driver.probe(&first.fields, None).await, "what was there before");
    assert_eq!(driver.usage(&first.handle).await.unwrap(), Usage::CannotTell);
    let revoked = driver.revoke(&wrong.handle, Sessions::End).await;
    assert!(matches!(revoked, Err(DriverError::Refused(_))), "{revoked:?}");
    driver.probe(&wrong.fields, None).await.unwrap();
    assert!(driver.install(&version(3, "a\0b")).await.is_err());
}

#[test]
fn without_a_rotator_passwords_are_only_followed() {
    let with = target(5432, FOLLOWS).unwrap();
    let Err(BuildError::Mismatch(problems)) = driver(&with, &account("orders", "")) else { unreachable!() };
    assert_eq!(problems[0].field, "user");
    let other = account("orders", ", follow: another");
    let Err(BuildError::Mismatch(problems)) = driver(&with, &other) else { unreachable!() };
    assert!(problems[0].to_string().contains("it has: orders"), "{problems:?}");
    assert!(with.place(&other).is_err());
    // Half a rotator is none, and without `follows` there is one.
    for (more, lacks) in
        [("", "user"), (", user: rekey, follows: { a: { file: b, by: c } }", "password_file")]
    {
        let why = target(5432, more).unwrap_err();
        assert!(why.contains(lacks), "{why}");
    }
    for (follows, lacks) in [
        ("{ file: a }", "by"),
        ("{ file: a, by: c, key: \"A B\" }", "key"),
        ("{ file: a, by: \"x\\ny\" }", "by"),
        ("{ by: c }", "file"),
    ] {
        let why = target(5432, &format!(", follows: {{ orders: {follows} }}")).unwrap_err();
        assert!(why.contains(lacks), "{follows}: {why}");
    }
}
