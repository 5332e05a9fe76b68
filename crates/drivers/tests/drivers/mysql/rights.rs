//! The rights of the rotator: enough, all needed, and named when they are missing.

use rekey_drivers::Driver as _;
use rekey_drivers::mysql::{RIGHTS_FOR_CREDENTIAL, RIGHTS_FOR_TARGET};
use rekey_drivers::{Found, Sessions};

use super::world::World;
use crate::conformance::refused;

const MANUAL: &str = include_str!("../../../../../docs/drivers.md");

#[test]
fn the_manual_shows_the_rights_that_the_tests_run_with() {
    assert!(MANUAL.contains(RIGHTS_FOR_TARGET));
    assert!(MANUAL.contains(RIGHTS_FOR_CREDENTIAL));
}

#[tokio::test]
async fn each_right_that_is_missing_is_named_and_nothing_is_left_behind() {
    let world = World::new();
    let (name, intent) = (&world.name, world.intent(1));
    for (right, words) in [
        ("CREATE USER ON *.*", "CREATE USER"),
        ("PROCESS ON *.*", "PROCESS"),
        ("CONNECTION ADMIN ON *.*", "CONNECTION ADMIN"),
        ("SELECT (Host, User, Priv) ON mysql.global_priv", "global_priv"),
    ] {
        world.sql(&format!("REVOKE {right} FROM {name}_rekey"));
        let why = refused(world.driver.install(&intent).await, right);
        assert!(why.contains(words), "{right}: {why}");
        world.sql(&format!("GRANT {right} TO {name}_rekey"));
    }
    world.sql(&format!("REVOKE ADMIN OPTION FOR {name}_app FROM {name}_rekey"));
    let why = refused(world.driver.install(&intent).await, "an install without the role");
    assert!(why.contains("WITH ADMIN OPTION"), "{why}");
    assert_eq!(world.driver.find(&intent).await.unwrap(), Found::Absent);
}

#[tokio::test]
async fn rights_that_only_the_comparison_needs_are_missed_there() {
    let world = World::new();
    let intent = world.intent(1);
    let installed = world.driver.install(&intent).await.unwrap();
    for table in ["roles_mapping", "db", "tables_priv", "columns_priv", "procs_priv"] {
        let rotator = format!("{}_rekey", world.name);
        world.sql(&format!("REVOKE SELECT ON mysql.{table} FROM {rotator}"));
        let why = refused(world.driver.probe(&installed.fields, Some(&intent.handle)).await, table);
        assert!(why.contains(table), "{table}: {why}");
        world.sql(&format!("GRANT SELECT ON mysql.{table} TO {rotator}"));
    }
    world.driver.probe(&installed.fields, Some(&intent.handle)).await.unwrap();
    world.driver.revoke(&intent.handle, Sessions::End).await.unwrap();
}
