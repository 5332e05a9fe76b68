//! The console of `PgBouncer`: what is asked there, and how its answers are read.

use rekey_model::Handle;
use tokio_postgres::SimpleQueryRow;

use crate::Session;
use crate::fault::{Fault, one_line};
use crate::follower::{Client, Through};
use crate::postgres::link::Link;

/// Runs a command; whatever it answers is dropped.
pub(super) async fn run(console: &mut Link<'_>, words: &str) -> Result<(), Fault> {
    ask(console, words).await.map(drop)
}

/// Whether this login may change something.
pub(super) async fn is_administrator(console: &mut Link<'_>, user: &str) -> Result<bool, Fault> {
    let settings = ask(console, "SHOW CONFIG").await?;
    let setting = settings.iter().find(|row| cell(row, "key") == Some("admin_users"));
    let names = setting.and_then(|row| cell(row, "value")).unwrap_or_default();
    Ok(names.split(',').any(|name| name.trim() == user))
}

/// Whether a login of this name was loaded.
pub(super) async fn knows(console: &mut Link<'_>, handle: &Handle) -> Result<bool, Fault> {
    let users = ask(console, "SHOW USERS").await?;
    Ok(users.iter().any(|user| cell(user, "name") == Some(handle.as_str())))
}

/// Its clients of this name, and the sessions that it holds for them at servers.
pub(super) async fn through(console: &mut Link<'_>, handle: &Handle) -> Result<Through, Fault> {
    let clients = of(handle, ask(console, "SHOW CLIENTS").await?);
    let servers = of(handle, ask(console, "SHOW SERVERS").await?);
    let client = |row: &SimpleQueryRow| Client {
        session: Session {
            id: None,
            client: one_line(cell(row, "addr").unwrap_or("hidden")),
            application: one_line(cell(row, "application_name").unwrap_or_default()),
            since_ms: 0,
            age: None,
        },
        served: cell(row, "link").is_some_and(|link| !link.is_empty()),
    };
    Ok(Through {
        clients: clients.iter().map(client).collect(),
        held: servers.iter().filter_map(|row| cell(row, "remote_pid")?.parse().ok()).collect(),
    })
}

/// The databases in which it holds sessions for clients of this name.
pub(super) async fn databases_of(console: &mut Link<'_>, handle: &Handle) -> Result<Vec<String>, Fault> {
    let servers = of(handle, ask(console, "SHOW SERVERS").await?);
    let mut databases: Vec<String> =
        servers.iter().filter_map(|row| cell(row, "database")).map(str::to_owned).collect();
    databases.sort_unstable();
    databases.dedup();
    Ok(databases)
}

/// Closes the sessions at a database's servers as soon as each is free, and opens new ones when they are needed.
pub(super) async fn reconnect(console: &mut Link<'_>, database: &str) -> Result<(), Fault> {
    run(console, &format!("RECONNECT \"{}\"", database.replace('"', "\"\""))).await
}

async fn ask(console: &mut Link<'_>, words: &str) -> Result<Vec<SimpleQueryRow>, Fault> {
    console.command(words).await.map_err(|fault| fault.during(words))
}

fn of(handle: &Handle, mut rows: Vec<SimpleQueryRow>) -> Vec<SimpleQueryRow> {
    rows.retain(|row| cell(row, "user") == Some(handle.as_str()));
    rows
}

/// What stands in the column of this name, if there is such a column.
fn cell<'r>(row: &'r SimpleQueryRow, name: &str) -> Option<&'r str> {
    let index = row.columns().iter().position(|column| column.name() == name)?;
    row.try_get(index).ok().flatten()
}
