//! Tries the current version now and then, as a consumer would: what somebody else changed is noticed and told, and
//! nothing is overwritten.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rekey_drivers::{DriverError, Proof};
use rekey_model::{CredentialName, Handle, Version};
use rekey_rotation::{Alarm, AlarmKind, Ledger};

use super::act::Trouble;
use super::secrets::handle_of;
use super::seen::Seen;
use super::{Causes, CommitError, Executor};

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

/// What came of trying a version.
#[derive(Debug)]
pub struct Tried {
    /// Which.
    pub version: Version,
    /// What it is called at the target.
    pub handle: Handle,
    /// What the target said.
    pub outcome: Result<Proof, DriverError>,
}

impl Executor {
    /// Tries the current version of a credential now; none if it has none. What is found is told as an alarm too.
    pub async fn try_current(&self, name: &CredentialName) -> Result<Option<Tried>, CommitError> {
        let seen = self.see(name).await?.ok_or_else(|| CommitError::NoSuchCredential(name.clone()))?;
        let Some(version) = seen.ledger.current else { return Ok(None) };
        let handle = handle_of(&seen, version)?;
        let fields = self.fields(seen.id, version).await?;
        let outcome = match self.0.drivers.driver(&seen.spec) {
            Ok(driver) => {
                let _room = self.room_at(seen.spec.driver.target().as_str()).await;
                driver.probe(&fields, None).await
            }
            Err(error) => Err(DriverError::Unavailable(Box::new(error))),
        };
        self.note_outcome(name, version, &outcome);
        Ok(Some(Tried { version, handle, outcome }))
    }

    /// Keeps for the alarms what the target said of a version.
    fn note_outcome(&self, name: &CredentialName, version: Version, outcome: &Result<Proof, DriverError>) {
        match outcome {
            Ok(_proof) => self.0.failing.forget(name),
            Err(DriverError::Refused(source)) => {
                let why = Causes(&**source).to_string();
                let known = self.0.failing.lock().insert(name.clone(), (version, why.clone()));
                if known.is_none_or(|(before, _)| before != version) {
                    tracing::warn!(credential = %name, version = version.get(), %why, "the current version fails");
                }
            }
            Err(DriverError::Unavailable(_) | DriverError::Unknown(_)) => {}
        }
    }

    /// Logs in with a version and runs the declared probes; says when to try again. A target that is away proves
    /// nothing.
    pub(super) async fn verify(&self, seen: &Seen, version: Version) -> Result<Duration, Trouble> {
        let (name, every) = (&seen.spec.name, seen.facts().policy.verify_every);
        let driver = self.0.drivers.driver(&seen.spec)?;
        let fields = self.fields(seen.id, version).await?;
        let outcome = driver.probe(&fields, None).await;
        self.note_outcome(name, version, &outcome);
        match outcome {
            Ok(_proof) => Ok(every),
            Err(DriverError::Refused(_)) => Ok(every.min(WHILE_FAILING)),
            Err(error) => Err(error.into()),
        }
    }
}
