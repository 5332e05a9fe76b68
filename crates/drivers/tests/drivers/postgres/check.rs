//! What is missing is named before anything is begun: all of it at once, with the statement that mends it.

use rekey_drivers::postgres::Adopt;
use rekey_drivers::{Driver as _, DriverError, Lack};
use rekey_model::SecretBytes;

use super::world::{ROTATOR_PASSWORD, World};
use crate::conformance::refused;

/// The same world's rights, looked at by the rotator.
async fn lacks(world: &World) -> Vec<Lack> {
    world.driver.check().await.unwrap()
}

fn narrow(world: &World) -> bool {
    world.value("SELECT current_setting('server_version_num')::int >= 160000") == "t"
}

/// Runs what is named as the remedy, as an administrator would.
fn mend(world: &World, lacks: &[Lack]) {
    for lack in lacks {
        world.sql(&lack.remedy);
    }
}

#[tokio::test]
async fn every_right_that_is_missing_is_named_at_once_and_its_remedy_mends_it() {
    let world = World::new();
    let (rotator, owner, legacy) =
        (format!("{}_rekey", world.name), world.owner_role(), format!("{}_legacy", world.name));
    world.sql(&format!(
        "CREATE ROLE {legacy} LOGIN; ALTER ROLE {rotator} NOCREATEROLE; REVOKE {owner} FROM {rotator}; \
         REVOKE CONNECT ON DATABASE {} FROM PUBLIC, {owner}",
        world.name
    ));
    let adopting = world.driver_with(|_, account| {
        account.adopt = Some(Adopt { login: legacy.clone(), member: true });
    });
    let missing = adopting.check().await.unwrap();
    let said: Vec<String> = missing.iter().map(ToString::to_string).collect();
    let database = &world.name;
    let mut expected = vec![
        format!("the rotator {rotator} has no CREATEROLE: ALTER ROLE {rotator} CREATEROLE;"),
        format!(
            "{rotator} may not connect to {database}: GRANT CONNECT ON DATABASE {database} TO {rotator};"
        ),
        format!("{owner} may not connect to {database}: GRANT CONNECT ON DATABASE {database} TO {owner};"),
    ];
    if narrow(&world) {
        let on = |role: &str| format!("the rotator {rotator} has no ADMIN OPTION on {role}");
        let grant = |role: &str| format!("GRANT {role} TO {rotator} WITH ADMIN OPTION;");
        expected.insert(1, format!("{}: {}", on(&owner), grant(&owner)));
        expected.push(format!("{}, which it is to adopt: {}", on(&legacy), grant(&legacy)));
    }
    assert_eq!(said, expected);
    mend(&world, &missing);
    assert_eq!(adopting.check().await.unwrap(), []);
    world.driver.install(&world.intent(1)).await.unwrap();
}

#[tokio::test]
async fn a_role_and_a_database_that_are_not_there_are_named() {
    let world = World::new();
    let absent = format!("{}_absent", world.name);
    let driver = world.driver_with(|_, account| {
        account.owner_role.clone_from(&absent);
        account.database = format!("{absent}_db");
    });
    let missing = driver.check().await.unwrap();
    let whats: Vec<&str> = missing.iter().map(|lack| lack.what.as_str()).collect();
    let (role, database) = (
        format!("there is no role {absent}"),
        format!("there is no database {absent}_db that takes connections"),
    );
    assert_eq!(whats, [role, database]);
    mend(&world, &missing);
    assert_eq!(driver.check().await.unwrap(), []);
    world.sql(&format!("DROP DATABASE {absent}_db"));
}

#[tokio::test]
async fn a_rotator_that_is_not_let_in_is_told_apart_from_a_server_that_is_away() {
    let world = World::new();
    let rotator = format!("{}_rekey", world.name);
    for change in ["NOLOGIN", "PASSWORD 'another'", "VALID UNTIL '2001-01-01'"] {
        world.sql(&format!("ALTER ROLE {rotator} {change}"));
        let missing = lacks(&world).await;
        assert_eq!(missing.len(), 1, "{change}: {missing:?}");
        assert!(missing[0].what.starts_with("as the rotator: login: "), "{change}: {missing:?}");
        let (statement, password) = missing[0].remedy.split_once("; and ").unwrap();
        assert!(password.contains("password_file"), "{missing:?}");
        world.sql(&format!("{statement}; ALTER ROLE {rotator} PASSWORD '{ROTATOR_PASSWORD}'"));
        assert_eq!(lacks(&world).await, [], "{change}");
    }
    let driver = world.driver_with(|target, _| target.admin_database = "nowhere".into());
    let missing = driver.check().await.unwrap();
    assert!(missing[0].what.contains("nowhere") && missing[0].remedy.contains("nowhere"), "{missing:?}");
    let driver = world.driver_with(|target, _| {
        target.host = "/nowhere".into();
    });
    assert!(matches!(driver.check().await, Err(DriverError::Unavailable(_))));
}

#[tokio::test]
async fn a_look_changes_nothing() {
    let world = World::new();
    // Of this world alone: other tests make roles in the same cluster meanwhile.
    let ours = format!("rolname LIKE '{}\\_%'", world.name);
    let all = format!(
        "SELECT string_agg(r::text, ' ' ORDER BY r.oid) || (SELECT string_agg(m::text, ' ' ORDER BY roleid, member) \
         FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE g.{ours}) FROM pg_roles r WHERE r.{ours}"
    );
    let before = world.value(&all);
    assert_eq!(lacks(&world).await, []);
    assert_eq!(world.value(&all), before);
}

#[tokio::test]
async fn a_server_that_asks_for_the_password_in_clear_text_is_refused_in_its_own_words() {
    let world = World::new();
    let options = rekey_testkit::postgres::Options {
        tcp: true,
        hba: vec!["host all all 127.0.0.1/32 password".into()],
        ..rekey_testkit::postgres::Options::default()
    };
    let server = rekey_testkit::postgres::Postgres::start(options);
    let driver = world.driver_with(|target, _| target.port = server.port());
    let why = refused(driver.check().await.map(|_| SecretBytes::from(String::new()).size()), "clear text");
    assert!(why.contains("clear text"), "{why}");
}
