//! A user of two Redis nodes whose password changes while an application logs in all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use rekey_client::Builder;
use rekey_testkit::process::poll;
use rekey_testkit::redis::{Client, Options, Redis};
use rekey_testkit::system::{Pace, write_private};
use serde_json::Value;

use crate::story::{PATIENCE, Story, read_password, settled, until_readable};

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
grace: { max_reconnect: 300ms, floor: 400ms, quiet: 300ms, deadline: 2m }
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
    let folder = story.system.folder().to_owned();
    let config = std::fs::read_to_string(folder.join("controller.yaml")).unwrap();
    let target = format!(
        "targets:
  cache:
    redis:
      nodes: [\"{}\", \"{}\"]
      user: rekey
      password_file: cache-password
      tls: {{ mode: disable }}
",
        nodes[0].address(),
        nodes[1].address()
    );
    write_private(&folder.join("cache-password"), "rotator-password").unwrap();
    write_private(&folder.join("controller.yaml"), &config.replace("targets:\n", &target)).unwrap();
    write_private(&folder.join("cache.yaml"), CREDENTIAL).unwrap();
    story.system.kill_controller();
    story.system.start_controller().unwrap();
    story.system.ctl(&["apply", "-f", "cache.yaml"]).unwrap();
}

fn status(story: &Story) -> Value {
    let all = story.system.ctl(&["status", CACHE]).unwrap();
    all.pointer("/credentials/0").cloned().unwrap_or_default()
}

fn is_settled_on(story: &Story, version: u64) -> bool {
    let status = status(story);
    status["current"] == version && settled(&status)
}

fn rotate(story: &Story) -> Value {
    let words = ["rotate", CACHE, "--wait", "--wait-timeout", "60s", "--reason", "test"];
    story.system.ctl(&words).unwrap()
}

/// An application that reads its password and logs in, again and again, and keeps one connection for a while, as a pool
/// with a maximum lifetime does.
struct Application {
    stop: Arc<AtomicBool>,
    uses: Arc<AtomicU64>,
    thread: JoinHandle<Vec<String>>,
}

impl Application {
    fn start(story: &Story, ports: [u16; 2]) -> Self {
        let (stop, uses) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&uses));
        let builder = Builder::new(story.system.socket("sidecar-1"));
        let builder = match rekey_testkit::unprivileged() {
            Some(uid) => builder.server_uid(uid),
            None => builder,
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let client = runtime.block_on(builder.connect()).unwrap();
            let (mut failures, mut held): (Vec<String>, Option<(u32, Client)>) = (Vec::new(), None);
            while !stopped.load(Ordering::SeqCst) {
                let credential = runtime.block_on(client.get(CACHE)).unwrap();
                let password = credential.text("password").unwrap().to_owned();
                for port in ports {
                    if let Err(error) = log_in(port, &password) {
                        failures.push(format!("{} at {port}: {error:#}", credential.version()));
                    }
                }
                held = match held {
                    Some((uses, session)) if uses < LIFETIME => Some((uses + 1, session)),
                    _over => log_in(ports[0], &password).ok().map(|session| (0, session)),
                };
                if let Some((_, session)) = &mut held
                    && let Err(error) = session.run(&["GET", "orders:1"])
                {
                    failures.push(format!("{} was cut: {error:#}", credential.version()));
                }
                counted.fetch_add(1, Ordering::SeqCst);
            }
            failures
        });
        Self { stop, uses, thread }
    }

    fn let_work(&self, times: u64) {
        let until = self.uses.load(Ordering::SeqCst) + times;
        assert!(
            poll(PATIENCE, || self.uses.load(Ordering::SeqCst) >= until),
            "the application does not work"
        );
    }

    /// Ends it, and gives what failed and how often it used the credential.
    fn end(self) -> (Vec<String>, u64) {
        self.stop.store(true, Ordering::SeqCst);
        (self.thread.join().unwrap(), self.uses.load(Ordering::SeqCst))
    }
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
    assert!(poll(PATIENCE, || is_settled_on(&story, 1)), "{:#}", status(&story));
    let socket = story.system.socket("sidecar-1");
    until_readable(&socket, CACHE);
    let application = Application::start(&story, [nodes[0].port(), nodes[1].port()]);
    application.let_work(5);
    for _ in 0..3 {
        let before = read_password(&socket, CACHE);
        rotate(&story);
        application.let_work(5);
        assert_ne!(read_password(&socket, CACHE), before);
        for node in &nodes {
            assert!(poll(PATIENCE, || passwords(node) == 1), "{:?}", node.run("ACL GETUSER orders"));
            assert!(log_in(node.port(), &before).is_err(), "the old password still works");
        }
    }
    let (failures, uses) = application.end();
    assert!(failures.is_empty() && uses > 20, "{failures:?} in {uses} uses");

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
