//! A target that does what it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rekey_drivers::{
    Cut, Driver, DriverError, DriverFuture, Expiry, Found, Installed, Intent, Lack, Proof, Sessions, Usage,
};
use rekey_model::{Fields, Handle, SecretBytes};

use crate::executor::Drivers;
use crate::spec::Spec;
use crate::targets::TargetError;

/// The one password that it does not accept.
pub(super) const WRONG: &[u8] = b"a wrong password";

/// What is wrong with the target where a credential is.
#[derive(Debug, Clone)]
pub(super) enum Wrong {
    /// This is missing.
    Lacks(Lack),
    /// It does not answer at once.
    Away,
    /// It does not answer at all.
    Silent,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Obedient {
    credential: String,
    wrong: Arc<Mutex<BTreeMap<String, Wrong>>>,
}

impl Obedient {
    /// From now on this is wrong, or nothing is.
    pub(super) fn is_wrong(&self, credential: &str, wrong: Option<Wrong>) {
        let mut all = self.wrong.lock().unwrap();
        all.remove(credential);
        all.extend(wrong.map(|wrong| (credential.to_owned(), wrong)));
    }
}

impl Drivers for Obedient {
    fn driver(&self, spec: &Spec) -> Result<Arc<dyn Driver>, TargetError> {
        Ok(Arc::new(Self { credential: spec.name.to_string(), ..self.clone() }))
    }
}

impl Driver for Obedient {
    fn check(&self) -> DriverFuture<'_, Vec<Lack>> {
        let wrong = self.wrong.lock().unwrap().get(&self.credential).cloned();
        Box::pin(async {
            match wrong {
                None => Ok(Vec::new()),
                Some(Wrong::Lacks(lack)) => Ok(vec![lack]),
                Some(Wrong::Away) => Err(DriverError::Unavailable("nobody listens".into())),
                Some(Wrong::Silent) => std::future::pending().await,
            }
        })
    }

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
