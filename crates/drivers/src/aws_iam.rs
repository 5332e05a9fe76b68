//! AWS IAM: the access keys of one user, two at the most, made by AWS (dual-secret, class C without a marker).
//!
//! A key carries nothing of ours. So what a lost call made is known only as what came since the user's keys were listed
//! and is no version that is known; it is ended only where the user's keys are declared ours alone (`exclusive`). No
//! third key is ever asked for. A key is deactivated before it is deleted.

mod keys;
mod plug;
mod settings;
mod sign;
mod wire;

use std::time::Duration;

use rekey_model::{Fields, Handle};

pub use crate::target::{TlsMode, TlsSettings};
pub use plug::Plug;
pub use settings::{Account, Adopt, POLICY, Target, TargetSettings};

use crate::answer::{self, Failed, Touched};
use crate::{
    Cut, Driver, DriverError, DriverFuture, Expiry, Found, Installed, Intent, Lack, Listed, Owner, Problem,
    Proof, Sessions, Usage,
};

/// The driver's name.
pub const NAME: &str = "aws-iam";

/// One credential: the access keys of one IAM user.
#[derive(Debug, Clone)]
pub struct AwsIam {
    target: Target,
    account: Account,
}

impl AwsIam {
    /// The driver for `account` at `target`; everything that is wrong with the settings, if anything is.
    pub fn new(target: Target, account: Account, owner: &Owner) -> Result<Self, Vec<Problem>> {
        let problems: Vec<Problem> = account.problems().into_iter().chain(owner.problems()).collect();
        if problems.is_empty() { Ok(Self { target, account }) } else { Err(problems) }
    }

    /// Does the `work` of one call within its limit, and says what a failure means.
    async fn bounded<T>(
        &self,
        work: impl AsyncFnOnce(&Touched) -> Result<T, Failed>,
    ) -> Result<T, DriverError> {
        answer::call(self.target.call, work).await
    }
}

impl Driver for AwsIam {
    /// That the keys can be listed. AWS tells of no other right without its use.
    fn check(&self) -> DriverFuture<'_, Vec<Lack>> {
        Box::pin(self.bounded(async move |_| self.lacks().await))
    }

    /// For the adopted key: checks it.
    fn install<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Installed> {
        Box::pin(self.bounded(async move |touched| self.make(intent, touched).await))
    }

    fn find<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Found> {
        Box::pin(self.bounded(async move |touched| self.look(intent, touched).await))
    }

    fn probe<'a>(&'a self, fields: &'a Fields, _old: Option<&'a Handle>) -> DriverFuture<'a, Proof> {
        Box::pin(self.bounded(async move |touched| self.prove(fields, touched).await))
    }

    /// When AWS saw the key used last, by its own clock. AWS tells it late.
    fn usage<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, Usage> {
        Box::pin(
            self.bounded(async move |touched| self.last_used(handle, touched).await.map(Usage::LastUsed)),
        )
    }

    /// A key has no expiry. That it is there and active is made sure.
    fn set_expiry<'a>(&'a self, handle: &'a Handle, _expiry: Expiry) -> DriverFuture<'a, ()> {
        Box::pin(self.bounded(async move |touched| self.is_active(handle, touched).await))
    }

    /// Deactivates the key. Requests are signed one by one: there are no sessions, and `End` makes it final at once by
    /// deleting the key, which also makes room for another.
    fn revoke<'a>(&'a self, handle: &'a Handle, sessions: Sessions) -> DriverFuture<'a, Cut> {
        Box::pin(
            self.bounded(async move |touched| {
                self.cut(handle, sessions, touched).await.map(|()| Cut::default())
            }),
        )
    }

    /// Deletes the key, unless it is active.
    fn clean_up<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, ()> {
        Box::pin(self.bounded(async move |touched| self.remove(handle, touched).await))
    }

    /// All keys of the user: none carries a marker.
    fn list(&self) -> DriverFuture<'_, Listed> {
        Box::pin(self.bounded(async move |touched| self.all(touched).await.map(Listed::Versions)))
    }

    fn settle(&self) -> Duration {
        self.target.settle
    }
}
