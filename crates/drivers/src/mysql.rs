//! MariaDB: a login of its own for each version, all with one role (dual-account). MariaDB and MySQL 8: one user that takes
//! two passwords at once (dual-secret, [`TwoPasswords`]).
//!
//! A version's account is made with a hash that we compute: the password itself is never sent. The same statement gives
//! it our mark, a second way to log in that nobody can take. Nothing here touches an account that carries no mark of this
//! credential, except the one login that the credential declares as adopted.

mod account;
mod check;
mod fault;
mod link;
mod passwords;
mod plug;
mod privileges;
mod probe;
mod rights;
mod server;
mod sessions;
mod settings;
mod sha2;
mod sql;
mod user;
mod wire;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rekey_model::{Fields, Handle};

pub use crate::target::{TlsMode, TlsSettings};
pub use plug::{Declared, Plug};
pub use rights::{RIGHTS_FOR_CREDENTIAL, RIGHTS_FOR_MYSQL_8, RIGHTS_FOR_TARGET, RIGHTS_FOR_USERS};
pub use settings::{Account, Adopt, AdoptPassword, Target, TargetSettings, UserAccount};
pub use user::TwoPasswords;

use crate::{
    Cut, Driver, DriverFuture, Expiry, Found, Installed, Intent, Lack, Listed, Owner, Problem, Proof,
    Sessions, Usage,
};
use fault::Fault;
use link::Link;

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

    /// A session of the rotator at a server that keeps accounts as MariaDB does.
    async fn rotator<'a>(&self, touched: &'a AtomicBool) -> Result<Link<'a>, Fault> {
        let link = self.target.rotator(touched).await?;
        check::needs_mariadb(&link)?;
        Ok(link)
    }
}

impl Driver for Mysql {
    fn check(&self) -> DriverFuture<'_, Vec<Lack>> {
        Box::pin(self.target.bounded(async move |touched| self.lacks(touched).await))
    }

    /// For the adopted login: checks it; its password is not touched.
    fn install<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Installed> {
        Box::pin(self.target.bounded(async move |touched| self.make(intent, touched).await))
    }

    fn find<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Found> {
        Box::pin(self.target.bounded(async move |touched| self.look(intent, touched).await))
    }

    fn probe<'a>(&'a self, fields: &'a Fields, old: Option<&'a Handle>) -> DriverFuture<'a, Proof> {
        Box::pin(self.target.bounded(async move |touched| self.prove(fields, old, touched).await))
    }

    fn usage<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, Usage> {
        Box::pin(self.target.bounded(async move |touched| self.sessions(handle, touched).await))
    }

    /// The server knows no expiry below a day, and a password that has expired can still log in there to be changed. So
    /// there is none: a version that is never put into use lives until it is ended.
    fn set_expiry<'a>(&'a self, handle: &'a Handle, _expiry: Expiry) -> DriverFuture<'a, ()> {
        Box::pin(self.target.bounded(async move |touched| self.have(handle, touched).await))
    }

    fn revoke<'a>(&'a self, handle: &'a Handle, sessions: Sessions) -> DriverFuture<'a, Cut> {
        Box::pin(self.target.bounded(async move |touched| self.cut(handle, sessions, touched).await))
    }

    fn clean_up<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, ()> {
        Box::pin(self.target.bounded(async move |touched| self.remove(handle, touched).await))
    }

    fn list(&self) -> DriverFuture<'_, Listed> {
        Box::pin(self.target.bounded(async move |touched| self.versions(touched).await.map(Listed::Versions)))
    }

    fn settle(&self) -> Duration {
        self.target.settle()
    }
}
