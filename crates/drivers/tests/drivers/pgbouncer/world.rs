//! One test's own database, roles and rotator, and a pooler of its own before them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rekey_drivers::{Account, Driver, Owner, Target};
use rekey_model::{Fields, Label};
use rekey_settings::{Document, Section};
use rekey_testkit::pgbouncer::{Options, PgBouncer};
use rekey_testkit::postgres::Postgres;
use tempfile::TempDir;

use crate::postgres::world::{Consumer, ROTATOR_PASSWORD, World as Database};

/// Lines of somebody else, one of them hard to read, the last without an end.
pub(crate) const FOREIGN: &str =
    "; kept by hand\t\"x\"\n  \"reports\"  \"md5abc\"  ; since 2019\r\n\n\"orders_v1_x\" \"\"";

/// One test's world.
pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) pooler: PgBouncer,
    pub(crate) driver: Arc<dyn Driver>,
    files: TempDir,
}

/// Where things are, as the controller's config and the spec say.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) server: u16,
    pub(crate) rotator: String,
    pub(crate) pooler: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) userlist: String,
    pub(crate) tls: String,
    pub(crate) adopt: String,
    pub(crate) unpooled: bool,
}

impl World {
    /// A world whose pooler gives each client a session of its own.
    pub(crate) fn new() -> Self {
        Self::pooled("session")
    }

    /// A world with this `pool_mode`.
    pub(crate) fn pooled(mode: &str) -> Self {
        Self::with(vec![format!("pool_mode = {mode}")], None, |_| {})
    }

    /// A world with other settings.
    pub(crate) fn with(
        settings: Vec<String>,
        tls: Option<Vec<String>>,
        change: impl FnOnce(&mut Places),
    ) -> Self {
        let database = Database::new();
        let server = database.postgres.port();
        let pooler =
            PgBouncer::start(Options { server, users: vec![FOREIGN.into()], tls, settings, socket: None });
        let files = tempfile::tempdir().unwrap();
        private(&files.path().join("rotator"), ROTATOR_PASSWORD);
        private(&files.path().join("admin"), PgBouncer::ADMIN_PASSWORD);
        if let Some(ca) = pooler.ca_pem() {
            private(&files.path().join("ca.pem"), ca);
        }
        let mut places = Places::of(&database, &pooler);
        change(&mut places);
        let driver = places.driver(&database.name, files.path());
        Self { database, pooler, driver, files }
    }

    /// The same credential elsewhere.
    pub(crate) fn driver_with(&self, change: impl FnOnce(&mut Places)) -> Arc<dyn Driver> {
        let mut places = Places::of(&self.database, &self.pooler);
        change(&mut places);
        places.driver(&self.database.name, self.files.path())
    }

    /// What stands in the users' file.
    pub(crate) fn userlist(&self) -> String {
        fs::read_to_string(self.pooler.userlist()).unwrap()
    }

    /// A session through the pooler, with what a consumer gets; it has asked something already.
    pub(crate) fn consumer(&self, fields: &Fields) -> Consumer {
        let consumer = at(self.pooler.port(), fields).unwrap();
        consumer.sql("SELECT 1").unwrap();
        consumer
    }

    /// Login roles of this world that may log in.
    pub(crate) fn logins(&self) -> Vec<String> {
        let like = format!("{}_app_v%", self.database.name);
        let rows = self
            .database
            .sql(&format!("SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname LIKE '{like}'"));
        rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect()
    }
}

impl Places {
    fn of(database: &Database, pooler: &PgBouncer) -> Self {
        Self {
            server: database.postgres.port(),
            rotator: format!("{}_rekey", database.name),
            pooler: "127.0.0.1".into(),
            port: pooler.port(),
            user: PgBouncer::ADMIN.into(),
            userlist: userlist(&pooler.userlist()),
            tls: "{ mode: disable }".into(),
            adopt: String::new(),
            unpooled: true,
        }
    }

    fn driver(&self, name: &str, folder: &Path) -> Arc<dyn Driver> {
        let Self { server, rotator, pooler, port, user, userlist, tls, adopt, unpooled } = self;
        let first = format!(
            "postgres: {{ host: 127.0.0.1, port: {server}, user: {rotator}, password_file: rotator, \
             statement_timeout: 3s, transit: 2s, call_timeout: 20s, tls: {{ mode: disable }} }}"
        );
        let beside = format!(
            "pgbouncer: {{ host: {pooler:?}, port: {port}, user: {user}, password_file: admin, {userlist}\
             connect_timeout: 1s, command_timeout: 1s, call_timeout: 8s, tls: {tls} }}"
        );
        let spec = format!(
            "postgres: {{ target: orders-pg, database: {name}, owner_role: {name}_owner, prefix: {name}_app, \
             probes: [\"SELECT count(*) FROM orders\"]{adopt} }}\n\
             also: [ {{ pgbouncer: {{ target: orders-pool, unpooled: {unpooled} }} }} ]"
        );
        let account: Account = read(&spec, rekey_drivers::account);
        let first: Target = read(&first, |section| rekey_drivers::target(section, folder));
        let beside: Target = read(&beside, |section| rekey_drivers::target(section, folder));
        let named = |label: &Label| (label.as_str() == "orders-pool").then_some(&beside);
        let owner = Owner { installation: "test".into(), credential: "orders/db".parse().unwrap() };
        first.driver(&account, &owner, named).unwrap()
    }
}

/// A session at this port.
pub(crate) fn at(port: u16, fields: &Fields) -> Result<Consumer, tokio_postgres::Error> {
    let text = |field: &str| String::from_utf8(fields.get(field).unwrap().expose().to_vec()).unwrap();
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user(text("username")).password(text("password"));
    Consumer::open(config.dbname(text("database")))
}

/// The setting for this file.
pub(crate) fn userlist(path: &Path) -> String {
    format!("userlist: {}, ", path.display())
}

fn read<T>(text: &str, take: impl FnOnce(&Section<'_>) -> Option<T>) -> T {
    let document = Document::parse("test", text).unwrap_or_else(|problems| panic!("{text}: {problems}"));
    document.read(take).unwrap_or_else(|problems| panic!("{text}: {problems}"))
}

fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The cluster that all tests share.
pub(crate) fn cluster() -> &'static Postgres {
    crate::postgres::world::shared()
}
