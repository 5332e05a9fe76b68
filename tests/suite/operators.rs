//! Operators elsewhere: over TLS, with the roles that they were given, until they are removed.

use std::path::PathBuf;
use std::time::Duration;

use rekey_testkit::certificates::Leaf;
use rekey_testkit::process::poll;
use rekey_testkit::system::{CREDENTIAL, Ctl, Pace, folder};
use serde_json::Value;

use crate::door::Visitor;
use crate::story::Story;

/// An operator with a home of their own, and the three files that `admin add` made for them.
struct Operator {
    ctl: Ctl,
    files: PathBuf,
}

impl Operator {
    /// Adds an operator here, and has them do in their own home what was printed.
    fn add(story: &Story, name: &str, role: &str) -> Self {
        let files = story.system.folder().join(format!("{name}-files"));
        let dir = files.display().to_string();
        let added = story.system.ctl(&["admin", "add", name, "--role", role, "--dir", &dir]).unwrap();
        let notes = added["notes"].as_array().unwrap();
        let line =
            notes.iter().find_map(|note| note.as_str()?.strip_prefix("to use them: rekeyctl ")).unwrap();
        let home = folder(story.system.folder(), &format!("{name}-home")).unwrap();
        let ctl = story.system.operator().elsewhere(&home);
        ctl.run(&line.split(' ').collect::<Vec<_>>()).unwrap();
        Self { ctl, files }
    }

    /// The exit code of a command, and what was said about its failure.
    fn tries(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let output = self.ctl.output(arguments).unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let failure = said.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
        (output.status.code(), failure.map(|failure| failure["error"].clone()).unwrap_or_default())
    }

    /// A role is missing: exit code and reason say so.
    fn may_not(&self, arguments: &[&str]) {
        let (code, error) = self.tries(arguments);
        assert_eq!((code, &error["reason"]), (Some(6), &"ROLE_MISSING".into()), "{arguments:?}: {error:#}");
    }

    fn leaf(&self) -> Leaf {
        let read = |name: &str| std::fs::read_to_string(self.files.join(name)).unwrap();
        Leaf { certificate: read("chain.pem"), key: read("key.pem") }
    }
}

#[test]
fn an_operator_elsewhere_may_do_what_the_role_allows_and_nothing_else() {
    let mut story = Story::begin("roles", 1, Pace::default());
    let [vera, otto, rosa] = [("vera", "viewer"), ("otto", "operator"), ("rosa", "responder")]
        .map(|(name, role)| Operator::add(&story, name, role));
    let me = vera.ctl.run(&["whoami"]).unwrap();
    assert_eq!((&me["name"], &me["authenticated_by"]), (&"vera".into(), &"mtls".into()), "{me:#}");
    assert_eq!(me["roles"], serde_json::json!(["viewer"]));
    assert_eq!(vera.ctl.run(&["status", CREDENTIAL]).unwrap()["credentials"][0]["current"], 1);
    vera.may_not(&["rotate", CREDENTIAL]);
    vera.may_not(&["revoke", CREDENTIAL, "--reason", "curious"]);
    vera.may_not(&["token", "create", "--for", "spiffe://rekey.local/sidecar/orders/x"]);
    rosa.may_not(&["rotate", CREDENTIAL]);
    otto.may_not(&["revoke", CREDENTIAL, "--reason", "curious"]);
    otto.may_not(&["admin", "add", "otto2", "--role", "admin"]);
    assert_eq!(story.current(), 1, "something changed");
    let end = otto.ctl.run(&["rotate", CREDENTIAL, "--wait", "--wait-timeout", "3m"]).unwrap();
    assert_eq!(end["rotation"]["phase"], "Done", "{end:#}");
    story.nothing_failed();
    let receipt = rosa.ctl.run(&["revoke", CREDENTIAL, "--reason", "leaked"]).unwrap();
    assert_eq!(receipt["by"], "rosa", "{receipt:#}");
    story.until_settled_on(3);
    let audit = vera.ctl.run(&["audit", "query", "--limit", "100"]).unwrap();
    let did = |actor: &str, verb: &str, outcome: &str| {
        let fits = |r: &Value| r["actor"] == actor && r["verb"] == verb && r["outcome"] == outcome;
        assert!(audit["records"].as_array().unwrap().iter().any(fits), "{actor} {verb} {outcome}: {audit:#}");
    };
    did("vera", "rotate", "refused");
    did("otto", "revoke", "refused");
    did("otto", "rotate", "done");
    did("rosa", "revoke", "done");
}

#[test]
fn a_removed_operator_is_cut_and_not_let_in_again() {
    let story = Story::begin("gone", 0, Pace::default());
    let vera = Operator::add(&story, "vera", "viewer");
    let rosa = Operator::add(&story, "rosa", "responder");
    let contexts =
        std::fs::read(story.system.folder().join("vera-home/.config/rekey/contexts.json")).unwrap();
    let contexts: Value = serde_json::from_slice(&contexts).unwrap();
    let address = contexts["contexts"]["vera"]["controller"].as_str().unwrap();
    let port = address.rsplit(':').next().unwrap().parse().unwrap();
    let door = ([127, 0, 0, 1], port).into();
    let knock =
        |who: &Operator| Visitor::new(story.system.folder(), Some(&who.leaf())).knock(door).ok().unwrap();
    let (mut veras, mut rosas) = (knock(&vera), knock(&rosa));
    let veras = std::thread::spawn(move || veras.stay());
    let rosas = std::thread::spawn(move || rosas.stay());
    assert!(!poll(Duration::from_millis(300), || veras.is_finished()), "it was cut before");
    story.system.ctl(&["admin", "remove", "vera"]).unwrap();
    assert!(poll(Duration::from_secs(20), || veras.is_finished()), "still connected");
    assert!(!rosas.is_finished(), "another's connection was cut");
    let (code, error) = vera.tries(&["status"]);
    assert_eq!((code, &error["reason"]), (Some(6), &"UNKNOWN_CALLER".into()), "{error:#}");
    assert_eq!(rosa.tries(&["status"]).0, Some(0));
    let listed = story.system.ctl(&["admin", "list"]).unwrap();
    assert!(!listed.to_string().contains("vera"), "{listed:#}");
    story.system.ctl(&["admin", "remove", "rosa"]).unwrap();
    rosas.join().unwrap();
}
