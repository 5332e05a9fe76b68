//! Whether the rotator may do all that rotations of an account need: asked of the server's tables, nothing is changed.

use std::sync::atomic::AtomicBool;

use super::Mysql;
use super::fault::Fault;
use super::link::{Link, text};
use super::settings::Target;
use super::sql::{identifier, literal};
use super::wire::Server;
use crate::Lack;

/// Global rights that, when missing, would make a look say too little instead of failing.
fn global(server: Server) -> [&'static str; 3] {
    match server {
        Server::MariaDb => ["CREATE USER", "PROCESS", "CONNECTION ADMIN"],
        Server::MySql => ["CREATE USER", "PROCESS", "CONNECTION_ADMIN"],
    }
}

/// What the rotator reads: the columns, none for all, and the table.
type Table = (&'static str, &'static str);

/// For a user with two passwords.
pub(super) fn of_users(server: Server) -> &'static [Table] {
    match server {
        Server::MariaDb => &[("Host, User, Priv", "global_priv")],
        Server::MySql => &[(
            "Host, User, plugin, authentication_string, account_locked, User_attributes, Super_priv, Create_user_priv, \
             Grant_priv, Shutdown_priv",
            "user",
        )],
    }
}

/// For a login of its own for each version.
const OF_VERSIONS: &[Table] = &[
    ("Host, User, Priv", "global_priv"),
    ("", "roles_mapping"),
    ("", "db"),
    ("", "tables_priv"),
    ("", "columns_priv"),
    ("", "procs_priv"),
];

/// The account that a session counts as.
const SELF: &str = "SELECT CURRENT_USER()";

/// Why nothing is changed.
pub(super) const READ_ONLY: &str = "the server is read-only and takes no change until it is not";

/// Whether the server takes changes from the session's account.
pub(super) async fn takes_changes(link: &mut Link<'_>) -> Result<bool, Fault> {
    let sql = match link.server() {
        Server::MariaDb => {
            "SELECT @@global.read_only = 0 OR EXISTS (SELECT 1 FROM information_schema.USER_PRIVILEGES \
             WHERE PRIVILEGE_TYPE IN ('READ_ONLY ADMIN', 'SUPER') AND REPLACE(GRANTEE, '''', '') = CURRENT_USER())"
        }
        // Who may end connections may write there all the same.
        Server::MySql => "SELECT @@global.read_only = 0 AND @@global.super_read_only = 0",
    };
    Ok(link.rows(sql).await?.first().is_some_and(|row| text(row, 0) == Some("1")))
}

/// The global rights that the session's account has not.
pub(super) async fn missing(link: &mut Link<'_>) -> Result<Vec<&'static str>, Fault> {
    let own = "SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES \
        WHERE REPLACE(GRANTEE, '''', '') = CURRENT_USER()";
    let held = link.rows(own).await?;
    Ok(global(link.server())
        .into_iter()
        .filter(|right| !held.iter().any(|row| text(row, 0) == Some(right)))
        .collect())
}

/// The rotator as the server shows it.
#[derive(Debug)]
pub(super) struct Rotator {
    /// Its name and where it comes from.
    account: (String, String),
    /// Whether the server takes changes from it.
    may_change: bool,
}

impl Rotator {
    /// It, quoted.
    fn quoted(&self) -> String {
        let (name, from) = &self.account;
        format!("{}@{}", literal(name), literal(from))
    }

    /// What is missing, and where nothing is: that the server takes changes.
    pub(super) fn takes_changes(&self, lacks: Vec<Lack>) -> Result<Vec<Lack>, Fault> {
        if lacks.is_empty() && !self.may_change {
            return Err(Fault::Away(READ_ONLY.to_owned()));
        }
        Ok(lacks)
    }
}

impl Target {
    /// A session of the rotator, and how the server shows it. With an expired password it is let in, and told nothing.
    pub(super) async fn shown<'a>(&self, touched: &'a AtomicBool) -> Result<(Link<'a>, Rotator), Fault> {
        let mut link = self.admin(touched).await?;
        let row = link.rows(SELF).await?.into_iter().next();
        let row = row.ok_or_else(|| Fault::no("the server does not show the rotator itself"))?;
        let own = text(&row, 0).unwrap_or_default();
        let (name, from) = own.rsplit_once('@').unwrap_or((own, "%"));
        let account = (name.to_owned(), from.to_owned());
        let may_change = takes_changes(&mut link).await?;
        Ok((link, Rotator { account, may_change }))
    }

    /// What the rotator lacks for every account of a kind: global rights, and the tables that it is to `read`.
    pub(super) async fn lacks_of_all(
        &self,
        link: &mut Link<'_>,
        rotator: &Rotator,
        read: &[Table],
    ) -> Result<Vec<Lack>, Fault> {
        let rotator = rotator.quoted();
        let mut lacks = Vec::new();
        let rights = missing(link).await?;
        if !rights.is_empty() {
            let rights = rights.join(", ");
            let remedy = format!("GRANT {rights} ON *.* TO {rotator};");
            lacks.push(Lack::new(format!("the rotator {rotator} has no {rights}"), remedy));
        }
        for (columns, table) in read {
            let shown = if columns.is_empty() { "*" } else { columns };
            match link.rows(&format!("SELECT {shown} FROM mysql.{table} LIMIT 0")).await {
                Ok(_none) => {}
                Err(Fault::No(why)) if says(&why, &[1142, 1143, 1044]) => {
                    let columns = if columns.is_empty() { String::new() } else { format!(" ({columns})") };
                    let remedy = format!("GRANT SELECT{columns} ON mysql.{table} TO {rotator};");
                    let what = format!("the rotator {rotator} may not read mysql.{table}");
                    lacks.push(Lack::new(what, remedy));
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(lacks)
    }

    /// What is missing where the rotator is refused; any other fault stays one.
    pub(super) fn not_let_in(&self, fault: Fault) -> Result<Lack, Fault> {
        let Fault::No(why) = fault else { return Err(fault) };
        let user = identifier(&self.user);
        let remedy = if says(&why, &[1045, 1698, 1820, 1862]) {
            format!(
                "SET PASSWORD FOR {user} = PASSWORD('…') (MySQL: = '…'), with the password in the target's password_file"
            )
        } else if says(&why, &[4151]) {
            format!("ALTER USER {user} ACCOUNT UNLOCK;")
        } else {
            return Err(Fault::No(why));
        };
        Ok(Lack::new(format!("as the rotator: {why}"), remedy))
    }
}

impl Mysql {
    /// Everything that is missing. Where nothing is, a server that takes no change now is not available.
    pub(super) async fn lacks(&self, touched: &AtomicBool) -> Result<Vec<Lack>, Fault> {
        let (mut link, rotator) = match self.target.shown(touched).await {
            Ok(shown) => shown,
            Err(fault) => return self.target.not_let_in(fault).map(|lack| vec![lack]),
        };
        needs_mariadb(&link)?;
        let mut lacks = self.target.lacks_of_all(&mut link, &rotator, OF_VERSIONS).await?;
        lacks.extend(self.role_lack(&mut link, &rotator, lacks.is_empty()).await?);
        link.close().await;
        rotator.takes_changes(lacks)
    }

    /// What is missing of the role that every version gets; `reads` says whether the rotator sees other accounts.
    async fn role_lack(
        &self,
        link: &mut Link<'_>,
        rotator: &Rotator,
        reads: bool,
    ) -> Result<Option<Lack>, Fault> {
        let (name, from) = &rotator.account;
        let (role, rotator) = (identifier(&self.account.role), rotator.quoted());
        let grant = format!("GRANT {role} TO {rotator} WITH ADMIN OPTION;");
        let of_role = literal(&self.account.role);
        let held = format!(
            "SELECT 1 FROM information_schema.APPLICABLE_ROLES WHERE ROLE_NAME = {of_role} AND IS_GRANTABLE = 'YES' \
             AND GRANTEE = {}",
            literal(&format!("{name}@{from}"))
        );
        if !link.rows(&held).await?.is_empty() {
            return Ok(None);
        }
        let exists = format!(
            "SELECT 1 FROM mysql.global_priv WHERE User = {of_role} AND Host = '' \
             AND JSON_VALUE(Priv, '$.is_role') = 1"
        );
        if reads && link.rows(&exists).await?.is_empty() {
            let remedy = format!("CREATE ROLE {role}; {grant}");
            return Ok(Some(Lack::new(format!("there is no role {role}"), remedy)));
        }
        Ok(Some(Lack::new(format!("the rotator {rotator} has no ADMIN OPTION on {role}"), grant)))
    }
}

/// Refuses what MySQL keeps in other tables.
pub(super) fn needs_mariadb(link: &Link<'_>) -> Result<(), Fault> {
    match link.server() {
        Server::MariaDb => Ok(()),
        Server::MySql => Err(Fault::no(
            "the server is no MariaDB: a login for each version is not supported at MySQL; name a `user` with two passwords",
        )),
    }
}

/// Whether a server's words end in one of these codes.
fn says(why: &str, codes: &[u16]) -> bool {
    codes.iter().any(|code| why.ends_with(&format!("({code})")))
}
