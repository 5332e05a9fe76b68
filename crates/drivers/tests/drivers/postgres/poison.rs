//! Versions that exist and would still break their consumer: each is refused, with its reason.

use rekey_drivers::{Driver, DriverError};

use super::world::World;
use crate::conformance::refused;

#[tokio::test]
async fn every_kind_of_poison_is_refused_by_its_name() {
    let world = World::new();
    let old = world.intent(1);
    world.driver.install(&old).await.unwrap();
    let owner = world.owner_role();
    let cases = [
        (format!("SET ROLE {}_rekey; REVOKE {owner} FROM NEW", world.name), "login: the session is"),
        ("ALTER ROLE NEW VALID UNTIL '2001-01-01'".into(), "login: "),
        ("ALTER ROLE NEW NOLOGIN".into(), "login: "),
        ("ALTER ROLE NEW PASSWORD NULL".into(), "login: "),
        ("ALTER ROLE NEW CONNECTION LIMIT 0".into(), "connection limit"),
        ("ALTER ROLE NEW CONNECTION LIMIT 3".into(), "connection limit"),
        (
            "ALTER ROLE NEW IN DATABASE THIS SET search_path = nowhere".into(),
            "probe 1 (SELECT count(*) FROM orders)",
        ),
        (
            "ALTER ROLE NEW SET default_transaction_read_only = on".into(),
            "setting default_transaction_read_only",
        ),
        ("ALTER ROLE NEW IN DATABASE THIS RESET role".into(), "login: the session is"),
        (
            "ALTER ROLE NEW IN DATABASE THIS SET role = 'pg_read_all_data'; GRANT pg_read_all_data TO NEW"
                .into(),
            "login: ",
        ),
        ("ALTER ROLE NEW CREATEDB".into(), "attribute CREATEDB"),
    ];
    for (number, (poison, reason)) in (2..).zip(cases) {
        let new = world.intent(number);
        let installed = world.driver.install(&new).await.unwrap();
        world.driver.probe(&installed.fields, Some(&old.handle)).await.unwrap();
        world.sql(&poison.replace("NEW", new.handle.as_str()).replace("THIS", &world.name));
        for old in [Some(&old.handle), None] {
            let why = refused(world.driver.probe(&installed.fields, old).await, &poison);
            assert!(why.contains(reason), "{poison}: {why}");
        }
    }
}

#[tokio::test]
async fn a_table_that_the_owner_role_lost_fails_the_declared_probe_alone() {
    let world = World::new();
    let old = world.intent(1);
    world.driver.install(&old).await.unwrap();
    let new = world.intent(2);
    let installed = world.driver.install(&new).await.unwrap();
    world.sql("ALTER TABLE orders OWNER TO postgres");
    let why =
        refused(world.driver.probe(&installed.fields, Some(&old.handle)).await, "a login without the table");
    assert!(why.contains("probe 1") && why.contains("permission denied"), "{why}");
    // This is what a rotation goes by that only asks for SELECT 1: it lets the poison through.
    let naive = world.driver_with(|_, account| account.probes = vec!["SELECT 1".into()]);
    naive.probe(&installed.fields, Some(&old.handle)).await.unwrap();
}

#[tokio::test]
async fn a_search_path_that_is_declared_is_set_and_checked() {
    let world = World::made(|_, account| {
        account.search_path = vec!["my schema".into(), "public".into()];
        account.probes = vec!["SELECT count(*) FROM only_here".into()];
    });
    world.sql(&format!("CREATE SCHEMA \"my schema\" AUTHORIZATION {}", world.owner_role()));
    world.sql(&format!("SET ROLE {}; CREATE TABLE \"my schema\".only_here ()", world.owner_role()));
    let intent = world.intent(1);
    let installed = world.driver.install(&intent).await.unwrap();
    world.driver.probe(&installed.fields, None).await.unwrap();
    world.sql(&format!(
        "ALTER ROLE {} IN DATABASE {} SET search_path = \"my schema\"",
        intent.handle, world.name
    ));
    let why = refused(world.driver.probe(&installed.fields, None).await, "another search path");
    assert!(why.contains("without the setting search_path = \"my schema\", public"), "{why}");
}

#[tokio::test]
async fn a_probe_changes_nothing_is_one_statement_and_has_an_end() {
    let world = World::new();
    let installed = world.driver.install(&world.intent(1)).await.unwrap();
    let run = async |probe: &str| {
        let driver = world.driver_with(|_, account| account.probes = vec![probe.into()]);
        driver.probe(&installed.fields, None).await
    };
    for good in [
        "INSERT INTO orders SELECT generate_series(1, 1000) RETURNING *",
        "DROP TABLE orders",
        "COMMIT",
        "ROLLBACK",
        "SELECT generate_series(1, 100000000)",
        "CREATE TABLE probed ()",
    ] {
        assert_eq!(run(good).await.unwrap().probes, 1, "{good}");
    }
    for bad in
        ["SELECT 1; DROP TABLE orders", "SELECT $1::int", "SELEC 1", "SELECT 1/0", "SELECT * FROM pg_authid"]
    {
        let why = refused(run(bad).await, bad);
        assert!(why.starts_with("probe 1 ("), "{why}");
    }
    assert_eq!(world.value("SELECT count(*) FROM orders"), "1");
    assert_eq!(world.value("SELECT to_regclass('probed') IS NULL"), "t");
    let slow = run("SELECT pg_sleep(600)").await;
    assert!(matches!(slow, Err(DriverError::Unavailable(_))), "{slow:?}");
}
