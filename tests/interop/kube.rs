//! A service account whose token changes while an application calls the API server all the time.

use rekey_client::Credential;
use rekey_testkit::http::Http;
use rekey_testkit::kube::{Kube, application, ask_at};
use rekey_testkit::process::poll;
use rekey_testkit::system::Pace;
use serde_json::Value;

use crate::application::Application;
use crate::manual;
use crate::story::{PATIENCE, Story, until_readable};

const NAME: &str = "orders/k8s";

const CREDENTIAL: &str = "credential: orders/k8s
owner: team-orders
environment: demo
kubernetes-token:
  target: cluster
  namespace: orders
  service_account: orders
  life: 10m
  probes: [get configmaps/settings]
grace: { max_reconnect: 300ms, floor: 400ms, quiet: 300ms, deadline: 2m }
deliver:
  to: [\"spiffe://rekey.local/sidecar/orders/*\"]
  offline: serve-until-expiry
  offline_for: 5m
";

/// What the API server answers to the application.
fn asks(server: &Http, credential: &Credential) -> Result<u16, String> {
    let path = "/api/v1/namespaces/orders/configmaps/settings";
    assert!(credential.not_after().is_some(), "a token ends by itself, and its reader is to know when");
    let answer = ask_at(server, credential.text("token").unwrap(), "GET", path, &Value::Null);
    answer.map(|answer| answer.status).map_err(|error| format!("{error:#}"))
}

fn bindings(kube: &Kube) -> usize {
    let listed = kube.ask("GET", "/api/v1/namespaces/orders/secrets", Value::Null);
    listed["items"].as_array().map_or(0, Vec::len)
}

#[test]
fn a_token_rotates_under_load_and_is_revoked() {
    let kube = Kube::start();
    kube.apply(&application("orders", "orders"));
    kube.apply(&manual("kubernetes-token", "yaml"));
    let mut story = Story::begin("kube", 1, Pace::default());
    let target = format!(
        "  cluster:
    kubernetes-token:
      server: https://localhost:{}
      token_file: kube-token
      tls: {{ ca_file: kube-ca.pem }}
",
        kube.port()
    );
    let token = kube.token_of("rekey", "rotator");
    story.declare_other(&target, &[("kube-token", &token), ("kube-ca.pem", kube.ca_pem())], CREDENTIAL);
    // The first version makes itself.
    let due = story.system.wait_settled(NAME, 1).unwrap();
    assert!(!due["next_rotation"].is_null(), "nothing is scheduled: {due:#}");
    let server = Http::tls(kube.port(), kube.ca_pem()).unwrap();
    let consumer = server.clone();
    let socket = story.system.socket("sidecar-1");
    let application = Application::start(socket.clone(), NAME, move |credential| {
        let answer = asks(&consumer, credential);
        anyhow::ensure!(answer == Ok(200), "{answer:?}");
        Ok(())
    });
    application.let_work(5);
    for version in 2..=4 {
        let before = until_readable(&socket, NAME);
        story.rotate_other(NAME);
        application.let_work(5);
        story.system.wait_settled(NAME, version).unwrap();
        assert!(poll(PATIENCE, || bindings(&kube) == 1), "{} bindings", bindings(&kube));
        assert_eq!(asks(&server, &before), Ok(401), "the old token still works");
    }
    let uses = application.end_without_failure();
    assert!(uses > 20, "{uses} uses");

    let leaked = until_readable(&socket, NAME);
    assert_eq!(asks(&server, &leaked), Ok(200));
    let receipt = story.system.ctl(&["revoke", NAME, "--reason", "leaked"]).unwrap();
    assert!(receipt["cut_ms"].as_i64().unwrap_or_default() > 0, "{receipt:#}");
    assert_eq!(asks(&server, &leaked), Ok(401), "the leaked token still works");
    assert!(
        poll(PATIENCE, || asks(&server, &until_readable(&socket, NAME)) == Ok(200)),
        "there is no replacement"
    );
}
