//! The login that an application has today.

use std::sync::Arc;

use rekey_drivers::mysql::Adopt;
use rekey_drivers::{Driver as _, Found, Intent, Sessions};
use rekey_model::{SecretBytes, Version};

use super::world::World;
use crate::conformance::refused;

fn adopted(world: &World, password: &str) -> Intent {
    Intent::chosen(
        Version::new(1).unwrap(),
        format!("{}legacy", world.name).parse().unwrap(),
        Arc::new(SecretBytes::from(password.to_owned())),
    )
}

fn world() -> World<'static> {
    let world = World::made(|_, account| {
        let login = format!("{}legacy", account.prefix);
        account.adopt = Some(Adopt { login, from: "%".into() });
    });
    let name = &world.name;
    world.sql(&format!(
        "CREATE USER {name}legacy IDENTIFIED BY 'of-a-person'; GRANT SELECT, INSERT ON {name}.* TO {name}legacy"
    ));
    world
}

#[tokio::test]
async fn it_keeps_its_password_is_ended_by_a_lock_and_is_never_dropped() {
    let world = world();
    let intent = adopted(&world, "of-a-person");
    assert_eq!(world.driver.find(&intent).await.unwrap(), Found::Present);
    let wrong = adopted(&world, "another");
    refused(world.driver.install(&wrong).await, "an adoption with the wrong password");
    let installed = world.driver.install(&intent).await.unwrap();
    world.driver.probe(&installed.fields, None).await.unwrap();
    let next = world.driver.install(&world.intent(2)).await.unwrap();
    world.driver.probe(&next.fields, Some(&intent.handle)).await.unwrap();
    let user = world.consumer(&installed.fields);
    assert_eq!(world.driver.revoke(&intent.handle, Sessions::End).await.unwrap().sessions_ended, 1);
    drop(user);
    refused(world.driver.probe(&installed.fields, None).await, "a login that is locked");
    world.driver.clean_up(&intent.handle).await.unwrap();
    assert_eq!(world.accounts(intent.handle.as_str()), "1");
}

#[tokio::test]
async fn one_that_may_do_too_much_or_has_a_twin_is_refused() {
    let world = world();
    let intent = adopted(&world, "of-a-person");
    world.sql(&format!("GRANT SUPER ON *.* TO {}", intent.handle));
    let why = refused(world.driver.install(&intent).await, "a superuser");
    assert!(why.contains("whole server"), "{why}");
    world.sql(&format!("REVOKE SUPER ON *.* FROM {}", intent.handle));
    world.sql(&format!("CREATE USER {}@'10.%'", intent.handle));
    let why = refused(world.driver.install(&intent).await, "a login with a twin");
    assert!(why.contains("same name"), "{why}");
    let why = refused(world.driver.revoke(&intent.handle, Sessions::End).await, "ending sessions of a twin");
    assert!(why.contains("by hand"), "{why}");
}
