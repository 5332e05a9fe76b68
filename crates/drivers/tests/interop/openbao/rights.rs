//! What the rotator needs, and what is refused before anything is made.

use rekey_drivers::Driver;
use rekey_drivers::approle::{Tokens, policy};
use serde_json::json;

use super::world::{World, account};
use crate::conformance::refused;

const MANUAL: &str = include_str!("../../../../../docs/drivers.md");

#[test]
fn the_manual_shows_the_policy_that_the_tests_run_with() {
    let policy = policy("approle", &account());
    assert!(MANUAL.contains(&policy), "{policy}");
}

#[tokio::test]
async fn every_right_is_needed_and_named_when_it_is_missing() {
    let world = World::new();
    let policy = policy("approle", &account());
    let rights: Vec<&str> = policy.split("path ").filter(|right| !right.is_empty()).collect();
    assert_eq!(rights.len(), 9, "{policy}");
    let intent = World::intent(1);
    for missing in &rights {
        let rest = rights.iter().filter(|right| right != &missing).map(|right| format!("path {right}"));
        world.bao.policy("rekey", &rest.collect::<String>());
        let why = refused(world.driver.install(&intent).await, missing);
        let path = missing.split('"').nth(1).unwrap();
        assert!(why.contains(path) && why.contains("lacks"), "{missing}: {why}");
        let lacks = world.driver.check().await.unwrap();
        assert!(lacks.len() == 1 && lacks[0].what.contains(path), "{missing}: {lacks:?}");
        assert!(world.secret_ids().is_empty(), "{missing}: something was made");
    }
    world.bao.policy("rekey", &policy);
    assert_eq!(world.driver.check().await.unwrap(), []);
    world.driver.install(&intent).await.unwrap();
}

#[tokio::test]
async fn the_policy_lets_no_secret_id_out_in_the_open() {
    let world = World::new();
    let open =
        world.bao.ask_as(&world.token, "POST", "auth/approle/role/orders/secret-id", &json!({})).unwrap();
    assert_eq!(open.status, 403, "{open:?}");
    assert!(world.secret_ids().is_empty());
    // Nor anything of another role, or the role itself.
    let other = world.bao.ask_as(&world.token, "GET", "auth/approle/role/others", &json!(null)).unwrap();
    assert_eq!(other.status, 403);
    let change = world.bao.ask_as(&world.token, "POST", "auth/approle/role/orders", &json!({})).unwrap();
    assert_eq!(change.status, 403);
}

#[tokio::test]
async fn tokens_that_are_left_alone_take_no_rights_over_tokens() {
    let world = World::new();
    let driver = world.driver_with(|_, account, token| {
        account.tokens = Tokens::Leave;
        let policy = policy("approle", account);
        assert!(!policy.contains("auth/token"), "{policy}");
        world.bao.policy("less", &policy);
        *token = world.bao.token(&["less"]);
    });
    let made = driver.install(&World::intent(1)).await.unwrap();
    driver.probe(&made.fields, None).await.unwrap();
    assert_eq!(driver.usage(&made.handle).await.unwrap(), rekey_drivers::Usage::CannotTell);
    let token = world.log_in(&made.fields).unwrap();
    driver.revoke(&made.handle, rekey_drivers::Sessions::End).await.unwrap();
    refused(driver.probe(&made.fields, None).await, "a revoked secret-id");
    assert!(world.reads(&token), "a token that was to be left");
}

#[tokio::test]
async fn a_token_that_is_none_and_a_role_that_does_not_fit_are_refused() {
    let world = World::new();
    let intent = World::intent(1);
    for token in ["s.wrong", "with space"] {
        let driver = world.driver_with(|_, _, it| *it = token.into());
        let said = refused(driver.install(&intent).await, token);
        assert!(said.contains("token") && !said.contains(token), "{said}");
    }
    let roles = [
        (json!({ "bind_secret_id": false, "secret_id_bound_cidrs": "127.0.0.0/8" }), "bind_secret_id"),
        (json!({ "bind_secret_id": true, "token_type": "batch" }), "batch"),
        (json!({ "token_type": "service", "secret_id_num_uses": 3 }), "num_uses"),
    ];
    for (role, told) in roles {
        world.bao.ask("POST", "auth/approle/role/orders", role);
        let said = refused(world.driver.install(&intent).await, told);
        assert!(said.contains(told), "{said}");
        let lacks = world.driver.check().await.unwrap();
        assert!(lacks.len() == 1 && said.contains(&lacks[0].what), "{lacks:?}");
    }
    world.bao.ask("DELETE", "auth/approle/role/orders", json!(null));
    let said = refused(world.driver.install(&intent).await, "no role");
    assert!(said.contains("no role orders"), "{said}");
}
