//! The store is lost and put back from a backup: nobody below it notices, and nothing is forgotten at the target.

use rekey_testkit::process::poll;
use rekey_testkit::system::{CREDENTIAL, Pace};
use serde_json::Value;

use crate::story::{PATIENCE, Story, settled};

fn pace() -> Pace {
    Pace { lease: "2s".into(), ..Pace::default() }
}

/// Whether the controller only reconciles.
fn reconciling(story: &Story) -> Value {
    story.system.ctl(&["reconcile"]).unwrap_or(Value::Null)
}

#[test]
fn holders_keep_what_a_restored_store_does_not_know_until_it_is_replaced_and_ended() {
    let mut story = Story::begin("restore", 2, pace());
    story.rotate();
    story.system.backup("copy.db").unwrap();
    story.rotate();
    story.let_work(3);
    assert_eq!((story.counts(1).version, story.counts(2).version), (3, 3));
    let lost = story.system.database.made_roles();
    story.system.restore("copy.db").unwrap();
    story.let_work(3);
    story.system.start_controller().unwrap();
    let status = story.until("a version that nobody ever used is current", |status| {
        status["current"].as_u64().unwrap_or_default() > 1000 && settled(status)
    });
    assert_eq!(status["current"], 1004, "{status:#}");
    let moved = poll(PATIENCE, || (1..=2).all(|number| story.counts(number).version == 1004));
    assert!(moved, "{:?} {:?}", story.counts(1), story.counts(2));
    story.let_work(3);
    story.nothing_failed();
    let left = story.system.database.made_roles();
    assert!(left.iter().all(|role| !lost.contains(role)), "{left:?} of {lost:?}");
    assert_eq!(reconciling(&story)["reconciling"], false);
    let audit = story.system.ctl(&["audit", "query"]).unwrap().to_string();
    assert!(audit.contains("normal: 2 sidecars heard, 0 silent"), "{audit}");
    let end = story.rotate();
    assert_eq!(end["rotation"]["phase"], "Done", "{end:#}");
}

#[test]
fn a_revocation_while_reconciling_cuts_and_fences_what_the_backup_does_not_know() {
    let mut story = Story::begin("restored-revoke", 2, Pace { lease: "20s".into(), ..pace() });
    story.rotate();
    story.system.backup("copy.db").unwrap();
    story.rotate();
    story.let_work(3);
    let lost = story.system.database.made_roles();
    // One sidecar does not come back: it is waited for, for a while.
    story.system.kill_part("orders-2");
    story.system.kill_part("sidecar-2");
    story.system.restore("copy.db").unwrap();
    story.system.start_controller().unwrap();
    let heard = poll(PATIENCE, || reconciling(&story)["heard"] == 1);
    let waits = reconciling(&story);
    assert!(heard && waits["reconciling"] == true && waits["silent_count"] == 1, "{waits:#}");
    let all = story.system.ctl(&["status"]).unwrap();
    assert_eq!(all["alarms"][0]["kind"], "reconciling", "{all:#}");
    let receipt = story.system.operator().run_beside(&["revoke", CREDENTIAL, "--reason", "leaked"]);
    let cut = poll(PATIENCE, || lost.iter().all(|role| story.system.database.sessions(role) == 0));
    assert!(cut, "{lost:?}");
    // It tells what it swapped to; nothing but a fence can have taken from it what the store does not know.
    let mut log = String::new();
    let fenced = poll(PATIENCE, || {
        log = story.system.part("sidecar-1").unwrap().log_end();
        log.contains("version=nothing")
    });
    assert!(fenced, "{log}");
    assert_eq!(reconciling(&story)["reconciling"], true, "no sidecar's silence was taken for an answer");
    story.system.ctl(&["reconcile", "--now", "--reason", "sidecar-2 is gone", "--yes"]).unwrap();
    story.until("it is replaced", |status| status["current"].as_u64().unwrap_or_default() > 1000);
    let told = format!("{:?}", receipt.join().unwrap());
    assert!(told.contains("sidecar-2"), "the receipt does not name who was not reached: {told}");
    let moved = poll(PATIENCE, || story.counts(1).version > 1000);
    assert!(moved, "{:?}", story.counts(1));
    story.let_work_of(1, 3);
    assert_eq!(story.counts(1).failed, 0, "{:?}", story.counts(1));
    let left = story.system.database.made_roles();
    assert!(left.iter().all(|role| !lost.contains(role)), "{left:?} of {lost:?}");
}
