//! Several nodes, some of which are away, slow, or late.

use std::time::Duration;

use rekey_drivers::{Driver, DriverError, Expiry, Found, Sessions, Usage};
use rekey_model::Span;

use super::world::{USER, World};
use crate::conformance::refused;
use crate::proxy::Proxy;

fn cause(error: &DriverError) -> String {
    std::error::Error::source(error).unwrap().to_string()
}

#[tokio::test]
async fn a_node_that_is_away_is_named_and_nothing_is_installed_anywhere() {
    let mut world = World::new();
    let (intent, away) = (world.intent(1), world.nodes[1].address());
    world.nodes[1].stop().unwrap();
    let error = world.driver.install(&intent).await.unwrap_err();
    assert!(matches!(error, DriverError::Unavailable(_)) && cause(&error).contains(&away), "{error:?}");
    assert!(!world.has(0, &intent), "one node was changed");
    assert!(matches!(world.driver.usage(&intent.handle).await, Err(DriverError::Unavailable(_))));
    world.nodes[1].start_again().unwrap();
    world.driver.install(&intent).await.unwrap();
    assert!(world.has(0, &intent) && world.has(1, &intent));
}

#[tokio::test]
async fn a_node_that_is_away_keeps_no_other_from_being_cut_and_nothing_counts_as_ended_before_it() {
    let mut world = World::new();
    let (intent, away) = (world.intent(1), world.nodes[0].address());
    let installed = world.driver.install(&intent).await.unwrap();
    let mut users: Vec<_> = (0..4).map(|_| world.consumer(&installed.fields)).collect();
    world.nodes[0].stop().unwrap();
    let error = world.driver.revoke(&intent.handle, Sessions::End).await.unwrap_err();
    assert!(matches!(error, DriverError::Unknown(_)) && cause(&error).contains(&away), "{error:?}");
    assert!(!world.has(1, &intent) && users[1].run(&["PING"]).is_err());
    world.nodes[0].start_again().unwrap();
    assert!(world.has(0, &intent));
    refused(world.driver.clean_up(&intent.handle).await, "a clean-up while one node lets it in");
    world.driver.revoke(&intent.handle, Sessions::End).await.unwrap();
    assert!(!world.has(0, &intent));
    world.driver.clean_up(&intent.handle).await.unwrap();
}

#[tokio::test]
async fn what_only_some_nodes_have_is_not_there_and_is_completed_by_the_same_install() {
    let world = World::new();
    let intent = world.intent(1);
    world.driver.install(&intent).await.unwrap();
    let (_, hash) = intent.handle.as_str().split_once('#').unwrap();
    world.nodes[1].run(&format!("ACL SETUSER {USER} !{hash}"));
    assert_eq!(world.driver.find(&intent).await.unwrap(), Found::Absent);
    let why = refused(world.driver.set_expiry(&intent.handle, Expiry::Never).await, "half a version");
    assert!(why.contains(&world.nodes[1].address()), "{why}");
    world.driver.install(&intent).await.unwrap();
    assert_eq!(world.driver.find(&intent).await.unwrap(), Found::Present);
}

#[tokio::test]
async fn what_was_sent_and_given_up_never_lands_after_the_next_look() {
    let world = World::new();
    let intent = world.intent(1);
    let proxy = Proxy::holding_back(world.nodes[0].port(), b"SETUSER\r\n", Duration::from_secs(8));
    let late = world.driver_with(|target, _| {
        target.nodes[0] = format!("127.0.0.1:{}", proxy.port());
        target.command_timeout = Span::new(Duration::from_secs(3));
    });
    let lost = late.install(&intent).await;
    assert!(matches!(lost, Err(DriverError::Unknown(_))), "{lost:?}");
    assert_eq!(world.driver.find(&intent).await.unwrap(), Found::Absent);
    world.driver.revoke(&intent.handle, Sessions::Leave).await.unwrap();
    assert!(proxy.passed_all_on(Duration::from_mins(1)));
    for _ in 0..200 {
        assert!(!world.has(0, &intent), "it came back");
    }
}

#[tokio::test]
async fn a_node_that_stands_still_holds_no_call_up_and_is_named() {
    let mut world = World::new();
    let (intent, still) = (world.intent(1), world.nodes[1].address());
    let quick = world.driver_with(|target, _| target.connect_timeout = Span::new(Duration::from_millis(300)));
    world.nodes[1].pause();
    let error = quick.install(&intent).await.unwrap_err();
    assert!(matches!(error, DriverError::Unavailable(_)) && cause(&error).contains(&still), "{error:?}");
    world.nodes[1].resume();
    world.driver.install(&intent).await.unwrap();
}

#[tokio::test]
async fn sessions_of_all_nodes_are_seen_with_their_age_and_those_of_others_are_not() {
    let world = World::new();
    let intent = world.intent(1);
    let installed = world.driver.install(&intent).await.unwrap();
    let mut users: Vec<_> = (0..4).map(|_| world.consumer(&installed.fields)).collect();
    world.on_all("ACL SETUSER orders2 on >x ~* +@all");
    let mut other = world.nodes[0].client("orders2", "x").unwrap();
    other.run(&["CLIENT", "SETNAME", "user=orders"]).unwrap();
    let Usage::OfAccount(sessions) = world.driver.usage(&intent.handle).await.unwrap() else {
        panic!("a user of Redis takes several passwords")
    };
    assert_eq!(sessions.len(), 4);
    for session in sessions {
        let age = session.age.unwrap();
        assert_eq!((session.client.as_str(), age.step), ("127.0.0.1", Duration::from_secs(1)));
        assert!(age.least < Duration::from_secs(30) && session.since_ms > 1_600_000_000_000, "{session:?}");
    }
    assert_eq!(world.driver.revoke(&intent.handle, Sessions::End).await.unwrap().sessions_ended, 4);
    assert!(users.iter_mut().all(|user| user.run(&["PING"]).is_err()));
    other.run(&["PING"]).unwrap();
}
