//! Sidecars are killed, silent or cut off: the old version is not ended under them.

use rekey_testkit::process::poll;
use rekey_testkit::system::{CREDENTIAL, Pace};
use serde_json::Value;

use crate::story::{PATIENCE, Story, phase};

#[test]
fn a_killed_sidecar_comes_back_with_its_identity_and_the_service_never_notices() {
    let mut story = Story::begin("rejoin", 2, Pace::default());
    story.let_work(3);
    story.system.kill_part("sidecar-1");
    story.let_work(3);
    story.system.restart_sidecar("sidecar-1").unwrap();
    story.rotate();
    let moved = poll(PATIENCE, || story.counts(1).version == 2 && story.counts(2).version == 2);
    assert!(moved, "{:?} {:?}", story.counts(1), story.counts(2));
    story.nothing_failed();
}

#[test]
fn the_old_version_is_not_ended_under_a_sidecar_that_is_silent() {
    let pace = Pace { lease: "1s".into(), offline_for: "10m".into(), ..Pace::default() };
    let mut story = Story::begin("silent", 2, pace);
    story.rotate();
    story.system.part("sidecar-2").unwrap().pause();
    story.begin_rotation();
    story.until("the silent sidecar is waited for", |status| {
        let holders = &status["holders"];
        phase(status) == "Rolling" && holders["live"] == 1 && holders["acknowledged"] == 1
    });
    // Its lease is over many times; it may still serve v2 for ten minutes, so v2 stays.
    story.let_work(20);
    assert_eq!(story.phase(), "Rolling");
    assert!(story.system.database.made_roles().iter().any(|role| role.starts_with("orders_app_v2_")));
    story.system.part("sidecar-2").unwrap().resume();
    story.until_settled_on(3);
    story.nothing_failed();
}

#[test]
fn a_removed_sidecar_is_cut_off_and_cannot_come_back() {
    let mut story = Story::begin("removed", 2, Pace::default());
    let listed = story.system.ctl(&["sidecar", "list"]).unwrap();
    let sidecars = listed["sidecars"].as_array().unwrap();
    let second = sidecars.iter().find(|s| s["spiffe_id"].as_str().unwrap().ends_with("sidecar-2")).unwrap();
    let instance = second["instance"].as_str().unwrap();
    story.system.ctl(&["sidecar", "remove", instance, "--reason", "test"]).unwrap();
    let gone = |status: &Value| status["holders"]["live"] == 1;
    story.until("the removed sidecar is gone", gone);
    // Its service would go on with what it has, and the old version would rightly not be ended under it.
    story.system.end_part("orders-2").unwrap();
    // The sidecar tries again all the time; it must stay outside.
    story.system.ctl(&["rotate", CREDENTIAL, "--wait", "--wait-timeout", "3m"]).unwrap();
    assert!(gone(&story.status()), "{:#}", story.status());
    assert!(poll(PATIENCE, || story.counts(1).version == 2), "{:?}", story.counts(1));
}

/// What `rekeyctl refresh` prints when not all is as it should be.
fn refresh(story: &Story) -> Value {
    let output = story.system.operator().output(&["refresh", CREDENTIAL]).unwrap();
    assert!(!output.status.success(), "somebody was silent");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_refresh_with_a_silent_sidecar_and_a_silent_target_names_both() {
    let pace = Pace { lease: "30s".into(), ..Pace::default() };
    let mut story = Story::begin("refresh", 2, pace);
    story.system.part("sidecar-2").unwrap().pause();
    let refreshed = refresh(&story);
    let confirmed: Vec<bool> =
        refreshed["holders"].as_array().unwrap().iter().map(|it| it["confirmed"] == true).collect();
    assert_eq!(confirmed.iter().filter(|it| **it).count(), 1, "{refreshed:#}");
    assert_eq!(refreshed["verified"]["works"], true, "{refreshed:#}");
    story.system.database.postgres.pause();
    let refreshed = refresh(&story);
    story.system.database.postgres.resume();
    story.system.part("sidecar-2").unwrap().resume();
    assert!(refreshed["verified"].is_null(), "{refreshed:#}");
    assert!(refreshed["not_verified"].as_str().unwrap().contains("not answered"), "{refreshed:#}");
    let audit = story.system.ctl(&["audit", "query", "--credential", CREDENTIAL]).unwrap();
    let told = audit["records"].as_array().unwrap().iter().filter(|it| it["verb"] == "refresh").count();
    assert_eq!(told, 2, "{audit:#}");
}
