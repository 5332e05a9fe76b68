//! Whatever is wrong is refused with a reason, and changes nothing.

use std::process::Command;

use rekey_testkit::system::{CREDENTIAL, Pace};

use crate::story::Story;

#[test]
fn a_bad_declaration_is_refused_with_every_problem_and_its_line() {
    let story = Story::begin("declare", 0, Pace::default());
    let bad = "credential: Orders DB\nowner: me\nenvironment: demo\npostgres:\n  target: nowhere\n  databse: orders\ngrace:\n  floor: soon\n";
    std::fs::write(story.system.folder().join("bad.yaml"), bad).unwrap();
    let output = story.system.operator().output(&["apply", "-f", "bad.yaml"]).unwrap();
    assert!(!output.status.success());
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for wanted in ["bad.yaml", "credential", "databse", "grace.floor"] {
        assert!(said.contains(wanted), "{wanted} is not in:\n{said}");
    }
    assert_eq!(story.current(), 1, "something changed");
}

#[test]
fn an_unknown_credential_and_a_wrong_verb_have_exit_codes_of_their_own() {
    let story = Story::begin("codes", 0, Pace::default());
    let code = |arguments: &[&str]| story.system.operator().output(arguments).unwrap().status.code();
    assert_eq!(code(&["status", CREDENTIAL]), Some(0));
    let unknown = code(&["rotate", "no/such"]);
    let usage = code(&["rotte"]);
    let refused = code(&["rollback", CREDENTIAL, "--reason", "nothing to roll back"]);
    assert!(unknown != Some(0) && usage != Some(0) && refused != Some(0));
    assert!(unknown != usage && usage != refused && unknown != refused, "{unknown:?} {usage:?} {refused:?}");
}

#[test]
fn a_caller_with_another_uid_is_refused() {
    let mut story = Story::begin("uid", 1, Pace::default());
    let config = story.system.folder().join("sidecar-1.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    // Only somebody else may read; the service's own uid may not.
    let (before, _) = text.split_once("callers:").unwrap();
    std::fs::write(&config, format!("{before}callers:\n  - uid: 4242\n    may_read: [\"orders/*\"]\n"))
        .unwrap();
    story.system.end_part("orders-1").unwrap();
    story.system.end_part("sidecar-1").unwrap();
    story.system.restart_sidecar("sidecar-1").unwrap();
    std::fs::remove_file(story.system.stats("orders-1")).unwrap();
    let started = story.system.start_service("orders-1", "sidecar-1");
    let log = story.system.part("orders-1").map(|part| part.log()).unwrap_or_default();
    let worked = started.is_ok() && story.counts(1).queries > 0;
    assert!(!worked, "a caller that is not listed was served:\n{log}");
}

#[test]
fn a_bad_edit_of_a_sidecars_config_is_refused_with_its_line_and_changes_nothing() {
    let mut story = Story::begin("edit", 1, Pace::default());
    let config = story.system.folder().join("sidecar-1.yaml");
    let good = std::fs::read_to_string(&config).unwrap();
    let lines = good.lines().count();
    std::fs::write(&config, format!("{good}calers: []\n")).unwrap();
    let sidecar = story.system.part("sidecar-1").unwrap();
    sidecar.wait_for_log("calers", crate::story::PATIENCE).unwrap();
    assert!(
        sidecar.log().contains(&format!("{}", lines + 1)),
        "the line is not told:\n{}",
        sidecar.log_end()
    );
    story.let_work(3);
    story.rotate();
    story.nothing_failed();
}

#[test]
fn the_programs_refuse_a_bad_config_before_they_start() {
    let programs = rekey_testkit::system::Programs::built().unwrap();
    let folder = std::env::temp_dir().join(format!("rekey-suite-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let config = folder.join("bad.yaml");
    std::fs::write(&config, "kek_fil: x\nsocket: 3\n").unwrap();
    for program in [&programs.controller, &programs.sidecar] {
        let output =
            Command::new(program).arg("--config").arg(&config).arg("--check-config").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{} took it", program.display());
        assert!(said.contains("bad.yaml") && said.contains("kek_fil"), "{}:\n{said}", program.display());
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
