//! The promise itself: the password changes again and again under load, and nothing fails.

use rekey_testkit::system::Pace;

use crate::story::Story;

#[test]
fn twelve_rotations_under_load_fail_no_login_and_no_query() {
    let mut story = Story::begin("load", 2, Pace::default());
    story.let_work(5);
    for round in 2..=13 {
        let end = story.rotate();
        assert_eq!(end["rotation"]["phase"], "Done", "{end:#}");
        assert_eq!(end["rotation"]["next"], round);
        assert!(end["propagation_ms"].as_u64().is_some(), "{end:#}");
    }
    story.let_work(5);
    assert_eq!(story.counts(1).version, 13);
    assert_eq!(story.counts(2).version, 13);
    story.nothing_failed();
}

#[test]
fn the_adopted_login_is_ended_by_the_first_rotation_and_alarms_until_then() {
    let mut story = Story::begin("adopted", 1, Pace::default());
    story.let_work(3);
    let adopted = story.status();
    assert_eq!(adopted["current"], 1);
    assert!(adopted["alarms"].to_string().contains("adopted"), "{adopted:#}");
    assert!(story.system.database.sessions("orders_legacy") > 0);
    story.rotate();
    assert_eq!(story.system.database.sessions("orders_legacy"), 0);
    let login = story.system.database.postgres.connection(
        "orders_legacy",
        story.system.database.legacy_password(),
        "orders",
    );
    let refused = story.system.database.postgres.try_sql(login, "SELECT 1").unwrap_err();
    assert!(format!("{refused:#}").contains("orders_legacy"), "{refused:#}");
    assert!(!story.status()["alarms"].to_string().contains("adopted"));
    story.let_work(3);
    story.nothing_failed();
}
