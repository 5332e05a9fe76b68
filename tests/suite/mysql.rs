//! A MariaDB whose applications log in all the time: one has a login for each version, one a user with two passwords.

use rekey_client::Credential;
use rekey_testkit::mariadb::{Mariadb, Session};
use rekey_testkit::platform::Setup;
use rekey_testkit::process::poll;

use crate::application::{Application, Kept};
use crate::story::{Installation, PATIENCE, until_readable};

const VERSIONS: &str = "orders/versions";
const USER: &str = "orders/user";

/// How often an application uses a session before it takes another.
const LIFETIME: u32 = 8;

const MANUAL: &str = include_str!("../../docs/drivers.md");

/// The statements of the manual that begin so: one block.
fn rights(beginning: &str) -> &'static str {
    let from = MANUAL.find(&format!("```sql\n{beginning}")).unwrap();
    MANUAL[from..].trim_start_matches("```sql\n").split("```").next().unwrap()
}

fn declaration(name: &str, account: &str) -> String {
    format!(
        "credential: {name}
owner: team-orders
environment: demo
mysql:
  target: shop
  database: orders
{account}  probes: [\"SELECT count(*) FROM orders\"]
grace: {{ max_reconnect: 300ms, floor: 5s, quiet: 300ms, deadline: 2m }}
deliver:
  to: [\"spiffe://rekey.local/sidecar/orders/*\"]
  offline: serve-until-expiry
  offline_for: 10m
"
    )
}

/// A server with two applications' logins of today, as people made them, and a rotator with what the manual gives it.
fn server() -> Mariadb {
    let server = Mariadb::start();
    server.sql(&format!(
        "CREATE DATABASE orders; CREATE TABLE orders.orders (id int); INSERT INTO orders.orders VALUES (1); \
         CREATE ROLE orders_app; GRANT ALL PRIVILEGES ON orders.* TO orders_app; \
         CREATE USER orders_legacy IDENTIFIED BY 'of-a-person'; GRANT SELECT ON orders.* TO orders_legacy; \
         CREATE USER shop IDENTIFIED BY 'of-another'; GRANT SELECT ON orders.* TO shop; {} {} \
         SET PASSWORD FOR rekey = PASSWORD('rotator-password')",
        rights("CREATE USER rekey;\n"),
        rights("GRANT orders_app TO rekey"),
    ));
    server
}

/// A platform with both credentials declared and adopted, and a sidecar.
fn platform(server: &Mariadb) -> Installation {
    let mut platform = Installation::begin("mysql", Setup::default());
    let target = format!(
        "  shop:\n    mysql: {{ host: 127.0.0.1, port: {}, user: rekey, password_file: shop-password, tls: {{ mode: disable }} }}\n",
        server.port()
    );
    platform.add_target(&target, &[("shop-password", "rotator-password")]).unwrap();
    let hash = server.sql("SELECT PASSWORD('of-another')")[0][0].clone();
    let of_versions = "  role: orders_app\n  prefix: orders\n  adopt: { login: orders_legacy }\n";
    let of_user = format!("  user: shop\n  adopt: {{ hash: \"{hash}\" }}\n");
    for (name, account, password) in
        [(VERSIONS, of_versions, "of-a-person"), (USER, of_user.as_str(), "of-another")]
    {
        platform.declare(&declaration(name, account)).unwrap();
        platform.write("legacy-password", password).unwrap();
        platform.ctl(&["adopt", name, "--password-file", "legacy-password"]).unwrap();
    }
    platform.start_sidecar("sidecar-1", "orders/sidecar-1", "orders/*").unwrap();
    platform
}

fn log_in(port: u16, credential: &Credential) -> anyhow::Result<Session> {
    let (user, password) = (credential.text("username")?, credential.text("password")?);
    Session::log_in(port, user, password, credential.text("database")?)
}

/// It logs in anew each time, and keeps one session for a while.
fn application(platform: &Installation, name: &'static str, port: u16) -> Application {
    let mut kept = Kept::for_uses(LIFETIME);
    Application::start(platform.socket("sidecar-1"), name, move |credential| {
        let rows = kept.or(log_in(port, credential)?).ask("SELECT count(*) FROM orders");
        anyhow::ensure!(rows.as_deref() == Some("1"), "a session was cut");
        Ok(())
    })
}

/// What a consumer logs in with now.
fn login_of(platform: &Installation, name: &str) -> [String; 2] {
    let credential = until_readable(&platform.socket("sidecar-1"), name);
    ["username", "password"].map(|field| credential.text(field).unwrap().to_owned())
}

fn comes_in(server: &Mariadb, [user, password]: &[String; 2]) -> bool {
    Session::log_in(server.port(), user, password, "orders").is_ok()
}

#[test]
fn a_login_for_each_version_and_a_user_with_two_passwords_rotate_under_load_and_are_revoked() {
    let server = server();
    let platform = platform(&server);
    let applications = [VERSIONS, USER].map(|name| (name, application(&platform, name, server.port())));
    for (_, application) in &applications {
        application.let_work(3);
    }
    for next in 2..=4 {
        for (name, application) in &applications {
            let before = login_of(&platform, name);
            platform.ctl(&["rotate", name, "--reason", "test"]).unwrap();
            platform.wait_settled(name, next).unwrap();
            application.let_work(3);
            assert_ne!(login_of(&platform, name), before);
            assert!(!comes_in(&server, &before), "{name}: the old version still comes in");
        }
    }
    for (name, application) in applications {
        let uses = application.end_without_failure();
        assert!(uses > 20, "{name} was used {uses} times only");
    }
    // Of what came before, nothing is left but the login of a person, which is locked.
    assert_eq!(server.sql("SELECT User FROM mysql.global_priv WHERE User LIKE 'orders\\_v%'").len(), 1);
    assert!(server.sql("SHOW CREATE USER orders_legacy")[0][0].contains("ACCOUNT LOCK"));
    assert!(!server.sql("SHOW CREATE USER shop")[0][0].contains(" OR "));

    for name in [VERSIONS, USER] {
        let leaked = login_of(&platform, name);
        let [user, password] = &leaked;
        let mut thief = Session::log_in(server.port(), user, password, "orders").unwrap();
        let receipt = platform.ctl(&["revoke", name, "--reason", "leaked"]).unwrap();
        assert!(receipt["cut_ms"].as_i64().unwrap_or_default() > 0, "{receipt:#}");
        assert!(thief.ask("SELECT 1").is_none(), "{name}: a session with the leaked password goes on");
        assert!(!comes_in(&server, &leaked), "{name}: the leaked password still comes in");
        let replaced =
            || login_of(&platform, name) != leaked && comes_in(&server, &login_of(&platform, name));
        assert!(poll(PATIENCE, replaced), "{name}: there is no replacement");
    }
}
