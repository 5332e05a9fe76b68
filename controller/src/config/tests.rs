//! What a controller's config may say.

use super::*;

const GOOD: &str = "
installation: { trust_domain: rekey.local }
store: { sqlite: rekey.db }
kek_file: kek
ca_file: ca.pem
fleet: { listen: '127.0.0.1:0', names: [localhost] }
admin: { listen: '127.0.0.1:0', socket: admin.sock }
";

fn read(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("controller.yaml");
    std::fs::write(&file, text).unwrap();
    Config::read(&file).map_err(|problems| problems.to_string())
}

#[test]
fn what_is_not_said_has_a_sane_default() {
    let config = read(GOOD).unwrap();
    assert_eq!(config.leaf_life, Duration::from_hours(1));
    assert_eq!(config.lease, Duration::from_secs(30));
    assert!(config.targets.is_empty() && config.http.is_none());
    assert!(config.admin.socket.is_absolute(), "a path was not taken from the file's folder");
}

#[test]
fn everything_wrong_is_told_at_once_with_its_line() {
    let bad = format!(
        "{GOOD}lease: soon\nhttp: {{ listen: '0.0.0.0:9' }}\nidentity: {{ leaf_life: 1s }}\nkek_fil: x\n"
    );
    let said = read(&bad).unwrap_err();
    for wanted in ["lease", "http.listen", "identity.leaf_life", "kek_fil", "controller.yaml:8"] {
        assert!(said.contains(wanted), "{wanted} is not in\n{said}");
    }
    assert!(!said.contains("soon"), "a value was shown:\n{said}");
}

#[test]
fn a_target_needs_a_password_file_that_only_we_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("password");
    std::fs::write(&secret, "p").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    let target = format!(
        "{GOOD}targets:\n  orders-pg:\n    postgres: {{ host: /run, user: rotator, password_file: {} }}\n",
        secret.display()
    );
    assert!(read(&target).unwrap_err().contains("password_file"));
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(read(&target).unwrap().targets.len(), 1);
}

#[test]
fn what_is_asked_of_declarations_is_read_and_a_class_gives_nothing_unknown() {
    let policy = "environments: [staging, production]\nrequired: { labels: [cost-center] }\nclasses:\n  databases:\n    \
        grace: { floor: 1h }\n    environments:\n      production: { schedule: { every: 90d } }\n";
    let asked = read(&format!("{GOOD}{policy}")).unwrap().policy;
    assert_eq!((asked.labels.len(), asked.environments.len()), (1, 2));
    let class = asked.classes.values().next().unwrap();
    assert_eq!(class.usual["grace"]["floor"], "1h");
    assert_eq!(class.environments.values().next().unwrap()["schedule"]["every"], "90d");
    let bad =
        policy.replace("floor: 1h", "flor: 1h").replace("90d", "often").replace("production: {", "prod: {");
    let said = read(&format!("{GOOD}{bad}")).unwrap_err();
    for wanted in ["grace.flor", "production.schedule.every", "classes.databases.environments"] {
        let wanted = wanted.replace("production", "prod");
        assert!(said.contains(&wanted), "{wanted} is not in\n{said}");
    }
}
