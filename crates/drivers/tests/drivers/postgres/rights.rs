//! The rotator's rights: exactly what the manual names is enough, and less says what is missing.

use rekey_drivers::postgres::{RIGHTS_FOR_ADOPTION, RIGHTS_FOR_CREDENTIAL, RIGHTS_FOR_TARGET};
use rekey_drivers::{Driver, Sessions};

use super::world::World;
use crate::conformance::refused;

const MANUAL: &str = include_str!("../../../../../docs/drivers.md");

#[test]
fn the_manual_shows_the_rights_that_the_tests_run_with() {
    for rights in [RIGHTS_FOR_TARGET, RIGHTS_FOR_CREDENTIAL, RIGHTS_FOR_ADOPTION] {
        assert!(MANUAL.lines().any(|line| line.trim() == rights), "{rights} is not in docs/drivers.md");
    }
}

#[tokio::test]
async fn the_rotator_is_no_superuser_and_signals_nobody_else() {
    let world = World::new();
    let rotator = format!("{}_rekey", world.name);
    let powers = format!(
        "SELECT rolsuper OR rolcreatedb OR rolreplication OR rolbypassrls \
         OR pg_has_role('{rotator}', 'pg_signal_backend', 'MEMBER') FROM pg_roles WHERE rolname = '{rotator}'"
    );
    assert_eq!(world.value(&powers), "f");
}

#[tokio::test]
async fn a_right_that_is_missing_is_refused_with_the_servers_words() {
    let world = World::new();
    let (rotator, owner) = (format!("{}_rekey", world.name), world.owner_role());
    world.sql(&format!("ALTER ROLE {rotator} NOCREATEROLE"));
    let why = refused(world.driver.install(&world.intent(1)).await, "an install without CREATEROLE");
    assert!(why.contains("permission denied"), "{why}");
    world.sql(&format!("ALTER ROLE {rotator} CREATEROLE; REVOKE {owner} FROM {rotator}"));
    let intent = world.intent(2);
    let installed = world.driver.install(&intent).await;
    if world.value("SELECT current_setting('server_version_num')::int >= 160000") == "t" {
        let why = refused(installed, "an install without the owner role");
        assert!(why.contains("permission denied"), "{why}");
    } else {
        // Up to 15, CREATEROLE alone is enough: it may grant any role.
        world.consumer(&installed.unwrap().fields).sql("SET ROLE NONE; CREATE TABLE by_itself ()").unwrap();
        world.driver.revoke(&intent.handle, Sessions::End).await.unwrap();
        world.driver.clean_up(&intent.handle).await.unwrap();
    }
}
