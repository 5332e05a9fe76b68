//! Two credentials that must not change in one window: neither the schedule nor an operator brings them together.

use rekey_testkit::process::poll;
use rekey_testkit::system::{Pace, write_private};
use serde_json::Value;

use crate::story::{PATIENCE, Story, phase};

const OTHER: &str = "orders/reports";

fn other(story: &Story) -> Value {
    let all = story.system.ctl(&["status", OTHER]).unwrap();
    all.pointer("/credentials/0").cloned().unwrap_or_default()
}

/// Declares both, of which the first has a grace of at least `floor`, and the other may have a schedule.
fn declare(story: &mut Story, floor: &str, schedule: &str) {
    let pace = Pace { floor: floor.into(), deadline: "2h".into(), ..Pace::default() };
    story.system.declare(pace).unwrap();
    let folder = story.system.folder();
    let first = std::fs::read_to_string(folder.join("credential.yaml")).unwrap();
    let pair = format!(
        "{first}pair: orders-database\n---\ncredential: {OTHER}\nowner: team-orders\nenvironment: demo\n\
         pair: orders-database\n{schedule}\
         postgres: {{ target: orders-pg, database: orders, owner_role: orders_owner, prefix: orders_reports }}\n\
         grace: {{ max_reconnect: 300ms, floor: 400ms, quiet: 300ms, deadline: 2m }}\n\
         deliver: {{ to: [\"spiffe://rekey.local/sidecar/orders/*\"], offline: serve-until-expiry, offline_for: 10m }}\n"
    );
    write_private(&folder.join("pair.yaml"), &pair).unwrap();
    story.system.ctl(&["apply", "-f", "pair.yaml"]).unwrap();
}

#[test]
fn one_of_a_pair_waits_for_the_other_by_its_schedule_and_by_hand() {
    let mut story = Story::begin("pair", 1, Pace::default());
    declare(&mut story, "10m", "");
    let made = || other(&story)["current"] == 1 && phase(&other(&story)).is_empty();
    assert!(poll(PATIENCE, made), "{:#}", other(&story));
    story.begin_rotation();
    story.until("Grace", |status| phase(status) == "Grace");
    declare(&mut story, "10m", "schedule: { every: 2s }\n");
    let due = other(&story)["next_rotation_ms"].as_u64().unwrap();
    let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    assert!(poll(PATIENCE, || now() > u128::from(due) + 1_000), "{:#}", other(&story));
    let refused = story.system.operator().output(&["rotate", OTHER, "--reason", "test"]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{said}");
    assert!(said.contains("GATED") && said.contains("orders/db"), "{said}");
    let plan = story.system.ctl(&["plan", "rotate", OTHER]).unwrap();
    assert!(plan["obstacles"].to_string().contains("its pair orders/db rotates"), "{plan:#}");
    assert_eq!((story.phase().as_str(), other(&story)["current"].as_u64()), ("Grace", Some(1)));
    declare(&mut story, "400ms", "schedule: { every: 2s }\n");
    story.until_settled_on(2);
    let begun = || other(&story)["current"].as_u64() > Some(1);
    assert!(poll(PATIENCE, begun), "it does not begin by itself: {:#}", other(&story));
    story.nothing_failed();
}
