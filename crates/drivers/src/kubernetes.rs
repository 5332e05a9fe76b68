//! Tokens of a Kubernetes service account: one account that takes several tokens at once (dual-secret).
//!
//! The API server makes the token (class C). Each version has a Secret object of its own, which holds nothing: the token
//! is bound to it, and ends when it is deleted. Its name follows from the version's name at the target, its labels and
//! annotations say whose it is, so what a lost answer left behind is found and ended without anybody having the token.

mod api;
mod binding;
mod plug;
mod probe;
mod rights;
mod settings;

use std::time::Duration;

use rekey_model::{Fields, Handle};

pub use plug::Plug;
pub use rights::manifest;
pub use settings::{Account, Probe, Target, TargetSettings};

use crate::answer::{self, Failed, Touched};
pub use crate::target::{TlsMode, TlsSettings};
use crate::{
    Cut, Driver, DriverError, DriverFuture, Expiry, Found, Installed, Intent, Lack, Listed, Owner, Problem,
    Proof, Sessions, Usage,
};

/// The driver's name.
pub const NAME: &str = "kubernetes-token";

/// How long an API server goes on accepting a token that it accepted before its binding was deleted, at the most: its
/// cache of accepted tokens, and a moment until it hears of the deletion.
pub const CACHED: Duration = Duration::from_secs(11);

/// One credential at one cluster.
#[derive(Debug, Clone)]
pub struct Kubernetes {
    target: Target,
    account: Account,
    owner: Owner,
}

impl Kubernetes {
    /// The driver for `account` at `target`; everything that is wrong with the settings, if anything is.
    pub fn new(target: Target, account: Account, owner: Owner) -> Result<Self, Vec<Problem>> {
        let problems: Vec<Problem> = account.problems().into_iter().chain(owner.problems()).collect();
        if problems.is_empty() { Ok(Self { target, account, owner }) } else { Err(problems) }
    }

    /// Does the `work` of one call within its limit, and says what a failure means.
    async fn bounded<T>(
        &self,
        work: impl AsyncFnOnce(&Touched) -> Result<T, Failed>,
    ) -> Result<T, DriverError> {
        answer::call(self.target.call, work).await
    }
}

impl Driver for Kubernetes {
    fn check(&self) -> DriverFuture<'_, Vec<Lack>> {
        Box::pin(self.bounded(async move |_| self.lacks().await))
    }

    /// Every repetition gives another token, bound to the same object: all of them end with it.
    fn install<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Installed> {
        Box::pin(self.bounded(async move |touched| self.make(intent, touched).await))
    }

    fn find<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Found> {
        Box::pin(self.bounded(async move |_| self.strangers(intent).await))
    }

    fn probe<'a>(&'a self, fields: &'a Fields, _old: Option<&'a Handle>) -> DriverFuture<'a, Proof> {
        Box::pin(self.bounded(async move |_| self.prove(fields).await))
    }

    /// An API server keeps no list of who uses a token.
    fn usage<'a>(&'a self, _handle: &'a Handle) -> DriverFuture<'a, Usage> {
        Box::pin(async { Ok(Usage::CannotTell) })
    }

    /// The life of a token is given at its making. That its binding is there is made sure once more.
    fn set_expiry<'a>(&'a self, handle: &'a Handle, _expiry: Expiry) -> DriverFuture<'a, ()> {
        Box::pin(self.bounded(async move |_| self.keep(handle).await))
    }

    /// Deletes what the token is bound to, and waits until no API server accepts it out of its memory ([`CACHED`]).
    fn revoke<'a>(&'a self, handle: &'a Handle, _sessions: Sessions) -> DriverFuture<'a, Cut> {
        Box::pin(self.bounded(async move |touched| self.cut(handle, touched).await))
    }

    /// Nothing is left of a binding that was deleted; that it was is made sure.
    fn clean_up<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, ()> {
        Box::pin(self.bounded(async move |_| self.gone(handle).await))
    }

    fn list(&self) -> DriverFuture<'_, Listed> {
        Box::pin(self.bounded(async move |_| self.versions().await.map(Listed::Versions)))
    }

    /// What has reached an API server is done or given up within its own limit for a request.
    fn settle(&self) -> Duration {
        self.target.server
    }
}
