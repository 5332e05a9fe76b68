//! What is missing is named before anything is begun: all of it at once, with the statement that mends it.

use rekey_drivers::{Driver as _, DriverError, Lack};
use rekey_testkit::mariadb::Mariadb;

use super::world::{ROTATOR_PASSWORD, World};

async fn lacks(world: &World<'_>) -> Vec<Lack> {
    world.driver.check().await.unwrap()
}

#[tokio::test]
async fn every_right_that_is_missing_is_named_at_once_and_its_remedy_mends_it() {
    let world = World::new();
    let rotator = format!("{}_rekey", world.name);
    world.sql(&format!(
        "REVOKE CREATE USER, PROCESS, CONNECTION ADMIN ON *.* FROM {rotator}; \
         REVOKE ADMIN OPTION FOR {}_app FROM {rotator}; REVOKE SELECT ON mysql.db FROM {rotator}; \
         REVOKE SELECT (Host, User, Priv) ON mysql.global_priv FROM {rotator}; \
         REVOKE SELECT ON mysql.roles_mapping FROM {rotator}; REVOKE SELECT ON mysql.tables_priv FROM {rotator}; \
         REVOKE SELECT ON mysql.columns_priv FROM {rotator}; REVOKE SELECT ON mysql.procs_priv FROM {rotator}",
        world.name
    ));
    let missing = lacks(&world).await;
    let said = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    for words in [
        format!("GRANT CREATE USER, PROCESS, CONNECTION ADMIN ON *.* TO '{rotator}'@'%';"),
        format!("GRANT SELECT (Host, User, Priv) ON mysql.global_priv TO '{rotator}'@'%';"),
        format!("GRANT SELECT ON mysql.roles_mapping TO '{rotator}'@'%';"),
        format!("GRANT SELECT ON mysql.db TO '{rotator}'@'%';"),
        format!("GRANT SELECT ON mysql.tables_priv TO '{rotator}'@'%';"),
        format!("GRANT SELECT ON mysql.columns_priv TO '{rotator}'@'%';"),
        format!("GRANT SELECT ON mysql.procs_priv TO '{rotator}'@'%';"),
        format!("GRANT `{}_app` TO '{rotator}'@'%' WITH ADMIN OPTION;", world.name),
    ] {
        assert!(said.contains(&words), "{words} is not in {said}");
    }
    assert_eq!(missing.len(), 8, "{said}");
    for lack in missing {
        world.sql(&lack.remedy);
    }
    assert_eq!(lacks(&world).await, []);
    world.driver.install(&world.intent(1)).await.unwrap();
}

#[tokio::test]
async fn a_role_that_is_not_there_is_told_from_one_that_may_not_be_given() {
    let world = World::new();
    let driver = world.driver_with(|_, account| account.role = format!("{}_absent", world.name));
    let missing = driver.check().await.unwrap();
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(missing[0].what.contains("there is no role"), "{missing:?}");
    world.sql(&missing[0].remedy);
    assert_eq!(driver.check().await.unwrap(), []);
}

#[tokio::test]
async fn a_rotator_that_is_not_let_in_is_named() {
    let world = World::new();
    let rotator = format!("{}_rekey", world.name);
    let password = format!("SET PASSWORD FOR {rotator} = PASSWORD('{ROTATOR_PASSWORD}')");
    for (change, remedy, mended) in [
        (format!("SET PASSWORD FOR {rotator} = PASSWORD('another')"), "SET PASSWORD", password.clone()),
        (format!("ALTER USER {rotator} PASSWORD EXPIRE"), "SET PASSWORD", password),
        (
            format!("ALTER USER {rotator} ACCOUNT LOCK"),
            "ACCOUNT UNLOCK",
            format!("ALTER USER {rotator} ACCOUNT UNLOCK"),
        ),
    ] {
        world.sql(&change);
        let missing = lacks(&world).await;
        assert_eq!(missing.len(), 1, "{change}: {missing:?}");
        assert!(missing[0].remedy.contains(remedy), "{change}: {missing:?}");
        world.sql(&mended);
        assert_eq!(lacks(&world).await, [], "{change}");
    }
}

#[tokio::test]
async fn a_server_that_may_only_be_read_is_waited_for() {
    // One of its own: the others of these tests write.
    let server = Mariadb::start();
    let world = World::at(&server);
    assert_eq!(lacks(&world).await, []);
    server.sql("SET GLOBAL read_only = 1");
    let why = world.driver.check().await.unwrap_err();
    assert!(
        matches!(&why, DriverError::Unavailable(cause) if cause.to_string().contains("read-only")),
        "{why:?}"
    );
    let why = world.driver.install(&world.intent(1)).await.unwrap_err();
    assert!(matches!(why, DriverError::Unavailable(_)), "{why:?}");
    server.sql("SET GLOBAL read_only = 0");
    assert_eq!(lacks(&world).await, []);
    world.driver.install(&world.intent(1)).await.unwrap();
}
