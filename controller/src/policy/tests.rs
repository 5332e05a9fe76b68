//! What a class gives, what it does not, and what the config's change does to what is stored.

use rekey_rotation::Ledger;
use serde_json::json;

use super::*;
use crate::store::tests::stage::Stage;

fn map(json: Value) -> Map<String, Value> {
    serde_json::from_value(json).unwrap()
}

fn class() -> Class {
    let usual = map(json!({
        "schedule": { "every": "365d", "jitter": "5d" },
        "grace": { "max_reconnect": "30m", "floor": "1h", "quiet": "15m", "deadline": "48h" },
        "deliver": { "offline": "serve-until-expiry", "offline_for": "24h" },
    }));
    let environments = [("production", "90d"), ("staging", "180d")]
        .map(|(name, every)| (name.parse().unwrap(), map(json!({ "schedule": { "every": every } }))));
    Class { usual, environments: environments.into() }
}

fn policy() -> Policy {
    Policy { classes: [("databases".parse().unwrap(), class())].into(), ..Policy::default() }
}

/// A declaration that leaves everything to its class.
fn declared(environment: &str) -> Value {
    json!({
        "credential": "orders/db", "owner": "team", "environment": environment, "class": "databases",
        "postgres": { "target": "pg", "database": "orders", "owner_role": "owner", "prefix": "orders_app" },
        "deliver": { "to": ["spiffe://rekey.local/sidecar/orders/*"] },
    })
}

fn read(policy: &Policy, mut declared: Value) -> Spec {
    policy.complete(&mut declared).unwrap();
    Spec::parse(&declared).unwrap()
}

#[test]
fn a_class_gives_its_times_by_environment() {
    for (environment, every) in [("production", "90d"), ("staging", "180d"), ("development", "365d")] {
        let spec = read(&policy(), declared(environment));
        assert_eq!(spec.schedule.unwrap().every, every.parse().unwrap(), "{environment}");
        assert_eq!(spec.grace.floor.to_string(), "1h");
        assert_eq!(spec.deliver.to.len(), 1, "what it says itself stays");
        assert_eq!(spec.deliver.offline.serves_alone_for(), Some(std::time::Duration::from_hours(24)));
        assert_eq!(spec.taken.unwrap().fields.len(), GIVEN.len());
    }
}

#[test]
fn what_a_credential_says_goes_before_its_class() {
    let mut own = declared("production");
    own["schedule"] = json!({ "every": "7d" });
    own["grace"] = json!({ "floor": "2h" });
    own["deliver"]["offline"] = json!("fail-closed");
    let spec = read(&policy(), own);
    let schedule = spec.schedule.unwrap();
    assert_eq!((schedule.every, schedule.jitter.get().as_secs()), ("7d".parse().unwrap(), 0));
    assert_eq!(
        (spec.grace.floor.to_string(), spec.grace.quiet.to_string()),
        ("2h".to_owned(), "15m".to_owned())
    );
    assert_eq!(spec.deliver.offline, crate::spec::Offline::FailClosed);
    let fields = spec.taken.unwrap().fields;
    assert_eq!(fields, ["grace.deadline", "grace.max_reconnect", "grace.quiet"]);
}

#[test]
fn a_class_that_there_is_not_is_named_with_those_that_there_are() {
    let mut typo = declared("production");
    typo["class"] = json!("database");
    let problem = policy().complete(&mut typo).unwrap_err();
    assert_eq!(problem.field, "class");
    assert!(problem.remedy.contains("did you mean `databases`?"), "{problem}");
    assert!(typo.get(TAKEN).is_none());
}

#[test]
fn everything_that_is_required_and_missing_is_told_at_once() {
    let words = |words: &[&str]| words.iter().map(|word| word.parse().unwrap()).collect();
    let policy = Policy {
        labels: words(&["cost-center", "tier", "contact"]),
        environments: words(&["staging", "production"]),
        ..policy()
    };
    let mut own = declared("prod");
    own["labels"] = json!({ "tier": "gold" });
    let fields = |own: &Value| -> Vec<String> {
        policy.unmet(&read(&policy, own.clone())).into_iter().map(|it| it.field).collect()
    };
    assert_eq!(fields(&own), ["labels.cost-center", "labels.contact", "environment"]);
    let mut stored = own.clone();
    policy.complete(&mut stored).unwrap();
    let notices = policy.notices(&stored);
    assert_eq!(notices.iter().map(|it| it.kind).collect::<Vec<_>>(), ["policy_unmet"]);
    assert!(["cost-center", "contact", "environment"].iter().all(|it| notices[0].message.contains(it)));
    own["labels"] = json!({ "tier": "gold", "cost-center": "1", "contact": "x" });
    own["environment"] = json!("staging");
    assert_eq!(fields(&own), [""; 0]);
}

async fn stored(store: &Store) -> CredentialRow {
    store.credential(&"orders/db".parse().unwrap()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_changed_class_takes_effect_for_what_is_stored_and_what_does_not_fit_stays() {
    let stage = Stage::sqlite();
    let store = Store::create(&stage.config, stage.clock.clone()).await.unwrap();
    let mut first = declared("production");
    policy().complete(&mut first).unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.create(&"orders/db".parse().unwrap(), first.clone(), Ledger::default()).await.unwrap();
    tx.commit().await.unwrap();
    policy().take_effect(&store).await.unwrap();
    assert_eq!(stored(&store).await.seq, 1, "nothing changed, so nothing is written");

    let mut shorter = policy();
    let usual = &mut shorter.classes.values_mut().next().unwrap().environments;
    usual.insert("production".parse().unwrap(), map(json!({ "schedule": { "every": "30d" } })));
    assert_eq!(shorter.notices(&first)[0].kind, "class_stale", "it has not taken effect yet");
    shorter.take_effect(&store).await.unwrap();
    let row = stored(&store).await;
    assert_eq!(Spec::parse(&row.spec).unwrap().schedule.unwrap().every, "30d".parse().unwrap());
    assert_eq!(shorter.notices(&row.spec), []);
    let said = &store.audit(None, None, 1).await.unwrap()[0];
    assert_eq!((said.verb.as_str(), said.actor.as_str()), ("apply", "controller"));
    assert!(said.reason.contains("from_class.schedule.every"), "{}", said.reason);

    let mut unfit = shorter.clone();
    unfit.classes.values_mut().next().unwrap().usual.insert("grace".to_owned(), json!({ "floor": "1m" }));
    let gone = Policy::default();
    for (policy, words) in [(&unfit, "cannot take"), (&gone, "no longer in the controller's config")] {
        policy.take_effect(&store).await.unwrap();
        assert_eq!(stored(&store).await.spec, row.spec, "what it had was lost: {words}");
        let notices = policy.notices(&row.spec);
        assert_eq!(notices[0].kind, "class_stale");
        assert!(notices[0].message.contains(words), "{}", notices[0].message);
    }
}
