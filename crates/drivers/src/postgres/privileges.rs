//! Whether a new version may do all that the old one may: by the server's own catalog, every difference by its name.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use rekey_model::Handle;
use tokio_postgres::Row;

use super::Postgres;
use super::fault::{Fault, one_line};
use super::link::{Link, column};

/// The most differences that are named.
const NAMED: usize = 20;

/// A login as the catalog shows it, with what holds for its sessions in the application's database.
const LOGIN: &str = "SELECT r.oid, r.rolcanlogin, r.rolconnlimit, \
    coalesce(r.rolvaliduntil > now(), true), r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolreplication, \
    r.rolbypassrls, r.rolinherit FROM pg_roles r WHERE r.rolname = $1::text::name";

/// Settings for the role alone come first, those for the role in this database win.
const SETTINGS: &str = "SELECT unnest(s.setconfig) FROM pg_db_role_setting s LEFT JOIN pg_database d \
    ON d.oid = s.setdatabase WHERE s.setrole = $1 AND (s.setdatabase = 0 OR d.datname = current_database()) \
    ORDER BY s.setdatabase";

/// Everything that `$1` may and `$2` may not; `$3` are the privileges on tables that this server knows.
const MISSING: &str = include_str!("missing.sql");

#[derive(Debug)]
struct Account {
    /// The role that its sessions act as.
    acts_as: u32,
    can_log_in: bool,
    connection_limit: i32,
    valid: bool,
    attributes: Vec<(&'static str, bool)>,
    settings: BTreeMap<String, String>,
}

impl Postgres {
    /// Compares `new` with what it must be, and with `old`.
    pub(super) async fn compare(
        &self,
        new: &Handle,
        old: Option<&Handle>,
        touched: &AtomicBool,
    ) -> Result<(), Fault> {
        let mut link = self.rotator(&self.account.database, touched).await?;
        let is = account(&mut link, new).await?;
        let is = is.ok_or_else(|| Fault::no(format!("there is no role {new}")))?;
        let mut differences =
            if self.adopts(new) { Vec::new() } else { self.misshapen(&mut link, &is).await? };
        let was = match old.filter(|&old| old != new) {
            Some(old) => account(&mut link, old).await?,
            None => None,
        };
        if let Some(was) = was {
            differences.extend(attributes(&was, &is));
            let version = link.row("SELECT current_setting('server_version_num')::int", &[]).await?;
            let mut on_tables =
                vec!["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"];
            if version.map(|row| column::<i32>(&row, 0)).transpose()? >= Some(170_000) {
                on_tables.push("MAINTAIN");
            }
            let rows = link.rows(MISSING, &[&was.acts_as, &is.acts_as, &on_tables]).await?;
            for row in &rows {
                differences.push(column(row, 0)?);
            }
        }
        link.close().await;
        told(&differences)
    }

    /// In what the new role is not as we make them.
    async fn misshapen(&self, link: &mut Link<'_>, is: &Account) -> Result<Vec<String>, Fault> {
        let owner = role_called(link, &self.account.owner_role).await?;
        let mut expected = BTreeMap::from([("role".to_owned(), self.account.owner_role.clone())]);
        if !self.account.search_path.is_empty() {
            let path = "SELECT coalesce(string_agg(quote_ident(s), ', '), '') FROM unnest($1::text[]) s";
            if let Some(row) = link.row(path, &[&self.account.search_path]).await? {
                expected.insert("search_path".to_owned(), column(&row, 0)?);
            }
        }
        let mut differences = Vec::new();
        let mut unless = |good: bool, what: &str| {
            if !good {
                differences.push(what.to_owned());
            }
        };
        unless(is.can_log_in, "it may not log in");
        unless(is.valid, "it is past its expiry");
        unless(is.connection_limit == -1, "it has a connection limit");
        unless(owner == Some(is.acts_as), "it does not act as the owner role");
        let endowed = is.attributes.iter().filter(|&&(name, has)| has && name != "INHERIT");
        differences.extend(endowed.map(|(name, _)| format!("it has the attribute {name}")));
        let settings = |of: &BTreeMap<String, String>, without: &BTreeMap<String, String>, word: &str| {
            let more = of.iter().filter(|(name, value)| without.get(*name) != Some(*value));
            more.map(|(name, value)| format!("{word} setting {name} = {}", one_line(value)))
                .collect::<Vec<_>>()
        };
        differences.extend(settings(&expected, &is.settings, "without the"));
        differences.extend(settings(&is.settings, &expected, "an unexpected"));
        Ok(differences)
    }
}

/// The login called `handle`, if it exists.
async fn account(link: &mut Link<'_>, handle: &Handle) -> Result<Option<Account>, Fault> {
    let Some(row) = link.row(LOGIN, &[&handle.as_str()]).await? else { return Ok(None) };
    let oid: u32 = column(&row, 0)?;
    let mut settings = BTreeMap::new();
    for setting in link.rows(SETTINGS, &[&oid]).await? {
        let setting: String = column(&setting, 0)?;
        if let Some((name, value)) = setting.split_once('=') {
            settings.insert(name.to_owned(), value.to_owned());
        }
    }
    let acts_as = match settings.get("role").filter(|role| role.as_str() != "none") {
        None => oid,
        // A role that is gone is ignored at the login, with a warning.
        Some(role) => role_called(link, role).await?.unwrap_or(oid),
    };
    Ok(Some(Account {
        acts_as,
        can_log_in: column(&row, 1)?,
        connection_limit: column(&row, 2)?,
        valid: column(&row, 3)?,
        attributes: attribute_columns(&row)?,
        settings,
    }))
}

async fn role_called(link: &mut Link<'_>, name: &str) -> Result<Option<u32>, Fault> {
    let found = link.row("SELECT oid FROM pg_roles WHERE rolname = $1::text::name", &[&name]).await?;
    found.map(|row| column(&row, 0)).transpose()
}

fn attribute_columns(row: &Row) -> Result<Vec<(&'static str, bool)>, Fault> {
    let names = ["SUPERUSER", "CREATEROLE", "CREATEDB", "REPLICATION", "BYPASSRLS", "INHERIT"];
    names.into_iter().enumerate().map(|(index, name)| Ok((name, column(row, index + 4)?))).collect()
}

/// What the login itself had and the new one has not.
fn attributes(was: &Account, is: &Account) -> Vec<String> {
    let mut differences = Vec::new();
    for ((name, had), (_, has)) in was.attributes.iter().zip(&is.attributes) {
        if *had && !has {
            differences.push(format!("attribute {name}"));
        }
    }
    if is.connection_limit >= 0 && (was.connection_limit < 0 || was.connection_limit > is.connection_limit) {
        differences.push(format!("more than {} connections", is.connection_limit));
    }
    for (name, value) in was.settings.iter().filter(|(name, _)| name.as_str() != "role") {
        if is.settings.get(name) != Some(value) {
            differences.push(format!("setting {name} = {}", one_line(value)));
        }
    }
    differences
}

fn told(differences: &[String]) -> Result<(), Fault> {
    if differences.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = differences.iter().take(NAMED).map(|text| one_line(text)).collect();
    let more = differences.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    Err(Fault::no(format!("the new version lacks: {}{more}", named.join(", "))))
}
