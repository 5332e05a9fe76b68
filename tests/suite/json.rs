//! Every command of `rekeyctl` answers programs as its manual says, and every shell is helped.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use rekey_testkit::process::poll;
use rekey_testkit::system::{CREDENTIAL, Ctl, Pace};
use serde_json::Value;

use crate::story::{PATIENCE, Story, receiver};

const MANUAL: &str = include_str!("../../docs/rekeyctl.md");

/// The words between back quotes.
fn quoted(text: &str) -> BTreeSet<String> {
    let word = |word: &str| word.trim_end_matches("[]").to_owned();
    text.split('`').skip(1).step_by(2).map(word).collect()
}

/// What the manual promises of each command's document: by its first column, the words of its row.
fn promised() -> BTreeMap<String, BTreeSet<String>> {
    let table = MANUAL.split("| command | document |").nth(1).unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" | "));
    rows.flat_map(|(commands, fields)| {
        let fields = quoted(fields);
        quoted(&format!("`{commands}")).into_iter().map(move |command| (command, fields.clone()))
    })
    .collect()
}

/// The row that is about `command`: its own, or one such as `… remove`.
fn row<'a>(promised: &'a BTreeMap<String, BTreeSet<String>>, command: &str) -> &'a BTreeSet<String> {
    let last = command.rsplit(' ').next().unwrap();
    promised
        .get(command)
        .or_else(|| promised.get(&format!("… {last}")))
        .unwrap_or_else(|| panic!("the manual has no row for the JSON of `{command}`"))
}

/// Every name in a document, without the twins of moments.
fn names(document: &Value, found: &mut BTreeSet<String>) {
    match document {
        Value::Object(fields) => {
            for (name, value) in fields {
                let moment = name.strip_suffix("_ms").is_some_and(|name| fields.contains_key(name));
                if !moment {
                    found.insert(name.clone());
                }
                names(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| names(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Runs one command after the other, and looks at each answer.
struct Reader {
    ctl: Ctl,
    promised: BTreeMap<String, BTreeSet<String>>,
    seen: BTreeSet<String>,
}

impl Reader {
    /// Runs `command` with `arguments` and looks at every name in its answer.
    fn read(&mut self, command: &str, arguments: &[&str]) -> Value {
        let typed: Vec<&str> = command.split(' ').chain(arguments.iter().copied()).collect();
        let output = self.ctl.output(&typed).unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{typed:?}: {} {said}", output.status);
        let document: Value =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{typed:?}: {e}\n{text}"));
        let row = row(&self.promised, command);
        let everywhere: BTreeSet<String> = self.promised.values().flatten().cloned().collect();
        for name in document.as_object().unwrap().keys() {
            let twin = name.strip_suffix("_ms").is_some_and(|name| row.contains(name));
            assert!(row.contains(name) || twin, "`{command}` gives {name:?}, and its row lacks it: {row:?}");
        }
        let mut all = BTreeSet::new();
        // A declaration is documented by its schema.
        let mut rest = document.clone();
        rest.as_object_mut().unwrap().remove("spec");
        names(&rest, &mut all);
        let lacking: Vec<_> = all.difference(&everywhere).collect();
        assert!(lacking.is_empty(), "`{command}` gives {lacking:?}, of which the manual says nothing");
        self.seen.insert(command.to_owned());
        document
    }
}

#[test]
fn every_command_answers_in_json_as_the_manual_says() {
    let (webhook, told) = receiver();
    let pace = Pace { webhook: Some(webhook), ..Pace::default() };
    let mut story = Story::begin("json", 1, pace.clone().with_long_grace());
    story.system.add_target("  clerk:\n    hand-in: {}\n", &[]).unwrap();
    let (ctl, name) = (story.system.operator(), CREDENTIAL);
    let mut reader = Reader { ctl, promised: promised(), seen: BTreeSet::new() };
    declare_and_adopt_another(&story, &mut reader);
    declare_and_hand_in(&story, &mut reader);
    for command in ["status", "show", "plan rotate", "who", "verify", "refresh"] {
        reader.read(command, &[name]);
    }
    reader.read("rotate", &[name]);
    reader.read("retry", &[name]);
    reader.read("record", &[name, "--kind", "key", "--new", "k2", "--reason", "test"]);
    reader.read("hold", &[name, "--reason", "test"]);
    reader.read("release", &[name]);
    story.until("Grace", |status| crate::story::phase(status) == "Grace");
    reader.read("rollback", &[name]);
    story.system.declare(pace).unwrap();
    story.until_settled_on(1);
    reader.read("rotate", &[name, "--wait", "--wait-timeout", "3m"]);
    for command in [
        "status",
        "list",
        "inventory export",
        "reconcile",
        "whoami",
        "version",
        "exit-codes",
        "sidecar list",
        "audit query",
        "webhook list",
    ] {
        reader.read(command, &[]);
    }
    people(&mut reader);
    assert_eq!(reader.read("webhook test", &["ops"])["delivered"], true);
    for sentence in ["has a new current version", "this is a test of the webhook"] {
        let is_told = || told.lock().unwrap().iter().any(|text| text.contains(sentence));
        assert!(poll(PATIENCE, is_told), "nobody was told that {sentence:?}: {:?}", told.lock().unwrap());
    }
    reader.read("revoke", &[name, "--reason", "test"]);
    let sidecars = reader.read("sidecar list", &[]);
    reader.read("sidecar remove", &[sidecars["sidecars"][0]["instance"].as_str().unwrap(), "--reason", "x"]);
    // All that the manual lists, but the script for a shell.
    let listed = MANUAL.lines().filter_map(|line| line.strip_prefix("| `rekeyctl ")?.split('`').next());
    let verbs = listed.map(|typed| {
        let plain =
            |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-');
        typed.split(' ').take_while(plain).collect::<Vec<_>>().join(" ")
    });
    let listed: BTreeSet<String> = verbs.filter(|verb| verb != "completion").collect();
    assert_eq!(listed, reader.seen);
}

fn declare_and_adopt_another(story: &Story, reader: &mut Reader) {
    let (folder, database) = (story.system.folder(), &story.system.database);
    database.postgres.sql(&format!(
        "CREATE ROLE other_legacy LOGIN PASSWORD '{}'; GRANT orders_owner TO other_legacy;
         GRANT other_legacy TO rekey_rotator WITH ADMIN OPTION",
        database.legacy_password()
    ));
    let first = std::fs::read_to_string(folder.join("credential.yaml")).unwrap();
    let other = first
        .replace(CREDENTIAL, "orders/other")
        .replace("prefix: orders_app", "prefix: other_app")
        .replace("orders_legacy", "other_legacy");
    std::fs::write(folder.join("other.yaml"), other).unwrap();
    let planned = reader.read("apply", &["-f", "other.yaml", "--dry-run"]);
    assert_eq!(planned["dry_run"], true);
    reader.read("apply", &["-f", "other.yaml"]);
    reader.read("adopt", &["orders/other", "--password-file", "legacy-password"]);
    reader.read("delete", &["orders/other", "--leave", "--yes"]);
}

fn declare_and_hand_in(story: &Story, reader: &mut Reader) {
    let declaration = "credential: orders/clerk
owner: team-orders
environment: demo
hand-in: { target: clerk, name: clerk, page: \"https://console.example\", steps: [\"call it {name}\"] }
grace: { max_reconnect: 300ms, floor: 400ms, quiet: 300ms, deadline: 2m }
deliver: { to: [], offline: serve-until-expiry, offline_for: 10m }
";
    let folder = story.system.folder();
    std::fs::write(folder.join("clerk.yaml"), declaration).unwrap();
    reader.read("apply", &["-f", "clerk.yaml"]);
    reader.read("status", &["orders/clerk"]);
    let handed_in = reader.read("hand-in", &["orders/clerk", "--file", "legacy-password"]);
    assert_eq!(handed_in["rotation"]["next"], 1);
    story.system.wait_settled("orders/clerk", 1).unwrap();
    reader.read("delete", &["orders/clerk", "--end", "--yes"]);
    reader.read("hand-in", &["orders/clerk", "--deleted", "v1"]);
}

fn people(reader: &mut Reader) {
    let token = reader.read("token create", &["--for", "spiffe://rekey.local/sidecar/orders/x"]);
    reader.read("token list", &[]);
    reader.read("token revoke", &[token["id"].as_str().unwrap()]);
    reader.read("admin add", &["alice", "--role", "viewer"]);
    reader.read("admin list", &[]);
    reader.read("admin remove", &["alice"]);
    reader.read("context add", &["here", "--at", "unix:/run/rekey-controller/admin.sock"]);
    reader.read("context use", &["here"]);
    reader.read("context list", &[]);
    reader.read("context remove", &["here"]);
}

#[test]
fn a_failure_is_one_line_of_json_with_its_exit_code() {
    let story = Story::begin("failures", 0, Pace::default());
    for (arguments, code, kind) in [
        (&["status", "no/such"][..], 4, "not_found"),
        (&["rollback", CREDENTIAL], 3, "refused"),
        (&["--context", "nowhere", "--controller", "localhost:1", "status"], 4, "not_found"),
        (&["--controller", "unix:/nowhere/admin.sock", "status"], 5, "unreachable"),
        (&["apply", "-f", "controller.yaml"], 10, "invalid"),
    ] {
        let output = story.system.operator().output(arguments).unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!((output.status.code(), lines.len()), (Some(code), 1), "{arguments:?}: {said}");
        let error = &serde_json::from_str::<Value>(lines[0]).unwrap()["error"];
        assert_eq!((&error["exit_code"], &error["kind"]), (&code.into(), &kind.into()), "{error:#}");
        for field in ["reason", "message", "remedy"] {
            assert!(error[field].is_string(), "{field} is not in {error:#}");
        }
    }
}

#[test]
fn bash_zsh_and_fish_are_helped_to_complete() {
    let programs = rekey_testkit::system::Programs::built().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let made = Command::new(&programs.ctl).args(["completion", shell]).output().unwrap();
        let script = String::from_utf8_lossy(&made.stdout).into_owned();
        assert!(made.status.success(), "{shell}");
        for word in ["rekeyctl", "rotate", "revoke", "sidecar", "--reason"] {
            let word = if shell == "fish" { word.trim_start_matches('-') } else { word };
            assert!(script.contains(word), "{shell}: {word} is not completed");
        }
    }
    // bash is wherever these tests are; it reads the script and completes by it.
    let script = r#"eval "$("$1" completion bash)"; COMP_WORDS=(rekeyctl side); COMP_CWORD=1
_rekeyctl rekeyctl side rekeyctl; echo "${COMPREPLY[@]}""#;
    let bash =
        Command::new("bash").args(["-c", script, "bash"]).arg(&programs.ctl).stdin(Stdio::null()).output();
    let bash = bash.unwrap();
    assert_eq!(String::from_utf8_lossy(&bash.stdout).trim(), "sidecar", "{bash:?}");
}
