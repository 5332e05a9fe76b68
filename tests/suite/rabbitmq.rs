//! A RabbitMQ whose application connects all the time: one user for each version.

use rekey_client::Credential;
use rekey_testkit::platform::Setup;
use rekey_testkit::process::poll;
use rekey_testkit::rabbitmq::{Client, RabbitMq};
use serde_json::{Value, json};

use crate::application::{Application, Kept};
use crate::story::{Installation, PATIENCE, until_readable};

const QUEUE: &str = "orders/queue";

/// How often the application uses a connection before it takes another.
const LIFETIME: u32 = 8;

const CREDENTIAL: &str = "credential: orders/queue
owner: team-orders
environment: demo
rabbitmq:
  target: queue
  prefix: orders
  adopt: { login: orders_legacy }
  permissions: [{ vhost: orders, write: \".*\", read: \".*\" }]
grace: { max_reconnect: 300ms, floor: 5s, quiet: 300ms, deadline: 2m }
deliver:
  to: [\"spiffe://rekey.local/sidecar/orders/*\"]
  offline: serve-until-expiry
  offline_for: 10m
";

/// A server with an application's user of today, and a rotator with what the manual gives it.
fn server() -> RabbitMq {
    let server = RabbitMq::start();
    let user = |password: &str, tags: &str| json!({ "password": password, "tags": tags });
    server.api("PUT", "vhosts/orders", &Value::Null);
    server.api("PUT", "users/rekey", &user("rotator-password", "administrator"));
    server.api("PUT", "users/orders_legacy", &user("of-a-person", ""));
    let rights = json!({ "configure": "", "write": ".*", "read": ".*" });
    server.api("PUT", "permissions/orders/orders_legacy", &rights);
    server
}

/// A platform with the credential declared and adopted, and a sidecar.
fn platform(server: &RabbitMq) -> Installation {
    let mut platform = Installation::begin("rabbitmq", Setup::default());
    let (management, port) = (server.management_port(), server.port());
    let target = format!(
        "  queue:\n    rabbitmq: {{ address: \"http://127.0.0.1:{management}\", consumer_port: {port}, user: rekey, \
         password_file: queue-password, tls: {{ mode: disable }} }}\n"
    );
    platform.add_target(&target, &[("queue-password", "rotator-password")]).unwrap();
    platform.declare(CREDENTIAL).unwrap();
    platform.write("legacy-password", "of-a-person").unwrap();
    platform.ctl(&["adopt", QUEUE, "--password-file", "legacy-password"]).unwrap();
    platform.start_sidecar("sidecar-1", "orders/sidecar-1", "orders/*").unwrap();
    platform
}

fn login_of(credential: &Credential) -> [String; 2] {
    ["username", "password"].map(|field| credential.text(field).unwrap().to_owned())
}

/// What a consumer logs in with now.
fn login(platform: &Installation) -> [String; 2] {
    login_of(&until_readable(&platform.socket("sidecar-1"), QUEUE))
}

fn log_in(port: u16, [user, password]: &[String; 2]) -> anyhow::Result<Client> {
    Client::log_in(port, user, password, "orders")
}

/// It connects anew each time, and keeps one connection for a while.
fn application(platform: &Installation, port: u16) -> Application {
    let mut kept = Kept::for_uses(LIFETIME);
    Application::start(platform.socket("sidecar-1"), QUEUE, move |credential| {
        let fresh = log_in(port, &login_of(credential))?;
        anyhow::ensure!(kept.or(fresh).works(), "a connection was cut");
        Ok(())
    })
}

#[test]
fn users_of_a_broker_rotate_under_load_and_one_is_revoked() {
    let server = server();
    let platform = platform(&server);
    let application = application(&platform, server.port());
    application.let_work(3);
    let mut before = login(&platform);
    assert_eq!(before[0], "orders_legacy");
    for next in 2..=3 {
        platform.ctl(&["rotate", QUEUE, "--reason", "test"]).unwrap();
        platform.wait_settled(QUEUE, next).unwrap();
        application.let_work(3);
        let after = login(&platform);
        assert!(after[0] != before[0] && after[1] != before[1]);
        assert!(log_in(server.port(), &before).is_err(), "the old version still comes in");
        before = after;
    }
    let uses = application.end_without_failure();
    assert!(uses > 10, "it was used {uses} times only");
    // Of what came before, nothing is left but the user of a person, which has no password.
    let shown = server.api("GET", "users?columns=name,password_hash", &Value::Null);
    let shown = shown.as_array().unwrap();
    assert_eq!(shown.iter().filter(|user| user["name"].as_str().unwrap().starts_with("orders_v")).count(), 1);
    assert!(shown.contains(&json!({ "name": "orders_legacy", "password_hash": "" })), "{shown:?}");

    let leaked = login(&platform);
    let mut thief = log_in(server.port(), &leaked).unwrap();
    let receipt = platform.ctl(&["revoke", QUEUE, "--reason", "leaked"]).unwrap();
    assert!(receipt["cut_ms"].as_i64().unwrap_or_default() > 0, "{receipt:#}");
    assert!(!thief.works(), "a connection with the leaked password goes on");
    assert!(log_in(server.port(), &leaked).is_err(), "the leaked password still comes in");
    let replaced = || login(&platform) != leaked && log_in(server.port(), &login(&platform)).is_ok();
    assert!(poll(PATIENCE, replaced), "there is no replacement");
}
