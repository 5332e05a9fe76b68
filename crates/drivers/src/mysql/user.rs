//! One user that takes two passwords at once (dual-secret): one is added, and one is taken away.
//!
//! MariaDB keeps the ways to log in as one list, and each change says the whole list: what we did not make is said again as
//! it stands. MySQL keeps the current password and one that is retained. Only hashes are sent. What a version is called,
//! `<user>#<tag>`, is made of its hash and is enough to find it, and for nobody to log in. The user itself and its grants are
//! never changed.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rekey_model::{Fields, Handle};
use tokio::time::{sleep, timeout};

use super::fault::Fault;
use super::link::{Link, text};
use super::passwords::{self, Shown};
use super::settings::{Target, UserAccount};
use super::sql::{self, literal};
use crate::{
    Cut, Driver, DriverFuture, Expiry, Found, Installed, Intent, Lack, Owner, Problem, Proof, Sessions,
    Sighting, Survey, Usage,
};

/// Between two tries to be the only one that changes a user.
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// Two passwords of one user at one server.
#[derive(Debug, Clone)]
pub struct TwoPasswords {
    target: Target,
    account: UserAccount,
    owner: Owner,
}

impl TwoPasswords {
    /// The driver for `account` at `target`; everything that is wrong with the settings, if anything is.
    pub fn new(target: Target, account: UserAccount, owner: Owner) -> Result<Self, Vec<Problem>> {
        let mut problems: Vec<Problem> = account.problems().into_iter().chain(owner.problems()).collect();
        if account.user == target.user {
            problems.push(Problem::new("user", "is the rotator's own login"));
        }
        if problems.is_empty() { Ok(Self { target, account, owner }) } else { Err(problems) }
    }

    /// Everything that is missing. Where nothing is, a server that takes no change now is not available.
    async fn lacks(&self, touched: &AtomicBool) -> Result<Vec<Lack>, Fault> {
        let (mut link, rotator) = match self.target.shown(touched).await {
            Ok(shown) => shown,
            Err(fault) => return self.target.not_let_in(fault).map(|lack| vec![lack]),
        };
        let server = link.server();
        let mut lacks = self.target.lacks_of_all(&mut link, &rotator, super::check::of_users(server)).await?;
        if lacks.is_empty() {
            lacks.extend(self.lack_of_user(&mut link).await?);
        }
        link.close().await;
        rotator.takes_changes(lacks)
    }

    /// What is wrong with the user itself.
    async fn lack_of_user(&self, link: &mut Link<'_>) -> Result<Option<Lack>, Fault> {
        let UserAccount { user, database, .. } = &self.account;
        let name = self.name();
        let Some(shown) = self.look(link).await? else {
            let remedy = format!("CREATE USER {name} IDENTIFIED BY '…'; GRANT … ON {database}.* TO {name};");
            return Ok(Some(Lack::new(format!("there is no user {name}"), remedy)));
        };
        let remedy = if shown.powerful {
            "name a user that is no more than a user".to_owned()
        } else if shown.locked {
            format!("ALTER USER {name} ACCOUNT UNLOCK;")
        } else if shown.is_open() {
            format!("ALTER USER {name} IDENTIFIED BY '…';")
        } else if shown.twin {
            format!(
                "DROP USER the other one that is called {user}, so that sessions tell which of them they are"
            )
        } else {
            return Ok(None);
        };
        let why = self.usable(&shown).err().map(|fault| fault.to_string()).unwrap_or_default();
        Ok(Some(Lack::new(why, remedy)))
    }

    async fn make(&self, intent: &Intent, touched: &AtomicBool) -> Result<Installed, Fault> {
        let secret = intent.secret.as_ref().ok_or_else(|| Fault::no("this driver needs a secret"))?;
        let (handle, tag) = (&intent.handle, self.tag_in(&intent.handle)?);
        if sql::tag(&sql::hash(secret)) != tag {
            return Err(Fault::no(format!("this is not the password that {handle} stands for")));
        }
        let fields = self.target.given(&self.account.user, secret, &self.account.database)?;
        let mut link = self.target.rotator(touched).await?;
        self.alone(&mut link).await?;
        let shown = self.look(&mut link).await?.ok_or_else(|| self.absent())?;
        self.usable(&shown)?;
        if !shown.has(tag) {
            if self.adopts(tag) {
                return Err(Fault::no(format!("{} has no such password to adopt", self.account.user)));
            }
            let words = shown.with(&self.account.user, secret, &self.mark())?;
            self.set(&mut link, &words).await?;
            if !self.look(&mut link).await?.is_some_and(|shown| shown.has(tag)) {
                return Err(Fault::Away("the password does not read back".to_owned()));
            }
        }
        link.close().await;
        Ok(Installed { fields, handle: handle.clone() })
    }

    async fn seek(&self, handle: &Handle, touched: &AtomicBool) -> Result<Found, Fault> {
        let Ok(tag) = self.tag_in(handle) else { return Ok(Found::Foreign) };
        let there = self.shows(touched).await?.is_some_and(|shown| shown.has(tag));
        Ok(if there { Found::Present } else { Found::Absent })
    }

    /// A fresh session by `fields` over the consumer's route that is who it should be, and the declared statements.
    async fn prove(&self, fields: &Fields, touched: &AtomicBool) -> Result<Proof, Fault> {
        let UserAccount { user, from, database, probes, .. } = &self.account;
        let password = fields.get("password").ok_or_else(|| Fault::no("login: there is no password"))?;
        let who = (user.as_str(), password, Some(database.as_str()));
        let mut link = self.target.as_consumer(who, touched).await?;
        let rows = link.rows("SELECT CURRENT_USER(), DATABASE()").await?;
        let row = rows.first().ok_or_else(|| Fault::no("login: no answer"))?;
        let [is_user, is_database] = [0, 1].map(|column| text(row, column).unwrap_or_default());
        if is_user != format!("{user}@{from}") || is_database != database {
            let why =
                format!("login: the session is {is_user} in {is_database}, not {user}@{from} in {database}");
            return Err(Fault::no(why));
        }
        let proof = self.target.run_probes(&mut link, probes).await?;
        link.close().await;
        Ok(proof)
    }

    /// Whether the password is there: it has no expiry that could be set.
    async fn have(&self, handle: &Handle, touched: &AtomicBool) -> Result<(), Fault> {
        let tag = self.tag_in(handle)?;
        if self.shows(touched).await?.is_some_and(|shown| shown.has(tag)) {
            return Ok(());
        }
        Err(Fault::no(format!("there is no password {handle}")))
    }

    async fn take_away(
        &self,
        handle: &Handle,
        sessions: Sessions,
        touched: &AtomicBool,
    ) -> Result<Cut, Fault> {
        let (user, tag) = (self.account.user.as_str(), self.tag_in(handle)?);
        let mut link = self.target.rotator(touched).await?;
        self.alone(&mut link).await?;
        let Some(shown) = self.look(&mut link).await? else { return Ok(Cut::default()) };
        if shown.has(tag) {
            self.set(&mut link, &shown.without(tag, &self.mark())?).await?;
            if self.look(&mut link).await?.is_some_and(|shown| shown.has(tag)) {
                return Err(Fault::Away("the password is still there".to_owned()));
            }
        }
        if sessions == Sessions::Leave {
            link.close().await;
            return Ok(Cut::default());
        }
        if shown.twin {
            return Err(Fault::no(format!(
                "{handle} is refused, but another user is called {user}: end its sessions by hand"
            )));
        }
        // Another call need not wait for the sessions.
        link.rows(&format!("SELECT RELEASE_LOCK({})", self.lock())).await?;
        let sessions_ended = self.target.end_those_there(&mut link, user).await?;
        link.close().await;
        Ok(Cut { sessions_ended, sessions_left: 0 })
    }

    async fn gone(&self, handle: &Handle, touched: &AtomicBool) -> Result<(), Fault> {
        let tag = self.tag_in(handle)?;
        if self.shows(touched).await?.is_some_and(|shown| shown.has(tag)) {
            return Err(Fault::no(format!("{handle} can log in: revoking it comes first")));
        }
        Ok(())
    }

    async fn seen(&self, touched: &AtomicBool) -> Result<Vec<Sighting>, Fault> {
        let shown = self.shows(touched).await?;
        Ok(shown.map(|shown| shown.sightings(&self.account.user, &self.mark())).unwrap_or_default())
    }

    /// The user as the server shows it to a session of its own.
    async fn shows(&self, touched: &AtomicBool) -> Result<Option<Shown>, Fault> {
        let mut link = self.target.rotator(touched).await?;
        let shown = self.look(&mut link).await?;
        link.close().await;
        Ok(shown)
    }

    /// Waits until no other call changes this user. Each says all its passwords, so of two at once the later one would bring
    /// back what the other took away. The lock goes with the session: also of a call that was given up, whose statement may
    /// be on its way, the server ends that in time ([`Link::bind`]), and nothing follows it before.
    async fn alone(&self, link: &mut Link<'_>) -> Result<(), Fault> {
        let limit = self.target.timeouts.call / 2;
        let ask = format!("SELECT GET_LOCK({}, 0)", self.lock());
        let had = timeout(limit, async {
            while link.rows(&ask).await?.first().and_then(|row| text(row, 0)) != Some("1") {
                sleep(BETWEEN_TRIES).await;
            }
            Ok(())
        });
        let busy =
            || format!("another call that changes {} has not ended within {limit:?}", self.account.user);
        had.await.unwrap_or_else(|_elapsed| Err(Fault::Away(busy())))
    }

    /// The name of the lock, of a length that every server takes.
    fn lock(&self) -> String {
        literal(&format!("rekey:{}", sql::tag(&self.name())))
    }

    async fn look(&self, link: &mut Link<'_>) -> Result<Option<Shown>, Fault> {
        passwords::look(link, &self.account.user, &self.account.from).await
    }

    async fn set(&self, link: &mut Link<'_>, words: &[String]) -> Result<(), Fault> {
        for words in words {
            link.change(&format!("ALTER USER {} {words}", self.name())).await?;
        }
        Ok(())
    }

    /// Refuses a user that is not to be changed, or that a password would be of no use to.
    fn usable(&self, shown: &Shown) -> Result<(), Fault> {
        let name = self.name();
        let why = if shown.powerful {
            "is not changed: it is a role, or may do more to the whole server than an application should"
        } else if shown.locked {
            "is locked"
        } else if shown.is_open() {
            "comes in without a password"
        } else if shown.twin {
            "has a twin: another user has the same name and another host, and sessions do not tell which they are"
        } else {
            return Ok(());
        };
        Err(Fault::no(format!("the user {name} {why}")))
    }

    fn absent(&self) -> Fault {
        Fault::no(format!("there is no user {}", self.name()))
    }

    /// The user, quoted.
    fn name(&self) -> String {
        format!("{}@{}", literal(&self.account.user), literal(&self.account.from))
    }

    /// The hash of no password, and our mark: what a user of MariaDB has when its last one was taken away.
    fn mark(&self) -> String {
        sql::mark_of_adopted(&self.owner)
    }

    fn adopts(&self, tag: &str) -> bool {
        self.account.adopt.as_ref().is_some_and(|adopt| sql::tag(&adopt.hash) == tag)
    }

    fn tag_in<'h>(&self, handle: &'h Handle) -> Result<&'h str, Fault> {
        let tag = passwords::tag_in(&self.account.user, handle);
        tag.ok_or_else(|| Fault::no(format!("{handle} is no password of {}", self.account.user)))
    }
}

impl Driver for TwoPasswords {
    fn check(&self) -> DriverFuture<'_, Vec<Lack>> {
        Box::pin(self.target.bounded(async move |touched| self.lacks(touched).await))
    }

    /// For the adopted password: makes sure that the user has it, and changes nothing.
    fn install<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Installed> {
        Box::pin(self.target.bounded(async move |touched| self.make(intent, touched).await))
    }

    fn find<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Found> {
        Box::pin(self.target.bounded(async move |touched| self.seek(&intent.handle, touched).await))
    }

    /// The rights are the user's own and do not change with the password: they are not compared.
    fn probe<'a>(&'a self, fields: &'a Fields, _old: Option<&'a Handle>) -> DriverFuture<'a, Proof> {
        Box::pin(self.target.bounded(async move |touched| self.prove(fields, touched).await))
    }

    /// The server tells neither which password a session came in with nor when it began.
    fn usage<'a>(&'a self, _handle: &'a Handle) -> DriverFuture<'a, Usage> {
        Box::pin(async { Ok(Usage::CannotTell) })
    }

    /// A password has no expiry of its own. That it is there is made sure once more.
    fn set_expiry<'a>(&'a self, handle: &'a Handle, _expiry: Expiry) -> DriverFuture<'a, ()> {
        Box::pin(self.target.bounded(async move |touched| self.have(handle, touched).await))
    }

    /// `End` ends every session of the user that is there, and a moment later those that came meanwhile: the server does not
    /// tell which password one came in with. Whoever has the other password comes back with it.
    fn revoke<'a>(&'a self, handle: &'a Handle, sessions: Sessions) -> DriverFuture<'a, Cut> {
        Box::pin(self.target.bounded(async move |touched| self.take_away(handle, sessions, touched).await))
    }

    /// Nothing is left of a password that was taken away; that it was is made sure.
    fn clean_up<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, ()> {
        Box::pin(self.target.bounded(async move |touched| self.gone(handle, touched).await))
    }

    /// Every way to log in as the user, whoever made it.
    fn survey(&self) -> DriverFuture<'_, Survey> {
        Box::pin(self.target.bounded(async move |touched| self.seen(touched).await.map(Survey::Seen)))
    }

    fn settle(&self) -> Duration {
        self.target.settle()
    }
}
