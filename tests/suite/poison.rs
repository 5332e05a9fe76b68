//! A credential that logs in and cannot do its work is never handed out.

use rekey_testkit::system::{CREDENTIAL, Pace};

use crate::story::{Story, last};

#[test]
fn a_version_that_fails_its_probe_is_undone_and_nobody_saw_it() {
    let mut story = Story::begin("poison", 1, Pace::default());
    story.let_work(3);
    let poison = vec!["SELECT count(*) FROM a_table_that_is_missing".into()];
    story.system.declare(Pace { probes: poison, ..Pace::default() }).unwrap();
    story.begin_rotation();
    let status = story.until("the rotation is abandoned", |status| last(status)["phase"] == "Abandoned");
    let said = last(&status)["last_error"].as_str().unwrap_or_default().to_owned();
    assert!(said.contains("a_table_that_is_missing"), "the reason is not told: {status:#}");
    assert_eq!(status["current"], 1);
    story.let_work(3);
    assert_eq!(story.counts(1).version, 1);
    assert!(story.system.database.made_roles().is_empty(), "{:?}", story.system.database.made_roles());
    let history = story.system.ctl(&["audit", "query", "--credential", CREDENTIAL]).unwrap();
    assert!(!history["records"].as_array().unwrap().is_empty());
    let counts = story.counts(1);
    assert_eq!(counts.failed, 0, "{counts:?}");
}
