//! Accounts that take one value at a time: a barrier in place of a grace.

use std::time::Duration;

use rekey_rotation::Missing;

use super::*;

/// A spec for one login whose password changes in place.
fn fixed() -> Value {
    let mut spec = with("/grace", Value::Null);
    let account = json!({ "target": "orders-pg", "database": "orders", "role": "orders_app" });
    set(&mut spec, "/postgres", account);
    spec
}

fn told(pointer: &str, value: Value) -> Vec<(String, String)> {
    let mut spec = fixed();
    set(&mut spec, pointer, value);
    problems(&spec).into_iter().map(|problem| (problem.field, problem.message)).collect()
}

#[test]
fn readers_wait_two_seconds_and_the_cut_holds_unless_it_is_declared_otherwise() {
    let spec = Spec::parse(&fixed()).unwrap();
    let barrier = spec.barrier.unwrap();
    assert_eq!((barrier.wait.get(), barrier.missing), (Duration::from_secs(2), Missing::Hold));
    let mut other = fixed();
    set(&mut other, "/barrier", json!({ "wait": "4s", "drain": "1s", "missing": "go-on" }));
    let barrier = Spec::parse(&other).unwrap().barrier.unwrap();
    assert_eq!((barrier.drain.get(), barrier.missing), (Duration::from_secs(1), Missing::GoOn));
    assert!(Spec::parse(&whole()).unwrap().barrier.is_none());
}

#[test]
fn a_barrier_has_its_limits_and_no_grace_beside_it() {
    for (pointer, value, field, says) in [
        ("/barrier", json!({ "wait": "5s" }), "barrier.wait", "between 200ms and 4s"),
        ("/barrier", json!({ "wait": "100ms", "drain": "0s" }), "barrier.wait", "between 200ms and 4s"),
        ("/barrier", json!({ "drain": "501ms" }), "barrier.drain", "more than a quarter"),
        ("/barrier", json!({ "missing": "wait" }), "barrier.missing", "neither hold nor go-on"),
        ("/grace", whole()["grace"].clone(), "grace", "kills the old one at once"),
        ("/postgres/prefix", json!("orders_app"), "postgres.prefix", "no such setting"),
        ("/fields", json!({ "chosen": "{username}" }), "fields.chosen", "keeps for itself"),
    ] {
        let told = told(pointer, value);
        assert!(told.iter().any(|(at, why)| at == field && why.contains(says)), "{field}: {told:?}");
    }
    let beside = problems(&with("/barrier", json!({ "wait": "2s" })));
    assert!(beside.len() == 1 && beside[0].message.contains("both versions are valid"), "{beside:?}");
}

#[test]
fn what_somebody_else_changes_has_no_time_of_its_own() {
    let mut followed = fixed();
    for key in ["/schedule", "/after"] {
        set(&mut followed, key, Value::Null);
    }
    set(&mut followed, "/postgres/follow", json!("orders-db"));
    let spec = Spec::parse(&followed).unwrap();
    assert!(spec.driver.is_followed() && spec.barrier.is_none() && spec.grace.floor.get().is_zero());
    for (pointer, value, field) in [
        ("/grace", whole()["grace"].clone(), "grace"),
        ("/barrier", json!({ "wait": "2s" }), "barrier"),
        ("/schedule", json!({ "every": "30d" }), "schedule"),
        ("/pair", json!("one"), "pair"),
        ("/postgres/adopt", json!(true), "postgres.adopt"),
    ] {
        let mut spec = followed.clone();
        set(&mut spec, pointer, value);
        let told = problems(&spec);
        assert!(told.len() == 1 && told[0].field == field, "{field}: {told:?}");
    }
    set(&mut followed, "/class", json!("databases"));
    set(&mut followed, "/from_class", json!({ "schedule": { "every": "30d" } }));
    assert!(
        Spec::parse(&followed).unwrap().schedule.is_none(),
        "what a class says has no meaning and no harm"
    );
}

#[test]
fn what_a_class_says_of_a_grace_has_no_meaning_and_no_harm() {
    let mut spec = fixed();
    set(&mut spec, "/class", json!("databases"));
    set(&mut spec, "/from_class", json!({ "grace": whole()["grace"] }));
    assert!(Spec::parse(&spec).unwrap().grace.floor.get().is_zero());
}
