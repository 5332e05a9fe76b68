//! One login whose password is changed in place (single): a new value kills the old one at once.
//!
//! The server is given a verifier that we compute, in one statement: it takes the old password before it and the new one
//! after it, never none. Sessions that are open go on. Nothing of the role but its password is ever changed.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rekey_model::{Fields, Handle, Label};
use schemars::JsonSchema;

use super::check::{NARROW, STANDBY};
use super::fault::Fault;
use super::link::{Link, column};
use super::role::{LOOK, POWERFUL, identifier};
use super::settings::{Target, check_name};
use super::{probe, quote, sessions};
use crate::scram;
use crate::target::check_statements;
use crate::{
    Cut, Driver, DriverFuture, Expiry, Found, Installed, Intent, Lack, Problem, Proof, Sessions, Usage,
};

/// The server, the rotator, and the login `$1`; what is not there is NULL.
const STANDING: &str = "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), \
    r.rolsuper OR r.rolcreaterole, pg_has_role(r.oid, a.oid, 'USAGE WITH ADMIN OPTION') \
    FROM pg_roles r LEFT JOIN pg_roles a ON a.rolname = $1::text::name AND a.rolcanlogin \
    WHERE r.rolname = current_user";

/// One login in PostgreSQL whose password changes in place: for an application that can have no other name.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "PostgresRole")]
pub struct FixedAccount {
    /// The database that consumers connect to.
    #[schemars(length(min = 1, max = 63))]
    pub database: String,
    /// The login. No other credential at this target may have it.
    #[schemars(length(min = 1, max = 63))]
    pub role: String,
    /// Whether an application uses it today: then nothing is changed before its password is handed in
    /// (`rekeyctl adopt`). Left out: no, and the first rotation changes the password at once.
    #[schemars(default)]
    pub adopt: bool,
    /// Where somebody else's machine leaves the password that it rotates, by a name of the target's `follows`: nothing is
    /// changed here then, and what is found there is proven and delivered. Left out: Rekey changes the password.
    #[schemars(with = "Option<String>", length(min = 1, max = 128))]
    pub follow: Option<Label>,
    /// SQL statements that must succeed with a new password before it counts as proven; each is rolled back; at most 32.
    #[schemars(default)]
    #[schemars(length(max = 32))]
    pub probes: Vec<String>,
}

/// The password of one login at one PostgreSQL server.
#[derive(Debug, Clone)]
pub struct FixedRole {
    target: Target,
    account: FixedAccount,
}

/// The role as the server shows it.
#[derive(Debug, Clone, Copy)]
struct Role {
    oid: u32,
    member: bool,
}

impl FixedAccount {
    /// Everything that is wrong with these settings.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        check_name(&mut problems, "database", &self.database);
        check_name(&mut problems, "role", &self.role);
        if self.role.parse::<Handle>().is_err() || self.role.contains('#') {
            let message =
                "has a character that a name at a target cannot have: a space, a quote, a backslash, a #";
            problems.push(Problem::new("role", message));
        }
        if self.adopt && self.follow.is_some() {
            let message = "goes without `follow`: what is followed is never changed here";
            problems.push(Problem::new("adopt", message));
        }
        check_statements(&mut problems, &self.probes);
        problems
    }

    /// What the version with this number is called.
    pub(super) fn name_of(&self, version: rekey_model::Version) -> String {
        format!("{}#{version}", self.role)
    }
}

impl FixedRole {
    /// The driver for `account` at `target`; everything that is wrong with the settings, if anything is.
    pub fn new(target: Target, account: FixedAccount) -> Result<Self, Vec<Problem>> {
        let mut problems = account.problems();
        if account.role == target.user {
            problems.push(Problem::new("role", "is the rotator's own login"));
        }
        if problems.is_empty() { Ok(Self { target, account }) } else { Err(problems) }
    }

    async fn rotator<'a>(&self, touched: &'a AtomicBool) -> Result<Link<'a>, Fault> {
        self.target.rotator(&self.target.admin_database, touched).await
    }

    /// The role, if it is there and no more than a login.
    async fn role(&self, link: &mut Link<'_>) -> Result<Option<Role>, Fault> {
        let Some(row) = link.row(LOOK, &[&self.account.role]).await? else { return Ok(None) };
        let powerful: bool = column(&row, 4)?;
        if powerful {
            return Err(Fault::no(format!("{} is not changed: {POWERFUL}", self.account.role)));
        }
        Ok(Some(Role { oid: column(&row, 0)?, member: column(&row, 2)? }))
    }

    /// Everything that is missing. Where nothing is, a server that takes no change now is not available.
    async fn lacks(&self, touched: &AtomicBool) -> Result<Vec<Lack>, Fault> {
        let mut link = match self.rotator(touched).await {
            Ok(link) => link,
            Err(fault) => {
                return self.target.not_let_in(&self.target.admin_database, fault).map(|lack| vec![lack]);
            }
        };
        let row = link.row(STANDING, &[&self.account.role]).await?;
        let row = row.ok_or_else(|| Fault::no("the server does not show the rotator itself"))?;
        let (version, standby): (i32, bool) = (column(&row, 0)?, column(&row, 1)?);
        let (makes_roles, gives): (bool, Option<bool>) = (column(&row, 2)?, column(&row, 3)?);
        let (user, role) = (quote::shown(&self.target.user), quote::shown(&self.account.role));
        let mut lacks = Vec::new();
        if !makes_roles {
            let what = format!("the rotator {user} has no CREATEROLE");
            lacks.push(Lack::new(what, format!("ALTER ROLE {user} CREATEROLE;")));
        }
        if gives.is_none() {
            let what = format!("there is no login {role}");
            lacks.push(Lack::new(what, format!("CREATE ROLE {role} LOGIN;")));
        } else if let Err(fault) = self.role(&mut link).await {
            let Fault::No(why) = fault else { return Err(fault) };
            lacks.push(Lack::new(why, "name a login that is no more than a login".to_owned()));
        } else if gives == Some(false) && version >= NARROW {
            let what = format!("the rotator {user} has no ADMIN OPTION on {role}");
            lacks.push(Lack::new(what, format!("GRANT {role} TO {user} WITH ADMIN OPTION;")));
        }
        link.close().await;
        if lacks.is_empty() && standby {
            return Err(Fault::Away(STANDBY.to_owned()));
        }
        Ok(lacks)
    }

    async fn set_password(&self, intent: &Intent, touched: &AtomicBool) -> Result<Installed, Fault> {
        let secret = intent.secret.as_ref().ok_or_else(|| Fault::no("this driver needs a secret"))?;
        let fields = self.target.given(&self.account.role, secret, &self.account.database)?;
        let handle = intent.handle.clone();
        let mut link = self.rotator(touched).await?;
        self.role(&mut link).await?.ok_or_else(|| self.absent())?;
        if handle.as_str() == self.account.role {
            // The password that the application has today: it is only looked whether it is right.
            self.session(&fields, touched).await?.close().await;
            link.close().await;
            return Ok(Installed { fields, handle });
        }
        let name = identifier(&self.account.role)?;
        let verifier = quote::literal(&scram::verifier(&self.account.role, secret));
        link.begin().await?;
        link.run(&format!("ALTER ROLE {name} PASSWORD {verifier}")).await?;
        link.commit().await?;
        link.close().await;
        Ok(Installed { fields, handle })
    }

    async fn session<'a>(&self, fields: &Fields, touched: &'a AtomicBool) -> Result<Link<'a>, Fault> {
        let password = fields.get("password").ok_or_else(|| Fault::no("login: there is no password"))?;
        let (user, database) = (self.account.role.as_str(), self.account.database.as_str());
        let mut link = self.target.as_consumer((user, password, database), touched).await?;
        let row = link.row("SELECT session_user::text, current_database()::text", &[]).await?;
        let row = row.ok_or_else(|| Fault::no("login: no answer"))?;
        let (is_user, is_database): (String, String) = (column(&row, 0)?, column(&row, 1)?);
        if (is_user.as_str(), is_database.as_str()) == (user, database) {
            return Ok(link);
        }
        Err(Fault::no(format!("login: the session is {is_user} in {is_database}, not {user} in {database}")))
    }

    async fn prove(&self, fields: &Fields, touched: &AtomicBool) -> Result<Proof, Fault> {
        let mut link = self.session(fields, touched).await?;
        for (index, sql) in self.account.probes.iter().enumerate() {
            let ran = self.target.run_probe(&mut link, sql).await;
            ran.map_err(|fault| fault.during(&probe::shown(index, sql)))?;
        }
        link.close().await;
        Ok(Proof { probes: self.account.probes.len() })
    }

    async fn sessions(&self, touched: &AtomicBool) -> Result<Usage, Fault> {
        let mut link = self.rotator(touched).await?;
        let there = match self.role(&mut link).await? {
            Some(role) => sessions::of_role(&mut link, role.oid).await?,
            None => Vec::new(),
        };
        link.close().await;
        Ok(Usage::OfAccount(there))
    }

    /// Takes the password away, so that nobody can log in with any; then ends the sessions.
    async fn switch_off(&self, sessions: Sessions, touched: &AtomicBool) -> Result<Cut, Fault> {
        let mut link = self.rotator(touched).await?;
        let Some(role) = self.role(&mut link).await? else { return Ok(Cut::default()) };
        let name = identifier(&self.account.role)?;
        link.begin().await?;
        link.run(&format!("ALTER ROLE {name} PASSWORD NULL")).await?;
        if !role.member {
            link.run(&format!("GRANT {name} TO CURRENT_USER")).await?;
        }
        link.commit().await?;
        let mut ended = BTreeSet::new();
        if sessions == Sessions::End {
            let limit = self.target.timeouts.call / 2;
            let gone = tokio::time::timeout(limit, sessions::end(&mut link, role.oid, &mut ended)).await;
            gone.unwrap_or_else(|_elapsed| {
                let role = &self.account.role;
                Err(Fault::NotYet(format!("{role} takes no password, but has sessions after {limit:?}")))
            })?;
        }
        link.close().await;
        Ok(Cut { sessions_ended: u32::try_from(ended.len()).unwrap_or(u32::MAX), sessions_left: 0 })
    }

    fn absent(&self) -> Fault {
        Fault::no(format!("there is no login {}", self.account.role))
    }
}

impl Driver for FixedRole {
    fn check(&self) -> DriverFuture<'_, Vec<Lack>> {
        Box::pin(self.target.bounded(async move |touched| self.lacks(touched).await))
    }

    /// Changes the password of the login. For the password that is handed in: checks it and changes nothing.
    fn install<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Installed> {
        Box::pin(self.target.bounded(async move |touched| self.set_password(intent, touched).await))
    }

    fn fields(&self, intent: &Intent) -> Option<Fields> {
        self.target.given(&self.account.role, intent.secret.as_ref()?, &self.account.database).ok()
    }

    /// Whether the login is there: the server does not tell which password it takes.
    fn find<'a>(&'a self, _intent: &'a Intent) -> DriverFuture<'a, Found> {
        Box::pin(self.target.bounded(async move |touched| {
            let mut link = self.rotator(touched).await?;
            let role = self.role(&mut link).await?;
            link.close().await;
            Ok(role.map_or(Found::Absent, |_| Found::Present))
        }))
    }

    /// The rights are the login's own and do not change with the password: they are not compared.
    fn probe<'a>(&'a self, fields: &'a Fields, _old: Option<&'a Handle>) -> DriverFuture<'a, Proof> {
        Box::pin(self.target.bounded(async move |touched| self.prove(fields, touched).await))
    }

    fn log_in<'a>(&'a self, fields: &'a Fields) -> DriverFuture<'a, ()> {
        Box::pin(self.target.bounded(async move |touched| {
            self.session(fields, touched).await?.close().await;
            Ok(())
        }))
    }

    fn usage<'a>(&'a self, _handle: &'a Handle) -> DriverFuture<'a, Usage> {
        Box::pin(self.target.bounded(async move |touched| self.sessions(touched).await))
    }

    /// Such a password has no expiry of its own.
    fn set_expiry<'a>(&'a self, _handle: &'a Handle, _expiry: Expiry) -> DriverFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Switches the login off, whichever of its versions is named: it has one password at a time.
    fn revoke<'a>(&'a self, _handle: &'a Handle, sessions: Sessions) -> DriverFuture<'a, Cut> {
        Box::pin(self.target.bounded(async move |touched| self.switch_off(sessions, touched).await))
    }

    /// Nothing is left of a password.
    fn clean_up<'a>(&'a self, _handle: &'a Handle) -> DriverFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn settle(&self) -> Duration {
        self.target.timeouts.transit + self.target.timeouts.statement
    }
}
