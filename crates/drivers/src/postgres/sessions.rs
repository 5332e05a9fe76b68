//! Who is on a role, how its sessions end, and how what is left of it goes.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rekey_model::Handle;
use tokio::time::{sleep, timeout};
use tokio_postgres::Row;

use super::Postgres;
use super::fault::{Fault, one_line};
use super::link::{Link, column};
use super::role::{Role, Standing, foreign, identifier, name};
use crate::{Age, Cut, Session, Sessions, Usage};

/// A login that was let in just before it was refused may show up a moment later.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
const UNTIL_GONE: Duration = Duration::from_millis(50);

/// Background workers of a role count too: they work with its rights.
const SESSIONS: &str = "SELECT coalesce(host(client_addr), CASE WHEN backend_type = 'client backend' \
    THEN 'local' ELSE backend_type END, 'hidden'), coalesce(application_name, ''), \
    coalesce((extract(epoch FROM backend_start) * 1000)::bigint, 0), pid, \
    coalesce(extract(epoch FROM clock_timestamp() - backend_start), 0)::float8 \
    FROM pg_stat_activity WHERE usesysid = $1 ORDER BY 3, pid";

const END_SESSIONS: &str = "SELECT pid, coalesce((extract(epoch FROM backend_start) * 1000000)::bigint, 0), \
    pg_terminate_backend(pid) FROM pg_stat_activity WHERE usesysid = $1";

/// The databases where a role owns something or was granted something.
const DATABASES: &str = "SELECT DISTINCT d.datname::text FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid \
    WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = $1 ORDER BY 1";

/// What a role still owns or was granted in this database, or in none.
const LEFT: &str = "SELECT pg_describe_object(classid, objid, objsubid) FROM pg_shdepend \
    WHERE refclassid = 'pg_authid'::regclass AND refobjid = $1 AND dbid IN (0, (SELECT oid FROM pg_database \
    WHERE datname = current_database())) ORDER BY 1 LIMIT 10";

impl Postgres {
    pub(super) async fn sessions(&self, handle: &Handle, touched: &AtomicBool) -> Result<Usage, Fault> {
        let mut link = self.rotator(&self.target.admin_database, touched).await?;
        let sessions = match self.standing(&mut link, handle).await? {
            Standing::Absent => Vec::new(),
            Standing::Foreign => return Err(foreign(handle)),
            Standing::Ours(role, _) | Standing::Adopted(role) => of_role(&mut link, role.oid).await?,
        };
        link.close().await;
        Ok(Usage::Sessions(sessions))
    }

    pub(super) async fn cut(
        &self,
        handle: &Handle,
        sessions: Sessions,
        touched: &AtomicBool,
    ) -> Result<Cut, Fault> {
        let mut link = self.rotator(&self.target.admin_database, touched).await?;
        link.begin().await?;
        let role = match self.standing(&mut link, handle).await? {
            Standing::Absent => return Ok(Cut::default()),
            Standing::Foreign => return Err(foreign(handle)),
            Standing::Ours(role, _) | Standing::Adopted(role) => role,
        };
        let name = name(handle)?;
        // Without a password nobody can bring a leaked one back to life by giving the login back.
        link.run(&format!("ALTER ROLE {name} NOLOGIN PASSWORD NULL")).await?;
        if !role.member {
            link.run(&format!("GRANT {name} TO CURRENT_USER")).await?;
        }
        link.commit().await?;
        if sessions == Sessions::Leave {
            let sessions_left = left_alone(&mut link, role).await?;
            link.close().await;
            return Ok(Cut { sessions_ended: 0, sessions_left });
        }
        let limit = self.target.timeouts.call / 2;
        let mut ended = BTreeSet::new();
        let gone = timeout(limit, end(&mut link, role.oid, &mut ended)).await;
        gone.unwrap_or_else(|_elapsed| {
            Err(Fault::NotYet(format!("{handle} is refused, but has sessions after {limit:?}")))
        })?;
        link.close().await;
        Ok(Cut { sessions_ended: u32::try_from(ended.len()).unwrap_or(u32::MAX), sessions_left: 0 })
    }

    pub(super) async fn remove(&self, handle: &Handle, touched: &AtomicBool) -> Result<(), Fault> {
        let mut link = self.rotator(&self.target.admin_database, touched).await?;
        let name = name(handle)?;
        let role = match self.standing(&mut link, handle).await? {
            Standing::Absent => return Ok(()),
            Standing::Foreign => return Err(foreign(handle)),
            Standing::Adopted(_) => {
                link.begin().await?;
                link.run(&format!("ALTER ROLE {name} NOLOGIN PASSWORD NULL")).await?;
                link.commit().await?;
                link.close().await;
                return Ok(());
            }
            Standing::Ours(role, _) => role,
        };
        if role.can_log_in || !link.rows(SESSIONS, &[&role.oid]).await?.is_empty() {
            return Err(Fault::no(format!("{handle} can log in or has sessions: revoking it comes first")));
        }
        for row in link.rows(DATABASES, &[&role.oid]).await? {
            let database: String = column(&row, 0)?;
            let mut there = self.rotator(&database, touched).await?;
            there.begin().await?;
            let given = self.give_up(&mut there, role, &name).await;
            given.map_err(|fault| fault.during(&format!("in the database {database}")))?;
            there.commit().await?;
            there.close().await;
        }
        link.begin().await?;
        // Once more for what concerns no single database, such as a right to connect to one.
        self.give_up(&mut link, role, &name).await?;
        link.run(&format!("DROP ROLE {name}")).await?;
        link.commit().await?;
        link.close().await;
        Ok(())
    }

    /// What the role owns goes to the owner role, what it was granted goes.
    async fn give_up(&self, link: &mut Link<'_>, role: Role, name: &str) -> Result<(), Fault> {
        let owner_role = identifier(&self.account.owner_role)?;
        link.run(&format!("REASSIGN OWNED BY {name} TO {owner_role}")).await?;
        link.run(&format!("DROP OWNED BY {name}")).await?;
        let rows = link.rows(LEFT, &[&role.oid]).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let left: Vec<String> = rows.iter().map(|row| column(row, 0)).collect::<Result<_, Fault>>()?;
        let left = one_line(&left.join(", "));
        Err(Fault::no(format!("{name} has rights that only whoever granted it can take back, on: {left}")))
    }
}

/// How many sessions a role has that takes no login any more; none only if none was seen twice.
async fn left_alone(link: &mut Link<'_>, role: Role) -> Result<u32, Fault> {
    let mut left = link.rows(SESSIONS, &[&role.oid]).await?.len();
    if left == 0 {
        sleep(BETWEEN_LOOKS).await;
        left = link.rows(SESSIONS, &[&role.oid]).await?.len();
    }
    Ok(u32::try_from(left).unwrap_or(u32::MAX))
}

/// Every session of the role with this oid.
pub(super) async fn of_role(link: &mut Link<'_>, role: u32) -> Result<Vec<Session>, Fault> {
    let session = |row: &Row| {
        let (pid, age): (Option<i32>, f64) = (column(row, 3)?, column(row, 4)?);
        Ok(Session {
            id: pid.and_then(|pid| pid.try_into().ok()),
            client: column(row, 0)?,
            application: column(row, 1)?,
            since_ms: column(row, 2)?,
            age: Some(Age {
                least: Duration::try_from_secs_f64(age).unwrap_or_default(),
                step: Duration::ZERO,
            }),
        })
    };
    link.rows(SESSIONS, &[&role]).await?.iter().map(session).collect()
}

/// Ends sessions of the role with this oid until none was seen twice.
pub(super) async fn end(
    link: &mut Link<'_>,
    role: u32,
    ended: &mut BTreeSet<(i32, i64)>,
) -> Result<(), Fault> {
    let mut quiet = false;
    loop {
        let sessions = link.rows(END_SESSIONS, &[&role]).await?;
        for row in &sessions {
            ended.insert((column(row, 0)?, column(row, 1)?));
        }
        match (sessions.is_empty(), quiet) {
            (true, true) => return Ok(()),
            (true, false) => sleep(BETWEEN_LOOKS).await,
            (false, _) => sleep(UNTIL_GONE).await,
        }
        quiet = sessions.is_empty();
    }
}
