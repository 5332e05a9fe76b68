//! What is missing at any node is named before anything is begun, with the command that mends it.

use rekey_drivers::redis::{Persist, RIGHTS, RIGHTS_FOR_REWRITE};
use rekey_drivers::{Driver as _, Lack};

use super::world::{RULES, USER, World};

async fn lacks(world: &World) -> Vec<Lack> {
    world.driver.check().await.unwrap()
}

#[tokio::test]
async fn every_right_is_named_at_the_node_that_misses_it_and_all_of_them_at_once() {
    for (world, rights) in [(World::new(), RIGHTS), (World::with_users_in_config(), RIGHTS_FOR_REWRITE)] {
        let rights: Vec<&str> = rights.split(' ').filter(|word| word.starts_with('+')).collect();
        for right in &rights {
            world.nodes[1].run(&format!("ACL SETUSER rekey {}", right.replace('+', "-")));
            let missing = lacks(&world).await;
            assert_eq!(missing.len(), 1, "{right}: {missing:?}");
            assert!(missing[0].what.contains(&world.nodes[1].address()), "{right}: {missing:?}");
            assert!(missing[0].what.contains(right) && missing[0].remedy.contains(right), "{missing:?}");
            world.nodes[1].run(&missing[0].remedy);
            assert_eq!(lacks(&world).await, [], "{right}");
        }
        let all = |sign: char| rights.join(" ").replace('+', &sign.to_string());
        world.on_all(&format!("ACL SETUSER rekey {} +acl|dryrun", all('-')));
        let missing = lacks(&world).await;
        assert_eq!(missing.len(), 2, "one at each node: {missing:?}");
        for right in rights.iter().filter(|right| **right != "+acl|dryrun") {
            assert!(missing.iter().all(|lack| lack.remedy.contains(right)), "{right}: {missing:?}");
        }
    }
}

#[tokio::test]
async fn a_user_that_cannot_be_rotated_and_a_rotator_that_is_not_let_in_are_named() {
    let world = World::new();
    let node = &world.nodes[1];
    for (change, words, mended) in [
        (format!("ACL SETUSER {USER} off"), "off is the user", format!("ACL SETUSER {USER} on")),
        (format!("ACL SETUSER {USER} nopass"), "nopass", format!("ACL SETUSER {USER} resetpass >secret")),
        (format!("ACL DELUSER {USER}"), "there is no user", format!("ACL SETUSER {USER} {RULES} >secret")),
        (
            "ACL SETUSER rekey off".to_owned(),
            "WRONGPASS",
            format!("ACL SETUSER rekey on >{}", super::world::ROTATOR_PASSWORD),
        ),
    ] {
        node.run(&change);
        let missing = lacks(&world).await;
        assert_eq!(missing.len(), 1, "{change}: {missing:?}");
        let (what, remedy) = (&missing[0].what, &missing[0].remedy);
        assert!(what.contains(words) && what.contains(&node.address()), "{change}: {what}");
        let begins = remedy.split('>').next().unwrap().split(" with").next().unwrap();
        assert!(mended.starts_with(begins.split(" and").next().unwrap()), "{change}: {remedy}");
        node.run(&mended);
        assert_eq!(lacks(&world).await, [], "{change}");
    }
}

#[tokio::test]
async fn a_node_that_would_forget_the_change_is_found_without_a_change() {
    let world = World::with_users_in_config();
    world.on_all("ACL SETUSER rekey +acl|save +config|get");
    let driver = world.driver_with(|target, _| target.persist = Persist::AclFile);
    let before = world.rules();
    let missing = driver.check().await.unwrap();
    assert_eq!(missing.len(), 2, "{missing:?}");
    assert!(missing.iter().all(|lack| lack.what.contains("aclfile")), "{missing:?}");
    assert_eq!(world.rules(), before);
}
