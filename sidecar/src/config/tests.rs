//! What is taken, what is refused and how it is told, and what a reload does.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rekey_runtime::{CancellationToken, Clock};

use super::reload::{Look, Reload};
use super::*;
use crate::callers::{InForce, Process};

/// A config in `dir` whose first line is right, with a CA beside it.
fn text(dir: &Path, rest: &str) -> String {
    let ca = dir.join("ca.pem");
    if !ca.exists() {
        fs::write(&ca, rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert.pem()).unwrap();
    }
    format!("controller: {{ address: \"127.0.0.1:8443\", ca_file: {} }}\n{rest}", ca.display())
}

const IDENTITY: &str = "identity: { state_dir: /var/lib/rekey }\n";

#[test]
fn what_is_not_set_has_its_default() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::parse("sidecar.yaml", dir.path(), &text(dir.path(), IDENTITY)).unwrap();
    assert_eq!(config.socket.to_str(), Some(SOCKET));
    assert_eq!(config.socket_mode, UnixMode::PRIVATE);
    assert_eq!(config.metrics, None);
    assert_eq!(config.callers, Callers::only(rustix::process::geteuid().as_raw()));
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = "identity: {}
socket: { mode: 0777, gid: 5 }
callers:
  - { uid: 1000, gid: 5, may_read: [a] }
  - { uid: root, may_read: [\"Orders/*\"] }
  - { uid: 65534, may_read: [\"*\"] }
  - { gid: 7 }
caller: 1
metrics: 0.0.0.0:9464
files:
  - { path: /run/key, value: dev/key }
  - { path: /run/env, env: { 1KEY: dev/key#value }, mode: 0644, gid: 5 }
  - { path: /run/env, env: { KEY: dev/key#value }, gid: 5 }
  - { path: /run/both, env: { KEY: dev/key#value }, value: dev/key#value }
";
    let problems = Config::parse("sidecar.yaml", dir.path(), &text(dir.path(), wrong)).unwrap_err();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for expected in [
        "sidecar.yaml:2: identity: there is no way",
        "sidecar.yaml:3: socket.mode: write 0600",
        "sidecar.yaml:5: callers[0]: only one of these",
        "sidecar.yaml:6: callers[1].uid: write the number",
        "sidecar.yaml:6: callers[1].may_read[0]: write a credential name",
        "sidecar.yaml:7: callers[2].uid: this number stands for nobody",
        "sidecar.yaml:8: callers[3]: it says nothing",
        "sidecar.yaml:9: caller: there is no such setting",
        "sidecar.yaml:10: metrics: is not on loopback",
        "sidecar.yaml:12: files[0].value: write the credential and its field",
        "sidecar.yaml:13: files[1].mode: write 0400",
        "sidecar.yaml:13: files[1].env.1KEY: is no name of a variable",
        "sidecar.yaml:14: files[2].gid: the group may not read it",
        "sidecar.yaml:14: files[2].path: is the path of another file",
        "sidecar.yaml:15: files[3]: only one of these",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(expected)), "{expected} is not in {lines:#?}");
    }
}

#[test]
fn a_missing_ca_is_told_where_it_is_named() {
    let text =
        "controller:\n  address: \"a:1\"\n  ca_file: /nonexistent/ca.pem\nidentity: { state_dir: a }\n";
    let problems = Config::parse("f", Path::new("/"), text).unwrap_err();
    assert!(
        problems.to_string().starts_with("f:3: controller.ca_file: the file cannot be read"),
        "{problems}"
    );
}

#[test]
fn relative_paths_are_below_the_folder_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    text(folder, "");
    let relative = "controller: { address: \"a:1\", ca_file: ca.pem }
identity: { state_dir: state, join_token_file: sub/token }
socket: { path: socket/rekey.sock }
";
    fs::write(folder.join("sidecar.yaml"), relative).unwrap();
    let config = Config::load(&folder.join("sidecar.yaml")).unwrap();
    assert_eq!(config.ca_file, folder.join("ca.pem"));
    assert_eq!(config.state_dir, Some(folder.join("state")));
    assert_eq!(config.join_token_file, Some(folder.join("sub/token")));
    assert_eq!(config.socket, folder.join("socket/rekey.sock"));
}

struct Edited {
    dir: tempfile::TempDir,
    callers: Arc<InForce>,
    reload: Reload,
}

impl Edited {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sidecar.yaml");
        fs::write(&path, text(dir.path(), IDENTITY)).unwrap();
        let config = Config::load(&path).unwrap();
        let callers = Arc::new(InForce::new(config.callers.clone()));
        let reload = Reload::new(path, config, Arc::clone(&callers));
        Self { dir, callers, reload }
    }

    fn write(&self, rest: &str) {
        let text = text(self.dir.path(), &format!("{IDENTITY}{rest}"));
        fs::write(self.dir.path().join("sidecar.yaml"), text).unwrap();
    }

    fn allows(&self, uid: u32) -> bool {
        allows(&self.callers, uid)
    }
}

fn allows(callers: &InForce, uid: u32) -> bool {
    callers.may_read(Some(&Process { uid, gid: 1, pid: Some(1) }), "orders/db")
}

#[test]
fn an_edit_of_the_callers_is_in_force_at_once() {
    let mut edited = Edited::new();
    assert_eq!(edited.reload.look(), Look::Same);
    edited.write("callers: [ { uid: 4242, may_read: [orders/db] } ]\n");
    assert_eq!(edited.reload.look(), Look::Applied(vec![]));
    assert!(edited.allows(4242));
    assert_eq!(edited.reload.look(), Look::Same);
}

#[test]
fn a_bad_edit_changes_nothing_and_is_told_once() {
    let mut edited = Edited::new();
    edited.write("callers: [ { uid: 4242, may_read: [orders/db] } ]\n");
    edited.reload.look();
    edited.write("callers: [ { uid: 4243, may_read: [orders/db] }, { uid: x, may_read: [a] } ]\n");
    let Look::Refused(lines) = edited.reload.look() else { panic!("a bad edit was taken") };
    assert!(lines[0].contains("sidecar.yaml:3: callers[1].uid"), "{lines:?}");
    assert!(edited.allows(4242) && !edited.allows(4243));
    assert_eq!(edited.reload.look(), Look::Same);
    fs::remove_file(edited.dir.path().join("sidecar.yaml")).unwrap();
    assert!(matches!(edited.reload.look(), Look::Refused(_)));
    assert!(edited.allows(4242));
    edited.write("callers: [ { uid: 4242, may_read: [orders/db] } ]\n");
    assert_eq!(edited.reload.look(), Look::Applied(vec![]));
}

#[test]
fn what_does_not_reload_is_named() {
    let mut edited = Edited::new();
    edited.write("socket: { path: /tmp/a/b.sock }\ncallers: [ { uid: 4242, may_read: [orders/db] } ]\n");
    assert_eq!(edited.reload.look(), Look::Applied(vec!["socket"]));
    assert!(edited.allows(4242));
}

#[tokio::test]
async fn the_symlink_swap_of_kubernetes_is_seen() {
    let edited = Edited::new();
    let dir = edited.dir.path().to_owned();
    for (version, rest) in [("..1", ""), ("..2", "callers: [ { uid: 4242, may_read: [\"*\"] } ]\n")] {
        fs::create_dir(dir.join(version)).unwrap();
        let text = text(&dir, &format!("{IDENTITY}{rest}"));
        fs::write(dir.join(version).join("sidecar.yaml"), text).unwrap();
    }
    let point = |to: &str| {
        std::os::unix::fs::symlink(to, dir.join("..data_tmp")).unwrap();
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    };
    point("..1");
    fs::remove_file(dir.join("sidecar.yaml")).unwrap();
    std::os::unix::fs::symlink("..data/sidecar.yaml", dir.join("sidecar.yaml")).unwrap();
    let clock = Clock::system();
    let callers = Arc::clone(&edited.callers);
    let seen = async {
        // The watch may begin after the first swap, so it is made until it is seen; by the poll it would take a minute.
        while !allows(&callers, 4242) {
            point("..1");
            point("..2");
            clock.sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::select! {
        () = edited.reload.run(clock.clone(), CancellationToken::new()) => panic!("it ended"),
        seen = clock.within(Duration::from_secs(20), seen) => assert!(seen.is_some()),
    }
}
