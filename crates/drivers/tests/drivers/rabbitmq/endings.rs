//! How versions end: whose connections are cut, and that none is by the way.

use rekey_drivers::{Driver as _, Sessions, Usage};

use super::world::World;
use crate::conformance::refused;

#[tokio::test]
async fn an_emergency_ends_the_connections_of_one_version_alone() {
    let world = World::new();
    let (old, new) = (world.intent(1), world.intent(2));
    let [first, second] =
        [world.driver.install(&old).await.unwrap(), world.driver.install(&new).await.unwrap()];
    let (mut on_old, mut on_new) = (world.consumer(&first.fields), world.consumer(&second.fields));
    let Usage::Sessions(seen) = world.driver.usage(&old.handle).await.unwrap() else { panic!("it can tell") };
    assert_eq!(seen.iter().map(|session| session.client.as_str()).collect::<Vec<_>>(), [on_old.name()]);
    assert_eq!(world.driver.revoke(&old.handle, Sessions::End).await.unwrap().sessions_ended, 1);
    assert!(!on_old.works() && on_new.works());
}

#[tokio::test]
async fn in_peace_a_user_with_connections_is_neither_cut_nor_deleted() {
    let world = World::new();
    let intent = world.intent(1);
    let installed = world.driver.install(&intent).await.unwrap();
    let mut user = world.consumer(&installed.fields);
    assert_eq!(world.driver.revoke(&intent.handle, Sessions::Leave).await.unwrap().sessions_left, 1);
    assert!(user.works());
    let why = refused(world.driver.clean_up(&intent.handle).await, "a clean-up that would cut somebody");
    assert!(why.contains("connections"), "{why}");
    assert!(user.works() && world.user(intent.handle.as_str()).is_some());
    world.driver.revoke(&intent.handle, Sessions::End).await.unwrap();
    world.driver.clean_up(&intent.handle).await.unwrap();
    assert!(world.user(intent.handle.as_str()).is_none());
}
