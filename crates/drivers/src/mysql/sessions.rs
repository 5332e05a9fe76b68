//! Who is on an account, how its sessions end, and how what is left of it goes.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rekey_model::Handle;
use tokio::time::{sleep, timeout};

use super::Mysql;
use super::account::{Standing, foreign};
use super::fault::{Fault, one_line};
use super::link::{Link, text};
use super::settings::Target;
use super::sql::{self, identifier, literal};
use super::wire::Row;
use crate::{Cut, Session, Sessions, Usage};

/// A login that was let in just before it was refused may show up a moment later.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
const UNTIL_GONE: Duration = Duration::from_millis(50);
/// "Unknown thread id": it has ended by itself.
const NO_SUCH_SESSION: &str = "(1094)";

/// What an account stands behind as `DEFINER`, as far as the role that it acted by can see: the kind, the words for it.
const DEFINED: [(&str, &str); 4] = [
    ("view", "SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) FROM information_schema.VIEWS"),
    ("routine", "SELECT CONCAT(ROUTINE_SCHEMA, '.', ROUTINE_NAME) FROM information_schema.ROUTINES"),
    ("trigger", "SELECT CONCAT(TRIGGER_SCHEMA, '.', TRIGGER_NAME) FROM information_schema.TRIGGERS"),
    ("event", "SELECT CONCAT(EVENT_SCHEMA, '.', EVENT_NAME) FROM information_schema.EVENTS"),
];

impl Mysql {
    pub(super) async fn sessions(&self, handle: &Handle, touched: &AtomicBool) -> Result<Usage, Fault> {
        let mut link = self.rotator(touched).await?;
        let rows = match self.standing(&mut link, handle).await? {
            Standing::Absent => Vec::new(),
            Standing::Foreign => return Err(foreign(handle)),
            Standing::Ours(..) | Standing::Adopted(_) => list(&mut link, handle.as_str()).await?,
        };
        link.close().await;
        let session = |row: &Row| Session {
            id: None,
            client: text(row, 1).unwrap_or("hidden").to_owned(),
            application: String::new(),
            // The server does not tell when a session began.
            since_ms: 0,
            age: None,
        };
        Ok(Usage::Sessions(rows.iter().map(session).collect()))
    }

    pub(super) async fn cut(
        &self,
        handle: &Handle,
        sessions: Sessions,
        touched: &AtomicBool,
    ) -> Result<Cut, Fault> {
        let mut link = self.rotator(touched).await?;
        let shown = match self.standing(&mut link, handle).await? {
            Standing::Absent => return Ok(Cut::default()),
            Standing::Foreign => return Err(foreign(handle)),
            Standing::Ours(shown, _) | Standing::Adopted(shown) => shown,
        };
        self.lock(&mut link, handle).await?;
        if sessions == Sessions::Leave {
            let sessions_left = left_alone(&mut link, handle).await?;
            link.close().await;
            return Ok(Cut { sessions_ended: 0, sessions_left });
        }
        if shown.twin {
            return Err(Fault::no(format!(
                "{handle} is refused, but another login has its name: end its sessions by hand"
            )));
        }
        let sessions_ended = self.target.end_all(&mut link, handle.as_str()).await?;
        link.close().await;
        Ok(Cut { sessions_ended, sessions_left: 0 })
    }

    pub(super) async fn remove(&self, handle: &Handle, touched: &AtomicBool) -> Result<(), Fault> {
        let mut link = self.rotator(touched).await?;
        let shown = match self.standing(&mut link, handle).await? {
            Standing::Absent => return Ok(()),
            Standing::Foreign => return Err(foreign(handle)),
            Standing::Adopted(_) => {
                self.lock(&mut link, handle).await?;
                link.close().await;
                return Ok(());
            }
            Standing::Ours(shown, _) => shown,
        };
        if !shown.locked || !list(&mut link, handle.as_str()).await?.is_empty() {
            return Err(Fault::no(format!("{handle} can log in or has sessions: revoking it comes first")));
        }
        self.stands_behind_nothing(&mut link, handle).await?;
        link.change(&format!("DROP USER {}", self.name(handle))).await?;
        link.close().await;
        Ok(())
    }

    /// Refuses new logins. With no hash that fits a password, nobody brings a leaked one back by unlocking the login.
    async fn lock(&self, link: &mut Link<'_>, handle: &Handle) -> Result<(), Fault> {
        let mark = match self.version(handle) {
            Some(version) => sql::mark(&self.owner, version),
            None => sql::mark_of_adopted(&self.owner),
        };
        let name = self.name(handle);
        let way = format!("mysql_native_password USING '{mark}'");
        link.change(&format!("ALTER USER {name} IDENTIFIED VIA {way} ACCOUNT LOCK")).await
    }

    /// A view or routine whose definer is dropped works no more. What the login could make, its role can see, and the
    /// rotator can act by that role.
    async fn stands_behind_nothing(&self, link: &mut Link<'_>, handle: &Handle) -> Result<(), Fault> {
        link.rows(&format!("SET ROLE {}", identifier(&self.account.role))).await?;
        let definer = literal(&format!("{handle}@{}", self.from(handle)));
        let mut left = Vec::new();
        for (kind, query) in DEFINED {
            for row in link.rows(&format!("{query} WHERE DEFINER = {definer} LIMIT 10")).await? {
                left.push(format!("{kind} {}", text(&row, 0).unwrap_or_default()));
            }
        }
        link.rows("SET ROLE NONE").await?;
        if left.is_empty() {
            return Ok(());
        }
        let left = one_line(&left.join(", "));
        Err(Fault::no(format!("{handle} is the DEFINER of: {left}; make the role the definer of them")))
    }
}

impl Target {
    /// Ends the sessions of a user that goes on to be let in by another password: those that are there, and once more what
    /// may have been on its way in by the one that was taken away.
    pub(super) async fn end_those_there(&self, link: &mut Link<'_>, user: &str) -> Result<u32, Fault> {
        let limit = self.timeouts.call / 2;
        let mut ended = BTreeSet::new();
        let gone = timeout(limit, async {
            end_once(link, user, &mut ended).await?;
            sleep(BETWEEN_LOOKS).await;
            end_once(link, user, &mut ended).await?;
            while list(link, user).await?.iter().any(|row| number(row).is_ok_and(|it| ended.contains(&it))) {
                sleep(UNTIL_GONE).await;
            }
            Ok(())
        });
        gone.await.unwrap_or_else(|_elapsed| {
            Err(Fault::NotYet(format!("sessions of {user} that were ended are there after {limit:?}")))
        })?;
        Ok(u32::try_from(ended.len()).unwrap_or(u32::MAX))
    }

    /// Ends every session of a user that takes no login any more by what is revoked, and gives how many there were.
    pub(super) async fn end_all(&self, link: &mut Link<'_>, user: &str) -> Result<u32, Fault> {
        let limit = self.timeouts.call / 2;
        let mut ended = BTreeSet::new();
        let gone = timeout(limit, end_sessions(link, user, &mut ended)).await;
        gone.unwrap_or_else(|_elapsed| {
            Err(Fault::NotYet(format!("{user} is refused, but has sessions after {limit:?}")))
        })?;
        Ok(u32::try_from(ended.len()).unwrap_or(u32::MAX))
    }
}

/// The sessions of an account. Those of events that act as it count too.
pub(super) async fn list(link: &mut Link<'_>, user: &str) -> Result<Vec<Row>, Fault> {
    let user = literal(user);
    link.rows(&format!("SELECT ID, HOST FROM information_schema.PROCESSLIST WHERE USER = {user} ORDER BY ID"))
        .await
}

/// How many sessions an account has that takes no login any more; none only if none was seen twice.
async fn left_alone(link: &mut Link<'_>, handle: &Handle) -> Result<u32, Fault> {
    let mut left = list(link, handle.as_str()).await?.len();
    if left == 0 {
        sleep(BETWEEN_LOOKS).await;
        left = list(link, handle.as_str()).await?.len();
    }
    Ok(u32::try_from(left).unwrap_or(u32::MAX))
}

/// Ends sessions until none was seen twice. The server gives no number to two sessions.
async fn end_sessions(link: &mut Link<'_>, user: &str, ended: &mut BTreeSet<u64>) -> Result<(), Fault> {
    let mut quiet = false;
    loop {
        let none = end_once(link, user, ended).await?;
        match (none, quiet) {
            (true, true) => return Ok(()),
            (true, false) => sleep(BETWEEN_LOOKS).await,
            (false, _) => sleep(UNTIL_GONE).await,
        }
        quiet = none;
    }
}

/// Ends the sessions that are there now, and says whether there were none.
async fn end_once(link: &mut Link<'_>, user: &str, ended: &mut BTreeSet<u64>) -> Result<bool, Fault> {
    let sessions = list(link, user).await?;
    for row in &sessions {
        let number = number(row)?;
        match link.change(&format!("KILL CONNECTION {number}")).await {
            Ok(()) => drop(ended.insert(number)),
            Err(Fault::No(why)) if why.ends_with(NO_SUCH_SESSION) => {}
            Err(fault) => return Err(fault.during("ending its sessions")),
        }
    }
    Ok(sessions.is_empty())
}

/// A session's number in the process list.
fn number(row: &Row) -> Result<u64, Fault> {
    text(row, 0).and_then(|id| id.parse().ok()).ok_or_else(super::wire::noise)
}
