//! RabbitMQ: a user of its own for each version (dual-account), made through the management plugin's HTTP API.
//!
//! A version is a user `<prefix>_v<version>_<nonce>` with the declared tags and the declared permissions at the declared
//! virtual hosts. RabbitMQ is sent a salted hash that is computed here, never the password. One tag more says that the user
//! is ours and for which credential. A user that was revoked has an empty hash, with which nobody logs in, and keeps that tag
//! until it is deleted. Deleting a user ends its connections, so that comes last.

mod amqp;
mod api;
mod check;
mod connections;
mod hash;
mod plug;
mod probe;
mod rights;
mod settings;
mod user;

use std::time::Duration;

use rekey_model::{Fields, Handle};

pub use plug::Plug;
pub use settings::{Account, Adopt, Permission, RIGHTS, Target, TargetSettings};

use crate::answer::{self, Failed, Touched};
pub use crate::target::{TlsMode, TlsSettings};
use crate::{
    Cut, Driver, DriverError, DriverFuture, Expiry, Found, Installed, Intent, Lack, Listed, Owner, Problem,
    Proof, Sessions, Survey, Usage,
};

/// The driver's name.
pub const NAME: &str = "rabbitmq";

/// One credential at one RabbitMQ.
#[derive(Debug, Clone)]
pub struct Rabbitmq {
    target: Target,
    account: Account,
    owner: Owner,
}

impl Rabbitmq {
    /// The driver for `account` at `target`; everything that is wrong with the settings, if anything is.
    pub fn new(target: Target, account: Account, owner: Owner) -> Result<Self, Vec<Problem>> {
        let mut problems: Vec<Problem> = account.problems().into_iter().chain(owner.problems()).collect();
        if account.adopt.as_ref().is_some_and(|adopt| adopt.login == target.user) {
            problems.push(Problem::new("adopt.login", "is the rotator's own user"));
        }
        if target.user.starts_with(&format!("{}_v", account.prefix)) {
            problems.push(Problem::new("prefix", "is the beginning of the rotator's own user"));
        }
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

impl Driver for Rabbitmq {
    fn check(&self) -> DriverFuture<'_, Vec<Lack>> {
        Box::pin(self.bounded(async move |_| self.lacks().await))
    }

    /// For the adopted user: makes sure that it is there and that the password is right, and changes nothing.
    fn install<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Installed> {
        Box::pin(self.bounded(async move |touched| self.make(intent, touched).await))
    }

    fn find<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Found> {
        Box::pin(self.bounded(async move |_| self.look(intent).await))
    }

    fn probe<'a>(&'a self, fields: &'a Fields, old: Option<&'a Handle>) -> DriverFuture<'a, Proof> {
        Box::pin(self.bounded(async move |_| self.prove(fields, old).await))
    }

    fn usage<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, Usage> {
        Box::pin(self.bounded(async move |_| self.sessions(handle).await))
    }

    /// A user of RabbitMQ has no expiry. That it is there, may log in and has its rights is made sure once more.
    fn set_expiry<'a>(&'a self, handle: &'a Handle, _expiry: Expiry) -> DriverFuture<'a, ()> {
        Box::pin(self.bounded(async move |_| self.keep(handle).await))
    }

    fn revoke<'a>(&'a self, handle: &'a Handle, sessions: Sessions) -> DriverFuture<'a, Cut> {
        Box::pin(self.bounded(async move |touched| self.cut(handle, sessions, touched).await))
    }

    fn clean_up<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, ()> {
        Box::pin(self.bounded(async move |touched| self.remove(handle, touched).await))
    }

    fn list(&self) -> DriverFuture<'_, Listed> {
        Box::pin(self.bounded(async move |_| self.versions().await.map(Listed::Versions)))
    }

    /// Every user under our mark or called as versions are, whoever made it, and the adopted one.
    fn survey(&self) -> DriverFuture<'_, Survey> {
        Box::pin(self.bounded(async move |_| self.sightings().await.map(Survey::Seen)))
    }

    /// RabbitMQ gives up a request whose connection is closed; what was sent may be under way for so long.
    fn settle(&self) -> Duration {
        self.target.transit
    }
}
