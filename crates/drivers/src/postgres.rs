//! PostgreSQL: a login role of its own for each version, all acting as one owner role (dual-account).
//!
//! A version's role is made by one transaction, with a SCRAM verifier that we compute: the password itself is never
//! sent. A comment on the role is our marker. Nothing here touches a role that carries no marker of this credential,
//! except the one login that the account declares as adopted.

#![allow(dead_code, reason = "the first landing: the verbs follow")]

mod fault;
mod gate;
mod link;
mod quote;
mod settings;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rekey_model::{Fields, Handle, Version};
use tokio::time::timeout;

pub use settings::{Account, Adopt, Owner, Target, TargetSettings, TlsMode, TlsSettings};

use crate::{
    Cut, Driver, DriverError, DriverFuture, Expiry, Found, Installed, Intent, Problem, Proof, Usage,
};
use fault::Fault;
use link::{Link, Login};

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
pub struct Listed {
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
        let problems: Vec<Problem> = account.problems().into_iter().chain(owner.problems()).collect();
        if problems.is_empty() { Ok(Self { target, account, owner }) } else { Err(problems) }
    }

    /// The roles that carry a marker of this installation and whose name begins with `prefix`; for the search for
    /// what was left behind.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>, DriverError> {
        let touched = AtomicBool::new(false);
        self.bounded(&touched, async {
            self.rotator(&self.target.admin_database, &touched).await?.close().await;
            Err(Fault::no(format!("not yet: {prefix}")))
        })
        .await
    }

    /// Runs `work` with the limit for a whole call, and says what a failure means.
    async fn bounded<T>(
        &self,
        touched: &AtomicBool,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, DriverError> {
        let limit = self.target.timeouts.call;
        let late = |_elapsed| Err(Fault::Away(format!("no end after {limit:?}")));
        let result = timeout(limit, work).await.unwrap_or_else(late);
        result.map_err(|fault| fault.reported(touched.load(Ordering::Relaxed)))
    }

    /// A session of the rotator in `database`.
    async fn rotator<'a>(&self, database: &str, touched: &'a AtomicBool) -> Result<Link<'a>, Fault> {
        let login = Login {
            route: &self.target.route,
            tls: self.target.tls.as_ref(),
            database,
            user: &self.target.user,
            password: &self.target.password,
            application: "rekey",
            own_settings: true,
            timeouts: self.target.timeouts,
        };
        Link::open(&login, touched).await.map_err(|fault| fault.during("as the rotator"))
    }
}

impl Driver for Postgres {
    fn install<'a>(&'a self, _intent: &'a Intent) -> DriverFuture<'a, Installed> {
        Box::pin(async { Err(Fault::no("not yet").reported(false)) })
    }

    fn find<'a>(&'a self, _intent: &'a Intent) -> DriverFuture<'a, Found> {
        Box::pin(async { Err(Fault::no("not yet").reported(false)) })
    }

    fn probe<'a>(&'a self, _fields: &'a Fields, _old: Option<&'a Handle>) -> DriverFuture<'a, Proof> {
        Box::pin(async { Err(Fault::no("not yet").reported(false)) })
    }

    fn usage<'a>(&'a self, _handle: &'a Handle) -> DriverFuture<'a, Usage> {
        Box::pin(async { Err(Fault::no("not yet").reported(false)) })
    }

    fn set_expiry<'a>(&'a self, _handle: &'a Handle, _expiry: Expiry) -> DriverFuture<'a, ()> {
        Box::pin(async { Err(Fault::no("not yet").reported(false)) })
    }

    fn revoke<'a>(&'a self, _handle: &'a Handle) -> DriverFuture<'a, Cut> {
        Box::pin(async move {
            let touched = AtomicBool::new(false);
            self.bounded(&touched, async {
                self.rotator(&self.target.admin_database, &touched).await?.close().await;
                Err(Fault::no("not yet"))
            })
            .await
        })
    }

    fn clean_up<'a>(&'a self, _handle: &'a Handle) -> DriverFuture<'a, ()> {
        Box::pin(async { Err(Fault::no("not yet").reported(false)) })
    }

    fn settle(&self) -> Duration {
        self.target.timeouts.transit + self.target.timeouts.statement
    }
}
