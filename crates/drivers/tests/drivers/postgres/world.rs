//! One test's own database, roles and rotator in the cluster that all tests share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rekey_drivers::postgres::{
    Account, FixedAccount, FixedRole, Postgres as Driver, RIGHTS_FOR_CREDENTIAL, RIGHTS_FOR_TARGET,
    TargetSettings, TlsMode, TlsSettings,
};
use rekey_drivers::{Intent, Owner};
use rekey_model::{Fields, SecretBytes, Span, Version};
use rekey_testkit::postgres::{Options, Postgres, Row};

/// The rotator's password in every world.
pub(crate) const ROTATOR_PASSWORD: &str = "rotator-password-5b1f";

/// The cluster that all tests share. It ends with the test process.
pub(crate) fn shared() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| Postgres::start(Options { tcp: true, log_statements: true, ..Options::default() }))
}

/// One test's world.
pub(crate) struct World {
    pub(crate) postgres: &'static Postgres,
    pub(crate) driver: Driver,
    /// Names of this world begin with it.
    pub(crate) name: String,
    target: TargetSettings,
    account: Account,
}

/// A session of a consumer; it ends when dropped.
pub(crate) struct Consumer {
    client: tokio_postgres::Client,
    runtime: Option<tokio::runtime::Runtime>,
}

impl World {
    /// A world as most tests need it.
    pub(crate) fn new() -> Self {
        Self::made(|_, _| {})
    }

    /// A world with other settings.
    pub(crate) fn made(change: impl FnOnce(&mut TargetSettings, &mut Account)) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let postgres = shared();
        let name = format!("w{}", NEXT.fetch_add(1, Ordering::Relaxed));
        make_roles(postgres, &name);
        let (mut target, mut account) = settings(postgres, &name);
        change(&mut target, &mut account);
        let driver = build(&target, &account);
        Self { postgres, driver, name, target, account }
    }

    /// The same account by other settings.
    pub(crate) fn driver_with(&self, change: impl FnOnce(&mut TargetSettings, &mut Account)) -> Driver {
        let (mut target, mut account) = (self.target.clone(), self.account.clone());
        change(&mut target, &mut account);
        build(&target, &account)
    }

    /// A version to make, with a password that is found wherever it leaks.
    pub(crate) fn intent(&self, version: u64) -> Intent {
        Intent::chosen(
            Version::new(version).unwrap(),
            format!("{}_app_v{version}_k2f9qd", self.name).parse().unwrap(),
            Arc::new(SecretBytes::from(format!("plain-marker-{}-{version}", self.name))),
        )
    }

    /// Statements as superuser in this world's database.
    pub(crate) fn sql(&self, statements: &str) -> Vec<Row> {
        self.postgres.sql_in(&self.name, statements)
    }

    /// The first column of the first row.
    pub(crate) fn value(&self, query: &str) -> String {
        self.sql(query)[0][0].clone().unwrap_or_default()
    }

    /// The name of the owner role.
    pub(crate) fn owner_role(&self) -> String {
        format!("{}_owner", self.name)
    }

    /// A login that may do nothing, with the rotator's password.
    pub(crate) fn powerless(&self) -> String {
        let name = format!("{}_powerless", self.name);
        self.sql(&format!(
            "DO $$BEGIN IF to_regrole('{name}') IS NULL THEN \
             CREATE ROLE {name} LOGIN PASSWORD '{ROTATOR_PASSWORD}'; END IF; END$$"
        ));
        name
    }

    /// A session with what a consumer gets.
    pub(crate) fn consumer(&self, fields: &Fields) -> Consumer {
        let text = |field: &str| String::from_utf8(fields.get(field).unwrap().expose().to_vec()).unwrap();
        let connection = self.postgres.connection(&text("username"), &text("password"), &text("database"));
        Consumer::open(&connection).unwrap()
    }
}

impl Consumer {
    /// Opens a session on a runtime of its own, which goes on only while a statement runs.
    pub(crate) fn open(config: &tokio_postgres::Config) -> Result<Self, tokio_postgres::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let open = || {
            let (client, connection) = runtime.block_on(config.connect(tokio_postgres::NoTls))?;
            runtime.handle().spawn(async move { connection.await.ok() });
            Ok(client)
        };
        match std::thread::scope(|scope| scope.spawn(open).join()).unwrap() {
            Ok(client) => Ok(Self { client, runtime: Some(runtime) }),
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// Runs statements.
    pub(crate) fn sql(&self, statements: &str) -> Result<(), tokio_postgres::Error> {
        let runtime = self.runtime.as_ref().unwrap();
        let run = || runtime.block_on(self.client.batch_execute(statements));
        std::thread::scope(|scope| scope.spawn(run).join()).unwrap()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// The owner role, its database and table, and a rotator with exactly the rights that the manual names.
pub(crate) fn make_roles(postgres: &Postgres, name: &str) {
    let ours = |sql: &str| {
        sql.replace("orders_owner", &format!("{name}_owner")).replace("rekey", &format!("{name}_rekey"))
    };
    let owner = ours("CREATE ROLE orders_owner NOLOGIN");
    let target = ours(RIGHTS_FOR_TARGET);
    let credential = ours(RIGHTS_FOR_CREDENTIAL);
    postgres.sql(&format!(
        "{owner}; {target} {credential} ALTER ROLE {name}_rekey PASSWORD '{ROTATOR_PASSWORD}'"
    ));
    postgres.sql(&format!("CREATE DATABASE {name} OWNER {name}_owner"));
    postgres.sql_in(
        name,
        &format!("SET ROLE {name}_owner; CREATE TABLE orders (id int); INSERT INTO orders VALUES (1)"),
    );
}

fn settings(postgres: &Postgres, name: &str) -> (TargetSettings, Account) {
    let target = TargetSettings {
        host: "127.0.0.1".into(),
        port: postgres.port(),
        consumer_host: None,
        consumer_port: None,
        admin_database: "postgres".into(),
        user: format!("{name}_rekey"),
        password_file: "not-read-here".into(),
        tls: TlsSettings { mode: TlsMode::Disable, ..TlsSettings::default() },
        connect_timeout: Span::new(Duration::from_secs(5)),
        statement_timeout: Span::new(Duration::from_secs(3)),
        transit: Span::new(Duration::from_secs(2)),
        call_timeout: Span::new(Duration::from_secs(20)),
        pending_life: Span::new(Duration::from_hours(1)),
    };
    let account = Account {
        database: name.into(),
        owner_role: format!("{name}_owner"),
        prefix: format!("{name}_app"),
        adopt: None,
        search_path: Vec::new(),
        probes: vec!["SELECT count(*) FROM orders".into()],
    };
    (target, account)
}

fn build(target: &TargetSettings, account: &Account) -> Driver {
    let target = target.with(SecretBytes::from(ROTATOR_PASSWORD.to_owned()), None).unwrap();
    let owner = Owner { installation: "test".into(), credential: "orders/db".parse().unwrap() };
    Driver::new(target, account.clone(), owner).unwrap()
}

/// The driver of one login of `world` whose password changes in place.
pub(crate) fn fixed(world: &World, change: impl FnOnce(&mut TargetSettings, &mut FixedAccount)) -> FixedRole {
    let mut target = world.target.clone();
    let mut account = FixedAccount {
        database: world.name.clone(),
        role: format!("{}_fixed", world.name),
        adopt: false,
        follow: None,
        probes: vec!["SELECT count(*) FROM orders".into()],
    };
    change(&mut target, &mut account);
    let target = target.with(SecretBytes::from(ROTATOR_PASSWORD.to_owned()), None).unwrap();
    FixedRole::new(target, account).unwrap()
}

/// The driver of `world` at a server with TLS, whose authority is `ca`.
pub(crate) fn with_authority(world: &World, ca: &str, change: impl FnOnce(&mut TargetSettings)) -> Driver {
    let mut target = world.target.clone();
    change(&mut target);
    let target = target.with(SecretBytes::from(ROTATOR_PASSWORD.to_owned()), Some(ca.as_bytes())).unwrap();
    let owner = Owner { installation: "test".into(), credential: "orders/db".parse().unwrap() };
    Driver::new(target, world.account.clone(), owner).unwrap()
}
