//! A server that is full or was changed by hand: nothing is lost, and what differs is seen.

use rekey_drivers::{Driver as _, DriverError, Survey};
use rekey_testkit::mariadb::Mariadb;

use super::world::World;

#[tokio::test]
async fn a_full_server_is_waited_for() {
    let server = Mariadb::start();
    let world = World::at(&server);
    let first = world.driver.install(&world.intent(1)).await.unwrap();
    server.sql("SET GLOBAL max_connections = 10");
    let crowd: Vec<_> = (0..10).map(|_| world.consumer(&first.fields)).collect();
    // The rotator has CONNECTION ADMIN, for which one more place is kept; the version it makes has none.
    let why = world.driver.install(&world.intent(2)).await.unwrap_err();
    assert!(!matches!(why, DriverError::Refused(_)), "{why:?}");
    drop(crowd);
    let mut made = world.driver.install(&world.intent(2)).await;
    for _ in 0..100 {
        if made.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        made = world.driver.install(&world.intent(2)).await;
    }
    world.driver.probe(&made.unwrap().fields, Some(&first.handle)).await.unwrap();
}

#[tokio::test]
async fn a_login_that_somebody_locked_or_dropped_is_seen() {
    let world = World::new();
    let (one, two) = (world.intent(1), world.intent(2));
    world.driver.install(&one).await.unwrap();
    world.driver.install(&two).await.unwrap();
    world.sql(&format!("ALTER USER '{}'@'%' ACCOUNT LOCK; DROP USER '{}'@'%'", one.handle, two.handle));
    let Survey::Seen(seen) = world.driver.survey().await.unwrap() else { panic!("it can tell") };
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].name == one.handle.as_str() && seen[0].shut.is_some(), "{seen:?}");
}
