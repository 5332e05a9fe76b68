//! Logins behind a pooler that change while an application uses them all the time: through the pooler and past it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use rekey_client::{Builder, Credential};
use rekey_testkit::pgbouncer::{Options, PgBouncer};
use rekey_testkit::process::poll;
use rekey_testkit::system::{Pace, write_private};
use serde_json::Value;
use tokio_postgres::{Client, Config, NoTls};

use crate::story::{PATIENCE, Story, settled, until_readable};

/// The pooler has a file of users.
const TOLD: &str = "orders/told";
/// The pooler asks the server.
const ASKING: &str = "orders/asking";

/// How often the application uses a session before it takes another.
const LIFETIME: u32 = 8;

fn declaration(name: &str, target: &str, prefix: &str, also: &str) -> String {
    format!(
        "credential: {name}
owner: team-orders
environment: demo
postgres:
  target: {target}
  database: orders
  owner_role: orders_owner
  prefix: {prefix}
  probes: [\"SELECT count(*) FROM orders\"]
{also}grace: {{ max_reconnect: 300ms, floor: 400ms, quiet: 300ms, deadline: 2m }}
deliver:
  to: [\"spiffe://rekey.local/sidecar/orders/*\"]
  offline: serve-until-expiry
  offline_for: 10m
"
    )
}

/// A pooler that is told each version, and one that asks for it as the manual says.
fn poolers(story: &Story) -> [PgBouncer; 2] {
    let manual = include_str!("../../docs/drivers.md").split_once("### With `auth_query`").unwrap().1;
    let sql = manual.split_once("```sql\n").unwrap().1.split_once("```").unwrap().0;
    let postgres = &story.system.database.postgres;
    postgres.sql_in("orders", sql);
    postgres.sql("ALTER ROLE pool_auth PASSWORD 'asks-for-others'");
    let pooler = |settings: &[&str], users: &[&str]| {
        PgBouncer::start(Options {
            server: postgres.port(),
            socket: Some(postgres.socket_folder()),
            users: users.iter().map(ToString::to_string).collect(),
            settings: settings.iter().map(ToString::to_string).collect(),
            tls: None,
        })
    };
    let asks = [
        "auth_user = pool_auth",
        "auth_query = SELECT usename, passwd FROM pool_auth.look($1)",
        "server_idle_timeout = 1",
    ];
    [pooler(&["pool_mode = transaction"], &[]), pooler(&asks, &["\"pool_auth\" \"asks-for-others\""])]
}

/// Declares the poolers to the controller, and a credential behind each.
fn declare(story: &mut Story, [told, asking]: &[PgBouncer; 2]) {
    let folder = story.system.folder().to_owned();
    let config = std::fs::read_to_string(folder.join("controller.yaml")).unwrap();
    let (host, port) = (story.system.database.host(), story.system.database.port());
    let targets = format!(
        "targets:
  orders-pool:
    pgbouncer:
      host: 127.0.0.1
      port: {}
      user: {}
      password_file: pool-password
      userlist: {}
      tls: {{ mode: disable }}
  orders-asking:
    postgres:
      host: {}
      port: {port}
      consumer_host: 127.0.0.1
      consumer_port: {}
      user: rekey_rotator
      password_file: rotator-password
      tls: {{ mode: disable }}
",
        told.port(),
        PgBouncer::ADMIN,
        told.userlist().display(),
        host.display(),
        asking.port()
    );
    write_private(&folder.join("pool-password"), PgBouncer::ADMIN_PASSWORD).unwrap();
    write_private(&folder.join("controller.yaml"), &config.replace("targets:\n", &targets)).unwrap();
    story.system.kill_controller();
    story.system.start_controller().unwrap();
    let also = "also: [ { pgbouncer: { target: orders-pool, unpooled: true } } ]\n";
    for (name, target, prefix, also) in
        [(TOLD, "orders-pg", "orders_told", also), (ASKING, "orders-asking", "orders_asking", "")]
    {
        write_private(&folder.join("pooled.yaml"), &declaration(name, target, prefix, also)).unwrap();
        story.system.ctl(&["apply", "-f", "pooled.yaml"]).unwrap();
    }
}

fn status(story: &Story, name: &str) -> Value {
    let all = story.system.ctl(&["status", name]).unwrap();
    all.pointer("/credentials/0").cloned().unwrap_or_default()
}

/// An application that reads its login and uses it at once by every way, and keeps one pooled session for a while.
struct Application {
    stop: Arc<AtomicBool>,
    uses: Arc<AtomicU64>,
    thread: JoinHandle<Vec<String>>,
}

impl Application {
    fn start(story: &Story, name: &'static str) -> Self {
        let (stop, uses) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&uses));
        let builder = Builder::new(story.system.socket("sidecar-1"));
        let builder = match rekey_testkit::unprivileged() {
            Some(uid) => builder.server_uid(uid),
            None => builder,
        };
        let direct = (story.system.database.host().display().to_string(), story.system.database.port());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            runtime.unwrap().block_on(async {
                let client = builder.connect().await.unwrap();
                let (mut failures, mut held): (Vec<String>, Option<(u32, Client)>) = (Vec::new(), None);
                while !stopped.load(Ordering::SeqCst) {
                    let credential = client.get(name).await.unwrap();
                    let pooled = (
                        credential.text("host").unwrap().to_owned(),
                        credential.text("port").unwrap().parse().unwrap(),
                    );
                    let mut said = |way: &str, error: &dyn std::fmt::Debug| {
                        failures.push(format!("{} {way}: {error:?}", credential.version()));
                    };
                    for (way, place) in [("pooled", &pooled), ("direct", &direct)] {
                        match log_in(&credential, place).await {
                            Ok(session) => use_it(&session).await.unwrap_or_else(|error| said(way, &error)),
                            Err(error) => said(way, &error),
                        }
                    }
                    held = match held {
                        Some((uses, session)) if uses < LIFETIME => Some((uses + 1, session)),
                        _over => log_in(&credential, &pooled).await.ok().map(|session| (0, session)),
                    };
                    if let Some((_, session)) = &held {
                        use_it(session).await.unwrap_or_else(|error| said("held", &error));
                    }
                    counted.fetch_add(3, Ordering::SeqCst);
                }
                failures
            })
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

async fn log_in(
    credential: &Credential,
    (host, port): &(String, u16),
) -> Result<Client, tokio_postgres::Error> {
    let text = |field| credential.text(field).unwrap();
    let mut config = Config::new();
    config.host(host).port(*port).user(text("username")).password(text("password")).dbname(text("database"));
    let (session, connection) = config.connect(NoTls).await?;
    tokio::runtime::Handle::current().spawn(async move { connection.await.ok() });
    Ok(session)
}

async fn use_it(session: &Client) -> Result<(), tokio_postgres::Error> {
    session.batch_execute("BEGIN; INSERT INTO orders (item) VALUES ('pooled'); COMMIT").await
}

#[test]
fn logins_behind_poolers_rotate_under_load_and_nobody_sees_an_error() {
    let mut story = Story::begin("pooled", 1, Pace::default());
    let poolers = poolers(&story);
    declare(&mut story, &poolers);
    for name in [TOLD, ASKING] {
        let first = || {
            let status = status(&story, name);
            status["current"] == 1 && settled(&status)
        };
        assert!(poll(PATIENCE, first), "{:#}", status(&story, name));
        until_readable(&story.system.socket("sidecar-1"), name);
    }
    let applications = [TOLD, ASKING].map(|name| Application::start(&story, name));
    for version in 2..=4 {
        for (name, application) in [TOLD, ASKING].into_iter().zip(&applications) {
            application.let_work(9);
            story
                .system
                .ctl(&["rotate", name, "--wait", "--wait-timeout", "60s", "--reason", "test"])
                .unwrap();
            let settled_on = || {
                let status = status(&story, name);
                status["current"] == version && settled(&status)
            };
            assert!(poll(PATIENCE, settled_on), "{:#}", status(&story, name));
            application.let_work(9);
        }
    }
    for application in applications {
        let (failures, uses) = application.end();
        assert!(failures.is_empty() && uses > 50, "{failures:#?} in {uses} uses");
    }
    let logins = "SELECT rolname FROM pg_roles WHERE rolname ~ '^orders_(told|asking)_v' ORDER BY 1";
    let left = || story.system.database.postgres.sql(logins).len();
    assert!(poll(PATIENCE, || left() == 2), "{:?}", story.system.database.postgres.sql(logins));
    let list = std::fs::read_to_string(poolers[0].userlist()).unwrap();
    let ours: Vec<&str> = list.lines().filter(|line| line.contains("orders_told_v")).collect();
    assert!(ours.len() == 1 && ours[0].contains("orders_told_v4_"), "{ours:?}");
}
