//! What the rotator needs, and what is refused before anything is changed.

use rekey_drivers::Driver;
use rekey_drivers::redis::{Persist, RIGHTS, RIGHTS_FOR_REWRITE};

use super::world::{RULES, USER, World};
use crate::conformance::refused;

const MANUAL: &str = include_str!("../../../../../docs/drivers.md");

#[test]
fn the_manual_shows_the_rights_that_the_tests_run_with() {
    for rights in [RIGHTS, RIGHTS_FOR_REWRITE] {
        assert!(MANUAL.contains(rights), "{rights}");
    }
}

#[tokio::test]
async fn every_right_is_needed_and_named_when_it_is_missing_at_one_node() {
    let world = World::new();
    let intent = world.intent(1);
    let rights = RIGHTS.split(' ').filter(|word| word.starts_with('+'));
    // The one that only the look beforehand needs.
    let rights: Vec<&str> = rights.filter(|right| *right != "+config|get").collect();
    assert_eq!(rights.len(), 8);
    for right in rights {
        world.nodes[1].run(&format!("ACL SETUSER rekey {}", right.replace('+', "-")));
        let why = refused(world.driver.install(&intent).await, right);
        assert!(why.contains(right.trim_start_matches('+')), "{right}: {why}");
        assert!(why.contains(&world.nodes[1].address()), "{why}");
        assert!(!world.has(0, &intent), "{right}: one node was changed");
        world.nodes[1].run(&format!("ACL SETUSER rekey {right}"));
    }
    world.driver.install(&intent).await.unwrap();
}

#[tokio::test]
async fn a_user_that_is_not_there_or_off_or_open_is_refused() {
    let world = World::new();
    let intent = world.intent(1);
    for (rules, why) in [("off", "is off"), ("on nopass", "nopass")] {
        world.nodes[1].run(&format!("ACL SETUSER {USER} {rules}"));
        let said = refused(world.driver.install(&intent).await, rules);
        assert!(said.contains(why), "{said}");
    }
    let said = refused(world.driver.revoke(&intent.handle, rekey_drivers::Sessions::End).await, "nopass");
    assert!(said.contains("nopass"), "{said}");
    world.nodes[1].run(&format!("ACL DELUSER {USER}"));
    let said = refused(world.driver.install(&intent).await, "no user");
    assert!(said.contains("there is no user"), "{said}");
    assert!(!world.has(0, &intent), "one node was changed");
    world.nodes[1].run(&format!("ACL SETUSER {USER} {RULES}"));
    world.driver.install(&intent).await.unwrap();
}

#[tokio::test]
async fn a_node_that_would_forget_the_change_is_refused_before_it_is_made() {
    let world = World::with_users_in_config();
    world.on_all("ACL SETUSER rekey +acl|save");
    let driver = world.driver_with(|target, _| target.persist = Persist::AclFile);
    let intent = world.intent(1);
    let why = refused(driver.install(&intent).await, "ACL SAVE without an ACL file");
    assert!(why.contains("ACL SAVE"), "{why}");
    assert!(!world.has(0, &intent));
}
