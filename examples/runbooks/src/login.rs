//! A database as its owner has it before Rekey: an owner role, a table, perhaps a login of today; and what makes a
//! credential of it: the rotator's rights, a target, the declaration.

use std::rc::Rc;

use anyhow::Result;
use rekey_testkit::postgres::Postgres;

use crate::stage::Stage;

/// The rotator's password at the shared server.
const ROTATOR: &str = "rotator-password-5b1e";
/// What today's logins have as their password.
pub(crate) const OF_TODAY: &str = "password-of-today-77aa";

/// One application's database on the shared server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Database {
    /// The target's name in the controller's config.
    pub(crate) target: &'static str,
    /// The database.
    pub(crate) name: &'static str,
    /// The role that its objects belong to.
    pub(crate) owner: &'static str,
    /// Its one table.
    pub(crate) table: &'static str,
    /// The login that the application has today, if it is handed in.
    pub(crate) legacy: Option<&'static str>,
}

impl Database {
    /// What a consumer asks, and what proves a version.
    pub(crate) fn query(&self) -> String {
        format!("SELECT count(*) FROM {}", self.table)
    }

    /// Makes the database and the target, unless they are there.
    pub(crate) fn make(&self, stage: &mut Stage) -> Result<Rc<Postgres>> {
        let postgres = stage.postgres()?;
        let Self { target, name, owner, table, legacy } = self;
        let there = |what: &str, column: &str, name: &str| {
            !postgres.sql(&format!("SELECT 1 FROM {what} WHERE {column} = '{name}'")).is_empty()
        };
        if !there("pg_roles", "rolname", "rekey") {
            postgres.sql(&format!("CREATE ROLE rekey LOGIN CREATEROLE PASSWORD '{ROTATOR}'"));
        }
        if !there("pg_database", "datname", name) {
            postgres.sql(&format!("CREATE ROLE {owner} NOLOGIN; GRANT {owner} TO rekey WITH ADMIN OPTION;"));
            postgres.sql(&format!("CREATE DATABASE {name}"));
            postgres.sql_in(
                name,
                &format!(
                    "CREATE TABLE {table} (id bigserial PRIMARY KEY, item text);
                     ALTER TABLE {table} OWNER TO {owner}; GRANT USAGE, CREATE ON SCHEMA public TO {owner};"
                ),
            );
        }
        if let Some(legacy) = legacy
            && !there("pg_roles", "rolname", legacy)
        {
            postgres.sql(&format!(
                "CREATE ROLE {legacy} LOGIN PASSWORD '{OF_TODAY}'; GRANT {owner} TO {legacy};
                 GRANT {legacy} TO rekey WITH ADMIN OPTION;"
            ));
        }
        let yaml = format!(
            "  {target}:\n    postgres: {{ host: 127.0.0.1, port: {}, user: rekey, password_file: {target}-password, \
             tls: {{ mode: disable }} }}\n",
            postgres.port()
        );
        stage.target(target, &yaml, &[(&format!("{target}-password"), ROTATOR)])?;
        Ok(postgres)
    }

    /// Makes it, declares the credential and hands in the login of today; once. Gives the credential's name.
    pub(crate) fn declare(&self, stage: &mut Stage, yaml: &str) -> Result<(Rc<Postgres>, String)> {
        let postgres = self.make(stage)?;
        let name = stage.declare(yaml)?;
        if stage.current(&name)? > 0 {
            return Ok((postgres, name));
        }
        if self.legacy.is_some() {
            stage.platform.write("of-today", OF_TODAY)?;
            stage.platform.ctl(&["adopt", &name, "--password-file", "of-today"])?;
        }
        stage.first_version(&name)?;
        Ok((postgres, name))
    }
}

/// Which version of PostgreSQL this is.
pub(crate) fn version(postgres: &Postgres) -> String {
    let version = one(postgres, "postgres", "SHOW server_version");
    version.split(' ').next().unwrap_or_default().to_owned()
}

/// The first value of a query's answer; empty where there is none.
pub(crate) fn one(postgres: &Postgres, database: &str, query: &str) -> String {
    let rows = postgres.sql_in(database, query);
    rows.into_iter().flatten().next().flatten().unwrap_or_default()
}

/// Whether a role may log in; false also where there is none.
pub(crate) fn may_log_in(postgres: &Postgres, role: &str) -> bool {
    one(postgres, "postgres", &format!("SELECT rolcanlogin FROM pg_roles WHERE rolname = '{role}'")) == "t"
}

/// How many login roles begin with `prefix`.
pub(crate) fn logins(postgres: &Postgres, prefix: &str) -> usize {
    let prefix = prefix.replace('_', "\\_");
    postgres.sql(&format!("SELECT 1 FROM pg_roles WHERE rolname LIKE '{prefix}%'")).len()
}
