//! Credentials that somebody else's machine rotates: it changes the value at the target and leaves it in a file. What works
//! goes to everybody by itself; what does not goes to nobody, and the file is named.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rekey_testkit::console::Console;
use rekey_testkit::http::Http;
use rekey_testkit::marker::found_in;
use rekey_testkit::platform::Setup;
use rekey_testkit::postgres::{Options, Postgres, sql_over};
use rekey_testkit::process::poll;
use serde_json::Value;

use crate::application::Application;
use crate::story::{Installation, PATIENCE, phase, until_readable};

const LOGIN: &str = "orders/rds";
const TOKEN: &str = "orders/token";

const OF_A_LOGIN: &str = "credential: orders/rds
owner: team-orders
environment: demo
postgres:
  target: rds
  database: orders
  role: orders_rds
  follow: orders-db
  probes: [\"SELECT count(*) FROM orders\"]
deliver:
  to: [\"spiffe://rekey.local/sidecar/orders/*\"]
  offline: serve-until-expiry
  offline_for: 10m
fields: { url: \"postgres://{username|url}:{password|url}@db/{database|url}\" }
";

const OF_A_TOKEN: &str = "credential: orders/token
owner: team-orders
environment: demo
hand-in:
  target: dev
  name: orders-token
  page: https://console.example/keys
  follow: token
  probe: { get: /v1/me, header: \"Authorization: Bearer {value}\" }
deliver:
  to: [\"spiffe://rekey.local/sidecar/orders/*\"]
  offline: serve-until-expiry
  offline_for: 10m
";

struct Scene {
    platform: Installation,
}

impl Scene {
    /// A controller with `targets`, which has no login of its own at any of them.
    fn begin(name: &str, targets: String) -> Self {
        let setup = Setup { targets, ..Setup::default() };
        let mut platform = Installation::begin(name, setup);
        platform.start_sidecar("sidecar-1", "orders/sidecar-1", "orders/*").unwrap();
        Self { platform }
    }

    /// Somebody else's machine leaves a file, whole or not at all.
    fn leave(&self, file: &str, text: &str) {
        self.platform.write("being-written", text).unwrap();
        fs::rename(self.platform.folder().join("being-written"), self.platform.folder().join(file)).unwrap();
    }

    fn until(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.platform.until(name, what, wanted)
    }

    fn until_on(&self, name: &str, version: u64) -> Value {
        self.until(name, &format!("v{version}, and nothing is wrong"), |status| {
            status["current"] == version
                && phase(status).is_empty()
                && ["follow_fails", "current_fails"].iter().all(|kind| alarm(status, kind).is_empty())
        })
    }

    /// Waits until it is told that nothing can be followed, in all of `words`.
    fn until_told(&self, name: &str, words: &[&str]) {
        self.until(name, &format!("an alarm with {words:?}"), |status| {
            let told = alarm(status, "follow_fails");
            words.iter().all(|word| told.contains(word))
        });
    }
}

/// The message of the alarm that is called `kind`; empty: it does not stand.
fn alarm(status: &Value, kind: &str) -> String {
    let alarms = status["alarms"].as_array().cloned().unwrap_or_default();
    let alarm = alarms.iter().find(|alarm| alarm["kind"] == kind);
    alarm.and_then(|alarm| alarm["message"].as_str()).unwrap_or_default().to_owned()
}

fn versions(status: &Value) -> usize {
    status["versions"].as_array().map_or(0, Vec::len)
}

/// Applications, which may fail only while somebody else changes the password and nobody can know the new one.
struct Load {
    applications: Vec<Application>,
    allowed: Arc<AtomicBool>,
    /// The newest version that worked.
    works: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl Load {
    fn start(scene: &Scene, server: &Postgres) -> Self {
        let (allowed, works) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let failed = Arc::new(AtomicU64::new(0));
        let (may_fail, worked, counted) = (Arc::clone(&allowed), Arc::clone(&works), Arc::clone(&failed));
        let server = server.connection("", "", "");
        let work = move |credential: &rekey_client::Credential| {
            let mut login = server.clone();
            login.user(credential.text("username")?).password(credential.text("password")?);
            login.dbname(credential.text("database")?);
            let used = sql_over(login, "SELECT count(*) FROM orders");
            if used.is_ok() {
                worked.fetch_max(credential.version().get(), Ordering::SeqCst);
            } else if may_fail.load(Ordering::SeqCst) {
                counted.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            used.map(drop)
        };
        let applications = vec![Application::start(scene.platform.socket("sidecar-1"), LOGIN, work)];
        Self { applications, allowed, works, failed }
    }

    fn let_work(&self) {
        self.applications.iter().for_each(|application| application.let_work(5));
    }

    /// Lets applications fail until `version` works.
    fn while_changing(&self, version: u64, change: impl FnOnce()) {
        self.allowed.store(true, Ordering::SeqCst);
        change();
        let works = || self.works.load(Ordering::SeqCst) >= version;
        assert!(poll(PATIENCE, works), "v{version} does not work");
        self.let_work();
        self.allowed.store(false, Ordering::SeqCst);
    }

    fn end(self) -> u64 {
        self.applications.into_iter().for_each(|application| {
            assert!(application.end_without_failure() > 5);
        });
        self.failed.load(Ordering::SeqCst)
    }
}

fn server() -> Postgres {
    let server = Postgres::start(Options::default());
    server.sql("CREATE ROLE orders_rds LOGIN PASSWORD 'marker-first'");
    server.sql("CREATE DATABASE orders OWNER orders_rds");
    server.sql_in("orders", "SET ROLE orders_rds; CREATE TABLE orders (id int)");
    server
}

fn change(server: &Postgres, password: &str) {
    server.sql(&format!("ALTER ROLE orders_rds PASSWORD '{password}'"));
}

/// A database with a login whose password somebody else rotates, and a controller that may only log in as a consumer does.
fn database(name: &str) -> (Postgres, Scene) {
    let server = server();
    let targets = format!(
        "  rds:\n    postgres:\n      host: {}\n      port: {}\n      follows:\n        orders-db: {{ file: rds-password, by: \"the database team\" }}\n",
        server.socket_folder().display(),
        server.port(),
    );
    let scene = Scene::begin(name, targets);
    scene.platform.declare(OF_A_LOGIN).unwrap();
    (server, scene)
}

#[test]
fn what_somebody_else_changes_is_followed_and_what_does_not_work_reaches_nobody() {
    let (server, mut scene) = database("follow");
    scene.until_told(LOGIN, &["rds-password", "cannot read", "ask the database team"]);
    scene.leave("rds-password", "marker-first\n");
    scene.until_on(LOGIN, 1);
    until_readable(&scene.platform.socket("sidecar-1"), LOGIN);
    let applications = Load::start(&scene, &server);
    applications.let_work();

    // The password changes, then the file.
    applications.while_changing(2, || {
        change(&server, "marker-second");
        scene.leave("rds-password", "marker-second");
    });
    let status = scene.until_on(LOGIN, 2);
    assert_eq!(status["versions"][0]["stage"], "retired", "{status:#}");

    // What is in the file does not work: nobody gets it, and applications go on.
    scene.leave("rds-password", "marker-wrong");
    scene.until_told(LOGIN, &["rds-password has a value that does not work", "ask the database team"]);
    applications.let_work();
    assert_eq!(versions(&scene.platform.status(LOGIN).unwrap()), 2, "nothing was begun with it");
    // The file is gone, or anybody may read it: nothing is lost.
    fs::remove_file(scene.platform.folder().join("rds-password")).unwrap();
    scene.until_told(LOGIN, &["rds-password", "cannot read"]);
    scene.leave("rds-password", "marker-second");
    scene.until_on(LOGIN, 2);
    let file = scene.platform.folder().join("rds-password");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    scene.until_told(LOGIN, &["others may use", "rds-password"]);
    applications.let_work();

    // It is changed while the controller is away.
    scene.platform.kill_controller();
    applications.while_changing(3, || {
        change(&server, "marker-third");
        scene.leave("rds-password", "marker-third");
        scene.platform.start_controller().unwrap();
    });
    scene.until_on(LOGIN, 3);

    // Nobody rotates it here, and nobody can go back to what is dead.
    let rotate = scene.platform.operator().output(&["rotate", LOGIN]).unwrap();
    assert_eq!(rotate.status.code(), Some(10), "{}", String::from_utf8_lossy(&rotate.stderr));
    assert!(String::from_utf8_lossy(&rotate.stderr).contains("is followed"));
    let failed = applications.end();
    assert!(failed > 0, "a password that is dead is refused until the file is looked at");
    nobody_wrote_down(&mut scene, &["marker-first", "marker-second", "marker-third", "marker-wrong"]);
}

#[test]
fn a_change_waits_for_no_sidecar_and_what_is_revoked_is_cut_by_whoever_rotates_it() {
    let (server, mut scene) = database("follow-again");
    scene.leave("rds-password", "first-of-all");
    scene.until_told(LOGIN, &["does not work"]);
    scene.leave("rds-password", "marker-first");
    scene.until_on(LOGIN, 1);
    scene.platform.start_sidecar("sidecar-2", "orders/sidecar-2", "orders/*").unwrap();
    for sidecar in ["sidecar-1", "sidecar-2"] {
        until_readable(&scene.platform.socket(sidecar), LOGIN);
    }
    let applications = Load::start(&scene, &server);
    // One that is away holds a rotation up, and not the next value.
    scene.platform.kill_part("sidecar-2");
    for (version, password) in [(2, "marker-second"), (3, "marker-third")] {
        applications.while_changing(version, || {
            change(&server, password);
            scene.leave("rds-password", password);
        });
        scene.until(LOGIN, "somebody is waited for", |status| {
            status["current"] == version && phase(status) == "Rolling"
        });
    }
    scene.platform.restart_sidecar("sidecar-2").unwrap();
    scene.until_on(LOGIN, 3);
    applications.end();

    let revoked = scene.platform.operator().run_beside(&["revoke", LOGIN, "--reason", "leaked"]);
    let status = scene.until(LOGIN, "fenced, and whom to ask", |status| {
        let told = alarm(status, "delete_by_hand");
        told.contains("ask the database team") && told.contains("rds-password")
    });
    assert!(status["current"].as_u64().unwrap_or_default() == 0, "{status:#}");
    scene.until_told(LOGIN, &["rds-password still has v3, which was revoked"]);
    let socket = scene.platform.socket("sidecar-1");
    change(&server, "marker-fourth");
    scene.leave("rds-password", "marker-fourth");
    let receipt = revoked.join().unwrap().unwrap();
    for moment in ["fenced_ms", "cut_ms", "replaced_ms"] {
        assert!(receipt[moment].as_i64().unwrap_or_default() > 0, "{moment}: {receipt:#}");
    }
    scene.until_on(LOGIN, 4);
    assert_eq!(until_readable(&socket, LOGIN).text("password").unwrap(), "marker-fourth");
}

#[test]
fn a_key_of_a_file_of_variables_is_followed() {
    let console = Console::start();
    let targets = format!(
        "  dev:\n    hand-in:\n      address: \"{}\"\n      follows:\n        token: {{ file: dev.env, key: APP_TOKEN, by: \"whoever runs the script\" }}\n",
        console.address(),
    );
    let mut scene = Scene::begin("follow-env", targets);
    let first = console.make_key("orders-token_v1");
    scene.leave("dev.env", &format!("# of development\nOTHER=1\nexport APP_TOKEN='{first}'\n"));
    scene.platform.declare(OF_A_TOKEN).unwrap();
    scene.until_on(TOKEN, 1);
    until_readable(&scene.platform.socket("sidecar-1"), TOKEN);
    let http = Http::plain(console.port());
    let application = Application::start(scene.platform.socket("sidecar-1"), TOKEN, move |credential| {
        let bearer = format!("Bearer {}", credential.text("value")?);
        let status = http.ask("GET", "/v1/me", &[("Authorization", &bearer)], &Value::Null)?.status;
        std::thread::sleep(Duration::from_millis(5));
        anyhow::ensure!(status == 200, "status {status}");
        Ok(())
    });
    application.let_work(5);
    let wrong = "ck_0123456789abcdef0123456789abcdef";
    for (text, words) in [
        (format!("APP_TOKEN={wrong}\n"), ["APP_TOKEN in ", "does not work"]),
        ("OTHER=1\n".to_owned(), ["APP_TOKEN in ", "it is not there"]),
        (format!("APP_TOKEN={wrong}\nAPP_TOKEN=a\n"), ["APP_TOKEN in ", "stands there twice"]),
    ] {
        scene.leave("dev.env", &text);
        scene.until_told(TOKEN, &words);
        scene.until_told(TOKEN, &["ask whoever runs the script"]);
    }
    let given = scene.platform.operator().piped(&["hand-in", TOKEN, "--file", "-"], "anything\n").unwrap();
    assert_eq!(given.status.code(), Some(10), "{}", String::from_utf8_lossy(&given.stderr));
    let second = console.make_key("orders-token_v2");
    scene.leave("dev.env", &format!("APP_TOKEN={second}\n"));
    scene.until_on(TOKEN, 2);
    assert!(poll(PATIENCE, || console.uses("orders-token_v2") > 5));
    application.end_without_failure();
    nobody_wrote_down(&mut scene, &[&first, &second, wrong]);
}

/// No value is in any log, in the store or in the audit; only where somebody else left the last one.
fn nobody_wrote_down(scene: &mut Scene, values: &[&str]) {
    let audit = scene.platform.ctl(&["audit", "query", "--limit", "1000"]).unwrap().to_string();
    scene.platform.kill_controller();
    for file in ["rds-password", "dev.env"] {
        drop(fs::remove_file(scene.platform.folder().join(file)));
    }
    for value in values {
        let found = found_in(scene.platform.folder(), value.as_bytes()).unwrap();
        assert!(found.is_empty(), "{value} stands in {found:?}");
        assert!(!audit.contains(value), "{value} stands in the audit");
    }
}
