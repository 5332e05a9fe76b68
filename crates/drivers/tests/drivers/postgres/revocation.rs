//! Ends: sessions, logins, what a role leaves behind, and what does not end in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rekey_drivers::{Driver, DriverError, Expiry, Found, Sessions, Usage};
use rekey_model::Span;
use rekey_testkit::postgres::{Options, Postgres};
use rustix::process::{Pid, Signal, kill_process};

use super::world::{Consumer, World};
use crate::conformance::refused;
use crate::proxy::Proxy;

#[tokio::test]
async fn an_open_transaction_is_cut_and_its_locks_are_free() {
    let world = World::new();
    let intent = world.intent(1);
    let consumer = world.consumer(&world.driver.install(&intent).await.unwrap().fields);
    consumer.sql("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE; INSERT INTO orders VALUES (2)").unwrap();
    assert_eq!(world.driver.revoke(&intent.handle, Sessions::End).await.unwrap().sessions_ended, 1);
    assert!(consumer.sql("COMMIT").is_err());
    assert_eq!(world.value("SELECT count(*) FROM orders"), "1");
    world.driver.clean_up(&intent.handle).await.unwrap();
}

#[tokio::test]
async fn nobody_slips_in_while_a_version_is_revoked() {
    let world = World::new();
    let intent = world.intent(1);
    let fields = world.driver.install(&intent).await.unwrap().fields;
    let (stop, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let handle = intent.handle.as_str().to_owned();
    let password = String::from_utf8(fields.get("password").unwrap().expose().to_vec()).unwrap();
    let config = world.postgres.connection(&handle, &password, &world.name);
    let crowd: Vec<_> = (0..4)
        .map(|_| {
            let (stop, refused, config) = (Arc::clone(&stop), Arc::clone(&refused), config.clone());
            std::thread::spawn(move || {
                let mut kept = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    match Consumer::open(&config) {
                        Ok(session) if kept.len() < 5 => kept.push(session),
                        Ok(_) => kept.clear(),
                        Err(_) => refused.store(true, Ordering::SeqCst),
                    }
                }
            })
        })
        .collect();
    let busy = || {
        world.value(&format!("SELECT count(*) > 3 FROM pg_stat_activity WHERE usename = '{handle}'")) == "t"
    };
    assert!(rekey_testkit::process::poll(Duration::from_mins(1), busy));
    assert!(world.driver.revoke(&intent.handle, Sessions::End).await.unwrap().sessions_ended > 0);
    assert_eq!(world.driver.usage(&intent.handle).await.unwrap(), Usage::Sessions(Vec::new()));
    assert!(rekey_testkit::process::poll(Duration::from_mins(1), || refused.load(Ordering::SeqCst)));
    stop.store(true, Ordering::SeqCst);
    for one in crowd {
        one.join().unwrap();
    }
    world.driver.clean_up(&intent.handle).await.unwrap();
}

#[tokio::test]
async fn what_a_role_owns_or_was_granted_anywhere_holds_nothing_up() {
    let world = World::new();
    let intent = world.intent(1);
    let consumer = world.consumer(&world.driver.install(&intent).await.unwrap().fields);
    consumer.sql("CREATE TABLE by_the_rules ()").unwrap();
    consumer.sql("SET ROLE NONE; CREATE TABLE by_itself (id serial); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'").unwrap();
    let (role, owner, other) = (intent.handle.as_str(), world.owner_role(), format!("{}_other", world.name));
    world.sql(&format!("CREATE DATABASE {other}"));
    world.sql(&format!(
        "SET ROLE {owner}; GRANT SELECT ON orders TO {role}; GRANT INSERT (id) ON orders TO {role}"
    ));
    world.sql(&format!("SET ROLE {owner}; GRANT CONNECT ON DATABASE {} TO {role}", world.name));
    world.sql(&format!("CREATE SCHEMA mine AUTHORIZATION {role}"));
    world.sql(&format!("ALTER DEFAULT PRIVILEGES FOR ROLE {role} GRANT SELECT ON TABLES TO PUBLIC"));
    world.postgres.sql_in(&other, &format!("CREATE TABLE far (id int); ALTER TABLE far OWNER TO {role}"));
    let owner_of = |table: &str| {
        world.value(&format!("SELECT relowner::regrole FROM pg_class WHERE relname = '{table}'"))
    };
    assert_eq!((owner_of("by_the_rules"), owner_of("by_itself")), (owner.clone(), role.to_owned()));
    world.driver.revoke(&intent.handle, Sessions::End).await.unwrap();
    world.driver.clean_up(&intent.handle).await.unwrap();
    assert_eq!(world.driver.find(&intent).await.unwrap(), Found::Absent);
    assert_eq!(owner_of("by_itself"), owner);
    let far = world.postgres.sql_in(&other, "SELECT relowner::regrole FROM pg_class WHERE relname = 'far'");
    assert_eq!(far[0][0].as_deref(), Some(owner.as_str()));
}

#[tokio::test]
async fn a_grant_that_only_its_maker_can_take_back_is_named_and_the_role_stays_useless() {
    let world = World::new();
    let intent = world.intent(1);
    let fields = world.driver.install(&intent).await.unwrap().fields;
    world.sql(&format!("CREATE TABLE foreign_table (); GRANT SELECT ON foreign_table TO {}", intent.handle));
    world.driver.revoke(&intent.handle, Sessions::End).await.unwrap();
    let why = refused(world.driver.clean_up(&intent.handle).await, "a clean-up that leaves a grant");
    assert!(why.contains("table public.foreign_table") && why.contains("only whoever granted it"), "{why}");
    refused(world.driver.probe(&fields, None).await, "a login of a role that stayed");
    world.sql("DROP TABLE foreign_table");
    world.driver.clean_up(&intent.handle).await.unwrap();
}

#[tokio::test]
async fn a_session_that_will_not_end_is_told_and_ends_later() {
    let world = World::new();
    let quick = world.driver_with(|target, _| {
        target.statement_timeout = Span::new(Duration::from_secs(3));
        target.call_timeout = Span::new(Duration::from_secs(10));
    });
    let intent = world.intent(1);
    let fields = world.driver.install(&intent).await.unwrap().fields;
    let _consumer = world.consumer(&fields);
    let backend = format!("SELECT pid FROM pg_stat_activity WHERE usename = '{}'", intent.handle);
    let backend = Pid::from_raw(world.value(&backend).parse().unwrap()).unwrap();
    kill_process(backend, Signal::STOP).unwrap();
    let stuck = quick.revoke(&intent.handle, Sessions::End).await;
    kill_process(backend, Signal::CONT).unwrap();
    let Err(DriverError::Unavailable(why)) = stuck else { panic!("{stuck:?}") };
    assert!(why.to_string().contains("has sessions"), "{why}");
    refused(world.driver.probe(&fields, None).await, "a login while sessions are being ended");
    world.driver.revoke(&intent.handle, Sessions::End).await.unwrap();
    world.driver.clean_up(&intent.handle).await.unwrap();
}

#[tokio::test]
async fn a_version_that_is_never_used_dies_by_itself_and_one_in_use_does_not() {
    let world = World::made(|target, _| target.pending_life = Span::new(Duration::from_secs(1)));
    let (forgotten, used) = (world.intent(1), world.intent(2));
    let lost = world.driver.install(&forgotten).await.unwrap();
    let kept = world.driver.install(&used).await.unwrap();
    world.driver.set_expiry(&used.handle, Expiry::Never).await.unwrap();
    // A late repetition shortens nothing.
    world.driver.install(&used).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let why = refused(world.driver.probe(&lost.fields, None).await, "a login past its expiry");
    assert!(why.starts_with("login: "), "{why}");
    world.driver.probe(&kept.fields, None).await.unwrap();
}

#[tokio::test]
async fn what_breaks_before_the_commit_did_not_happen() {
    let world = World::new();
    let intent = world.intent(1);
    let proxy = Proxy::losing_the_answer_to(world.postgres.port(), b"COMMENT ON ROLE");
    let driver = world.driver_with(|target, _| target.port = proxy.port());
    let lost = driver.install(&intent).await;
    assert!(matches!(lost, Err(DriverError::Unavailable(_))), "{lost:?}");
    assert_eq!(world.driver.find(&intent).await.unwrap(), Found::Absent);
}

#[tokio::test]
async fn a_commit_that_comes_later_than_settled_finds_its_transaction_gone() {
    let world = World::new();
    let intent = world.intent(1);
    let proxy = Proxy::holding_back(world.postgres.port(), b"COMMIT", Duration::from_secs(12));
    let driver = world.driver_with(|target, _| {
        target.port = proxy.port();
        target.transit = Span::new(Duration::from_millis(200));
        target.statement_timeout = Span::new(Duration::from_secs(3));
        target.connect_timeout = Span::new(Duration::from_secs(3));
        target.call_timeout = Span::new(Duration::from_secs(6));
    });
    let late = driver.install(&intent).await;
    assert!(matches!(late, Err(DriverError::Unknown(_) | DriverError::Unavailable(_))), "{late:?}");
    tokio::time::sleep(driver.settle()).await;
    assert_eq!(world.driver.find(&intent).await.unwrap(), Found::Absent);
    assert!(proxy.passed_all_on(Duration::from_mins(1)));
    assert_eq!(world.driver.find(&intent).await.unwrap(), Found::Absent);
}

#[tokio::test]
async fn a_server_that_stands_still_holds_no_call_up() {
    let mut postgres = Postgres::start(Options { tcp: true, ..Options::default() });
    let world = World::new();
    let driver = world.driver_with(|target, _| {
        target.port = postgres.port();
        target.connect_timeout = Span::new(Duration::from_millis(200));
        target.statement_timeout = Span::new(Duration::from_millis(200));
        target.call_timeout = Span::new(Duration::from_millis(400));
    });
    postgres.pause();
    let intent = world.intent(1);
    let calls = async {
        assert!(matches!(driver.install(&intent).await, Err(DriverError::Unavailable(_))));
        assert!(matches!(driver.usage(&intent.handle).await, Err(DriverError::Unavailable(_))));
        assert!(matches!(
            driver.revoke(&intent.handle, Sessions::End).await,
            Err(DriverError::Unavailable(_))
        ));
    };
    tokio::time::timeout(Duration::from_mins(1), calls).await.unwrap();
}

#[tokio::test]
async fn roles_that_carry_our_marker_are_listed() {
    let world = World::new();
    let (one, two) = (world.intent(1), world.intent(2));
    world.driver.install(&one).await.unwrap();
    world.driver.install(&two).await.unwrap();
    world.driver.revoke(&one.handle, Sessions::End).await.unwrap();
    world.sql(&format!("CREATE ROLE {}_app_v3_stranger LOGIN", world.name));
    let listed = world.driver.list_marked(&format!("{}_app_v", world.name)).await.unwrap();
    let shown: Vec<_> = listed
        .iter()
        .map(|role| (role.handle.as_str(), role.credential.as_str(), role.version, role.can_log_in))
        .collect();
    assert_eq!(
        shown,
        [
            (one.handle.as_str(), "orders/db", Some(one.version), false),
            (two.handle.as_str(), "orders/db", Some(two.version), true),
        ]
    );
}
