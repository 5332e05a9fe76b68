//! A server that is full, read-only, a standby, gone: nothing is lost, and the same call succeeds when it can again.

use std::time::Duration;

use rekey_drivers::{Driver as _, DriverError, Found, Sighting, Survey};
use rekey_testkit::postgres::{Options, Postgres};

use super::world::{Consumer, ROTATOR_PASSWORD, World, make_roles};

/// A server of this test's own, with the world's roles.
fn own(world: &World, settings: &[(&str, &str)]) -> Postgres {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let server = Postgres::start(Options { tcp: true, settings, ..Options::default() });
    make_roles(&server, &world.name);
    server
}

fn waits<T: std::fmt::Debug>(result: Result<T, DriverError>, words: &str) {
    match result {
        Err(DriverError::Unavailable(cause)) if cause.to_string().contains(words) => {}
        other => panic!("is to be waited for, because of {words}: {other:?}"),
    }
}

#[tokio::test]
async fn a_full_server_is_waited_for() {
    let world = World::new();
    let settings = [("max_connections", "8"), ("superuser_reserved_connections", "3")];
    let server = own(&world, &settings);
    let driver = world.driver_with(|target, _| target.port = server.port());
    let rotator = format!("{}_rekey", world.name);
    let connection = server.connection(&rotator, ROTATOR_PASSWORD, "postgres");
    let mut crowd = Vec::new();
    while let Ok(one) = Consumer::open(&connection) {
        crowd.push(one);
    }
    assert!(!crowd.is_empty(), "somebody was let in");
    waits(driver.check().await, "53300");
    waits(driver.survey().await, "53300");
    waits(driver.install(&world.intent(1)).await, "53300");
    drop(crowd);
    let gone = || async { driver.check().await.is_ok() };
    for _ in 0..100 {
        if gone().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(driver.find(&world.intent(1)).await.unwrap(), Found::Absent, "nothing had happened");
    driver.install(&world.intent(1)).await.unwrap();
}

#[tokio::test]
async fn a_server_whose_sessions_begin_read_only_is_changed_all_the_same() {
    let world = World::new();
    let server = own(&world, &[]);
    server.sql("ALTER SYSTEM SET default_transaction_read_only = on; ");
    server.sql("SELECT pg_reload_conf()");
    let driver = world.driver_with(|target, _| target.port = server.port());
    assert_eq!(driver.check().await.unwrap(), []);
    driver.install(&world.intent(1)).await.unwrap();
}

#[tokio::test]
async fn a_standby_is_waited_for_until_it_is_promoted_and_what_was_made_before_is_there() {
    let world = World::new();
    let mut server = own(&world, &[]);
    let driver = world.driver_with(|target, _| target.port = server.port());
    driver.install(&world.intent(1)).await.unwrap();
    let data = server.sql("SHOW data_directory")[0][0].clone().unwrap();
    server.stop().unwrap();
    waits(driver.check().await, "refused");
    std::fs::write(std::path::Path::new(&data).join("standby.signal"), "").unwrap();
    server.start_again().unwrap();
    waits(driver.check().await, "standby");
    waits(driver.install(&world.intent(2)).await, "read-only");
    assert_eq!(driver.find(&world.intent(1)).await.unwrap(), Found::Present);
    server.sql("SELECT pg_promote()");
    assert_eq!(driver.check().await.unwrap(), []);
    driver.install(&world.intent(2)).await.unwrap();
}

#[tokio::test]
async fn a_login_that_is_called_like_a_version_and_was_made_by_hand_is_seen() {
    let world = World::new();
    let (ours, byhand) = (world.intent(1), format!("{}_app_v9_byhand", world.name));
    world.driver.install(&ours).await.unwrap();
    world.sql(&format!("CREATE ROLE {byhand} LOGIN; CREATE ROLE {byhand}x NOLOGIN"));
    let Survey::Seen(seen) = world.driver.survey().await.unwrap() else { panic!("it can tell") };
    // The worlds of other tests are the same credential of the same installation.
    let own = |seen: Vec<Sighting>| {
        seen.into_iter().filter(|it| it.name.starts_with(&format!("{}_", world.name))).collect::<Vec<_>>()
    };
    let seen = own(seen);
    let names: Vec<&str> = seen.iter().map(|sighting| sighting.name.as_str()).collect();
    assert_eq!(names, [ours.handle.as_str(), &byhand]);
    world.sql(&format!("ALTER ROLE {} NOLOGIN", ours.handle));
    let Survey::Seen(seen) = world.driver.survey().await.unwrap() else { panic!("it can tell") };
    assert!(own(seen)[0].shut.is_some());
}
