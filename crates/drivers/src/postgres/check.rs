//! Whether the rotator may do all that rotations of an account need: read from the server's catalog, nothing is tried.

use std::sync::atomic::AtomicBool;

use tokio_postgres::Row;

use super::fault::Fault;
use super::link::column;
use super::settings::Target;
use super::{Postgres, quote};
use crate::Lack;

/// The oldest server, and the first where CREATEROLE reaches only roles that it made or was given.
const OLDEST: i32 = 130_000;
pub(super) const NARROW: i32 = 160_000;
/// Why a server that may do all has to be waited for.
pub(super) const STANDBY: &str = "the server is a standby and takes no change until it is promoted";

/// The server, the rotator, and what it is to work with: `$1` the owner role, `$2` the database, `$3` the adopted login.
/// What is not there is NULL.
const STANDING: &str = "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), \
    r.rolsuper OR r.rolcreaterole, pg_has_role(r.oid, o.oid, 'USAGE WITH ADMIN OPTION'), \
    has_database_privilege(r.oid, d.oid, 'CONNECT'), has_database_privilege(o.oid, d.oid, 'CONNECT'), \
    pg_has_role(r.oid, a.oid, 'USAGE WITH ADMIN OPTION') \
    FROM pg_roles r LEFT JOIN pg_roles o ON o.rolname = $1::text::name \
    LEFT JOIN pg_database d ON d.datname = $2::text::name AND d.datallowconn \
    LEFT JOIN pg_roles a ON a.rolname = $3::text::name AND a.rolcanlogin WHERE r.rolname = current_user";

/// The rotator at a server, and what it is to work with.
#[derive(Debug)]
struct Standing {
    version: i32,
    standby: bool,
    makes_roles: bool,
    /// Whether it may give the owner role to others; none where there is no such role.
    gives_owner: Option<bool>,
    /// Whether it may connect to the application's database; none where there is no such database.
    connects: Option<bool>,
    /// Whether the owner role, and so every version, may.
    owner_connects: Option<bool>,
    /// Whether it may give the adopted login to others; none where there is none that logs in.
    gives_adopted: Option<bool>,
}

impl Standing {
    fn of(row: &Row) -> Result<Self, Fault> {
        Ok(Self {
            version: column(row, 0)?,
            standby: column(row, 1)?,
            makes_roles: column(row, 2)?,
            gives_owner: column(row, 3)?,
            connects: column(row, 4)?,
            owner_connects: column(row, 5)?,
            gives_adopted: column(row, 6)?,
        })
    }
}

impl Postgres {
    /// Everything that is missing. Where nothing is, a server that takes no change now is not available.
    pub(super) async fn lacks(&self, touched: &AtomicBool) -> Result<Vec<Lack>, Fault> {
        let mut link = match self.rotator(&self.target.admin_database, touched).await {
            Ok(link) => link,
            Err(fault) => {
                return self.target.not_let_in(&self.target.admin_database, fault).map(|lack| vec![lack]);
            }
        };
        let account = &self.account;
        let adopted = account.adopt.as_ref().map(|adopt| adopt.login.as_str());
        let row = link.row(STANDING, &[&account.owner_role, &account.database, &adopted]).await?;
        let row = row.ok_or_else(|| Fault::no("the server does not show the rotator itself"))?;
        let standing = Standing::of(&row)?;
        link.close().await;
        let mut lacks = self.missing(&standing);
        if standing.connects == Some(true) && account.database != self.target.admin_database {
            // The catalog does not know what pg_hba.conf says.
            match self.rotator(&account.database, touched).await {
                Ok(link) => link.close().await,
                Err(fault) => lacks.push(self.target.not_let_in(&account.database, fault)?),
            }
        }
        if lacks.is_empty() && standing.standby {
            return Err(Fault::Away(STANDBY.to_owned()));
        }
        Ok(lacks)
    }

    fn missing(&self, standing: &Standing) -> Vec<Lack> {
        let (user, owner) = (quote::shown(&self.target.user), quote::shown(&self.account.owner_role));
        let database = quote::shown(&self.account.database);
        let narrow = standing.version >= NARROW;
        let mut lacks = Vec::new();
        let mut lack = |what: String, remedy: String| lacks.push(Lack::new(what, remedy));
        if standing.version < OLDEST {
            let what = format!("the server is PostgreSQL {}", standing.version / 10_000);
            lack(what, "PostgreSQL 13 is the oldest that this driver knows".to_owned());
        }
        if !standing.makes_roles {
            lack(format!("the rotator {user} has no CREATEROLE"), format!("ALTER ROLE {user} CREATEROLE;"));
        }
        let grant = format!("GRANT {owner} TO {user} WITH ADMIN OPTION;");
        match standing.gives_owner {
            None => {
                lack(format!("there is no role {owner}"), format!("CREATE ROLE {owner} NOLOGIN; {grant}"));
            }
            // Before, CREATEROLE gives any role that is no superuser.
            Some(false) if narrow => {
                lack(format!("the rotator {user} has no ADMIN OPTION on {owner}"), grant);
            }
            Some(_) => {}
        }
        let connect = |to: &str| format!("GRANT CONNECT ON DATABASE {database} TO {to};");
        if standing.connects.is_none() {
            let what = format!("there is no database {database} that takes connections");
            lack(what, format!("CREATE DATABASE {database} OWNER {owner};"));
        }
        for (may, who) in [(standing.connects, &user), (standing.owner_connects, &owner)] {
            if may == Some(false) {
                lack(format!("{who} may not connect to {database}"), connect(who));
            }
        }
        if let Some(adopt) = self.account.adopt.as_ref().filter(|_| narrow)
            && standing.gives_adopted == Some(false)
        {
            let login = quote::shown(&adopt.login);
            let what = format!("the rotator {user} has no ADMIN OPTION on {login}, which it is to adopt");
            lack(what, format!("GRANT {login} TO {user} WITH ADMIN OPTION;"));
        }
        lacks
    }
}

impl Target {
    /// What is missing where the rotator is refused; any other fault stays one.
    pub(super) fn not_let_in(&self, database: &str, fault: Fault) -> Result<Lack, Fault> {
        let Fault::No(why) = fault else { return Err(fault) };
        let (user, database) = (quote::shown(&self.user), quote::shown(database));
        let says = |code: &str| why.ends_with(&format!("({code})"));
        let remedy = if says("28000") && why.contains("pg_hba.conf") {
            format!("add a line to pg_hba.conf that lets {user} into {database} with scram-sha-256")
        } else if says("28P01") || says("28000") {
            format!(
                "ALTER ROLE {user} LOGIN VALID UNTIL 'infinity'; and \\password {user} in psql, with the same \
                 password in the target's password_file"
            )
        } else if says("3D000") {
            format!("name a database that exists; or CREATE DATABASE {database};")
        } else if says("42501") {
            format!("GRANT CONNECT ON DATABASE {database} TO {user};")
        } else {
            return Err(Fault::No(why));
        };
        Ok(Lack::new(why, remedy))
    }
}
