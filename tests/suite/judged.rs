//! A version that breaks after everybody has moved to it: what the processes report sends all back, and nobody is asked.

use rekey_testkit::process::poll;
use rekey_testkit::system::{Pace, write_private};
use serde_json::Value;

use crate::story::{PATIENCE, Story, last, phase, settled};

/// What the service behind the first sidecar has counted.
fn stats(story: &Story, key: &str) -> u64 {
    let text = std::fs::read(story.system.stats("orders-1")).unwrap();
    serde_json::from_slice::<Value>(&text).unwrap()[key].as_u64().unwrap_or_default()
}

#[test]
fn a_version_that_breaks_after_its_promotion_is_left_again_by_itself() {
    // So long that neither the grace ends nor the target is tried twice before the processes have told.
    let pace = Pace::default().with_long_grace();
    let mut story = Story::begin("judged", 1, pace);
    let folder = story.system.folder().to_owned();
    let declared = std::fs::read_to_string(folder.join("credential.yaml")).unwrap();
    let judged = format!("{declared}judge: {{ good: 99.9%, least: 50 }}\n");
    write_private(&folder.join("judged.yaml"), &judged).unwrap();
    story.system.ctl(&["apply", "-f", "judged.yaml"]).unwrap();
    story.begin_rotation();
    let status = story.until("v2 does well", |status| {
        phase(status) == "Grace" && status["rotation"]["judgement"]["good"].as_u64() >= Some(50)
    });
    let judgement = &status["rotation"]["judgement"];
    assert_eq!((&judgement["good"], &judgement["bar"]), (&judgement["uses"], &"99.9%".into()), "{status:#}");
    let role = story.system.database.made_roles().remove(0);
    story.system.database.postgres.sql(&format!("ALTER ROLE {role} NOLOGIN"));
    let status = story.until("everybody goes back", |status| status["current"] == 1);
    let why = status["rotation"]["last_error"].as_str().unwrap_or_default();
    assert!(why.contains("uses of v2 were good, 99.9% were asked for"), "{status:#}");
    // Refusals wait for their verdict for a while.
    let back = poll(PATIENCE, || stats(&story, "version") == 1 && stats(&story, "undecided") == 0);
    assert!(back, "the service is not back on v1: {:?}", story.counts(1));
    // What was under way with v2 may fail yet.
    story.let_work(5);
    assert!(poll(PATIENCE, || stats(&story, "undecided") == 0));
    let refused = story.counts(1).failed;
    story.let_work(20);
    assert_eq!((story.counts(1).failed, stats(&story, "undecided")), (refused, 0), "v1 works as before");
    story.system.declare(Pace::default()).unwrap();
    let status = story.until("v2 has ended", |status| status["current"] == 1 && settled(status));
    assert_eq!(last(&status)["phase"], "Abandoned", "{status:#}");
    story.nothing_is_left_behind();
}
