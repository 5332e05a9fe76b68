//! The login that an application has before Rekey comes.

use std::sync::Arc;

use rekey_drivers::postgres::{Adopt, RIGHTS_FOR_ADOPTION};
use rekey_drivers::{Driver, Found, Intent, Sessions};
use rekey_model::{SecretBytes, Version};

use super::world::World;
use crate::conformance::refused;

const PASSWORD: &str = "the password of many years";

/// A world with a login `<name>_legacy` that is declared as adopted.
fn with_legacy(member: bool) -> (World, Intent) {
    let world = World::made(|target, account| {
        let login = target.user.replace("_rekey", "_legacy");
        account.adopt = Some(Adopt { login, member });
        account.probes = Vec::new();
    });
    let login = format!("{}_legacy", world.name);
    world.sql(&format!("CREATE ROLE {login} LOGIN PASSWORD '{PASSWORD}'"));
    let rights = RIGHTS_FOR_ADOPTION.replace("orders_legacy", &login);
    world.sql(&rights.replace("rekey", &format!("{}_rekey", world.name)));
    let secret = Arc::new(SecretBytes::from(PASSWORD.to_owned()));
    (world, Intent::chosen(Version::FIRST, login.parse().unwrap(), secret))
}

#[tokio::test]
async fn an_adopted_login_keeps_its_password_and_is_disabled_at_its_end() {
    let (world, legacy) = with_legacy(true);
    assert_eq!(world.driver.find(&legacy).await.unwrap(), Found::Present);
    let adopted = world.driver.install(&legacy).await.unwrap();
    world.driver.install(&legacy).await.unwrap();
    world.driver.probe(&adopted.fields, None).await.unwrap();
    let consumer = world.consumer(&adopted.fields);
    consumer.sql("SELECT * FROM orders").unwrap();
    let next = world.intent(2);
    let installed = world.driver.install(&next).await.unwrap();
    world.driver.probe(&installed.fields, Some(&legacy.handle)).await.unwrap();
    assert_eq!(world.driver.revoke(&legacy.handle, Sessions::End).await.unwrap().sessions_ended, 1);
    assert!(consumer.sql("SELECT 1").is_err());
    world.driver.clean_up(&legacy.handle).await.unwrap();
    world.driver.clean_up(&legacy.handle).await.unwrap();
    refused(world.driver.probe(&adopted.fields, None).await, "a login that was ended");
    let left = format!(
        "SELECT rolcanlogin OR rolpassword IS NOT NULL FROM pg_authid WHERE rolname = '{}'",
        legacy.handle
    );
    assert_eq!(world.value(&left), "f");
    refused(world.driver.install(&legacy).await, "an adoption of what was ended");
}

#[tokio::test]
async fn it_becomes_a_member_only_when_declared() {
    let (world, legacy) = with_legacy(false);
    world.driver.install(&legacy).await.unwrap();
    let member = format!("SELECT pg_has_role('{}', '{}', 'MEMBER')", legacy.handle, world.owner_role());
    assert_eq!(world.value(&member), "f");
}

#[tokio::test]
async fn everything_that_only_the_old_login_may_do_is_named() {
    let (world, legacy) = with_legacy(false);
    world.driver.install(&legacy).await.unwrap();
    let new = world.driver.install(&world.intent(2)).await.unwrap();
    let (old, owner) = (legacy.handle.as_str(), world.owner_role());
    world.sql(
        "CREATE SCHEMA app; CREATE TABLE app.t (id int, secret int); CREATE SEQUENCE app.s; CREATE TYPE app.y AS (a int); \
         CREATE FUNCTION app.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE app.columns (a int, b int); \
         REVOKE ALL ON FUNCTION app.f FROM PUBLIC; REVOKE ALL ON TYPE app.y FROM PUBLIC",
    );
    let cases = [
        ("GRANT SELECT, DELETE ON app.t TO ROLE", "DELETE on table app.t, SELECT on table app.t"),
        ("GRANT UPDATE (b) ON app.columns TO ROLE", "UPDATE on column app.columns.b"),
        ("GRANT USAGE ON SEQUENCE app.s TO ROLE", "USAGE on sequence app.s"),
        ("GRANT EXECUTE ON FUNCTION app.f TO ROLE", "EXECUTE on function app.f(integer)"),
        ("GRANT USAGE ON SCHEMA app TO ROLE", "USAGE on schema app"),
        ("GRANT USAGE ON TYPE app.y TO ROLE", "USAGE on type app.y"),
        ("GRANT CREATE ON DATABASE postgres TO ROLE", "CREATE on database postgres"),
        ("GRANT pg_monitor TO ROLE", "membership in role pg_monitor"),
    ];
    for (grant, name) in cases {
        world.sql(&grant.replace("ROLE", old));
        let why = refused(world.driver.probe(&new.fields, Some(&legacy.handle)).await, grant);
        assert!(
            why.starts_with("privileges: the new version lacks: ") && why.contains(name),
            "{grant}: {why}"
        );
        world.sql(&grant.replace("ROLE", &owner));
        world.driver.probe(&new.fields, Some(&legacy.handle)).await.unwrap();
    }
    for (change, name) in [
        ("ALTER ROLE ROLE CREATEDB", "attribute CREATEDB"),
        ("ALTER ROLE ROLE NOCREATEDB; ALTER ROLE ROLE SET search_path = app", "setting search_path = app"),
    ] {
        world.sql(&change.replace("ROLE ROLE", &format!("ROLE {old}")));
        let why = refused(world.driver.probe(&new.fields, Some(&legacy.handle)).await, change);
        assert!(why.ends_with(name), "{why}");
    }
}

#[tokio::test]
async fn a_login_that_is_more_than_a_login_is_not_adopted() {
    for power in ["SUPERUSER", "CREATEROLE", "REPLICATION", "BYPASSRLS", "NOLOGIN"] {
        let (world, legacy) = with_legacy(true);
        world.sql(&format!("ALTER ROLE {} {power}", legacy.handle));
        let why = refused(world.driver.install(&legacy).await, power);
        assert!(why.contains("cannot be adopted"), "{why}");
    }
    let (world, legacy) = with_legacy(true);
    world.sql(&format!("REVOKE {0} FROM {1}_rekey; DROP ROLE {0}", legacy.handle, world.name));
    let why = refused(world.driver.install(&legacy).await, "a login that does not exist");
    assert!(why.contains("no login"), "{why}");
}

#[tokio::test]
async fn nothing_is_given_to_a_login_whose_password_was_not_shown() {
    let (world, legacy) = with_legacy(true);
    let wrong = Some(Arc::new(SecretBytes::from("a guess".to_owned())));
    let why = refused(
        world.driver.install(&Intent { secret: wrong, ..legacy.clone() }).await,
        "an adoption without the password",
    );
    assert!(why.contains("password authentication failed") && !why.contains("guess"), "{why}");
    let member = format!("SELECT pg_has_role('{}', '{}', 'MEMBER')", legacy.handle, world.owner_role());
    assert_eq!(world.value(&member), "f");
    world.driver.install(&legacy).await.unwrap();
    assert_eq!(world.value(&member), "t");
}
