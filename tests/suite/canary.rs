//! One sidecar has a new version first: what its processes do with it decides whether the others ever get it.

use std::path::PathBuf;

use rekey_testkit::process::poll;
use rekey_testkit::system::{CREDENTIAL, Pace, write_private};
use serde_json::Value;

use crate::story::{PATIENCE, Story, last, phase, settled, until_readable};

const FIRST: &str = "spiffe://rekey.local/sidecar/orders/sidecar-1";

/// Two sidecars with a service behind each, and v1 in use. The first sidecar is to try new versions. Its service stands
/// still, so that nothing is used there before the story wants it.
fn begin(name: &str, pace: Pace) -> Story {
    let mut story = Story::begin(name, 0, pace);
    let folder = story.system.folder().to_owned();
    let declared = std::fs::read_to_string(folder.join("credential.yaml")).unwrap();
    let tried = format!("{declared}canary: {{ holder: \"{FIRST}\", uses: 30, within: 30m }}\n");
    write_private(&folder.join("tried.yaml"), &tried).unwrap();
    story.system.ctl(&["apply", "-f", "tried.yaml"]).unwrap();
    for number in 1..=2 {
        story.system.start_sidecar(&format!("sidecar-{number}")).unwrap();
        assert_eq!(gives(&story, number), 1);
        story.start_service(number);
    }
    story.let_work(5);
    story.system.part("orders-1").unwrap().pause();
    story
}

/// Which version a sidecar gives out.
fn gives(story: &Story, number: usize) -> u64 {
    let socket: PathBuf = story.system.socket(&format!("sidecar-{number}"));
    until_readable(&socket, CREDENTIAL).version().get()
}

/// Whether the first sidecar tries v2; the second never has it meanwhile.
fn is_tried(story: &Story, status: &Value) -> bool {
    assert_eq!((gives(story, 2), story.counts(2).version), (1, 1), "the second has v2: {status:#}");
    phase(status) == "Canary" && gives(story, 1) == 2
}

#[test]
fn a_version_that_does_well_behind_one_sidecar_is_given_to_all() {
    let mut story = begin("canary", Pace::default());
    story.begin_rotation();
    let status = story.until("the first sidecar has v2", |status| is_tried(&story, status));
    let canary = &status["rotation"]["canary"];
    assert!(canary["holder"].as_str().unwrap().starts_with(FIRST), "{status:#}");
    assert_eq!((&canary["uses"], &status["current"]), (&30.into(), &1.into()), "{status:#}");
    // However much the second uses v1, it says nothing of v2.
    story.let_work_of(2, 40);
    let status = story.status();
    assert!(is_tried(&story, &status), "{status:#}");
    assert_eq!(status["rotation"]["judgement"]["uses"], 0, "{status:#}");
    story.system.part("orders-1").unwrap().resume();
    let status = story.until_settled_on(2);
    assert_eq!(last(&status)["phase"], "Done", "{status:#}");
    let passed = last(&status)["canary"]["passed"].as_str().unwrap();
    assert!(passed.ends_with("uses were good"), "{status:#}");
    story.let_work(5);
    assert_eq!((gives(&story, 1), gives(&story, 2)), (2, 2));
    story.nothing_failed();
}

#[test]
fn a_version_that_is_refused_behind_one_sidecar_is_left_again_and_the_other_never_had_it() {
    // So long that the target is not tried twice before the processes have told.
    let pace = Pace::default().with_long_grace();
    let mut story = begin("canary-refused", pace);
    story.begin_rotation();
    story.until("the first sidecar has v2", |status| is_tried(&story, status));
    let roles = story.system.database.made_roles();
    let role = roles.iter().find(|role| role.starts_with("orders_app_v2_")).unwrap();
    story.system.database.postgres.sql(&format!("ALTER ROLE {role} NOLOGIN"));
    story.system.part("orders-1").unwrap().resume();
    let status = story.until("it goes back", |status| {
        is_tried(&story, status);
        phase(status) == "Returning"
    });
    let why = status["rotation"]["last_error"].as_str().unwrap_or_default();
    assert!(why.contains("behind"), "by what the processes told: {status:#}");
    assert!(poll(PATIENCE, || gives(&story, 1) == 1), "{:#}", story.status());
    story.let_work(10);
    // The grace of what was tried may be short now.
    story.system.declare(Pace::default()).unwrap();
    let status = story.until("v2 has ended", |status| {
        is_tried(&story, status);
        status["current"] == 1 && settled(status)
    });
    assert_eq!(last(&status)["phase"], "Abandoned", "{status:#}");
    assert_eq!(story.counts(2).failed, 0, "{:?}", story.counts(2));
    story.nothing_is_left_behind();
}
