//! Tries the current version now and then, as a consumer would: what somebody else changed is noticed and told, and
//! nothing is overwritten.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rekey_drivers::DriverError;
use rekey_model::{CredentialName, Version};
use rekey_rotation::{Alarm, AlarmKind, Ledger};

use super::act::Trouble;
use super::seen::Seen;
use super::{Causes, Executor};

/// How soon one that fails is tried again at the latest, so that the alarm ends soon after the trouble.
const WHILE_FAILING: Duration = Duration::from_mins(1);

/// The current versions that the target refused when they were tried last, and what it said.
#[derive(Debug, Default)]
pub(super) struct Failing(Mutex<HashMap<CredentialName, (Version, String)>>);

impl Failing {
    fn lock(&self) -> MutexGuard<'_, HashMap<CredentialName, (Version, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn forget(&self, name: &CredentialName) {
        self.lock().remove(name);
    }

    /// What is to be told of the version that is current now.
    pub(super) fn alarm(&self, name: &CredentialName, ledger: &Ledger) -> Option<Alarm> {
        let failing = self.lock();
        let (version, why) = failing.get(name).filter(|(version, _)| ledger.current == Some(*version))?;
        let message = format!("the current version {version} does not work: {why}; nothing was changed");
        Some(Alarm { kind: AlarmKind::CurrentFails, message, next_command: Some("rotate NAME") })
    }
}

impl Executor {
    /// Logs in with a version and runs the declared probes; says when to try again. A target that is away proves
    /// nothing.
    pub(super) async fn verify(&self, seen: &Seen, version: Version) -> Result<Duration, Trouble> {
        let (name, every) = (&seen.spec.name, seen.facts().policy.verify_every);
        let driver = self.0.drivers.driver(&seen.spec)?;
        let fields = self.fields(seen.id, version).await?;
        match driver.probe(&fields, None).await {
            Ok(_proof) => {
                self.0.failing.forget(name);
                Ok(every)
            }
            Err(DriverError::Refused(source)) => {
                let why = Causes(&*source).to_string();
                let known = self.0.failing.lock().insert(name.clone(), (version, why.clone()));
                if known.is_none_or(|(before, _)| before != version) {
                    tracing::warn!(credential = %name, version = version.get(), %why, "the current version fails");
                }
                Ok(every.min(WHILE_FAILING))
            }
            Err(error) => Err(error.into()),
        }
    }
}
