//! Nodes that are full, replicas, gone or changed by hand: nothing is lost, and what differs is seen.

use rekey_drivers::{Driver as _, DriverError, Sighting, Survey};

use super::world::{ROTATOR_PASSWORD, USER, World};

async fn survey(world: &World) -> Vec<Sighting> {
    match world.driver.survey().await.unwrap() {
        Survey::Seen(seen) => seen,
        Survey::CannotTell => panic!("it can tell"),
    }
}

#[tokio::test]
async fn a_full_node_is_waited_for_and_named() {
    let world = World::new();
    let node = &world.nodes[1];
    let crowd: Vec<_> = (0..3).map(|_| node.client("rekey", ROTATOR_PASSWORD).unwrap()).collect();
    node.run("CONFIG SET maxclients 3");
    for result in
        [world.driver.check().await.map(drop), world.driver.install(&world.intent(1)).await.map(drop)]
    {
        let said = match result {
            Err(DriverError::Unavailable(cause)) => cause.to_string(),
            other => panic!("is to be waited for: {other:?}"),
        };
        assert!(said.contains(&node.address()), "{said}");
    }
    assert!(!world.has(0, &world.intent(1)), "the other node was not changed");
    drop(crowd);
    while node.client("rekey", ROTATOR_PASSWORD).is_err() {}
    world.driver.install(&world.intent(1)).await.unwrap();
}

#[tokio::test]
async fn a_replica_that_takes_no_writes_takes_the_change() {
    let world = World::new();
    let (host, port) = ("127.0.0.1", world.nodes[0].port());
    world.nodes[1].run(&format!("REPLICAOF {host} {port}"));
    assert_eq!(world.driver.check().await.unwrap(), []);
    world.driver.install(&world.intent(1)).await.unwrap();
    assert!(world.has(1, &world.intent(1)));
}

#[tokio::test]
async fn a_node_that_was_away_gets_the_change_by_the_same_call() {
    let mut world = World::new();
    world.nodes[1].stop().unwrap();
    let away = world.driver.install(&world.intent(1)).await.unwrap_err();
    assert!(matches!(away, DriverError::Unavailable(_)), "{away:?}");
    assert!(matches!(world.driver.survey().await, Err(DriverError::Unavailable(_))));
    world.nodes[1].start_again().unwrap();
    world.driver.install(&world.intent(1)).await.unwrap();
    assert!(world.has(0, &world.intent(1)) && world.has(1, &world.intent(1)));
}

#[tokio::test]
async fn a_password_by_hand_and_one_that_a_node_lost_are_seen() {
    let world = World::new();
    let ours = world.intent(1);
    world.driver.install(&ours).await.unwrap();
    assert_eq!(survey(&world).await, [Sighting { name: ours.handle.to_string(), shut: None }]);
    world.nodes[1].run(&format!("ACL SETUSER {USER} >by-hand"));
    let seen = survey(&world).await;
    let other = seen.iter().find(|sighting| sighting.name != ours.handle.as_str()).unwrap();
    assert!(other.shut.as_ref().unwrap().contains(&world.nodes[0].address()), "{other:?}");
    world.nodes[0].run(&format!("ACL SETUSER {USER} >by-hand"));
    let seen = survey(&world).await;
    assert!(seen.len() == 2 && seen.iter().all(|sighting| sighting.shut.is_none()), "{seen:?}");
    world.nodes[1].run(&format!("ACL SETUSER {USER} resetpass"));
    let seen = survey(&world).await;
    let shut = seen.iter().filter_map(|sighting| sighting.shut.as_ref());
    assert_eq!(shut.filter(|why| why.contains(&world.nodes[1].address())).count(), 2, "{seen:?}");
    world.nodes[0].run(&format!("ACL SETUSER {USER} nopass"));
    assert!(survey(&world).await.iter().any(|it| it.name.contains("nopass") && it.shut.is_none()));
}
