//! The problems of a spec as one table, and the schema beside the reader.

use serde_json::{Value, json};

use super::claims::{self, Known};
use super::{Offline, Problem, Spec, schema};

mod canary;
mod single;

/// A spec with everything in it.
fn whole() -> Value {
    json!({
        "credential": "orders/db",
        "owner": "team-orders",
        "environment": "production",
        "labels": { "tier": "gold" },
        "postgres": {
            "target": "orders-pg", "database": "orders", "owner_role": "orders_owner", "prefix": "orders_app",
            "adopt": { "login": "orders_legacy", "member": true },
            "probes": ["SELECT count(*) FROM orders"],
        },
        "schedule": { "every": "30d", "jitter": "2d" },
        "grace": { "max_reconnect": "30m", "floor": "1h", "quiet": "15m", "deadline": "48h" },
        "class": "logins",
        "after": { "environment": "staging", "within": "7d" },
        "judge": { "good": "99.9%", "least": 1000 },
        "deliver": {
            "to": ["spiffe://rekey.local/sidecar/orders/*"],
            "offline": "serve-until-expiry", "offline_for": "24h",
        },
        "fields": { "database_url": "postgres://{username|url}:{password|url}@{host}:{port}/{database|url}" },
    })
}

/// [`whole`] with what `pointer` names set to `value`; null takes it out.
fn with(pointer: &str, value: Value) -> Value {
    let mut spec = whole();
    set(&mut spec, pointer, value);
    spec
}

fn set(spec: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = spec.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        parent.remove(key);
    } else {
        parent.insert(key.to_owned(), value);
    }
}

fn pool(target: &str) -> Value {
    json!({ "pgbouncer": { "target": target } })
}

fn problems(spec: &Value) -> Vec<Problem> {
    Spec::parse(spec).err().unwrap_or_default()
}

#[test]
fn a_whole_spec_is_read() {
    let spec = Spec::parse(&whole()).unwrap();
    assert_eq!(spec.name.as_str(), "orders/db");
    assert_eq!(spec.driver.kind().name, "postgres");
    assert_eq!(spec.driver.adopt().unwrap().as_str(), "orders_legacy");
    assert_eq!(spec.deliver.to.len(), 1);
    assert!(spec.deliver.covers(&"spiffe://rekey.local/sidecar/orders/a".parse().unwrap()));
    assert!(!spec.deliver.covers(&"spiffe://rekey.local/sidecar/billing/a".parse().unwrap()));
}

#[test]
fn what_may_be_left_out_may_be_left_out() {
    let mut spec = whole();
    let optional = [
        "/labels",
        "/postgres/adopt",
        "/postgres/probes",
        "/schedule",
        "/judge",
        "/after",
        "/deliver/to",
        "/deliver/offline_for",
        "/fields",
    ];
    for pointer in optional {
        set(&mut spec, pointer, Value::Null);
    }
    let spec = Spec::parse(&spec).unwrap();
    assert!(spec.deliver.to.is_empty(), "nobody gets it unless somebody is named");
    assert_eq!(spec.deliver.offline, Offline::ServeUntilExpiry { bound: None });
    assert_eq!(spec.deliver.offline.serves_alone_for(), None);
    assert!(spec.schedule.is_none());
    assert_eq!((spec.judge.good.to_string().as_str(), spec.judge.least), ("99.9%", 1000));
}

/// What is changed, the field that the problem names, and words of its message and remedy.
#[rustfmt::skip]
fn table() -> Vec<(Value, &'static str, &'static str, &'static str)> {
    vec![
        (with("/credential", Value::Null), "credential", "is missing", "add `credential: orders/db`"),
        (with("/credential", json!("Orders")), "credential", "character 1", "orders/db"),
        (with("/owner", json!("")), "owner", "1 to 128", "team-orders"),
        (with("/owner", json!("a\u{1b}[2J")), "owner", "control", "team-orders"),
        (with("/environment", Value::Null), "environment", "is missing", "production"),
        (with("/labels", json!([])), "labels", "settings of its own", "below it"),
        (with("/pair", json!(["a"])), "pair", "single value", "orders-database"),
        (with("/group", json!(" a")), "group", "without space", "orders-database"),
        (with("/class", json!("")), "class", "1 to 128", "databases"),
        (with("/ower", json!("x")), "ower", "no such setting", "did you mean `owner`?"),
        (with("/zzzzzzzzz", json!("x")), "zzzzzzzzz", "no such setting", "known here: after, also, aws-iam"),
        (with("/postgres", Value::Null), "", "one of these must be set: postgres", "add the one"),
        (with("/postgres/target", Value::Null), "postgres.target", "is missing", "orders-pg"),
        (with("/postgres/host", json!("10.0.0.1")), "postgres.host", "no such setting", "known here: adopt"),
        (with("/postgres/password_file", json!("/etc/passwd")), "postgres.password_file", "no such setting", ""),
        (with("/postgres/database", json!("a".repeat(64))), "postgres.database", "1 to 63 bytes", "docs/drivers.md"),
        (with("/postgres/prefix", json!("Orders")), "postgres.prefix", "a-z, 0-9", "docs/drivers.md"),
        (with("/postgres/prefix", json!("a".repeat(33))), "postgres.prefix", "1 to 32", "docs/drivers.md"),
        (with("/postgres/adopt", json!({"member": true})), "postgres.adopt.login", "is missing", "orders_legacy"),
        (with("/postgres/adopt/member", json!("yes")), "postgres.adopt.member", "neither true nor false", "member: true"),
        (with("/postgres/adopt/login", json!("orders_owner")), "postgres.adopt.login", "owner role itself", "docs/drivers.md"),
        (with("/postgres/adopt/login", json!("orders_app_v1_x")), "postgres.adopt.login", "Rekey made", "docs/drivers.md"),
        (with("/postgres/adopt/login", json!("a".repeat(64))), "postgres.adopt.login", "63 bytes", "docs/drivers.md"),
        (with("/postgres/probes", json!("SELECT 1")), "postgres.probes", "must be a list", "probes: ["),
        (with("/postgres/probes", json!(["SELECT 1", ["x"]])), "postgres.probes[1]", "single value", "SELECT count"),
        (with("/postgres/probes", json!(vec!["SELECT 1"; 33])), "postgres.probes", "has 33 entries", "at most 32"),
        (with("/judge/good", json!("most")), "judge.good", "is no percentage", "99.9%"),
        (with("/judge/good", json!(99.9)), "judge.good", "is no percentage", "99.9%"),
        (with("/judge/least", json!(0)), "judge.least", "is zero", "least: 1"),
        (with("/judge/bar", json!(1)), "judge.bar", "no such setting", "known here: good, least"),
        (with("/after/environment", Value::Null), "after.environment", "is missing", "staging"),
        (with("/after/environment", json!("production")), "after.environment", "is its own", "staging"),
        (with("/after/within", json!("0s")), "after.within", "is zero", "within: 7d"),
        (with("/class", Value::Null), "after", "needs a class", "class:"),
        (with("/also", json!({})), "also", "must be a list", "- .."),
        (with("/also", json!([{}])), "also[0]", "one of these must be set: pgbouncer", "add the one"),
        (with("/also", json!([{"pgbouncer": {}}])), "also[0].pgbouncer.target", "is missing", "orders-pool"),
        (with("/also", json!([{"pgbouncer": {"target": "a", "host": "b"}}])), "also[0].pgbouncer.host", "no such setting", "target, unpooled"),
        (with("/also", json!([pool("a"), pool("a")])), "also", "names a twice", "once"),
        (with("/also", json!((0..9).map(|i| pool(&format!("p{i}"))).collect::<Vec<_>>())), "also", "has 9 entries", "at most 8"),
        (with("/fields/database_url", json!("{direct_host}")), "fields.database_url", "that there is not", "username"),
        (with("/fields/database_url", json!("{user}")), "fields.database_url", "that there is not", "username"),
        (with("/fields/database_url", json!("{username")), "fields.database_url", "brace", ""),
        (with("/fields/password", json!("x")), "fields.password", "by the driver itself", "another name"),
        (with("/fields/URL", json!("x")), "fields.URL", "a-z", "another name"),
        (with("/schedule", json!({})), "schedule.every", "is missing", "30d"),
        (with("/schedule/every", json!("30 fortnights")), "schedule.every", "not a length of time", "30d"),
        (with("/schedule/every", json!("1h")), "schedule.every", "too short", "floor + quiet + max_reconnect"),
        (with("/schedule/every", json!("20000d")), "schedule.every", "ten years", "at most"),
        (with("/grace/floor", json!("29m")), "grace.floor", "shorter than grace.max_reconnect", "floor: 30m"),
        (with("/grace/quiet", json!("0s")), "grace.quiet", "is zero", "quiet: 15m"),
        (with("/grace/deadline", json!("75m")), "grace.deadline", "not longer", "more than 1h 15m"),
        (with("/grace/flor", json!("1h")), "grace.flor", "no such setting", "did you mean `floor`?"),
        (with("/deliver", Value::Null), "deliver", "is missing", "spiffe://"),
        (with("/deliver/to", json!(["*"])), "deliver.to[0]", "a grant is", "spiffe://"),
        (with("/deliver/offline", json!("open")), "deliver.offline", "fail-closed", "serve-until-expiry"),
        (with("/deliver/offline", json!("fail-closed")), "deliver.offline_for", "no meaning", "take it out"),
    ]
}

#[test]
fn each_problem_names_its_field_and_a_remedy() {
    for (spec, field, message, remedy) in table() {
        let found = problems(&spec);
        assert_eq!(found.len(), 1, "{field}: {found:?}");
        let problem = &found[0];
        assert_eq!(problem.field, field, "{problem}");
        assert!(problem.message.contains(message), "{problem:?} does not say {message:?}");
        assert!(problem.remedy.contains(remedy), "{problem:?} does not advise {remedy:?}");
        assert!(!problem.remedy.is_empty(), "{problem:?}");
    }
}

#[test]
fn all_problems_come_at_once() {
    let mut spec = whole();
    set(&mut spec, "/credential", json!("Orders"));
    set(&mut spec, "/postgres/prefix", json!("9"));
    set(&mut spec, "/grace/floor", json!("1m"));
    set(&mut spec, "/grace/quiet", json!("0s"));
    set(&mut spec, "/deliver/to", json!(["x", "y"]));
    set(&mut spec, "/whatever_this_is", json!(1));
    let fields: Vec<String> = problems(&spec).into_iter().map(|p| p.field).collect();
    let wanted = [
        "credential",
        "deliver.to[0]",
        "deliver.to[1]",
        "grace.floor",
        "grace.quiet",
        "postgres.prefix",
        "whatever_this_is",
    ];
    assert_eq!(fields, wanted);
}

#[test]
fn the_limits_of_the_rules_are_where_they_say() {
    let just = [
        with("/schedule/every", json!("1h 45m 1ms")),
        with("/grace/floor", json!("30m")),
        with("/grace/deadline", json!("1h 15m 1ms")),
        with("/grace/quiet", json!("1ms")),
    ];
    for spec in just {
        assert_eq!(problems(&spec), []);
    }
    assert_eq!(problems(&with("/schedule/every", json!("1h 45m"))).len(), 1);
}

#[test]
fn no_value_stands_in_a_problem() {
    for pointer in ["/credential", "/owner", "/postgres/database", "/grace/floor", "/deliver/offline"] {
        let spec = with(pointer, json!("MARKER \u{1b}"));
        for problem in problems(&spec) {
            assert!(!problem.to_string().contains("MARKER"), "{problem}");
        }
    }
    let odd_key = with("/\u{1b}[2J", json!(1));
    assert!(problems(&odd_key).iter().all(|p| !p.to_string().contains('\u{1b}')));
}

#[test]
fn what_is_no_section_at_all_is_refused() {
    for odd in [json!(null), json!([]), json!("a"), json!(1)] {
        assert_eq!(problems(&odd).len(), 1, "{odd}");
    }
}

fn known() -> Known {
    let targets = [("orders-pg".to_owned(), "postgres"), ("billing-pg".to_owned(), "postgres")];
    let trust_domain = "rekey.local".parse().unwrap();
    Known { trust_domain, targets: targets.into(), policy: crate::policy::Policy::default() }
}

fn named(name: &str, prefix: &str) -> Spec {
    let mut spec = with("/credential", json!(name));
    set(&mut spec, "/postgres/prefix", json!(prefix));
    set(&mut spec, "/postgres/adopt", Value::Null);
    Spec::parse(&spec).unwrap()
}

#[test]
fn a_spec_names_only_what_the_config_has() {
    let fits = Spec::parse(&whole()).unwrap();
    assert_eq!(claims::against_config(&fits, &known()), []);
    let typo = Spec::parse(&with("/postgres/target", json!("order-pg"))).unwrap();
    assert_eq!(claims::against_config(&typo, &known())[0].remedy, "did you mean `orders-pg`?");
    let none = Known { targets: [].into(), ..known() };
    assert!(claims::against_config(&typo, &none)[0].remedy.contains("controller's config"));
    for foreign in ["spiffe://other.local/sidecar/*", "spiffe://rekey.local/admin/*"] {
        let spec = Spec::parse(&with("/deliver/to", json!([foreign]))).unwrap();
        assert_eq!(claims::against_config(&spec, &known())[0].field, "deliver.to[0]", "{foreign}");
    }
}

#[test]
fn whoever_says_the_same_word_is_tied_and_too_many_are_refused() {
    use super::ties;
    let untied = |name: &str| {
        let mut spec = with("/credential", json!(name));
        set(&mut spec, "/class", Value::Null);
        set(&mut spec, "/after", Value::Null);
        spec
    };
    let paired = |name: &str, word: &str| {
        let mut spec = untied(name);
        set(&mut spec, "/pair", json!(word));
        Spec::parse(&spec).unwrap()
    };
    let one = paired("orders/db", "database");
    assert_eq!(ties::of(&one), [ties::pair(&one).unwrap()]);
    assert_eq!(ties::of(&Spec::parse(&untied("orders/db")).unwrap()), []);
    let mut others: Vec<Spec> =
        (0..15).map(|number| paired(&format!("orders/{number}"), "database")).collect();
    others.extend([
        paired("orders/other", "queue"),
        named("orders/alone", "alone"),
        paired("orders/db", "database"),
    ]);
    assert_eq!(ties::against_others(&one, others.iter()), [], "sixteen with itself");
    others.push(paired("orders/15", "database"));
    assert_eq!(ties::against_others(&one, others.iter())[0].field, "pair");
    let grouped = |name: &str, more: &[(&str, Value)]| {
        let mut spec = with("/credential", json!(name));
        set(&mut spec, "/group", json!("database"));
        for (pointer, value) in more {
            set(&mut spec, pointer, value.clone());
        }
        Spec::parse(&spec).unwrap()
    };
    let here = grouped("orders/a", &[]);
    assert_eq!(ties::of(&here).first(), ties::group(&here).as_ref());
    assert_eq!(ties::against_others(&here, others.iter()), [], "a pair of the same word is something else");
    let elsewhere = grouped("orders/b", &[("/deliver/to", json!([]))]);
    assert_eq!(ties::against_others(&elsewhere, [&here].into_iter())[0].field, "deliver.to");
    assert_eq!(ties::alone(&here), []);
    assert_eq!(ties::alone(&grouped("orders/c", &[("/pair", json!("x"))]))[0].field, "pair");
    let single = json!({ "target": "orders-pg", "database": "orders", "role": "orders_fixed" });
    let single = grouped("orders/d", &[("/postgres", single), ("/grace", Value::Null)]);
    assert_eq!(ties::alone(&single)[0].field, "group");
    let token =
        json!({ "target": "cluster", "namespace": "orders", "service_account": "worker", "life": "1h" });
    let token = grouped(
        "orders/e",
        &[("/postgres", Value::Null), ("/kubernetes-token", token), ("/fields", json!({}))],
    );
    assert_eq!(ties::alone(&token)[0].field, "group", "it cannot wait for the others");
    let mut classed = with("/class", json!("databases"));
    set(&mut classed, "/environment", json!("staging"));
    let production = Spec::parse(&with("/class", json!("databases"))).unwrap();
    set(&mut classed, "/after", Value::Null);
    let classed = ties::of(&Spec::parse(&classed).unwrap());
    assert_eq!(classed, [crate::store::Tie::of_class("databases", "staging")]);
    assert_eq!(ties::before(&production), classed.into_iter().next(), "by which it is found");
}

#[test]
fn a_pooler_stands_before_a_login_for_each_version_and_belongs_to_one_prefix() {
    let mut spec = with("/also", json!([{ "pgbouncer": { "target": "orders-pool", "unpooled": true } }]));
    set(&mut spec, "/fields/database_url", json!("{direct_host}:{direct_port}"));
    let orders = Spec::parse(&spec).unwrap();
    assert!(orders.driver.facts().plan.make.ends_with(", and at orders-pool"));
    let found = claims::against_config(&orders, &known());
    assert_eq!((found.len(), found[0].field.as_str()), (1, "also[0].pgbouncer.target"));
    let pooled = [("orders-pg".to_owned(), "postgres"), ("orders-pool".to_owned(), "pgbouncer")];
    assert_eq!(claims::against_config(&orders, &Known { targets: pooled.into(), ..known() }), []);
    // Logins of two servers meet in the file of one pooler.
    set(&mut spec, "/credential", json!("a"));
    set(&mut spec, "/postgres/target", json!("billing-pg"));
    let found = claims::against_others(&Spec::parse(&spec).unwrap(), [&orders]);
    assert_eq!(found[0].field, "postgres.prefix");
    set(&mut spec, "/also", json!([pool("billing-pool")]));
    set(&mut spec, "/fields", Value::Null);
    assert_eq!(claims::against_others(&Spec::parse(&spec).unwrap(), [&orders]), []);
    set(&mut spec, "/postgres", Value::Null);
    set(&mut spec, "/redis", json!({ "target": "cache", "user": "orders" }));
    let found = problems(&spec);
    assert_eq!((found[0].field.as_str(), found.len()), ("also[0].pgbouncer", 1), "{found:?}");
}

#[test]
fn two_credentials_do_not_share_a_prefix_or_a_login() {
    let orders = named("orders/db", "orders_app");
    assert_eq!(claims::against_others(&named("orders/db", "orders_app"), [&orders]), []);
    assert_eq!(claims::against_others(&named("a", "orders_ap"), [&orders]), []);
    for taken in ["orders_app", "orders_app_v1"] {
        let found = claims::against_others(&named("a", taken), [&orders]);
        assert_eq!(found.len(), 1, "{taken}");
        assert!(found[0].message.contains("orders/db"));
        assert_eq!(claims::against_others(&orders, [&named("a", taken)]).len(), 1, "{taken}");
    }
    let mut elsewhere = with("/credential", json!("a"));
    set(&mut elsewhere, "/postgres/target", json!("billing-pg"));
    assert_eq!(claims::against_others(&Spec::parse(&elsewhere).unwrap(), [&orders]), []);
    let mut same_login = with("/credential", json!("a"));
    set(&mut same_login, "/postgres/prefix", json!("other"));
    let whole = Spec::parse(&whole()).unwrap();
    let found = claims::against_others(&Spec::parse(&same_login).unwrap(), [&whole]);
    assert_eq!(found[0].field, "postgres.adopt.login");
}

#[test]
fn the_committed_schema_is_what_the_types_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/credential.schema.json");
    let wanted = serde_json::to_string_pretty(&schema::schema()).unwrap() + "\n";
    if std::env::var_os("REKEY_REGENERATE").is_some() {
        std::fs::write(path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == wanted, "docs/credential.schema.json is out of date: run `make generate`");
}

/// The keys that the schema has for the section at `pointer`, whatever shape it has, sorted.
fn keys_in_schema(pointer: &str) -> Vec<String> {
    let schema = schema::schema();
    let mut shapes = vec![&schema];
    for key in pointer.split('/').skip(1) {
        let sections = shapes.into_iter().map(|shape| &shape["properties"][key]);
        shapes = sections.flat_map(|section| shapes_of(&schema, section)).collect();
    }
    let keys = shapes.into_iter().filter_map(|shape| shape["properties"].as_object()).flatten();
    let mut keys: Vec<String> = keys.map(|(key, _)| key.clone()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// What a section refers to: one shape, or any of several.
fn shapes_of<'s>(schema: &'s Value, section: &'s Value) -> Vec<&'s Value> {
    if let Some(any) = section["anyOf"].as_array() {
        return any.iter().flat_map(|one| shapes_of(schema, one)).collect();
    }
    match section["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
        Some(place) => shapes_of(schema, schema.pointer(place).unwrap()),
        None => vec![section],
    }
}

#[test]
fn the_schema_and_the_reader_know_the_same_keys() {
    let sections = [
        "",
        "/postgres",
        "/postgres/adopt",
        "/schedule",
        "/grace",
        "/judge",
        "/after",
        "/canary",
        "/deliver",
    ];
    for pointer in sections {
        let mut spec = with("/canary", json!({ "uses": 20, "within": "10m" }));
        set(&mut spec, &format!("{pointer}/zzzzzzzzzzzz"), json!(1));
        let remedy = problems(&spec)[0].remedy.clone();
        let mut read: Vec<&str> = remedy.split_once("known here: ").unwrap().1.split(", ").collect();
        read.sort_unstable();
        assert_eq!(read, keys_in_schema(pointer), "{pointer}");
    }
}
