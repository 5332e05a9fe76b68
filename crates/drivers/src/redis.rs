//! Redis: one ACL user that takes several passwords at once (dual-secret), changed on every node by name.
//!
//! A version is one password of the user. Only its SHA-256 is sent, and the version's name at the target is
//! `<user>#<sha256>`: enough to find it and to take it away without knowing it. The user itself, its rules and every
//! password that we did not make stay as they are. Redis undoes nothing when a connection is lost and keeps no limit for
//! us, so a call ends the connections of earlier ones before it looks or changes: what they sent cannot land any more.

mod check;
mod clients;
mod fault;
mod link;
mod plug;
mod probe;
mod resp;
mod settings;
mod user;

use std::time::Duration;

use futures_util::future::join_all;
use rekey_model::{Fields, Handle};

pub use plug::Plug;
pub use settings::{Account, Adopt, Persist, RIGHTS, RIGHTS_FOR_REWRITE, Target, TargetSettings};

use crate::answer::{self, Failed, Touched};
use crate::target::Route;
pub use crate::target::{TlsMode, TlsSettings};
use crate::{
    Cut, Driver, DriverError, DriverFuture, Expiry, Found, Installed, Intent, Lack, Owner, Problem, Proof,
    Sessions, Survey, Usage,
};
use fault::worst;
use link::{Link, Login};

/// The driver's name.
pub const NAME: &str = "redis";

/// One credential at the nodes of one Redis.
#[derive(Debug, Clone)]
pub struct Redis {
    target: Target,
    account: Account,
    owner: Owner,
}

impl Redis {
    /// The driver for `account` at `target`; everything that is wrong with the settings, if anything is.
    pub fn new(target: Target, account: Account, owner: Owner) -> Result<Self, Vec<Problem>> {
        let mut problems: Vec<Problem> = account.problems().into_iter().chain(owner.problems()).collect();
        if account.user == target.user {
            problems.push(Problem::new("user", "is the rotator's own user"));
        }
        if problems.is_empty() { Ok(Self { target, account, owner }) } else { Err(problems) }
    }

    /// Does the `work` of one call within its limit, and says what a failure means.
    async fn bounded<T>(
        &self,
        work: impl AsyncFnOnce(&Touched) -> Result<T, Failed>,
    ) -> Result<T, DriverError> {
        answer::call(self.target.timeouts.call, work).await
    }

    /// A connection of the rotator to one node.
    async fn rotator<'a>(&'a self, node: &'a Route, touched: &'a Touched) -> Result<Link<'a>, Failed> {
        let login = Login {
            route: node,
            tls: self.target.tls.as_ref(),
            user: &self.target.user,
            password: &self.target.password,
            timeouts: self.target.timeouts,
        };
        Link::open(&login, touched).await.map_err(|failed| failed.during("as the rotator"))
    }

    /// Does the same at every node, at the same time. What went wrong at any names the node; the others are done.
    async fn everywhere<'a, T, F>(&'a self, work: impl Fn(&'a Route) -> F) -> Result<Vec<T>, Failed>
    where
        F: Future<Output = Result<T, Failed>>,
    {
        let at = |node| {
            let work = work(node);
            async move { work.await.map_err(|failed| failed.during(&node.to_string())) }
        };
        worst(join_all(self.target.nodes.iter().map(at)).await)
    }

    /// What every connection is called on which we change something of this credential.
    fn mark(&self) -> String {
        format!("rekey:{}:{}", self.owner.installation, self.owner.credential)
    }
}

impl Driver for Redis {
    fn check(&self) -> DriverFuture<'_, Vec<Lack>> {
        Box::pin(self.bounded(async move |touched| self.lacks(touched).await))
    }

    fn install<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Installed> {
        Box::pin(self.bounded(async move |touched| self.make(intent, touched).await))
    }

    fn fields(&self, intent: &Intent) -> Option<Fields> {
        let secret = intent.secret.as_ref().filter(|_| self.account.one_password)?;
        self.given(secret).ok()
    }

    fn find<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Found> {
        Box::pin(self.bounded(async move |touched| self.look(&intent.handle, touched).await))
    }

    fn probe<'a>(&'a self, fields: &'a Fields, _old: Option<&'a Handle>) -> DriverFuture<'a, Proof> {
        Box::pin(self.bounded(async move |touched| self.prove(fields, touched).await))
    }

    fn log_in<'a>(&'a self, fields: &'a Fields) -> DriverFuture<'a, ()> {
        Box::pin(self.bounded(async move |touched| {
            self.session(fields, touched).await?.close().await;
            Ok(())
        }))
    }

    fn usage<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, Usage> {
        Box::pin(self.bounded(async move |touched| self.sessions(handle, touched).await))
    }

    /// A password of Redis has no expiry. That every node has it, and keeps it, is made sure once more.
    fn set_expiry<'a>(&'a self, handle: &'a Handle, _expiry: Expiry) -> DriverFuture<'a, ()> {
        Box::pin(self.bounded(async move |touched| self.keep(handle, touched).await))
    }

    /// `End` ends every session of the user: Redis does not tell which password one came in with.
    fn revoke<'a>(&'a self, handle: &'a Handle, sessions: Sessions) -> DriverFuture<'a, Cut> {
        Box::pin(self.bounded(async move |touched| self.cut(handle, sessions, touched).await))
    }

    /// Nothing is left of a password that was taken away; that it was is made sure.
    fn clean_up<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, ()> {
        Box::pin(self.bounded(async move |touched| self.gone(handle, touched).await))
    }

    /// Every password of the user, whoever made it.
    fn survey(&self) -> DriverFuture<'_, Survey> {
        Box::pin(self.bounded(async move |touched| self.passwords(touched).await.map(Survey::Seen)))
    }

    /// A command that was sent and not answered may land as long as its connection lives. The next look or change ends
    /// that connection first, so this is only how long an honest answer may take.
    fn settle(&self) -> Duration {
        self.target.timeouts.command
    }
}
