//! MariaDB: a login of its own for each version, all with one role (dual-account).
//!
//! A version's account is made with a hash that we compute: the password itself is never sent. The same statement gives
//! it our mark, a second way to log in that nobody can take. Nothing here touches an account that carries no mark of this
//! credential, except the one login that the credential declares as adopted.

mod account;
mod check;
mod fault;
mod link;
mod plug;
mod privileges;
mod probe;
mod rights;
mod sessions;
mod settings;
mod sql;
mod wire;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rekey_model::{Fields, Handle};

pub use crate::target::{TlsMode, TlsSettings};
pub use plug::Plug;
pub use rights::{RIGHTS_FOR_CREDENTIAL, RIGHTS_FOR_TARGET};
pub use settings::{Account, Adopt, Target, TargetSettings};

use crate::{
    Cut, Driver, DriverError, DriverFuture, Expiry, Found, Installed, Intent, Lack, Listed, Owner, Problem,
    Proof, Sessions, Usage,
};
use fault::Fault;
use link::{Link, Login};

/// The driver's name.
pub const NAME: &str = "mysql";

/// One credential at one MariaDB server.
#[derive(Debug, Clone)]
pub struct Mysql {
    target: Target,
    account: Account,
    owner: Owner,
}

impl Mysql {
    /// The driver for `account` at `target`; everything that is wrong with the settings, if anything is.
    pub fn new(target: Target, account: Account, owner: Owner) -> Result<Self, Vec<Problem>> {
        let mut problems: Vec<Problem> = account.problems().into_iter().chain(owner.problems()).collect();
        if account.adopt.as_ref().is_some_and(|adopt| adopt.login == target.user) {
            problems.push(Problem::new("adopt.login", "is the rotator's own login"));
        }
        if problems.is_empty() { Ok(Self { target, account, owner }) } else { Err(problems) }
    }

    /// Runs `work` with the limit for a whole call, and says what a failure means.
    async fn bounded<T>(
        &self,
        touched: &AtomicBool,
        work: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, DriverError> {
        crate::fault::within(self.target.timeouts.call, touched, work).await
    }

    /// A session of the rotator, whatever it may do.
    async fn admin<'a>(&self, touched: &'a AtomicBool) -> Result<Link<'a>, Fault> {
        let login = Login {
            route: &self.target.route,
            tls: self.target.tls.as_ref(),
            database: None,
            user: &self.target.user,
            password: &self.target.password,
            timeouts: self.target.timeouts,
        };
        let mut link = Link::open(&login, touched).await?;
        link.bind(self.target.timeouts).await?;
        Ok(link)
    }

    /// A session of the rotator. Without `PROCESS` it would be shown its own sessions alone, and take that for all.
    async fn rotator<'a>(&self, touched: &'a AtomicBool) -> Result<Link<'a>, Fault> {
        let during = |fault: Fault| fault.during("as the rotator");
        let mut link = self.admin(touched).await.map_err(during)?;
        if let Some(right) = check::missing(&mut link).await.map_err(during)?.first() {
            return Err(Fault::no(format!("the rotator has no {right}")));
        }
        Ok(link)
    }
}

impl Driver for Mysql {
    fn check(&self) -> DriverFuture<'_, Vec<Lack>> {
        Box::pin(async move {
            let touched = AtomicBool::new(false);
            self.bounded(&touched, self.lacks(&touched)).await
        })
    }

    /// For the adopted login: checks it; its password is not touched.
    fn install<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Installed> {
        Box::pin(async move {
            let touched = AtomicBool::new(false);
            self.bounded(&touched, self.make(intent, &touched)).await
        })
    }

    fn find<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Found> {
        Box::pin(async move {
            let touched = AtomicBool::new(false);
            self.bounded(&touched, self.look(intent, &touched)).await
        })
    }

    fn probe<'a>(&'a self, fields: &'a Fields, old: Option<&'a Handle>) -> DriverFuture<'a, Proof> {
        Box::pin(async move {
            let touched = AtomicBool::new(false);
            self.bounded(&touched, self.prove(fields, old, &touched)).await
        })
    }

    fn usage<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, Usage> {
        Box::pin(async move {
            let touched = AtomicBool::new(false);
            self.bounded(&touched, self.sessions(handle, &touched)).await
        })
    }

    /// The server knows no expiry below a day, and a password that has expired can still log in there to be changed. So
    /// there is none: a version that is never put into use lives until it is ended.
    fn set_expiry<'a>(&'a self, handle: &'a Handle, _expiry: Expiry) -> DriverFuture<'a, ()> {
        Box::pin(async move {
            let touched = AtomicBool::new(false);
            self.bounded(&touched, self.have(handle, &touched)).await
        })
    }

    fn revoke<'a>(&'a self, handle: &'a Handle, sessions: Sessions) -> DriverFuture<'a, Cut> {
        Box::pin(async move {
            let touched = AtomicBool::new(false);
            self.bounded(&touched, self.cut(handle, sessions, &touched)).await
        })
    }

    fn clean_up<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, ()> {
        Box::pin(async move {
            let touched = AtomicBool::new(false);
            self.bounded(&touched, self.remove(handle, &touched)).await
        })
    }

    fn list(&self) -> DriverFuture<'_, Listed> {
        Box::pin(async move {
            let touched = AtomicBool::new(false);
            self.bounded(&touched, self.versions(&touched)).await.map(Listed::Versions)
        })
    }

    fn settle(&self) -> Duration {
        Duration::from_secs(self.target.timeouts.transit_seconds()) + self.target.timeouts.statement
    }
}
