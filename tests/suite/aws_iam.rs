//! Access keys of an IAM user (moto) that change while an application signs requests with them all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use rekey_client::Builder;
use rekey_testkit::moto::{Moto, Sdk};
use rekey_testkit::process::poll;
use rekey_testkit::system::{Pace, write_private};
use serde_json::Value;

use crate::story::{PATIENCE, Story, settled, until_readable};

const CLOUD: &str = "orders/cloud";

const CREDENTIAL: &str = "credential: orders/cloud
owner: team-orders
environment: demo
aws-iam:
  target: cloud
  user: orders
  exclusive: true
grace: { max_reconnect: 300ms, floor: 400ms, quiet: 300ms, deadline: 2m }
deliver:
  to: [\"spiffe://rekey.local/sidecar/orders/*\"]
  offline: serve-until-expiry
  offline_for: 10m
";

/// What the application may do.
pub(crate) const RIGHTS: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;

/// The policy that the manual gives the rotator.
pub(crate) fn policy() -> String {
    let manual = include_str!("../../docs/drivers.md");
    let (_, section) = manual.split_once("\n## aws-iam").unwrap();
    section.split("```json\n").nth(1).unwrap().split("\n```").next().unwrap().to_owned()
}

/// Declares the account to the controller, and the user's key as a credential.
fn declare(story: &mut Story, moto: &Moto) {
    moto.user("orders", Some(RIGHTS));
    moto.user("rekey", Some(&policy()));
    let key = moto.create_key("rekey");
    let folder = story.system.folder().to_owned();
    let config = std::fs::read_to_string(folder.join("controller.yaml")).unwrap();
    let place = format!("http://127.0.0.1:{}", moto.port());
    let target = format!(
        "targets:
  cloud:
    aws-iam:
      endpoint: {place}
      sts_endpoint: {place}
      access_key_id_file: cloud-id
      secret_access_key_file: cloud-secret
      settle: 1s
"
    );
    write_private(&folder.join("cloud-id"), &key.id).unwrap();
    write_private(&folder.join("cloud-secret"), &key.secret).unwrap();
    write_private(&folder.join("controller.yaml"), &config.replace("targets:\n", &target)).unwrap();
    write_private(&folder.join("cloud.yaml"), CREDENTIAL).unwrap();
    story.system.kill_controller();
    story.system.start_controller().unwrap();
    story.system.ctl(&["apply", "-f", "cloud.yaml"]).unwrap();
}

fn status(story: &Story) -> Value {
    let all = story.system.ctl(&["status", CLOUD]).unwrap();
    all.pointer("/credentials/0").cloned().unwrap_or_default()
}

fn rotate(story: &Story) {
    let words = ["rotate", CLOUD, "--wait", "--wait-timeout", "60s", "--reason", "test"];
    story.system.ctl(&words).unwrap();
}

/// An application that reads its key and uses it, again and again.
struct Application {
    stop: Arc<AtomicBool>,
    uses: Arc<AtomicU64>,
    thread: JoinHandle<Vec<String>>,
}

impl Application {
    fn start(story: &Story, moto: &Moto) -> Self {
        let (stop, uses) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&uses));
        let builder = Builder::new(story.system.socket("sidecar-1"));
        let builder = match rekey_testkit::unprivileged() {
            Some(uid) => builder.server_uid(uid),
            None => builder,
        };
        let mut sdk = Sdk::start(moto.port()).unwrap();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let client = runtime.block_on(builder.connect()).unwrap();
            let mut failures = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                let credential = runtime.block_on(client.get(CLOUD)).unwrap();
                let text = |field: &str| credential.text(field).unwrap().to_owned();
                let failed = sdk.try_key(&text("access_key_id"), &text("secret_access_key"));
                failures.extend(failed.err().map(|why| format!("{}: {why}", credential.version())));
                counted.fetch_add(1, Ordering::SeqCst);
            }
            failures
        });
        Self { stop, uses, thread }
    }

    fn let_work(&self, times: u64) {
        let until = self.uses.load(Ordering::SeqCst) + times;
        let worked = poll(PATIENCE, || self.uses.load(Ordering::SeqCst) >= until);
        assert!(worked, "the application does not work");
    }

    /// Ends it, and gives what failed and how often it used the credential.
    fn end(self) -> (Vec<String>, u64) {
        self.stop.store(true, Ordering::SeqCst);
        (self.thread.join().unwrap(), self.uses.load(Ordering::SeqCst))
    }
}

#[test]
fn access_keys_rotate_under_load_and_are_revoked() {
    let moto = Moto::start();
    let mut story = Story::begin("aws-iam", 1, Pace::default());
    declare(&mut story, &moto);
    let is_settled = || {
        let status = status(&story);
        status["current"] == 1 && settled(&status)
    };
    assert!(poll(PATIENCE, is_settled), "{:#}", status(&story));
    until_readable(&story.system.socket("sidecar-1"), CLOUD);
    let application = Application::start(&story, &moto);
    application.let_work(5);
    for _ in 0..3 {
        let before = moto.keys("orders");
        assert_eq!(before.len(), 1, "{before:?}");
        rotate(&story);
        application.let_work(5);
        let gone = || moto.keys("orders").iter().map(|key| key.id.clone()).eq([served(&story)]);
        assert!(poll(PATIENCE, gone), "{:?}", moto.keys("orders"));
        assert_ne!(moto.keys("orders"), before);
    }
    let (failures, uses) = application.end();
    assert!(failures.is_empty() && uses > 20, "{failures:?} in {uses} uses");

    let leaked = moto.keys("orders").remove(0);
    let mut thief = Sdk::start(moto.port()).unwrap();
    assert_eq!(thief.try_key(&leaked.id, &leaked.secret), Ok(()));
    let receipt = story.system.ctl(&["revoke", CLOUD, "--reason", "leaked"]).unwrap();
    assert!(receipt["cut_ms"].as_i64().unwrap_or_default() > 0, "{receipt:#}");
    let refused = thief.try_key(&leaked.id, &leaked.secret).unwrap_err();
    assert!(refused.contains("InvalidClientTokenId"), "{refused}");
    let replaced = || moto.keys("orders").iter().any(|key| key.active && key.id == served(&story));
    assert!(poll(PATIENCE, replaced), "there is no replacement: {:?}", moto.keys("orders"));
}

/// The id of the key that the ledger calls current.
fn served(story: &Story) -> String {
    let status = status(story);
    let current = status["current"].as_u64();
    let versions = status["versions"].as_array().cloned().unwrap_or_default();
    let version = versions.iter().find(|version| version["version"].as_u64() == current);
    version.and_then(|version| version["handle"].as_str()).unwrap_or_default().to_owned()
}
