//! The alert rules that are shipped, as Prometheus itself reads them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn promtool(arguments: &[&str]) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus");
    let output = Command::new("promtool").args(arguments).current_dir(folder).output();
    let output = output.expect("promtool is missing: run `scripts/setup.sh prometheus`");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said
}

#[test]
fn every_rule_is_right_and_fires_when_it_must() {
    let checked = promtool(&["check", "rules", "rekey.rules.yml"]);
    assert!(checked.contains("8 rules found"), "{checked}");
    assert!(promtool(&["test", "rules", "rekey.rules.test.yml"]).contains("SUCCESS"));
}

#[test]
fn every_alert_has_its_case_and_its_page() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| std::fs::read_to_string(top.join(path)).unwrap();
    let (rules, cases) =
        (read("deploy/prometheus/rekey.rules.yml"), read("deploy/prometheus/rekey.rules.test.yml"));
    let page = read("docs/alerts.md");
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(alerts.len(), 8);
    for alert in alerts {
        assert!(cases.contains(&format!("alertname: {alert}\n")), "no case in which {alert} fires");
        assert!(page.contains(&format!("### {alert}\n")), "docs/alerts.md says nothing of {alert}");
        assert!(
            rules.contains(&format!("docs/alerts.md#{}\"", alert.to_lowercase())),
            "{alert} leads nowhere"
        );
    }
}

#[test]
fn every_figure_in_the_rules_is_one_that_the_controller_has() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let rules = std::fs::read_to_string(top.join("deploy/prometheus/rekey.rules.yml")).unwrap();
    let made = std::fs::read_to_string(top.join("controller/src/metrics.rs")).unwrap();
    let lines = rules.lines().filter(|line| !line.trim_start().starts_with('#'));
    let words = lines.flat_map(|line| line.split(|c: char| !(c.is_ascii_lowercase() || c == '_')));
    let figures: BTreeSet<&str> = words.filter_map(|word| word.strip_prefix("rekey_")).collect();
    assert!(figures.len() >= 8, "the rules were not understood: {figures:?}");
    for figure in figures {
        assert!(made.contains(&format!("\"{figure}\"")), "the controller has no figure rekey_{figure}");
    }
}
