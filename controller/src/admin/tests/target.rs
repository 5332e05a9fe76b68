//! A target that does what it is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rekey_drivers::{
    Cut, Driver, DriverError, DriverFuture, Expiry, Found, Installed, Intent, Proof, Sessions, Usage,
};
use rekey_model::{Fields, Handle, SecretBytes};

use crate::executor::Drivers;
use crate::spec::Spec;
use crate::targets::TargetError;

/// The one password that it does not accept.
pub(super) const WRONG: &[u8] = b"a wrong password";

#[derive(Debug, Clone)]
pub(super) struct Obedient;

impl Drivers for Obedient {
    fn driver(&self, _spec: &Spec) -> Result<Arc<dyn Driver>, TargetError> {
        Ok(Arc::new(self.clone()))
    }
}

impl Driver for Obedient {
    fn install<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Installed> {
        if intent.secret.as_ref().is_some_and(|secret| secret.expose() == WRONG) {
            return Box::pin(async {
                Err(DriverError::Refused("login: password authentication failed".into()))
            });
        }
        let name = SecretBytes::new(intent.handle.as_str().as_bytes().to_vec());
        let fields = BTreeMap::from([("username".parse().unwrap(), name)]);
        let installed = Installed { fields: Fields::new(fields).unwrap(), handle: intent.handle.clone() };
        Box::pin(async { Ok(installed) })
    }

    fn find<'a>(&'a self, _intent: &'a Intent) -> DriverFuture<'a, Found> {
        Box::pin(async { Ok(Found::Present) })
    }

    fn probe<'a>(&'a self, _fields: &'a Fields, _old: Option<&'a Handle>) -> DriverFuture<'a, Proof> {
        Box::pin(async { Ok(Proof { probes: 0 }) })
    }

    fn usage<'a>(&'a self, _handle: &'a Handle) -> DriverFuture<'a, Usage> {
        Box::pin(async { Ok(Usage::Sessions(Vec::new())) })
    }

    fn set_expiry<'a>(&'a self, _handle: &'a Handle, _expiry: Expiry) -> DriverFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn revoke<'a>(&'a self, _handle: &'a Handle, _sessions: Sessions) -> DriverFuture<'a, Cut> {
        Box::pin(async { Ok(Cut { sessions_ended: 2, sessions_left: 0 }) })
    }

    fn clean_up<'a>(&'a self, _handle: &'a Handle) -> DriverFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn settle(&self) -> Duration {
        Duration::ZERO
    }
}
