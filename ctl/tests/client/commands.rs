//! What a person or a script sees: words, JSON, exit codes, files.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use rekey_proto::admin::*;
use rekey_proto::refusal::Refusal;
use tonic::Code;

use crate::fake::{Fake, Script};

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", err(output)))
}

fn progress(phase: &str, acknowledged: u32) -> RotationProgress {
    RotationProgress {
        rotation: Some(RotationStatus {
            id: "00ff".to_owned(),
            credential: "orders/db".to_owned(),
            phase: phase.to_owned(),
            next: 4,
            old: 3,
            why: "asked by alice".to_owned(),
            ..Default::default()
        }),
        holders: Some(HolderCount { counting: 3, live: 3, acknowledged }),
        waiting_holders: if acknowledged < 3 { vec!["orders-c".to_owned()] } else { Vec::new() },
        old_sessions: Some(2),
        propagation_ms: (acknowledged == 3).then_some(41),
    }
}

#[test]
fn apply_shows_every_problem_where_it_stands() {
    let problem = SpecProblem {
        spec: 1,
        field: "grace.floor".to_owned(),
        message: "is short".to_owned(),
        remedy: "write more".to_owned(),
    };
    let applied = ApplyResponse { problems: vec![problem], ..Default::default() };
    let fake = Fake::start(Script { applied, ..Script::default() });
    let path = fake.file("all/two.yaml", "credential: a\n---\ncredential: b\ngrace:\n  floor: 1s\n");
    let output = fake.run(&["apply", "-f", path.parent().unwrap().to_str().unwrap()]);
    assert_eq!(code(&output), 10);
    let wanted = format!("{}:5: grace.floor: is short", path.display());
    assert!(err(&output).contains(&wanted), "{}", err(&output));
    assert!(err(&output).contains("-> write more"), "{}", err(&output));
    assert!(
        fake.heard()[0].contains(r#"{\"credential\":\"b\",\"grace\":{\"floor\":\"1s\"}}"#),
        "{:?}",
        fake.heard()
    );
}

#[test]
fn a_rotation_is_followed_through_streams_that_end() {
    let watched = [
        vec![progress("Rolling", 2)],
        vec![progress("Rolling", 2), progress("Grace", 3), progress("Done", 3)],
    ];
    let fake = Fake::start(Script { watched: watched.into(), ..Script::default() });
    let output = fake.run(&["rotate", "orders/db", "--wait", "-o", "json"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(json(&output)["rotation"]["phase"], "Done");
    assert_eq!(json(&output)["propagation_ms"], 41);
    let told = err(&output);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 3, "the same is not said twice: {lines:?}");
    assert!(lines[0].contains("holders 2 of 3 | waiting for orders-c | 2 sessions left on the old version"));
}

#[test]
fn a_rotation_that_is_abandoned_has_a_number_of_its_own() {
    let watched = [vec![progress("Abandoned", 0)]];
    let fake = Fake::start(Script { watched: watched.into(), ..Script::default() });
    assert_eq!(code(&fake.run(&["rotate", "orders/db", "--wait"])), 9);
}

#[test]
fn waiting_can_be_limited() {
    let endless = vec![vec![progress("Grace", 3)]; 100];
    let fake = Fake::start(Script { watched: endless.into(), ..Script::default() });
    let output = fake.run(&["rotate", "orders/db", "--wait", "--wait-timeout", "200ms"]);
    assert_eq!(code(&output), 7, "{}", err(&output));
    assert_eq!(code(&fake.run(&["rotate", "orders/db", "--wait=moved"])), 0);
}

#[test]
fn a_refusal_is_said_in_the_controllers_words() {
    let refusal =
        Refusal::new("ROTATION_OPEN").into_status(Code::FailedPrecondition, "rotation 00ff is open");
    let fake = Fake::start(Script { refusal: Some(refusal), ..Script::default() });
    let output = fake.run(&["rotate", "orders/db"]);
    assert_eq!((code(&output), err(&output).as_str()), (3, "rekeyctl: rotation 00ff is open\n"));
    let output = fake.run(&["-o", "json", "rotate", "orders/db"]);
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["reason"], "ROTATION_OPEN");
}

#[test]
fn revoking_goes_on_until_the_receipt() {
    let under_way = RevokeProgress { name: "orders/db".to_owned(), intent_ms: 1_000, ..Default::default() };
    let receipt = RevokeProgress { cut_ms: 1_400, receipt: true, ..under_way.clone() };
    let fake = Fake::start(Script { revoked: [vec![under_way], vec![receipt]].into(), ..Script::default() });
    let output = fake.run(&["revoke", "orders/db@3", "--reason", "INC-42"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).starts_with("REVOKED  orders/db: the key is dead since"), "{}", out(&output));
    assert!(fake.heard()[0].contains("version: 3"));
    assert_eq!(fake.heard().len(), 2, "it joined the first again");
}

#[test]
fn a_revocation_with_something_left_to_do_has_a_number_of_its_own() {
    let receipt = RevokeProgress {
        name: "orders/db".to_owned(),
        intent_ms: 1_000,
        receipt: true,
        left_to_do: vec!["end v3 at the target by hand".to_owned()],
        ..Default::default()
    };
    let fake = Fake::start(Script { revoked: [vec![receipt]].into(), ..Script::default() });
    let output = fake.run(&["revoke", "orders/db", "--reason", "INC-42"]);
    assert_eq!(code(&output), 8);
    assert!(out(&output).starts_with("NOT DEAD YET"), "{}", out(&output));
    assert!(out(&output).contains("end v3 at the target by hand"));
}

#[test]
fn a_password_comes_by_pipe_or_file_and_is_shown_nowhere() {
    let fake = Fake::start(Script::default());
    let file = fake.file("password", "marker-two\n");
    for output in [
        fake.run_with(&["adopt", "orders/db"], "marker-one\n"),
        fake.run(&["adopt", "orders/db", "--password-file", file.to_str().unwrap()]),
    ] {
        assert_eq!(code(&output), 0, "{}", err(&output));
        assert!(!out(&output).contains("marker") && !err(&output).contains("marker"));
    }
    let passwords = fake.script.lock().unwrap().passwords.clone();
    assert_eq!(passwords, [b"marker-one".to_vec(), b"marker-two".to_vec()]);
    assert_eq!(code(&fake.run_with(&["adopt", "orders/db"], "\n")), 10, "an empty password is refused");
}

#[test]
fn a_token_stands_alone_on_standard_output() {
    let fake = Fake::start(Script::default());
    let output = fake.run(&["token", "create", "--for", "spiffe://rekey.local/sidecar/orders/a"]);
    assert_eq!((code(&output), out(&output).as_str()), (0, "rkj_abc\n"));
    assert!(err(&output).contains("for one use"));
}

#[test]
fn an_operators_key_stays_here_and_the_context_is_ready() {
    let fake = Fake::start(Script::default());
    let output = fake.run(&["admin", "add", "alice", "--role", "operator", "--role", "responder"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let folder = fake.home().join(".config/rekey");
    let key = folder.join("alice/key.pem");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&key).unwrap();
    assert!(text.contains("PRIVATE KEY"));
    let contexts = std::fs::read_to_string(folder.join("contexts.json")).unwrap();
    assert!(contexts.contains("localhost:8444") && contexts.contains("\"current\": \"alice\""), "{contexts}");
    assert!(fake.heard()[0].contains("roles: [Operator, Responder]"), "{:?}", fake.heard());
    let again = fake.run(&["admin", "add", "alice", "--role", "operator"]);
    assert_eq!(code(&again), 3, "a signed key is not overwritten");
    assert_eq!(std::fs::read_to_string(&key).unwrap(), text);
}

#[test]
fn deleting_is_asked_twice() {
    let fake = Fake::start(Script::default());
    for args in [&["delete", "orders/db"][..], &["delete", "orders/db", "--end"]] {
        assert_eq!(code(&fake.run(args)), 2, "{args:?}");
    }
    assert!(fake.heard().is_empty());
    assert_eq!(code(&fake.run(&["delete", "orders/db", "--leave", "--yes"])), 0);
    assert!(fake.heard()[0].contains("Leave"), "{:?}", fake.heard());
}

#[test]
fn a_controller_that_is_not_there_is_said_so() {
    let fake = Fake::start(Script::default());
    let output = fake.run(&["--controller", "unix:/nowhere/admin.sock", "status"]);
    assert_eq!(code(&output), 5, "{}", err(&output));
    assert!(err(&output).contains("is the controller running"), "{}", err(&output));
}

#[test]
fn the_status_says_what_needs_somebody() {
    let credential = CredentialStatus {
        name: "orders/db".to_owned(),
        owner: "team-orders\u{1b}[2J".to_owned(),
        current: 3,
        rotation: progress("Grace", 3).rotation,
        holders: progress("Grace", 3).holders,
        versions: vec![VersionStatus { version: 3, promoted_ms: 40_000, ..Default::default() }],
        alarms: vec![Alarm {
            kind: "grace_overdue".to_owned(),
            message: "waits for orders-c".to_owned(),
            next_command: "rekeyctl who orders/db".to_owned(),
        }],
        ..Default::default()
    };
    let status = StatusResponse { credentials: vec![credential], now_ms: 100_000, ..Default::default() };
    let fake = Fake::start(Script { status, ..Script::default() });
    let output = fake.run(&["status"]);
    let wanted = "\
NAME        CURRENT   STATE   PROMOTED   NEXT ROTATION   HOLDERS   ALARMS   OWNER
orders/db   v3        Grace   1 m ago    -               3/3       1        team-orders\\u{1b}[2J
ALARM orders/db: waits for orders-c [grace_overdue]
      next: rekeyctl who orders/db
";
    assert_eq!(out(&output), wanted);
    let document = json(&fake.run(&["status", "-o", "json"]));
    assert_eq!(document["credentials"][0]["versions"][0]["promoted_ms"], 40_000);
    assert_eq!(document["credentials"][0]["alarms"][0]["kind"], "grace_overdue");
    assert_eq!(document["now"], "1970-01-01T00:01:40.000Z");
}
