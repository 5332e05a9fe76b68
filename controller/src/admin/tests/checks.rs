//! What targets say of a declaration before it is stored, and what becomes of one that could not be asked.

use std::time::Duration;

use rekey_drivers::Lack;
use rekey_proto::admin as wire;
use rekey_proto::admin::applied_credential::Change;
use serde_json::Value;

use super::target::Wrong;
use super::world::{World, spec};

async fn apply(world: &World, specs: &[Value], dry_run: bool) -> wire::ApplyResponse {
    let specs_json = specs.iter().map(Value::to_string).collect();
    world.root().apply(wire::ApplyRequest { specs_json, dry_run }).await.unwrap().into_inner()
}

async fn stored(world: &World, name: &str) -> Option<crate::store::CredentialRow> {
    world.store.credential(&name.parse().unwrap()).await.unwrap()
}

fn lacking() -> Wrong {
    Wrong::Lacks(Lack::new("the rotator rekey has no CREATEROLE", "ALTER ROLE rekey CREATEROLE;"))
}

#[tokio::test]
async fn a_right_that_is_missing_refuses_everything_and_is_named_with_what_grants_it() {
    let world = World::new().await;
    world.target.is_wrong("b", Some(lacking()));
    let specs = [spec("a", "app_a"), spec("b", "app_b")];
    for dry_run in [true, false] {
        let answer = apply(&world, &specs, dry_run).await;
        let told: Vec<_> =
            answer.problems.iter().map(|p| (p.spec, p.field.as_str(), p.remedy.as_str())).collect();
        assert_eq!(told, [(1, "postgres.target", "ALTER ROLE rekey CREATEROLE;")]);
        assert!(world.store.credentials().await.unwrap().is_empty(), "all or none");
    }
    world.target.is_wrong("b", None);
    let answer = apply(&world, &specs, true).await;
    assert!(answer.credentials.iter().all(|one| one.checked && one.unchecked.is_empty()), "{answer:?}");
    apply(&world, &specs, false).await;
    // Only what says something new about the target is asked again.
    world.target.is_wrong("b", Some(lacking()));
    let mut longer = specs[1].clone();
    longer["grace"]["floor"] = "60ms".into();
    let answer = apply(&world, &[longer.clone()], false).await;
    assert_eq!((answer.problems.len(), answer.credentials[0].checked), (0, false), "{answer:?}");
    longer["postgres"]["probes"] = serde_json::json!(["SELECT 1"]);
    assert_eq!(apply(&world, &[longer], false).await.problems.len(), 1);
}

#[tokio::test]
async fn a_target_that_is_away_is_asked_again_and_nothing_begins_before() {
    let world = World::new().await;
    world.target.is_wrong("orders/db", Some(Wrong::Away));
    let specs = [spec("orders/db", "orders_app")];
    let dry = apply(&world, &specs, true).await;
    assert_eq!(dry.credentials[0].unchecked, "nobody listens");
    assert!(stored(&world, "orders/db").await.is_none());
    let answer = apply(&world, &specs, false).await;
    assert_eq!((answer.problems.len(), answer.credentials[0].unchecked.as_str()), (0, "nobody listens"));
    let status = world.until(|status| status.alarms.iter().any(|alarm| alarm.kind == "trouble")).await;
    let kinds: Vec<_> = status.alarms.iter().map(|alarm| alarm.kind.as_str()).collect();
    assert_eq!(kinds, ["unchecked", "trouble"]);
    assert_eq!(status.alarms[0].next_command, "rekeyctl retry orders/db");
    assert_eq!((status.current, status.rotation), (0, None));
    let rotate = wire::RotateRequest { name: "orders/db".to_owned(), ..Default::default() };
    assert!(world.root().rotate(rotate).await.unwrap_err().message().contains("not checked yet"));
    // It comes up, and lacks something: that too is waited for.
    world.target.is_wrong("orders/db", Some(lacking()));
    let lacks = |status: &wire::CredentialStatus| {
        status.alarms.iter().any(|alarm| alarm.kind == "trouble" && alarm.message.contains("ALTER ROLE"))
    };
    world.until(lacks).await;
    assert_eq!(stored(&world, "orders/db").await.unwrap().ledger.current, None);
    assert_eq!(apply(&world, &specs, false).await.problems.len(), 1, "who asks is told");
    world.target.is_wrong("orders/db", None);
    let status = world.until(|status| status.current == 1 && status.rotation.is_none()).await;
    assert!(!status.alarms.iter().any(|alarm| alarm.kind == "unchecked"), "{status:?}");
}

#[tokio::test]
async fn applying_again_asks_what_could_not_be_asked() {
    let world = World::new().await;
    world.target.is_wrong("orders/db", Some(Wrong::Away));
    let specs = [spec("orders/db", "orders_app")];
    apply(&world, &specs, false).await;
    assert!(stored(&world, "orders/db").await.unwrap().ledger.unchecked.is_some());
    world.target.is_wrong("orders/db", None);
    let again = apply(&world, &specs, false).await;
    let one = &again.credentials[0];
    // The executor may have been faster.
    assert_eq!((one.change(), one.unchecked.as_str()), (Change::Unchanged, ""));
    assert!(stored(&world, "orders/db").await.unwrap().ledger.unchecked.is_none());
}

#[tokio::test]
async fn a_target_that_says_nothing_does_not_hold_up_the_request_for_ever() {
    let world = World::new().await;
    world.target.is_wrong("a", Some(Wrong::Silent));
    let specs = [spec("a", "app_a"), spec("b", "app_b")];
    let asked = apply(&world, &specs, false);
    let answer = tokio::time::timeout(Duration::from_secs(30), asked).await.expect("it is bounded");
    let told: Vec<_> =
        answer.credentials.iter().map(|one| (one.checked, !one.unchecked.is_empty())).collect();
    assert_eq!(told, [(false, true), (true, false)], "{answer:?}");
}
