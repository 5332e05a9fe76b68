//! One login whose password somebody else's machine rotates (follow): nothing is changed here, and no rotator is needed.
//!
//! A version's value is what was found where that machine leaves it. All that the server is asked is to let it in as a
//! consumer is let in.

use std::time::Duration;

use rekey_model::{Fields, Handle};

use super::FixedRole;
use crate::{
    Cut, Driver, DriverError, DriverFuture, Expiry, Found, Installed, Intent, Proof, Sessions, Usage,
};

/// The password of one login at one PostgreSQL server, which somebody else changes.
#[derive(Debug, Clone)]
pub struct Followed(pub(super) FixedRole);

impl Driver for Followed {
    /// It was made already: this gives it the form that consumers get.
    fn install<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Installed> {
        let none = || DriverError::Refused("there is no value, or not one of a password".into());
        let fields = self.0.fields(intent).ok_or_else(none);
        let installed = fields.map(|fields| Installed { fields, handle: intent.handle.clone() });
        Box::pin(async { installed })
    }

    fn fields(&self, intent: &Intent) -> Option<Fields> {
        self.0.fields(intent)
    }

    /// What was found is there.
    fn find<'a>(&'a self, _intent: &'a Intent) -> DriverFuture<'a, Found> {
        Box::pin(async { Ok(Found::Present) })
    }

    fn probe<'a>(&'a self, fields: &'a Fields, old: Option<&'a Handle>) -> DriverFuture<'a, Proof> {
        self.0.probe(fields, old)
    }

    fn log_in<'a>(&'a self, fields: &'a Fields) -> DriverFuture<'a, ()> {
        self.0.log_in(fields)
    }

    /// Who may look at sessions is the rotator, and there may be none.
    fn usage<'a>(&'a self, _handle: &'a Handle) -> DriverFuture<'a, Usage> {
        Box::pin(async { Ok(Usage::CannotTell) })
    }

    fn set_expiry<'a>(&'a self, _handle: &'a Handle, _expiry: Expiry) -> DriverFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Refused: whoever rotates it ends it.
    fn revoke<'a>(&'a self, _handle: &'a Handle, _sessions: Sessions) -> DriverFuture<'a, Cut> {
        Box::pin(async { Err(DriverError::Refused("whoever rotates it ends it".into())) })
    }

    /// Nothing is left of a password.
    fn clean_up<'a>(&'a self, _handle: &'a Handle) -> DriverFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn settle(&self) -> Duration {
        self.0.settle()
    }
}
