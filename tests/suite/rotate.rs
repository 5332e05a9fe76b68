//! An operator's verbs: rotate, hold, release, roll back; who wins when two want the same.

use rekey_testkit::system::{CREDENTIAL, Pace};

use crate::story::{Story, last, phase};

#[test]
fn of_two_rotates_one_wins_and_the_other_is_told_which() {
    let mut story = Story::begin("two", 1, Pace::default().with_long_grace());
    let operator = story.system.operator();
    let beside = operator.run_beside(&["rotate", CREDENTIAL, "--reason", "the one"]);
    let here = operator.run(&["rotate", CREDENTIAL, "--reason", "the other"]);
    let both = [beside.join().unwrap(), here];
    let won: Vec<_> = both.iter().filter_map(|r| r.as_ref().ok()).collect();
    assert_eq!(won.len(), 1, "{both:?}");
    let id = won[0]["rotation"]["id"].as_str().unwrap();
    let lost = both.iter().find_map(|r| r.as_ref().err()).unwrap().to_string();
    assert!(lost.contains(id), "the loser was not told the open rotation {id}: {lost}");
    story.system.declare(Pace::default()).unwrap();
    story.until_settled_on(2);
}

#[test]
fn a_held_rotation_ends_nothing_until_it_is_released() {
    let mut story = Story::begin("hold", 1, Pace::default().with_long_grace());
    story.begin_rotation();
    story.until("Grace", |status| phase(status) == "Grace" || phase(status) == "Rolling");
    story.system.ctl(&["hold", CREDENTIAL, "--reason", "wait"]).unwrap();
    story.system.declare(Pace::default()).unwrap();
    let sessions = story.system.database.made_roles();
    story.let_work(20);
    assert!(["Grace", "Rolling"].contains(&story.phase().as_str()), "{}", story.phase());
    assert_eq!(story.system.database.made_roles(), sessions);
    story.system.ctl(&["release", CREDENTIAL]).unwrap();
    story.until_settled_on(2);
    story.nothing_failed();
}

#[test]
fn a_rollback_brings_everybody_back_and_ends_the_new_version() {
    let mut story = Story::begin("back", 2, Pace::default());
    story.rotate();
    story.system.declare(Pace::default().with_long_grace()).unwrap();
    story.begin_rotation();
    story.until("Grace", |status| phase(status) == "Grace");
    story.system.ctl(&["rollback", CREDENTIAL, "--reason", "changed our mind"]).unwrap();
    story.system.declare(Pace::default()).unwrap();
    let status = story.until_settled_on(2);
    assert_eq!(last(&status)["phase"], "Abandoned", "{status:#}");
    story.let_work(3);
    assert_eq!((story.counts(1).version, story.counts(2).version), (2, 2));
    story.nothing_failed();
    let end = story.rotate();
    assert_eq!(end["rotation"]["next"], 4, "a number was used twice: {end:#}");
}
