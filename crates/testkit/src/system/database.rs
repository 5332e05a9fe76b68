//! An application's database as Rekey finds it: an owner role, a table, the login of today, and a rotator without
//! superuser.

use std::path::PathBuf;

use anyhow::Result;

use crate::postgres::{Options, Postgres};

/// A private PostgreSQL with the example application's schema.
#[derive(Debug)]
pub struct Database {
    /// The server.
    pub postgres: Postgres,
    rotator_password: String,
    legacy_password: String,
}

/// What its owner made for the application, long before Rekey.
const APPLICATION: &str = "
CREATE TABLE orders (id bigserial PRIMARY KEY, item text NOT NULL, placed timestamptz NOT NULL DEFAULT now());
ALTER TABLE orders OWNER TO orders_owner;
GRANT USAGE, CREATE ON SCHEMA public TO orders_owner;
";

impl Database {
    /// Starts it, on its Unix socket only.
    pub fn start() -> Result<Self> {
        Self::start_with(&Options::default())
    }

    /// The same, with other options for the server.
    pub fn start_with(options: &Options) -> Result<Self> {
        let postgres = Postgres::try_start(options)?;
        let rotator_password = format!("rotator-{}", postgres.password());
        let legacy_password = format!("legacy-{}", postgres.password());
        postgres.sql(&format!(
            "CREATE ROLE orders_owner NOLOGIN;
             CREATE ROLE orders_legacy LOGIN PASSWORD '{legacy_password}';
             GRANT orders_owner TO orders_legacy;
             CREATE ROLE rekey_rotator LOGIN CREATEROLE PASSWORD '{rotator_password}';
             GRANT orders_owner TO rekey_rotator WITH ADMIN OPTION;
             GRANT orders_legacy TO rekey_rotator WITH ADMIN OPTION;"
        ));
        postgres.sql("CREATE DATABASE orders");
        postgres.sql_in("orders", APPLICATION);
        Ok(Self { postgres, rotator_password, legacy_password })
    }

    /// The folder of its socket.
    pub fn host(&self) -> PathBuf {
        self.postgres.socket_folder()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.postgres.port()
    }

    /// The password of the rotator's login.
    pub fn rotator_password(&self) -> &str {
        &self.rotator_password
    }

    /// The password that the application has used so far.
    pub fn legacy_password(&self) -> &str {
        &self.legacy_password
    }

    /// The login roles that Rekey made and that are still there.
    pub fn made_roles(&self) -> Vec<String> {
        let rows = self
            .postgres
            .sql("SELECT rolname FROM pg_roles WHERE rolname LIKE 'orders\\_app\\_v%' ORDER BY 1");
        rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect()
    }

    /// How many sessions `role` has.
    pub fn sessions(&self, role: &str) -> u64 {
        let rows =
            self.postgres.sql(&format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'"));
        rows.first()
            .and_then(|row| row.first())
            .and_then(|v| v.as_ref())
            .and_then(|v| v.parse().ok())
            .unwrap_or(0)
    }
}
