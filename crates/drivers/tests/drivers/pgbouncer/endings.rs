//! Who counts as a user behind a pooler, and how a version ends there: in peace and in an emergency.

use rekey_drivers::{Driver, DriverError, Found, Intent, Sessions, Usage};
use rekey_model::{Fields, Handle, SecretBytes};
use rekey_testkit::postgres::{Options, Postgres};

use super::world::{World, at, cluster};
use crate::conformance::refused;

async fn users(driver: &dyn Driver, handle: &Handle) -> usize {
    match driver.usage(handle).await.unwrap() {
        Usage::Sessions(sessions) => sessions.len(),
        other @ (Usage::OfAccount(_) | Usage::LastUsed(_) | Usage::CannotTell) => panic!("{other:?}"),
    }
}

/// Sessions of the version at the server, whoever holds them.
fn backends(world: &World, handle: &Handle) -> String {
    world.database.value(&format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{handle}'"))
}

async fn installed(world: &World, version: u64) -> (Intent, Fields) {
    let intent = world.database.intent(version);
    let fields = world.driver.install(&intent).await.unwrap().fields;
    (intent, fields)
}

#[tokio::test]
async fn a_poolers_clients_count_and_what_it_keeps_for_nobody_does_not() {
    let world = World::pooled("transaction");
    let (intent, fields) = installed(&world, 1).await;
    drop(world.consumer(&fields));
    assert!(rekey_testkit::process::poll(std::time::Duration::from_secs(5), || {
        world.pooler.console("SHOW CLIENTS").len() == 1
    }));
    assert_eq!(backends(&world, &intent.handle), "1", "the pooler keeps a session");
    assert_eq!(users(&world.database.driver, &intent.handle).await, 1);
    assert_eq!(users(world.driver.as_ref(), &intent.handle).await, 0);
    let pooled: Vec<_> = (0..3).map(|_| world.consumer(&fields)).collect();
    let direct = at(cluster().port(), &fields).unwrap();
    assert_eq!(
        users(world.driver.as_ref(), &intent.handle).await,
        4,
        "three share one session, one has its own"
    );
    pooled[0].sql("BEGIN; SELECT 1").unwrap();
    assert_eq!(users(world.driver.as_ref(), &intent.handle).await, 4);
    drop((pooled, direct));
}

#[tokio::test]
async fn in_peace_clients_of_the_pooler_go_on_and_the_server_refuses_nobody_before_they_are_gone() {
    let world = World::pooled("transaction");
    let (intent, fields) = installed(&world, 1).await;
    let (busy, other) = (world.consumer(&fields), world.consumer(&fields));
    busy.sql("BEGIN; SELECT 1").unwrap();
    for _ in 0..2 {
        let cut = world.driver.revoke(&intent.handle, Sessions::Leave).await.unwrap();
        assert_eq!((cut.sessions_ended, cut.sessions_left), (0, 2));
        // The one session is taken: this needs another login of the pooler at the server.
        other.sql("SELECT count(*) FROM orders").unwrap();
        let why = refused(world.driver.probe(&fields, None).await, "a new login");
        assert!(why.contains("orders-pool"), "{why}");
        assert_eq!(world.logins(), [intent.handle.to_string()]);
    }
    busy.sql("COMMIT").unwrap();
    drop((busy, other));
    let mut left = 2;
    for _ in 0..50 {
        left = world.driver.revoke(&intent.handle, Sessions::Leave).await.unwrap().sessions_left;
        if left == 0 {
            break;
        }
    }
    assert_eq!((left, world.logins()), (0, Vec::new()));
    assert_eq!(backends(&world, &intent.handle), "0", "what the pooler kept for nobody is gone");
    world.driver.clean_up(&intent.handle).await.unwrap();
    assert_eq!(world.driver.find(&intent).await.unwrap(), Found::Absent);
}

#[tokio::test]
async fn an_emergency_cuts_every_client_of_the_version_and_none_of_another() {
    let world =
        World::with(vec!["pool_mode = transaction".into(), "query_wait_timeout = 10".into()], None, |_| {});
    let (old, old_fields) = installed(&world, 1).await;
    let (_, new_fields) = installed(&world, 2).await;
    let idle: Vec<_> = (0..3).map(|_| world.consumer(&old_fields)).collect();
    let busy = world.consumer(&old_fields);
    busy.sql("BEGIN; SELECT 1").unwrap();
    let direct = at(cluster().port(), &old_fields).unwrap();
    let other = world.consumer(&new_fields);
    world.driver.revoke(&old.handle, Sessions::End).await.unwrap();
    assert_eq!(backends(&world, &old.handle), "0");
    assert_eq!(
        users(world.driver.as_ref(), &old.handle).await,
        0,
        "who is still at the pooler can do nothing"
    );
    for cut in idle.iter().chain([&busy, &direct]) {
        assert!(cut.sql("SELECT 1").is_err(), "a session goes on");
    }
    assert!(at(world.pooler.port(), &old_fields).is_err());
    assert!(at(cluster().port(), &old_fields).is_err());
    other.sql("SELECT count(*) FROM orders").unwrap();
    world.driver.clean_up(&old.handle).await.unwrap();
    assert!(!world.userlist().contains(old.handle.as_str()));
}

#[tokio::test]
async fn an_emergency_does_not_wait_for_a_pooler_that_is_away() {
    let mut world = World::new();
    let (intent, fields) = installed(&world, 1).await;
    let direct = at(cluster().port(), &fields).unwrap();
    world.pooler.crash();
    match world.driver.revoke(&intent.handle, Sessions::End).await {
        Err(DriverError::Unknown(why)) => assert!(why.to_string().contains("orders-pool"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(direct.sql("SELECT 1").is_err() && world.logins().is_empty(), "the server has cut already");
    world.pooler.start_again().unwrap();
    world.driver.revoke(&intent.handle, Sessions::End).await.unwrap();
    assert!(!world.userlist().contains(intent.handle.as_str()));
}

#[tokio::test]
async fn an_emergency_reaches_sessions_at_another_server_behind_the_pooler() {
    let replica = Postgres::start(Options { tcp: true, ..Options::default() });
    let elsewhere =
        format!("[databases]\nelsewhere = host=127.0.0.1 port={} dbname=postgres", replica.port());
    let world = World::with(vec!["pool_mode = transaction".into(), elsewhere], None, |_| {});
    let (intent, fields) = installed(&world, 1).await;
    let verifier = world
        .database
        .value(&format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{}'", intent.handle));
    replica.sql(&format!("CREATE ROLE {} LOGIN PASSWORD '{verifier}'", intent.handle));
    let mut config = tokio_postgres::Config::new();
    let password = intent.secret.as_ref().unwrap().expose();
    config.host("127.0.0.1").port(world.pooler.port()).user(intent.handle.as_str()).password(password);
    let there = crate::postgres::world::Consumer::open(config.dbname("elsewhere")).unwrap();
    there.sql("SELECT 1").unwrap();
    drop(world.consumer(&fields));
    let held = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'", intent.handle);
    assert_eq!(replica.sql(&held)[0][0].as_deref(), Some("1"));
    world.driver.revoke(&intent.handle, Sessions::End).await.unwrap();
    assert_eq!(replica.sql(&held)[0][0].as_deref(), Some("0"));
    // One that is in the middle of something is named.
    let (intent, _) = installed(&world, 2).await;
    let verifier = world
        .database
        .value(&format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{}'", intent.handle));
    replica.sql(&format!("CREATE ROLE {} LOGIN PASSWORD '{verifier}'", intent.handle));
    config.user(intent.handle.as_str()).password(intent.secret.as_ref().unwrap().expose());
    let there = crate::postgres::world::Consumer::open(&config).unwrap();
    there.sql("BEGIN; SELECT 1").unwrap();
    match world.driver.revoke(&intent.handle, Sessions::End).await {
        Err(DriverError::Unknown(why)) => assert!(why.to_string().contains("elsewhere"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_probe_goes_both_ways_and_leaves_nothing_in_a_pooled_session() {
    let world = World::pooled("transaction");
    let (intent, fields) = installed(&world, 1).await;
    let text = |name: &str| String::from_utf8_lossy(fields.get(name).unwrap().expose()).into_owned();
    assert_eq!(text("port"), world.pooler.port().to_string());
    assert_eq!(
        (text("direct_host").as_str(), text("direct_port")),
        ("127.0.0.1", cluster().port().to_string())
    );
    for _ in 0..3 {
        world.driver.probe(&fields, None).await.unwrap();
    }
    let consumer = world.consumer(&fields);
    consumer.sql("DO $$BEGIN ASSERT current_setting('statement_timeout') = '0'; END$$").unwrap();
    consumer.sql("DO $$BEGIN ASSERT (SELECT count(*) FROM pg_prepared_statements) = 0; END$$").unwrap();
    world.database.sql(&format!("ALTER ROLE {} PASSWORD 'changed by hand'", intent.handle));
    // The pooler has a session from before: only the direct way shows it.
    let why = refused(world.driver.probe(&fields, None).await, "a login that the server refuses");
    assert!(why.contains("orders-pg") && why.contains("authentication failed"), "{why}");
    let pooled_only = world.driver_with(|places| places.unpooled = false);
    let intent = world.database.intent(2);
    let installed = pooled_only.install(&intent).await.unwrap();
    assert!(installed.fields.get("direct_host").is_none());
    pooled_only.probe(&installed.fields, None).await.unwrap();
}

#[tokio::test]
async fn an_adopted_login_keeps_its_line() {
    let world = World::new();
    let login = format!("{}_legacy", world.database.name);
    world.database.postgres.sql(&format!(
        "CREATE ROLE {login} LOGIN PASSWORD 'legacy-password'; \
         GRANT {login} TO {0}_rekey WITH ADMIN OPTION",
        world.database.name
    ));
    let sql = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{login}'");
    let line = format!("\"{login}\" \"{}\"\n", world.database.value(&sql));
    std::fs::write(world.pooler.userlist(), line + &world.userlist()).unwrap();
    world.pooler.console("RELOAD");
    let before = world.userlist();
    let driver =
        world.driver_with(|places| places.adopt = format!(", adopt: {{ login: {login}, member: true }}"));
    let mut intent = world.database.intent(1);
    intent.handle = login.parse().unwrap();
    intent.secret = Some(std::sync::Arc::new(SecretBytes::from("legacy-password".to_owned())));
    let fields = driver.install(&intent).await.unwrap().fields;
    driver.probe(&fields, None).await.unwrap();
    let consumer = world.consumer(&fields);
    assert_eq!(users(driver.as_ref(), &intent.handle).await, 1);
    assert_eq!(driver.revoke(&intent.handle, Sessions::Leave).await.unwrap().sessions_left, 1);
    consumer.sql("SELECT 1").unwrap();
    drop(consumer);
    driver.revoke(&intent.handle, Sessions::End).await.unwrap();
    assert!(at(cluster().port(), &fields).is_err());
    assert_eq!(world.userlist(), before);
}
