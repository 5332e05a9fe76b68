//! One holder that has a new version before all others.

use serde_json::{Value, json};

use super::{problems, set, whole, with};
use crate::spec::{Spec, ties};

const FIRST: &str = "spiffe://rekey.local/sidecar/orders/a";

/// [`whole`] with a canary.
fn tried(canary: Value) -> Value {
    with("/canary", canary)
}

#[test]
fn a_canary_is_read_and_the_holder_may_be_left_out() {
    let spec = Spec::parse(&tried(json!({ "holder": FIRST, "uses": 20, "within": "10m" }))).unwrap();
    let canary = spec.canary.unwrap();
    assert_eq!(canary.holder.unwrap().to_string(), FIRST);
    assert_eq!((canary.uses, canary.within.to_string().as_str()), (20, "10m"));
    let spec = Spec::parse(&tried(json!({ "uses": 1, "within": "1ms" }))).unwrap();
    assert_eq!(spec.canary.unwrap().holder, None);
    assert!(Spec::parse(&whole()).unwrap().canary.is_none());
}

#[test]
fn what_cannot_be_tried_is_refused_and_says_why() {
    let one_value = json!({ "target": "orders-pg", "database": "orders", "role": "orders_fixed" });
    let mut single = tried(json!({ "uses": 20, "within": "10m" }));
    set(&mut single, "/postgres", one_value);
    set(&mut single, "/grace", Value::Null);
    let away = json!({ "holder": "spiffe://rekey.local/sidecar/billing/a", "uses": 20, "within": "10m" });
    for (spec, field, message, remedy) in [
        (single, "canary", "nobody could stay", "two are valid"),
        (tried(json!({})), "canary.uses", "is missing", "20"),
        (tried(json!({ "uses": 20 })), "canary.within", "is missing", "10m"),
        (tried(json!({ "uses": 0, "within": "10m" })), "canary.uses", "is zero", "uses: 1"),
        (tried(json!({ "uses": 20, "within": "0s" })), "canary.within", "is zero", "within: 10m"),
        (tried(json!({ "uses": 20, "within": "30d" })), "schedule.every", "too short", "canary.within"),
        (tried(json!({ "uses": 20, "within": "1h", "on": 1 })), "canary.on", "no such setting", "holder"),
        (tried(json!({ "holder": "a", "uses": 20, "within": "1h" })), "canary.holder", "", "orders/a"),
        (tried(away), "canary.holder", "is not in deliver.to", "leave it out"),
    ] {
        let found = problems(&spec);
        assert_eq!(found[0].field, field, "{found:?}");
        assert!(found[0].message.contains(message) && found[0].remedy.contains(remedy), "{found:?}");
    }
    let mut grouped = tried(json!({ "uses": 20, "within": "10m" }));
    set(&mut grouped, "/group", json!("database"));
    let found = ties::alone(&Spec::parse(&grouped).unwrap());
    assert_eq!((found[0].field.as_str(), found.len()), ("canary", 1), "{found:?}");
    assert!(found[0].message.contains("group: database"), "{found:?}");
}
