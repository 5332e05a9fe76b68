//! A user of two Redis nodes whose password changes while an application logs in all the time.

use anyhow::Context as _;
use rekey_testkit::process::poll;
use rekey_testkit::redis::{Client, Options, Redis};
use rekey_testkit::system::Pace;

use crate::application::{Application, Kept};
use crate::story::{PATIENCE, Story, read_password};

const CACHE: &str = "orders/cache";

/// How often the application uses a connection before it takes another.
const LIFETIME: u32 = 30;

const CREDENTIAL: &str = "credential: orders/cache
owner: team-orders
environment: demo
redis:
  target: cache
  user: orders
  probes: [\"GET orders:1\"]
grace: { max_reconnect: 300ms, floor: 5s, quiet: 300ms, deadline: 2m }
deliver:
  to: [\"spiffe://rekey.local/sidecar/orders/*\"]
  offline: serve-until-expiry
  offline_for: 10m
";

/// The nodes with an application's user, and a rotator with what the manual gives it.
fn nodes() -> [Redis; 2] {
    [(), ()].map(|()| {
        let node = Redis::start(Options::default());
        node.run(
            "ACL SETUSER rekey reset on -@all +acl|setuser +acl|getuser +acl|dryrun +acl|save +config|get +client|list \
             +client|kill +client|setname +time",
        );
        node.run("ACL SETUSER rekey >rotator-password");
        node.run("ACL SETUSER orders on ~orders:* +get +ping");
        node
    })
}

/// Declares the nodes to the controller, and the user as a credential.
fn declare(story: &mut Story, nodes: &[Redis; 2]) {
    let target = format!(
        "  cache:
    redis:
      nodes: [\"{}\", \"{}\"]
      user: rekey
      password_file: cache-password
      tls: {{ mode: disable }}
",
        nodes[0].address(),
        nodes[1].address()
    );
    story.declare_other(&target, &[("cache-password", "rotator-password")], CREDENTIAL);
}

/// It logs in anew each time, and keeps one connection for a while.
fn application(story: &Story, ports: [u16; 2]) -> Application {
    let mut kept = Kept::for_uses(LIFETIME);
    Application::start(story.system.socket("sidecar-1"), CACHE, move |credential| {
        let password = credential.text("password")?;
        let [fresh, _] = [log_in(ports[0], password)?, log_in(ports[1], password)?];
        kept.or(fresh).run(&["GET", "orders:1"]).map(drop).context("a connection was cut")
    })
}

fn log_in(port: u16, password: &str) -> anyhow::Result<Client> {
    let mut client = Client::log_in(port, "orders", password)?;
    client.run(&["GET", "orders:1"]).map(|_answer| client)
}

fn passwords(node: &Redis) -> usize {
    let user = node.run("ACL GETUSER orders").texts();
    user.iter().filter(|text| text.len() == 64 && text.bytes().all(|c| c.is_ascii_hexdigit())).count()
}

#[test]
fn a_user_of_two_nodes_rotates_under_load_and_is_revoked() {
    let nodes = nodes();
    let mut story = Story::begin("redis", 1, Pace::default());
    declare(&mut story, &nodes);
    // The first version makes itself.
    story.system.wait_settled(CACHE, 1).unwrap();
    let socket = story.system.socket("sidecar-1");
    let application = application(&story, [nodes[0].port(), nodes[1].port()]);
    application.let_work(5);
    for _ in 0..3 {
        let before = read_password(&socket, CACHE);
        story.rotate_other(CACHE);
        application.let_work(5);
        assert_ne!(read_password(&socket, CACHE), before);
        for node in &nodes {
            assert!(poll(PATIENCE, || passwords(node) == 1), "{:?}", node.run("ACL GETUSER orders"));
            assert!(log_in(node.port(), &before).is_err(), "the old password still works");
        }
    }
    let uses = application.end_without_failure();
    assert!(uses > 20, "it was used {uses} times only");

    let leaked = read_password(&socket, CACHE);
    let mut thief = log_in(nodes[1].port(), &leaked).unwrap();
    let receipt = story.system.ctl(&["revoke", CACHE, "--reason", "leaked"]).unwrap();
    assert!(receipt["cut_ms"].as_i64().unwrap_or_default() > 0, "{receipt:#}");
    assert!(thief.run(&["PING"]).is_err(), "a session with the leaked password goes on");
    for node in &nodes {
        assert!(log_in(node.port(), &leaked).is_err(), "the leaked password still works");
    }
    let works = || log_in(nodes[0].port(), &read_password(&socket, CACHE)).is_ok();
    assert!(poll(PATIENCE, works), "there is no replacement");
}
