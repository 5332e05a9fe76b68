//! Somebody has copied a sidecar's identity: two who renew it show each other up, and both are out.

use rekey_testkit::process::poll;
use rekey_testkit::system::Pace;
use serde_json::Value;

use crate::story::{PATIENCE, Story};

fn sidecars(story: &Story) -> Vec<Value> {
    let listed = story.system.ctl(&["sidecar", "list"]).unwrap();
    listed["sidecars"].as_array().unwrap().clone()
}

#[test]
fn a_copied_identity_is_locked_with_both_who_use_it_until_a_new_token_is_given() {
    let pace = Pace { leaf_life: "5s".into(), lease: "1s".into(), ..Pace::default() };
    let mut story = Story::begin("twins", 1, pace);
    let before = sidecars(&story);
    assert_eq!(before.len(), 1);
    story.system.start_twin("sidecar-1", "twin").unwrap();
    // Either may be the one that is told; the instance is theirs both.
    let locked = |sidecar: &Value| sidecar["locked"].as_str().is_some_and(|why| why.contains("copy"));
    let shown = poll(PATIENCE, || sidecars(&story).iter().any(locked));
    assert!(shown, "two have the same identity, and nobody is told: {:#?}", sidecars(&story));
    let cut = poll(PATIENCE, || sidecars(&story).iter().all(|sidecar| sidecar["live"] == false));
    assert!(cut, "one of the two is still let in: {:#?}", sidecars(&story));
    let table = story.system.operator().plain(&["sidecar", "list"]).unwrap();
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("locked: ") && table.contains("copy of this identity"), "{table}");
    let audit = story.system.ctl(&["audit", "query", "--limit", "50"]).unwrap();
    let records = audit["records"].as_array().unwrap();
    let lock = records.iter().find(|record| record["verb"] == "lock").unwrap();
    assert_eq!(lock["holder"], before[0]["instance"], "{lock:#}");
    assert!(lock["reason"].as_str().unwrap().contains("copy of this identity"), "{lock:#}");
    // The rightful one gets a new token and is another instance by it; what it served it has served all the time.
    story.system.kill_part("twin");
    story.system.give_token("sidecar-1").unwrap();
    let live = |story: &Story| sidecars(story).into_iter().find(|sidecar| sidecar["live"] == true);
    let mut again = None;
    let let_in = poll(PATIENCE, || {
        again = live(&story);
        again.is_some()
    });
    assert!(let_in, "it is not let in again: {:#?}", sidecars(&story));
    assert_ne!(again.unwrap()["instance"], before[0]["instance"]);
    story.let_work(3);
    assert_eq!(story.counts(1).failed, 0, "{:?}", story.counts(1));
}
