//! Whether the rotator may do all that rotations of an account need: asked of the server's tables, nothing is changed.

use std::sync::atomic::AtomicBool;

use super::Mysql;
use super::fault::Fault;
use super::link::{Link, text};
use super::sql::{identifier, literal};
use super::wire::Row;
use crate::Lack;

/// Global rights that, when missing, would make a look say too little instead of failing.
const GLOBAL: [&str; 3] = ["CREATE USER", "PROCESS", "CONNECTION ADMIN"];

/// What the rotator reads: the columns, none for all, and the table.
const READ: [(&str, &str); 6] = [
    ("Host, User, Priv", "global_priv"),
    ("", "roles_mapping"),
    ("", "db"),
    ("", "tables_priv"),
    ("", "columns_priv"),
    ("", "procs_priv"),
];

/// The account that a session counts as, and whether the server takes changes from it.
const SELF: &str = "SELECT CURRENT_USER(), @@global.read_only = 0 OR EXISTS (SELECT 1 FROM \
    information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE IN ('READ_ONLY ADMIN', 'SUPER') \
    AND REPLACE(GRANTEE, '''', '') = CURRENT_USER())";

/// The global rights that the session's account has not.
pub(super) async fn missing(link: &mut Link<'_>) -> Result<Vec<&'static str>, Fault> {
    let own = "SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES \
        WHERE REPLACE(GRANTEE, '''', '') = CURRENT_USER()";
    let held = link.rows(own).await?;
    Ok(GLOBAL.into_iter().filter(|right| !held.iter().any(|row| text(row, 0) == Some(right))).collect())
}

impl Mysql {
    /// Everything that is missing. Where nothing is, a server that takes no change now is not available.
    pub(super) async fn lacks(&self, touched: &AtomicBool) -> Result<Vec<Lack>, Fault> {
        let (mut link, row) = match self.shown(touched).await {
            Ok(shown) => shown,
            Err(fault) => return self.not_let_in(fault).map(|lack| vec![lack]),
        };
        let own = text(&row, 0).unwrap_or_default();
        let (name, from) = own.rsplit_once('@').unwrap_or((own, "%"));
        let rotator = format!("{}@{}", literal(name), literal(from));
        let mut lacks = Vec::new();
        let rights = missing(&mut link).await?;
        if !rights.is_empty() {
            let rights = rights.join(", ");
            let remedy = format!("GRANT {rights} ON *.* TO {rotator};");
            lacks.push(Lack::new(format!("the rotator {rotator} has no {rights}"), remedy));
        }
        for (columns, table) in READ {
            let shown = if columns.is_empty() { "*" } else { columns };
            match link.rows(&format!("SELECT {shown} FROM mysql.{table} LIMIT 0")).await {
                Ok(_none) => {}
                Err(Fault::No(why)) if says(&why, &[1142, 1143, 1044]) => {
                    let columns = if columns.is_empty() { String::new() } else { format!(" ({columns})") };
                    let remedy = format!("GRANT SELECT{columns} ON mysql.{table} TO {rotator};");
                    lacks
                        .push(Lack::new(format!("the rotator {rotator} may not read mysql.{table}"), remedy));
                }
                Err(fault) => return Err(fault),
            }
        }
        lacks.extend(self.role_lack(&mut link, (name, from), lacks.is_empty()).await?);
        let takes_changes = text(&row, 1) == Some("1");
        link.close().await;
        if lacks.is_empty() && !takes_changes {
            return Err(Fault::Away(
                "the server is read-only and takes no change until it is not".to_owned(),
            ));
        }
        Ok(lacks)
    }

    /// A session of the rotator, and how the server shows it. With an expired password it is let in, and told nothing.
    async fn shown<'a>(&self, touched: &'a AtomicBool) -> Result<(Link<'a>, Row), Fault> {
        let mut link = self.admin(touched).await?;
        let row = link.rows(SELF).await?.into_iter().next();
        Ok((link, row.ok_or_else(|| Fault::no("the server does not show the rotator itself"))?))
    }

    /// What is missing of the role that every version gets; `reads` says whether the rotator sees other accounts.
    async fn role_lack(
        &self,
        link: &mut Link<'_>,
        (name, from): (&str, &str),
        reads: bool,
    ) -> Result<Option<Lack>, Fault> {
        let (role, rotator) =
            (identifier(&self.account.role), format!("{}@{}", literal(name), literal(from)));
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

    /// What is missing where the rotator is refused; any other fault stays one.
    fn not_let_in(&self, fault: Fault) -> Result<Lack, Fault> {
        let Fault::No(why) = fault else { return Err(fault) };
        let user = identifier(&self.target.user);
        let remedy = if says(&why, &[1045, 1698, 1820, 1862]) {
            format!(
                "SET PASSWORD FOR {user} = PASSWORD('…'), with the password in the target's password_file"
            )
        } else if says(&why, &[4151]) {
            format!("ALTER USER {user} ACCOUNT UNLOCK;")
        } else {
            return Err(Fault::No(why));
        };
        Ok(Lack::new(format!("as the rotator: {why}"), remedy))
    }
}

/// Whether a server's words end in one of these codes.
fn says(why: &str, codes: &[u16]) -> bool {
    codes.iter().any(|code| why.ends_with(&format!("({code})")))
}
