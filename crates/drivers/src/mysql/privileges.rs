//! What the old version may do and the new one may not, by the server's own tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use rekey_model::Handle;

use super::Mysql;
use super::fault::{Fault, one_line};
use super::link::{Link, text};
use super::sql::literal;

/// The most roles that are followed from one account.
const MOST_ROLES: usize = 64;
/// The most missing privileges that are named.
const MOST_NAMED: usize = 10;

/// The bits of `access`, from the lowest on.
const GLOBAL: [&str; 39] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "RELOAD",
    "SHUTDOWN",
    "PROCESS",
    "FILE",
    "GRANT",
    "REFERENCES",
    "INDEX",
    "ALTER",
    "SHOW DATABASES",
    "SUPER",
    "CREATE TEMPORARY TABLES",
    "LOCK TABLES",
    "EXECUTE",
    "REPLICATION SLAVE",
    "BINLOG MONITOR",
    "CREATE VIEW",
    "SHOW VIEW",
    "CREATE ROUTINE",
    "ALTER ROUTINE",
    "CREATE USER",
    "EVENT",
    "TRIGGER",
    "CREATE TABLESPACE",
    "DELETE VERSIONING ROWS",
    "SET USER",
    "FEDERATED ADMIN",
    "CONNECTION ADMIN",
    "READ_ONLY ADMIN",
    "REPLICATION SLAVE ADMIN",
    "REPLICATION MASTER ADMIN",
    "BINLOG ADMIN",
    "BINLOG REPLAY",
    "SLAVE MONITOR",
];

/// Those that concern the whole server, and no application needs: a login that has one is not adopted.
const POWERFUL: [&str; 9] = [
    "SHUTDOWN",
    "GRANT",
    "SUPER",
    "CREATE USER",
    "SET USER",
    "CONNECTION ADMIN",
    "READ_ONLY ADMIN",
    "REPLICATION SLAVE ADMIN",
    "REPLICATION MASTER ADMIN",
];

/// The columns of `mysql.db`.
const OF_DATABASE: [(&str, &str); 20] = [
    ("Select_priv", "SELECT"),
    ("Insert_priv", "INSERT"),
    ("Update_priv", "UPDATE"),
    ("Delete_priv", "DELETE"),
    ("Create_priv", "CREATE"),
    ("Drop_priv", "DROP"),
    ("Grant_priv", "GRANT"),
    ("References_priv", "REFERENCES"),
    ("Index_priv", "INDEX"),
    ("Alter_priv", "ALTER"),
    ("Create_tmp_table_priv", "CREATE TEMPORARY TABLES"),
    ("Lock_tables_priv", "LOCK TABLES"),
    ("Create_view_priv", "CREATE VIEW"),
    ("Show_view_priv", "SHOW VIEW"),
    ("Create_routine_priv", "CREATE ROUTINE"),
    ("Alter_routine_priv", "ALTER ROUTINE"),
    ("Execute_priv", "EXECUTE"),
    ("Event_priv", "EVENT"),
    ("Trigger_priv", "TRIGGER"),
    ("Delete_history_priv", "DELETE VERSIONING ROWS"),
];

/// Where a privilege holds: nothing for everywhere, then database, table or routine, column.
type Scope = Vec<String>;

/// Privileges by where they hold.
#[derive(Debug, Default, PartialEq, Eq)]
struct Holdings(BTreeMap<Scope, BTreeSet<String>>);

impl Holdings {
    fn add(&mut self, scope: &[&str], privilege: &str) {
        let privilege = privilege.trim().to_uppercase();
        if !privilege.is_empty() {
            let scope = scope.iter().map(ToString::to_string).collect();
            self.0.entry(scope).or_default().insert(privilege);
        }
    }

    fn add_all(&mut self, scope: &[&str], privileges: &str) {
        for privilege in privileges.split(',') {
            self.add(scope, privilege);
        }
    }

    /// Whether the privilege holds at `scope`, or at what contains it.
    fn covers(&self, scope: &[String], privilege: &str) -> bool {
        (0..=scope.len())
            .filter_map(|depth| scope.get(..depth))
            .any(|outer| self.0.get(outer).is_some_and(|held| held.contains(privilege)))
    }

    /// What is held here and not there.
    fn missing_in(&self, there: &Self) -> Vec<String> {
        let mut missing = Vec::new();
        for (scope, privileges) in &self.0 {
            for privilege in privileges.iter().filter(|privilege| !there.covers(scope, privilege)) {
                let place = if scope.is_empty() { "everything".to_owned() } else { scope.join(".") };
                missing.push(format!("{privilege} on {place}"));
            }
        }
        missing
    }
}

impl Mysql {
    /// Refuses a version that may do less than the old one.
    pub(super) async fn compare(
        &self,
        new: &Handle,
        old: Option<&Handle>,
        touched: &AtomicBool,
    ) -> Result<(), Fault> {
        let Some(old) = old else { return Ok(()) };
        let mut link = self.rotator(touched).await?;
        let held = holdings(&mut link, old.as_str(), self.from(old)).await?;
        let given = holdings(&mut link, new.as_str(), self.from(new)).await?;
        link.close().await;
        let mut missing = held.missing_in(&given);
        if missing.is_empty() {
            return Ok(());
        }
        let more = missing.len().saturating_sub(MOST_NAMED);
        missing.truncate(MOST_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let missing = one_line(&missing.join(", "));
        Err(Fault::no(format!(
            "{new} may not do what {old} may: {missing}{more}; grant it to {}",
            self.account.role
        )))
    }
}

/// The bits of an account's `access`.
pub(super) fn access(text: Option<&str>) -> Result<u64, Fault> {
    let bits = text.unwrap_or("0").parse();
    bits.map_err(|_not_a_number| Fault::no("the server shows privileges that are no number"))
}

/// Whether these bits are more than an application needs.
pub(super) fn powerful(access: u64) -> bool {
    named(access).any(|name| POWERFUL.contains(&name))
}

fn named(access: u64) -> impl Iterator<Item = &'static str> {
    GLOBAL.iter().enumerate().filter(move |(bit, _)| access >> bit & 1 == 1).map(|(_, name)| *name)
}

/// All that an account may do, by itself and by its roles.
async fn holdings(link: &mut Link<'_>, user: &str, host: &str) -> Result<Holdings, Fault> {
    let mut holdings = Holdings::default();
    let mut grantees = vec![(user.to_owned(), host.to_owned())];
    let mut next = 0;
    while let Some((user, host)) = grantees.get(next).cloned() {
        next += 1;
        let whose = format!("User = {} AND Host = {}", literal(&user), literal(&host));
        gather(link, &whose, &mut holdings).await?;
        for row in link.rows(&format!("SELECT Role FROM mysql.roles_mapping WHERE {whose}")).await? {
            let role = (text(&row, 0).unwrap_or_default().to_owned(), String::new());
            if !grantees.contains(&role) {
                grantees.push(role);
            }
        }
        if grantees.len() > MOST_ROLES {
            return Err(Fault::no(format!("{user} has more than {MOST_ROLES} roles")));
        }
    }
    Ok(holdings)
}

async fn gather(link: &mut Link<'_>, whose: &str, holdings: &mut Holdings) -> Result<(), Fault> {
    let global = format!("SELECT JSON_VALUE(Priv, '$.access') FROM mysql.global_priv WHERE {whose}");
    for row in link.rows(&global).await? {
        for name in named(access(text(&row, 0))?) {
            holdings.add(&[], name);
        }
    }
    let names: Vec<String> =
        OF_DATABASE.iter().map(|(column, name)| format!("IF({column} = 'Y', '{name}', NULL)")).collect();
    let database = format!("SELECT CONCAT_WS(',', {}), Db FROM mysql.db WHERE {whose}", names.join(", "));
    let routine = "CONCAT(LOWER(Routine_type), ' ', Routine_name)";
    for query in [
        database,
        format!("SELECT Table_priv, Db, Table_name FROM mysql.tables_priv WHERE {whose}"),
        format!("SELECT Column_priv, Db, Table_name, Column_name FROM mysql.columns_priv WHERE {whose}"),
        format!("SELECT Proc_priv, Db, {routine} FROM mysql.procs_priv WHERE {whose}"),
    ] {
        for row in link.rows(&query).await? {
            let scope: Vec<&str> =
                row.iter().skip(1).map(|part| part.as_deref().unwrap_or_default()).collect();
            holdings.add_all(&scope, text(&row, 0).unwrap_or_default());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_have_the_names_that_the_server_gives_them() {
        // GRANT CREATE USER, PROCESS, CONNECTION ADMIN on MariaDB 10.11.
        let names: Vec<&str> = named(4_328_521_984).collect();
        assert_eq!(names, ["PROCESS", "CREATE USER", "CONNECTION ADMIN"]);
        assert!(powerful(4_328_521_984));
        assert!(!powerful(0b1111));
    }

    #[test]
    fn what_holds_for_more_covers_what_is_asked_for_less() {
        let mut old = Holdings::default();
        old.add_all(&["orders", "items"], "Select,Insert");
        old.add_all(&["orders", "items", "price"], "Update");
        let mut new = Holdings::default();
        new.add_all(&["orders"], "SELECT,INSERT");
        assert_eq!(old.missing_in(&new), ["UPDATE on orders.items.price"]);
        new.add(&[], "UPDATE");
        assert!(old.missing_in(&new).is_empty());
        assert_eq!(new.missing_in(&old).len(), 3);
    }
}
