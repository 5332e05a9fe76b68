//! What only a person can make (a scripted double of a provider): asked for, refused while it does not work, handed in under
//! an application that uses it all the time, and the old one deleted.

use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rekey_testkit::console::Console;
use rekey_testkit::http::Http;
use rekey_testkit::marker::found_in;
use rekey_testkit::platform::Setup;
use rekey_testkit::process::poll;
use serde_json::Value;

use crate::application::Application;
use crate::story::{Installation, PATIENCE, phase, receiver, until_readable};

const CLERK: &str = "orders/clerk";

const CREDENTIAL: &str = "credential: orders/clerk
owner: team-orders
environment: demo
hand-in:
  target: clerk
  name: aos-clerk
  page: https://console.example/keys
  steps: [\"Add a key, call it {name}\", \"Hand it in\"]
  delete: [\"Delete {old} on the same page\"]
  probe: { get: /v1/me, header: \"Authorization: Bearer {value}\" }
schedule: { every: 1d }
grace: { max_reconnect: 300ms, floor: 400ms, quiet: 300ms, deadline: 2m }
deliver:
  to: [\"spiffe://rekey.local/sidecar/orders/*\"]
  offline: serve-until-expiry
  offline_for: 10m
fields: { key: \"{value}\" }
";

/// A controller that can ask a provider, one sidecar, and somebody who is told what happens.
struct Scene {
    platform: Installation,
    console: Console,
    told: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    fn begin(name: &str, log_level: &str) -> Self {
        let console = Console::start();
        let (webhook, told) = receiver();
        let setup = Setup {
            log_level: log_level.to_owned(),
            sections: format!("webhooks:\n  - {{ name: ops, url: \"{webhook}\", format: slack }}\n"),
            targets: format!("  clerk:\n    hand-in: {{ address: \"{}\" }}\n", console.address()),
            ..Setup::default()
        };
        let platform = Installation::begin(name, setup);
        let mut scene = Self { platform, console, told };
        scene.platform.declare(CREDENTIAL).unwrap();
        scene.platform.start_sidecar("sidecar-1", "orders/sidecar-1", "orders/*").unwrap();
        scene
    }

    fn status(&self) -> Value {
        self.platform.status(CLERK).unwrap()
    }

    fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.platform.until(CLERK, what, wanted)
    }

    /// Waits until the webhook was told all of `words` in one sentence.
    fn until_told(&self, words: &[&str]) {
        let has = |told: &String| words.iter().all(|word| told.contains(word));
        let told = || self.told.lock().unwrap().iter().any(has);
        assert!(poll(PATIENCE, told), "nobody was told {words:?}: {:#?}", self.told.lock().unwrap());
    }

    /// Hands in `value` through a pipe.
    fn hand_in(&self, value: &str, more: &[&str]) -> Output {
        let words = [&["hand-in", CLERK, "--file", "-"], more].concat();
        self.platform.operator().piped(&words, &format!("{value}\n")).unwrap()
    }

    fn takes(&self, value: &str) {
        let output = self.hand_in(value, &["--wait=moved", "--wait-timeout", "3m"]);
        assert!(output.status.success(), "{}", words(&output));
    }

    fn deleted(&self, version: &str) -> Output {
        self.platform.operator().output(&["hand-in", CLERK, "--deleted", version]).unwrap()
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// The message of the alarm that is called `kind`; empty: it does not stand.
fn alarm(status: &Value, kind: &str) -> String {
    let alarms = status["alarms"].as_array().cloned().unwrap_or_default();
    let alarm = alarms.iter().find(|alarm| alarm["kind"] == kind);
    alarm.map(|alarm| format!("{} -> {}", alarm["message"], alarm["next_command"])).unwrap_or_default()
}

/// What the provider answers to this key.
fn answer(http: &Http, key: &str) -> u16 {
    let bearer = format!("Bearer {key}");
    http.ask("GET", "/v1/me", &[("Authorization", &bearer)], &Value::Null).unwrap().status
}

fn application(scene: &Scene) -> Application {
    let http = Http::plain(scene.console.port());
    Application::start(scene.platform.socket("sidecar-1"), CLERK, move |credential| {
        let status = answer(&http, credential.text("key")?);
        std::thread::sleep(Duration::from_millis(5));
        anyhow::ensure!(status == 200, "status {status}");
        Ok(())
    })
}

#[test]
fn what_a_person_makes_is_asked_for_and_taken_under_load_and_the_old_one_deleted() {
    let mut scene = Scene::begin("hand-in", "info");
    let due = alarm(&scene.status(), "hand_in_due");
    for word in
        ["aos-clerk_v1", "https://console.example/keys", "2. Hand it in", "rekeyctl hand-in orders/clerk"]
    {
        assert!(due.contains(word), "{due}");
    }
    let first = scene.console.make_key("aos-clerk_v1");
    scene.takes(&first);
    scene.platform.wait_settled(CLERK, 1).unwrap();
    let application = application(&scene);
    application.let_work(5);
    // It is due within a day, and people are told two weeks before.
    let status = scene.status();
    let due = alarm(&status, "hand_in_due");
    assert!(due.contains("aos-clerk_v2") && due.contains("until 20"), "{due}");
    assert_eq!(status["by_hand"]["next_handle"], "aos-clerk_v2");
    scene.until_told(&["[hand_in_due]", "https://console.example/keys", "1. Add a key, call it aos-clerk_v"]);

    // What does not work, or is there already, changes nothing.
    let wrong = "ck_0123456789abcdef0123456789abcdef";
    for (value, code, why) in [(wrong, 3, "status 401"), (&first, 10, "that is v1"), ("", 10, "is empty")] {
        let refused = scene.hand_in(value, &[]);
        assert_eq!(refused.status.code(), Some(code), "{}", words(&refused));
        assert!(words(&refused).contains(why), "{}", words(&refused));
    }
    let status = scene.status();
    assert_eq!((phase(&status), status["versions"].as_array().unwrap().len()), ("", 1), "{status:#}");
    let typed = scene.platform.operator().output(&["hand-in", CLERK, wrong]).unwrap();
    assert_eq!(typed.status.code(), Some(2), "{}", words(&typed));
    assert!(!words(&typed).contains(wrong), "{}", words(&typed));

    // A rotation waits for the person, also through a restart; a new key may not be known everywhere yet.
    scene.platform.ctl(&["rotate", CLERK, "--reason", "test"]).unwrap();
    scene.platform.kill_controller();
    scene.platform.start_controller().unwrap();
    scene.until("Planned", |status| phase(status) == "Planned");
    let second = scene.console.make_slow_key("aos-clerk_v2", 2);
    scene.takes(&second);
    application.let_work(5);
    let status = scene.until("Retiring", |status| phase(status) == "Retiring");
    let left = alarm(&status, "delete_by_hand");
    for word in ["aos-clerk_v1", "https://console.example/keys", "hand-in orders/clerk --deleted v1"] {
        assert!(left.contains(word), "{left}");
    }
    scene.until_told(&["[delete_by_hand]", "Delete aos-clerk_v1 on the same page"]);
    let early = scene.deleted("v1");
    assert_eq!(early.status.code(), Some(3), "{}", words(&early));
    assert!(words(&early).contains("aos-clerk_v1 still works"), "{}", words(&early));
    assert_eq!(scene.deleted("v2").status.code(), Some(3), "what is in use is not deleted");
    assert!(scene.console.delete("aos-clerk_v1"));
    for _ in 0..2 {
        let deleted = scene.deleted("v1");
        assert!(deleted.status.success(), "{}", words(&deleted));
    }
    scene.platform.wait_settled(CLERK, 2).unwrap();
    application.let_work(5);
    application.end_without_failure();
    assert!(scene.console.uses("aos-clerk_v2") > 5);
    nobody_wrote_down(&mut scene, &[&first, &second, wrong]);
}

#[test]
fn what_is_revoked_is_fenced_at_once_and_cut_when_it_is_deleted() {
    // The most talkative level, where no application makes the logs long.
    let mut scene = Scene::begin("hand-in-revoked", "trace");
    let leaked = scene.console.make_key("aos-clerk_v1");
    scene.takes(&leaked);
    scene.platform.wait_settled(CLERK, 1).unwrap();
    until_readable(&scene.platform.socket("sidecar-1"), CLERK);
    let revoked = scene.platform.operator().run_beside(&["revoke", CLERK, "--reason", "leaked"]);
    let status = scene.until("revoked", |status| {
        status["versions"][0]["stage"] == "revoked"
            || phase(status).is_empty() && !alarm(status, "delete_by_hand").is_empty()
    });
    assert!(alarm(&status, "hand_in_due").contains("now: what was in use was revoked"), "{status:#}");
    assert_eq!(answer(&Http::plain(scene.console.port()), &leaked), 200, "only a person can end it");
    let replacement = scene.console.make_key("aos-clerk_v2");
    scene.takes(&replacement);
    assert!(scene.console.delete("aos-clerk_v1"));
    // Nobody says that it is deleted: it is asked about until it is refused twice.
    let receipt = revoked.join().unwrap().unwrap();
    for moment in ["fenced_ms", "cut_ms", "replaced_ms"] {
        assert!(receipt[moment].as_i64().unwrap_or_default() > 0, "{moment}: {receipt:#}");
    }
    assert_eq!(receipt["replacement"], 2, "{receipt:#}");
    scene.until("v2", |status| status["current"] == 2 && alarm(status, "delete_by_hand").is_empty());
    nobody_wrote_down(&mut scene, &[&leaked, &replacement]);
}

/// No value is in any log, in the store, in the audit or in an error.
fn nobody_wrote_down(scene: &mut Scene, values: &[&str]) {
    let audit = scene.platform.ctl(&["audit", "query", "--limit", "1000"]).unwrap().to_string();
    let told = scene.told.lock().unwrap().join("\n");
    scene.platform.kill_controller();
    for value in values {
        let found = found_in(scene.platform.folder(), value.as_bytes()).unwrap();
        assert!(found.is_empty(), "{value} stands in {found:?}");
        assert!(
            !audit.contains(value) && !told.contains(value),
            "{value} stands in the audit or at the webhook"
        );
    }
}
