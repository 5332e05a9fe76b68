//! A role of OpenBao whose secret-id changes while an application logs in all the time.

use anyhow::Context as _;
use rekey_client::Credential;
use rekey_testkit::openbao::{OpenBao, ask_at};
use rekey_testkit::process::poll;
use rekey_testkit::system::Pace;
use serde_json::{Value, json};

use crate::application::{Application, Kept};
use crate::manual;
use crate::story::{PATIENCE, Story, until_readable};

const NAME: &str = "orders/api";

/// How often the application uses a token before it takes another.
const LIFETIME: u32 = 30;

const CREDENTIAL: &str = "credential: orders/api
owner: team-orders
environment: demo
vault-approle:
  target: bao
  role: orders
  ttl: 24h
  policies: [orders]
  probes: [secret/data/orders]
grace: { max_reconnect: 300ms, floor: 5s, quiet: 300ms, deadline: 2m }
deliver:
  to: [\"spiffe://rekey.local/sidecar/orders/*\"]
  offline: serve-until-expiry
  offline_for: 10m
";

/// An OpenBao with an application's role and a rotator with what the manual gives it.
fn openbao() -> (OpenBao, String) {
    let bao = OpenBao::start();
    bao.policy("orders", "path \"secret/data/orders\" { capabilities = [\"read\"] }");
    bao.ask("POST", "secret/data/orders", json!({ "data": { "price": "12" } }));
    bao.ask("POST", "auth/approle/role/orders", json!({ "token_policies": ["orders"], "token_ttl": "10m" }));
    bao.policy("rekey", &manual("vault-approle", "hcl"));
    let token = bao.token(&["rekey"]);
    (bao, token)
}

/// A login, which is given back when it is not needed any more.
struct Token {
    port: u16,
    token: String,
}

impl Token {
    fn log_in(port: u16, credential: &Credential) -> anyhow::Result<Self> {
        let [role_id, secret_id] = [credential.text("role_id")?, credential.text("secret_id")?];
        let body = json!({ "role_id": role_id, "secret_id": secret_id });
        let answer = ask_at(port, "", "POST", "auth/approle/login", &body)?;
        let token = answer.body.pointer("/auth/client_token").and_then(Value::as_str);
        let token = token.with_context(|| format!("no login: {answer:?}"))?.to_owned();
        Ok(Self { port, token })
    }

    fn reads(&self) -> bool {
        let answer = ask_at(self.port, &self.token, "GET", "secret/data/orders", &Value::Null);
        answer.is_ok_and(|answer| answer.status == 200)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        drop(ask_at(self.port, &self.token, "POST", "auth/token/revoke-self", &Value::Null));
    }
}

/// Logs in anew each time, and keeps one token for a while.
fn application(story: &Story, port: u16) -> Application {
    let mut kept = Kept::for_uses(LIFETIME);
    Application::start(story.system.socket("sidecar-1"), NAME, move |credential| {
        let fresh = Token::log_in(port, credential)?;
        anyhow::ensure!(fresh.reads(), "a new token reads nothing");
        anyhow::ensure!(kept.or(fresh).reads(), "the token that was kept was cut");
        Ok(())
    })
}

fn secret_ids(bao: &OpenBao) -> usize {
    let path = "auth/approle/role/orders/secret-id";
    let listed = bao.ask_as(bao.root(), "LIST", path, &Value::Null).unwrap();
    listed.body.pointer("/data/keys").and_then(Value::as_array).map_or(0, Vec::len)
}

#[test]
fn a_secret_id_rotates_under_load_and_is_revoked_with_its_tokens() {
    let (bao, token) = openbao();
    let mut story = Story::begin("approle", 1, Pace::default());
    let target = format!(
        "  bao:
    vault-approle:
      address: https://localhost:{}
      token_file: bao-token
      max_request_duration: 5s
      tls: {{ ca_file: bao-ca.pem }}
",
        bao.tls_port()
    );
    story.declare_other(&target, &[("bao-token", &token), ("bao-ca.pem", bao.ca_pem())], CREDENTIAL);
    // The first version makes itself.
    story.system.wait_settled(NAME, 1).unwrap();
    let read = || until_readable(&story.system.socket("sidecar-1"), NAME);
    let application = application(&story, bao.port());
    application.let_work(5);
    for version in 2..=4 {
        let before = read();
        story.rotate_other(NAME);
        application.let_work(5);
        story.system.wait_settled(NAME, version).unwrap();
        assert!(poll(PATIENCE, || secret_ids(&bao) == 1), "{} secret-ids", secret_ids(&bao));
        assert!(Token::log_in(bao.port(), &before).is_err(), "the old secret-id still comes in");
    }
    let uses = application.end_without_failure();
    assert!(uses > 20, "{uses} uses");

    let leaked = read();
    let thief = Token::log_in(bao.port(), &leaked).unwrap();
    let receipt = story.system.ctl(&["revoke", NAME, "--reason", "leaked"]).unwrap();
    assert!(receipt["cut_ms"].as_i64().unwrap_or_default() > 0, "{receipt:#}");
    assert!(!thief.reads(), "a token of the leaked secret-id reads on");
    assert!(Token::log_in(bao.port(), &leaked).is_err(), "the leaked secret-id still comes in");
    let works = || Token::log_in(bao.port(), &read()).is_ok_and(|token| token.reads());
    assert!(poll(PATIENCE, works), "there is no replacement");
}
