//! A role of OpenBao whose secret-id changes while an application logs in all the time.

use rekey_client::Credential;
use rekey_testkit::openbao::{OpenBao, ask_at};
use rekey_testkit::process::poll;
use rekey_testkit::system::Pace;
use serde_json::{Value, json};

use crate::application::{Application, declare, read, rotate, until_settled_on};
use crate::manual;
use crate::story::{PATIENCE, Story};

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
grace: { max_reconnect: 300ms, floor: 400ms, quiet: 300ms, deadline: 2m }
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

fn log_in(port: u16, credential: &Credential) -> Result<String, String> {
    let body = json!({
        "role_id": credential.text("role_id").unwrap(), "secret_id": credential.text("secret_id").unwrap()
    });
    let answer =
        ask_at(port, "", "POST", "auth/approle/login", &body).map_err(|error| format!("{error:#}"))?;
    let token = answer.body.pointer("/auth/client_token").and_then(Value::as_str);
    token.map(str::to_owned).ok_or_else(|| format!("{} login: {answer:?}", credential.version()))
}

fn reads(port: u16, token: &str) -> bool {
    ask_at(port, token, "GET", "secret/data/orders", &Value::Null).is_ok_and(|answer| answer.status == 200)
}

/// Logs in anew each time, and keeps one token for a while.
fn application(story: &Story, port: u16) -> Application {
    let mut held: Option<(u32, String)> = None;
    Application::start(story, NAME, move |credential| {
        let mut failures = Vec::new();
        match log_in(port, credential) {
            Ok(token) => {
                if !reads(port, &token) {
                    failures.push(format!("{} reads nothing", credential.version()));
                }
                match &mut held {
                    Some((uses, token)) if *uses < LIFETIME => {
                        *uses += 1;
                        if !reads(port, token) {
                            failures
                                .push(format!("{}: the token that was kept was cut", credential.version()));
                        }
                    }
                    held => {
                        if let Some((_, token)) = held.replace((0, token.clone())) {
                            ask_at(port, &token, "POST", "auth/token/revoke-self", &Value::Null).unwrap();
                        }
                    }
                }
                if held.as_ref().is_none_or(|(_, kept)| *kept != token) {
                    ask_at(port, &token, "POST", "auth/token/revoke-self", &Value::Null).unwrap();
                }
            }
            Err(error) => failures.push(error),
        }
        failures
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
    declare(&mut story, &target, &[("bao-token", &token), ("bao-ca.pem", bao.ca_pem())], CREDENTIAL);
    // The first version makes itself.
    until_settled_on(&story, NAME, 1);
    let application = application(&story, bao.port());
    application.let_work(5);
    for version in 2..=4 {
        let before = read(&story, NAME);
        rotate(&story, NAME);
        application.let_work(5);
        until_settled_on(&story, NAME, version);
        assert!(poll(PATIENCE, || secret_ids(&bao) == 1), "{} secret-ids", secret_ids(&bao));
        log_in(bao.port(), &before).unwrap_err();
    }
    let uses = application.end();
    assert!(uses > 20, "{uses} uses");

    let leaked = read(&story, NAME);
    let thief = log_in(bao.port(), &leaked).unwrap();
    let receipt = story.system.ctl(&["revoke", NAME, "--reason", "leaked"]).unwrap();
    assert!(receipt["cut_ms"].as_i64().unwrap_or_default() > 0, "{receipt:#}");
    assert!(!reads(bao.port(), &thief), "a token of the leaked secret-id reads on");
    log_in(bao.port(), &leaked).unwrap_err();
    let works = || log_in(bao.port(), &read(&story, NAME)).is_ok_and(|token| reads(bao.port(), &token));
    assert!(poll(PATIENCE, works), "there is no replacement");
}
