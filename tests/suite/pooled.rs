//! Logins behind a pooler that change while an application uses them all the time: through the pooler and past it.

use anyhow::Context as _;
use rekey_client::Credential;
use rekey_testkit::pgbouncer::{Options, PgBouncer};
use rekey_testkit::process::poll;
use rekey_testkit::system::Pace;
use tokio::runtime;
use tokio_postgres::{Client, Config, NoTls};

use crate::application::{Application, Kept};
use crate::story::{PATIENCE, Story};

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
{also}grace: {{ max_reconnect: 300ms, floor: 5s, quiet: 300ms, deadline: 2m }}
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
    let (host, port) = (story.system.database.host(), story.system.database.port());
    let targets = format!(
        "  orders-pool:
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
    let also = "also: [ { pgbouncer: { target: orders-pool, unpooled: true } } ]\n";
    let told = declaration(TOLD, "orders-pg", "orders_told", also);
    let asking = declaration(ASKING, "orders-asking", "orders_asking", "");
    let password = [("pool-password", PgBouncer::ADMIN_PASSWORD)];
    story.declare_other(&targets, &password, &format!("{told}---\n{asking}"));
}

/// It uses what it reads at once by every way, and keeps one pooled session for a while.
fn application(story: &Story, name: &'static str) -> Application {
    let direct = (story.system.database.host().display().to_string(), story.system.database.port());
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut kept = Kept::for_uses(LIFETIME);
    Application::start(story.system.socket("sidecar-1"), name, move |credential| {
        let pooled = (credential.text("host")?.to_owned(), credential.text("port")?.parse()?);
        runtime.block_on(async {
            use_it(&log_in(credential, &direct).await.context("direct")?).await.context("direct")?;
            let fresh = log_in(credential, &pooled).await.context("pooled")?;
            use_it(&fresh).await.context("pooled")?;
            use_it(kept.or(fresh)).await.context("kept")
        })
    })
}

async fn log_in(
    credential: &Credential,
    (host, port): &(String, u16),
) -> Result<Client, tokio_postgres::Error> {
    let text = |field| credential.text(field).unwrap();
    let mut config = Config::new();
    config.host(host).port(*port).user(text("username")).password(text("password")).dbname(text("database"));
    let (session, connection) = config.connect(NoTls).await?;
    runtime::Handle::current().spawn(async move { connection.await.ok() });
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
    let applications = [TOLD, ASKING].map(|name| {
        story.system.wait_settled(name, 1).unwrap();
        (name, application(&story, name))
    });
    for version in 2..=4 {
        for (name, application) in &applications {
            application.let_work(3);
            story.rotate_other(name);
            story.system.wait_settled(name, version).unwrap();
            application.let_work(3);
        }
    }
    for (name, application) in applications {
        let uses = application.end_without_failure();
        assert!(uses > 16, "{name} was used {uses} times only");
    }
    let logins = "SELECT rolname FROM pg_roles WHERE rolname ~ '^orders_(told|asking)_v' ORDER BY 1";
    let left = || story.system.database.postgres.sql(logins).len();
    assert!(poll(PATIENCE, || left() == 2), "{:?}", story.system.database.postgres.sql(logins));
    let list = std::fs::read_to_string(poolers[0].userlist()).unwrap();
    let ours: Vec<&str> = list.lines().filter(|line| line.contains("orders_told_v")).collect();
    assert!(ours.len() == 1 && ours[0].contains("orders_told_v4_"), "{ours:?}");
}
