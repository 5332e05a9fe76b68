//! Access keys of an IAM user (moto) that change while an application signs requests with them all the time.

use rekey_testkit::moto::{Moto, Sdk};
use rekey_testkit::platform::Platform;
use rekey_testkit::process::poll;
use rekey_testkit::system::Pace;
use serde_json::Value;

use crate::application::Application;
use crate::story::{PATIENCE, Story};

pub(crate) const CLOUD: &str = "orders/cloud";

/// At the target `cloud`.
pub(crate) const CREDENTIAL: &str = "credential: orders/cloud
owner: team-orders
environment: demo
aws-iam:
  target: cloud
  user: orders
  exclusive: true
grace: { max_reconnect: 300ms, floor: 5s, quiet: 300ms, deadline: 2m }
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
    let place = format!("http://127.0.0.1:{}", moto.port());
    let target = format!(
        "  cloud:
    aws-iam:
      endpoint: {place}
      sts_endpoint: {place}
      access_key_id_file: cloud-id
      secret_access_key_file: cloud-secret
      settle: 1s
"
    );
    story.declare_other(&target, &[("cloud-id", &key.id), ("cloud-secret", &key.secret)], CREDENTIAL);
}

fn application(story: &Story, moto: &Moto) -> Application {
    let mut sdk = Sdk::start(moto.port()).unwrap();
    Application::start(story.system.socket("sidecar-1"), CLOUD, move |credential| {
        let (id, secret) = (credential.text("access_key_id")?, credential.text("secret_access_key")?);
        sdk.try_key(id, secret).map_err(anyhow::Error::msg)
    })
}

#[test]
fn access_keys_rotate_under_load_and_are_revoked() {
    let moto = Moto::start();
    let mut story = Story::begin("aws-iam", 1, Pace::default());
    declare(&mut story, &moto);
    story.system.wait_settled(CLOUD, 1).unwrap();
    let application = application(&story, &moto);
    application.let_work(5);
    for _ in 0..3 {
        let before = moto.keys("orders");
        assert_eq!(before.len(), 1, "{before:?}");
        story.rotate_other(CLOUD);
        application.let_work(5);
        let gone = || moto.keys("orders").iter().map(|key| key.id.clone()).eq([current(&story.system).1]);
        assert!(poll(PATIENCE, gone), "{:?}", moto.keys("orders"));
        assert_ne!(moto.keys("orders"), before);
    }
    let uses = application.end_without_failure();
    assert!(uses > 20, "it was used {uses} times only");

    let leaked = moto.keys("orders").remove(0);
    let mut thief = Sdk::start(moto.port()).unwrap();
    assert_eq!(thief.try_key(&leaked.id, &leaked.secret), Ok(()));
    let receipt = story.system.ctl(&["revoke", CLOUD, "--reason", "leaked"]).unwrap();
    assert!(receipt["cut_ms"].as_i64().unwrap_or_default() > 0, "{receipt:#}");
    let refused = thief.try_key(&leaked.id, &leaked.secret).unwrap_err();
    assert!(refused.contains("InvalidClientTokenId"), "{refused}");
    let replaced = || moto.keys("orders").iter().any(|key| key.active && key.id == current(&story.system).1);
    assert!(poll(PATIENCE, replaced), "there is no replacement: {:?}", moto.keys("orders"));
}

/// The current version of [`CLOUD`], its key, and the whole state.
pub(crate) fn current(platform: &Platform) -> (u64, String, Value) {
    let status = platform.status(CLOUD).unwrap();
    let current = status["current"].as_u64().unwrap_or_default();
    let versions = status["versions"].as_array().cloned().unwrap_or_default();
    let version = versions.iter().find(|version| version["version"].as_u64() == Some(current));
    let handle = version.and_then(|version| version["handle"].as_str()).unwrap_or_default().to_owned();
    (current, handle, status)
}
