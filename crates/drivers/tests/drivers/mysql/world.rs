//! One test's own database, role and rotator at the server that all tests share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rekey_drivers::mysql::{
    Account, Mysql as Driver, RIGHTS_FOR_CREDENTIAL, RIGHTS_FOR_TARGET, TargetSettings, TlsMode, TlsSettings,
};
use rekey_drivers::{Intent, Owner};
use rekey_model::{Fields, SecretBytes, Span, Version};
use rekey_testkit::mariadb::{Mariadb, Session};

/// The rotator's password in every world.
pub(crate) const ROTATOR_PASSWORD: &str = "rotator-password-5b1f";

/// The server that all tests share. It ends with the test process.
pub(crate) fn shared() -> &'static Mariadb {
    static SHARED: OnceLock<Mariadb> = OnceLock::new();
    SHARED.get_or_init(Mariadb::start)
}

/// One test's world.
pub(crate) struct World<'s> {
    pub(crate) server: &'s Mariadb,
    pub(crate) driver: Driver,
    /// Names of this world begin with it.
    pub(crate) name: String,
    target: TargetSettings,
    account: Account,
}

impl World<'static> {
    /// A world as most tests need it.
    pub(crate) fn new() -> Self {
        Self::made(|_, _| {})
    }

    /// A world with other settings.
    pub(crate) fn made(change: impl FnOnce(&mut TargetSettings, &mut Account)) -> Self {
        Self::made_at(shared(), change)
    }
}

impl<'s> World<'s> {
    /// A world at a server of its own.
    pub(crate) fn at(server: &'s Mariadb) -> Self {
        Self::made_at(server, |_, _| {})
    }

    fn made_at(server: &'s Mariadb, change: impl FnOnce(&mut TargetSettings, &mut Account)) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("w{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let ours = |sql: &str| {
            sql.replace("orders_app", &format!("{name}_app")).replace("rekey", &format!("{name}_rekey"))
        };
        let (target, credential) = (ours(RIGHTS_FOR_TARGET), ours(RIGHTS_FOR_CREDENTIAL));
        server.sql(&format!(
            "CREATE DATABASE {name}; CREATE TABLE {name}.orders (id int); INSERT INTO {name}.orders VALUES (1); \
             CREATE ROLE {name}_app; GRANT ALL PRIVILEGES ON {name}.* TO {name}_app; {target} {credential} \
             SET PASSWORD FOR {name}_rekey = PASSWORD('{ROTATOR_PASSWORD}')"
        ));
        let (mut target, mut account) = settings(server, &name);
        change(&mut target, &mut account);
        let driver = build(&target, &account, None);
        Self { server, driver, name, target, account }
    }

    /// The same account by other settings.
    pub(crate) fn driver_with(&self, change: impl FnOnce(&mut TargetSettings, &mut Account)) -> Driver {
        let (mut target, mut account) = (self.target.clone(), self.account.clone());
        change(&mut target, &mut account);
        build(&target, &account, None)
    }

    /// The same account with TLS, trusting `ca`, at the server called `host`.
    pub(crate) fn driver_in_tls(&self, ca: &str, host: &str) -> Driver {
        let mut target = self.target.clone();
        host.clone_into(&mut target.host);
        target.tls = TlsSettings { ca_file: Some("not-read-here".into()), ..TlsSettings::default() };
        build(&target, &self.account, Some(ca))
    }

    /// A version to make, with a password that is found wherever it leaks.
    pub(crate) fn intent(&self, version: u64) -> Intent {
        Intent::chosen(
            Version::new(version).unwrap(),
            format!("{}_v{version}_k2f9qd", self.name).parse().unwrap(),
            Arc::new(SecretBytes::from(format!("plain-marker-{}-{version}", self.name))),
        )
    }

    /// Statements as root.
    pub(crate) fn sql(&self, statements: &str) -> Vec<Vec<String>> {
        self.server.sql(statements)
    }

    /// The first column of the first row.
    pub(crate) fn value(&self, query: &str) -> String {
        self.sql(query)[0][0].clone()
    }

    /// How many accounts there are of this name.
    pub(crate) fn accounts(&self, name: &str) -> String {
        self.value(&format!("SELECT COUNT(*) FROM mysql.global_priv WHERE User = '{name}'"))
    }

    /// A login that may do nothing, with the rotator's password.
    pub(crate) fn powerless(&self) -> String {
        let name = format!("{}_powerless", self.name);
        self.sql(&format!("CREATE USER IF NOT EXISTS {name} IDENTIFIED BY '{ROTATOR_PASSWORD}'"));
        name
    }

    /// A session with what a consumer gets.
    pub(crate) fn consumer(&self, fields: &Fields) -> Session {
        log_in(self.server, fields).unwrap()
    }
}

/// Logs in with what a consumer gets.
pub(crate) fn log_in(server: &Mariadb, fields: &Fields) -> Option<Session> {
    let text = |field: &str| String::from_utf8(fields.get(field).unwrap().expose().to_vec()).unwrap();
    Session::log_in(server.port(), &text("username"), &text("password"), &text("database")).ok()
}

/// The server as a target, for the rotator of the world with this name.
pub(crate) fn target(server: &Mariadb, name: &str) -> TargetSettings {
    TargetSettings {
        host: "127.0.0.1".into(),
        port: server.port(),
        consumer_host: None,
        consumer_port: None,
        user: format!("{name}_rekey"),
        password_file: "not-read-here".into(),
        tls: TlsSettings { mode: TlsMode::Disable, ..TlsSettings::default() },
        connect_timeout: Span::new(Duration::from_secs(5)),
        statement_timeout: Span::new(Duration::from_secs(3)),
        transit: Span::new(Duration::from_secs(2)),
        call_timeout: Span::new(Duration::from_secs(20)),
    }
}

fn settings(server: &Mariadb, name: &str) -> (TargetSettings, Account) {
    let account = Account {
        database: name.into(),
        role: format!("{name}_app"),
        prefix: name.into(),
        from: "%".into(),
        adopt: None,
        probes: vec!["SELECT count(*) FROM orders".into()],
    };
    (target(server, name), account)
}

fn build(target: &TargetSettings, account: &Account, ca: Option<&str>) -> Driver {
    let password = SecretBytes::from(ROTATOR_PASSWORD.to_owned());
    let target = target.with(password, ca.map(str::as_bytes)).unwrap();
    let owner = Owner { installation: "test".into(), credential: "orders/db".parse().unwrap() };
    Driver::new(target, account.clone(), owner).unwrap()
}
