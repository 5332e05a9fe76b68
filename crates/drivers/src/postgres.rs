//! PostgreSQL: a login role of its own for each version, all acting as one owner role (dual-account). Or one login whose
//! password is changed in place ([`FixedRole`]).
//!
//! A version's role is made by one transaction, with a SCRAM verifier that we compute: the password itself is never
//! sent. A comment on the role is our marker. Nothing here touches a role that carries no marker of this credential,
//! except the one login that the account declares as adopted.

mod check;
pub(crate) mod fault;
mod fixed;
mod followed;
mod gate;
pub(crate) mod link;
mod plug;
mod privileges;
mod probe;
mod quote;
mod rights;
mod role;
mod server;
mod sessions;
pub(crate) mod settings;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rekey_model::{Fields, Handle, Version};

pub use fixed::{FixedAccount, FixedRole};
pub use followed::Followed;
pub use plug::{Declared, Plug};
pub use rights::{RIGHTS_FOR_ADOPTION, RIGHTS_FOR_CREDENTIAL, RIGHTS_FOR_TARGET};
pub use settings::{Account, Adopt, Target, TargetSettings};

pub use crate::target::{TlsMode, TlsSettings};
use crate::{
    Cut, Driver, DriverError, DriverFuture, Expiry, Found, Installed, Intent, Lack, Listed, Owner, Problem,
    Proof, Sessions, Survey, Usage,
};
use fault::Fault;
use link::Link;

/// The driver's name.
pub const NAME: &str = "postgres";

/// One credential at one PostgreSQL server.
#[derive(Debug, Clone)]
pub struct Postgres {
    target: Target,
    account: Account,
    owner: Owner,
}

/// A role that carries our marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// The role.
    pub handle: String,
    /// The credential that it was made for, as the marker says.
    pub credential: String,
    /// The version that it was made for.
    pub version: Option<Version>,
    /// Whether it may still log in.
    pub can_log_in: bool,
}

impl Postgres {
    /// The driver for `account` at `target`; everything that is wrong with the settings, if anything is.
    pub fn new(target: Target, account: Account, owner: Owner) -> Result<Self, Vec<Problem>> {
        let mut problems: Vec<Problem> = account.problems().into_iter().chain(owner.problems()).collect();
        if account.adopt.as_ref().is_some_and(|adopt| adopt.login == target.user) {
            problems.push(Problem::new("adopt.login", "is the rotator's own login"));
        }
        if account.owner_role == target.user {
            problems.push(Problem::new("owner_role", "is the rotator's own login"));
        }
        if problems.is_empty() { Ok(Self { target, account, owner }) } else { Err(problems) }
    }

    /// The roles that carry a marker of this installation and whose name begins with `prefix`; for the search for
    /// what was left behind.
    pub async fn list_marked(&self, prefix: &str) -> Result<Vec<Marked>, DriverError> {
        self.bounded(async move |touched| self.marked(prefix, touched).await).await
    }

    /// Does the `work` of one call within its limit, and says what a failure means.
    async fn bounded<T>(
        &self,
        work: impl AsyncFnOnce(&AtomicBool) -> Result<T, Fault>,
    ) -> Result<T, DriverError> {
        self.target.bounded(work).await
    }

    /// A session of the rotator in `database`.
    async fn rotator<'a>(&self, database: &str, touched: &'a AtomicBool) -> Result<Link<'a>, Fault> {
        self.target.rotator(database, touched).await
    }
}

impl Driver for Postgres {
    fn check(&self) -> DriverFuture<'_, Vec<Lack>> {
        Box::pin(self.bounded(async move |touched| self.lacks(touched).await))
    }

    /// For the adopted login: checks it and makes sure that it can be watched and ended; its password is not touched.
    fn install<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Installed> {
        Box::pin(self.bounded(async move |touched| self.make(intent, touched).await))
    }

    fn find<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Found> {
        Box::pin(self.bounded(async move |touched| self.look(intent, touched).await))
    }

    fn probe<'a>(&'a self, fields: &'a Fields, old: Option<&'a Handle>) -> DriverFuture<'a, Proof> {
        Box::pin(self.bounded(async move |touched| self.prove(fields, old, touched).await))
    }

    fn usage<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, Usage> {
        Box::pin(self.bounded(async move |touched| self.sessions(handle, touched).await))
    }

    fn set_expiry<'a>(&'a self, handle: &'a Handle, expiry: Expiry) -> DriverFuture<'a, ()> {
        Box::pin(self.bounded(async move |touched| self.expire(handle, expiry, touched).await))
    }

    fn revoke<'a>(&'a self, handle: &'a Handle, sessions: Sessions) -> DriverFuture<'a, Cut> {
        Box::pin(self.bounded(async move |touched| self.cut(handle, sessions, touched).await))
    }

    fn clean_up<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, ()> {
        Box::pin(self.bounded(async move |touched| self.remove(handle, touched).await))
    }

    fn list(&self) -> DriverFuture<'_, Listed> {
        Box::pin(self.bounded(async move |touched| self.versions(touched).await.map(Listed::Versions)))
    }

    /// What carries our marker, the adopted login, and what is called like a version and may log in, whoever made it.
    fn survey(&self) -> DriverFuture<'_, Survey> {
        Box::pin(self.bounded(async move |touched| self.logins(touched).await))
    }

    fn settle(&self) -> Duration {
        self.target.timeouts.transit + self.target.timeouts.statement
    }
}
