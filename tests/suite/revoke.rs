//! An emergency: dead at the database first, at every sidecar next, replaced, with a receipt.

use rekey_testkit::process::poll;
use rekey_testkit::system::{CREDENTIAL, Pace};
use serde_json::Value;

use crate::story::{PATIENCE, Story, phase};

fn revoke(story: &Story, what: &str) -> Value {
    story.system.ctl(&["revoke", what, "--reason", "leaked"]).unwrap()
}

/// The receipt says that everything is done, in an order that makes sense.
fn complete(receipt: &Value, holders: usize) {
    let at = |key: &str| receipt[key].as_i64().unwrap_or_default();
    assert!(at("intent_ms") > 0 && at("cut_ms") >= at("intent_ms"), "{receipt:#}");
    assert!(at("fenced_ms") >= at("intent_ms") && at("replaced_ms") >= at("intent_ms"), "{receipt:#}");
    let fenced = receipt["holders"].as_array().unwrap();
    assert_eq!(fenced.len(), holders, "{receipt:#}");
    assert!(fenced.iter().all(|h| h["fenced_ms"].as_i64().unwrap_or_default() > 0), "{receipt:#}");
}

#[test]
fn a_revoked_credential_is_refused_has_no_session_and_is_replaced_everywhere() {
    let story = Story::begin("revoke", 2, Pace::default());
    story.rotate();
    story.let_work(3);
    let old = story.system.database.made_roles();
    let receipt = revoke(&story, CREDENTIAL);
    complete(&receipt, 2);
    assert_eq!(story.system.database.sessions(&old[0]), 0);
    story.until_settled_on(3);
    let moved = poll(PATIENCE, || story.counts(1).version == 3 && story.counts(2).version == 3);
    assert!(moved, "{:?} {:?}", story.counts(1), story.counts(2));
    story.let_work(3);
    for number in [1, 2] {
        let counts = story.counts(number);
        assert_eq!(counts.failed, 0, "service {number}: {counts:?}");
    }
    story.nothing_is_left_behind();
    let audit = story.system.ctl(&["audit", "query", "--credential", CREDENTIAL]).unwrap();
    assert!(audit.to_string().contains("revoke"), "{audit:#}");
}

#[test]
fn a_revocation_works_while_a_rotation_of_the_same_credential_is_under_way() {
    let story = Story::begin("midway", 2, Pace { floor: "1m".into(), ..Pace::default() });
    story.rotate();
    story.begin_rotation();
    story.until("Grace", |status| phase(status) == "Grace");
    let receipt = revoke(&story, CREDENTIAL);
    complete(&receipt, 2);
    let status =
        story.until("the replacement is current", |s| s["current"].as_u64().unwrap_or_default() >= 4);
    assert!(status["current"].as_u64().unwrap() >= 4, "{status:#}");
    story.let_work(3);
    story.nothing_is_left_behind();
}

#[test]
fn revoking_the_old_version_of_a_grace_leaves_the_new_one_in_use() {
    let mut story = Story::begin("old", 1, Pace { floor: "30s".into(), ..Pace::default() });
    story.system.ctl(&["rotate", CREDENTIAL]).unwrap();
    story.until("Grace", |status| phase(status) == "Grace" && status["current"] == 2);
    let receipt = revoke(&story, &format!("{CREDENTIAL}@1"));
    assert!(receipt["cut_ms"].as_i64().unwrap_or_default() > 0, "{receipt:#}");
    assert_eq!(story.system.database.sessions("orders_legacy"), 0);
    story.until_settled_on(2);
    story.let_work(3);
    story.nothing_failed();
}

#[test]
fn a_held_credential_is_revoked_all_the_same() {
    let story = Story::begin("held", 1, Pace::default());
    story.rotate();
    story.system.ctl(&["hold", CREDENTIAL, "--reason", "nobody touches this"]).unwrap();
    let receipt = revoke(&story, CREDENTIAL);
    complete(&receipt, 1);
    story.until("the replacement is current", |status| status["current"] == 3);
}
