//! The controller is killed, or away for long: nothing is lost, and nobody below it notices.

use std::time::Duration;

use rekey_testkit::process::poll;
use rekey_testkit::system::{CREDENTIAL, Pace};

use crate::story::{PATIENCE, Story, phase};

#[test]
fn a_controller_killed_at_any_phase_goes_on_where_it_was() {
    let mut story = Story::begin("killed", 1, Pace { floor: "1s".into(), ..Pace::default() });
    // As soon as this phase is seen, or a later one: the kill comes at a different point in each round.
    let order = ["Planned", "Chosen", "Installed", "Proven", "Rolling", "Grace", "Retiring"];
    for (round, from) in [(2, 0), (3, 2), (4, 4), (5, 5), (6, 6)] {
        story.begin_rotation();
        let reached = poll(PATIENCE, || {
            let now = story.phase();
            order[from..].contains(&now.as_str()) || story.current() == round && now.is_empty()
        });
        assert!(reached, "never in {:?} or later", order[from]);
        story.system.kill_controller();
        story.let_work(3);
        story.system.start_controller().unwrap();
        story.until_settled_on(round);
    }
    story.nothing_failed();
}

#[test]
fn a_controller_away_for_three_lives_of_a_leaf_finds_the_fleet_level_again() {
    let pace = Pace { leaf_life: "5s".into(), lease: "2s".into(), ..Pace::default() };
    let mut story = Story::begin("away", 2, pace);
    story.let_work(3);
    story.system.kill_controller();
    let away = std::thread::spawn(|| std::thread::sleep(Duration::from_secs(16)));
    while !away.is_finished() {
        story.let_work(5);
    }
    story.system.start_controller().unwrap();
    let level = |story: &Story| {
        let holders = &story.status()["holders"];
        holders["live"] == 2 && holders["acknowledged"] == 2
    };
    assert!(poll(PATIENCE, || level(&story)), "never level: {:#}", story.status());
    let end = story.rotate();
    assert_eq!(end["rotation"]["phase"], "Done", "{end:#}");
    story.nothing_failed();
}

#[test]
fn a_target_that_is_down_loses_nothing_and_status_says_what_is_waited_for() {
    let mut story = Story::begin("down", 1, Pace::default());
    story.system.end_part("orders-1").unwrap();
    story.system.database.postgres.stop().unwrap();
    story.begin_rotation();
    let waiting = story.until("status names the target", |status| {
        status["rotation"]["waiting_for"].to_string().contains("orders-pg")
            || !status["rotation"]["last_error"].as_str().unwrap_or_default().is_empty()
    });
    assert_eq!(phase(&waiting), "Chosen", "{waiting:#}");
    story.system.database.postgres.start_again().unwrap();
    // It may have tried again by itself, and be done.
    story.system.ctl(&["retry", CREDENTIAL]).ok();
    story.until_settled_on(2);
    story.nothing_is_left_behind();
}
