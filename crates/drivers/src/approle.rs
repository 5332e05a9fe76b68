//! `AppRole` of OpenBao (and of Vault, whose API it speaks): one role that takes several secret-ids at once (dual-secret).
//!
//! OpenBao makes the secret (class C). A version is one secret-id, asked for in a wrapping that can be opened once, and
//! that we open at once. Its metadata names our installation, the credential, the version and the attempt, so that what a
//! lost answer left behind is found by the accessors of the role; the metadata goes on to the tokens that are issued for
//! it, and so they are found too. Name of a version at the target: `<role>_v<version>_<nonce>#<accessor>`.
//!
//! All requests go through the crate `vaultrs`. Its errors and the `Debug` of its settings hold more than may be shown,
//! so neither leaves this folder.

mod calls;
mod link;
mod name;
mod plug;
mod probe;
mod rights;
mod secret_id;
mod settings;
mod tokens;

use std::time::Duration;

use rekey_model::{Fields, Handle};

pub use plug::Plug;
pub use rights::policy;
pub use settings::{Account, Login, Target, TargetSettings, Tokens};

use crate::answer::{self, Failed, Touched};
pub use crate::target::{TlsMode, TlsSettings};
use crate::{
    Cut, Driver, DriverError, DriverFuture, Expiry, Found, Installed, Intent, Lack, Listed, Owner, Problem,
    Proof, Sessions, Survey, Usage,
};

/// The driver's name.
pub const NAME: &str = "vault-approle";

/// One credential at one OpenBao.
#[derive(Debug, Clone)]
pub struct AppRole {
    target: Target,
    account: Account,
    owner: Owner,
}

impl AppRole {
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
        answer::call(self.target.timeouts.call, work).await
    }
}

impl Driver for AppRole {
    fn check(&self) -> DriverFuture<'_, Vec<Lack>> {
        Box::pin(self.bounded(async move |_| self.lacks().await))
    }

    /// Makes one more secret-id at each call: it is made once for an intent.
    fn install<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Installed> {
        Box::pin(self.bounded(async move |touched| self.make(intent, touched).await))
    }

    fn find<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Found> {
        Box::pin(self.bounded(async move |_| self.strangers(intent).await))
    }

    fn probe<'a>(&'a self, fields: &'a Fields, _old: Option<&'a Handle>) -> DriverFuture<'a, Proof> {
        Box::pin(self.bounded(async move |_| self.prove(fields).await))
    }

    fn usage<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, Usage> {
        Box::pin(self.bounded(async move |_| self.users(handle).await))
    }

    /// The life of a secret-id is given at its making. That it is there is made sure once more.
    fn set_expiry<'a>(&'a self, handle: &'a Handle, _expiry: Expiry) -> DriverFuture<'a, ()> {
        Box::pin(self.bounded(async move |_| self.keep(handle).await))
    }

    /// A token that was issued for a secret-id lives on without it. `End` revokes those too, unless they are to be left.
    fn revoke<'a>(&'a self, handle: &'a Handle, sessions: Sessions) -> DriverFuture<'a, Cut> {
        Box::pin(self.bounded(async move |touched| self.cut(handle, sessions, touched).await))
    }

    /// Nothing is left of a secret-id that was destroyed; that it was is made sure.
    fn clean_up<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, ()> {
        Box::pin(self.bounded(async move |_| self.gone(handle).await))
    }

    fn list(&self) -> DriverFuture<'_, Listed> {
        Box::pin(self.bounded(async move |_| self.versions().await.map(Listed::Versions)))
    }

    fn survey(&self) -> DriverFuture<'_, Survey> {
        Box::pin(self.bounded(async move |_| self.survey_all().await.map(Survey::Seen)))
    }

    /// What has reached OpenBao is done or given up within its own limit for a request.
    fn settle(&self) -> Duration {
        self.target.timeouts.server
    }
}
