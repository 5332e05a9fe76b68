//! Tokens as evidence of use, waited for in peace and revoked in an emergency.

use rekey_drivers::{Driver, Sessions, Usage};
use rekey_model::Handle;

use super::world::World;

async fn users(world: &World, handle: &Handle) -> usize {
    let Usage::Sessions(sessions) = world.driver.usage(handle).await.unwrap() else { panic!("it tells") };
    assert!(sessions.iter().all(|session| session.since_ms > 1_600_000_000_000), "{sessions:?}");
    sessions.len()
}

#[tokio::test]
async fn tokens_are_seen_waited_for_and_revoked_by_version() {
    let world = World::new();
    let one = world.driver.install(&World::intent(1)).await.unwrap();
    let two = world.driver.install(&World::intent(2)).await.unwrap();
    world.driver.probe(&one.fields, None).await.unwrap();
    assert_eq!(users(&world, &one.handle).await, 0, "a probe leaves no token behind");
    let old: Vec<_> = (0..3).map(|_| world.log_in(&one.fields).unwrap()).collect();
    let new = world.log_in(&two.fields).unwrap();
    assert_eq!((users(&world, &one.handle).await, users(&world, &two.handle).await), (3, 1));
    for _ in 0..2 {
        let left = world.driver.revoke(&one.handle, Sessions::Leave).await.unwrap();
        assert_eq!((left.sessions_ended, left.sessions_left), (0, 3));
        assert!(old.iter().all(|token| world.reads(token)), "nobody was cut");
        world.log_in(&one.fields).unwrap_err();
    }
    world.bao.ask_as(&old[0], "POST", "auth/token/revoke-self", &serde_json::Value::Null).unwrap();
    let left = world.driver.revoke(&one.handle, Sessions::Leave).await.unwrap();
    assert_eq!(left.sessions_left, 2);
    let cut = world.driver.revoke(&one.handle, Sessions::End).await.unwrap();
    assert_eq!((cut.sessions_ended, cut.sessions_left), (2, 0));
    assert!(!old.iter().any(|token| world.reads(token)), "a token of the revoked version reads on");
    assert!(world.reads(&new), "another version was cut");
    assert_eq!(world.driver.revoke(&one.handle, Sessions::End).await.unwrap().sessions_ended, 0);
}
