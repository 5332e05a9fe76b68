//! Tries the current version now and then, as a consumer would: what somebody else changed is noticed and told, and
//! nothing is overwritten.

use std::time::Duration;

use rekey_drivers::{Driver, DriverError, Proof};
use rekey_model::{CredentialName, Handle, Version};
use rekey_rotation::Event;
use tokio::sync::oneshot;

use super::act::Trouble;
use super::check::Checked;
use super::secrets::handle_of;
use super::seen::Seen;
use super::{Causes, CommitError, Executor};

/// How soon one that fails is tried again at the latest, so that the alarm ends soon after the trouble.
const WHILE_FAILING: Duration = Duration::from_mins(1);

/// How often the version is tried that holders move to, at the most and at the least; in between, twice in the floor of
/// the grace.
const TRY: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(30)];
/// How soon it is tried once more after it was refused once.
const TRY_AGAIN: Duration = Duration::from_secs(10);

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
    ///
    /// It goes on to its end when nobody waits for it any longer: a driver that is stopped in the midst of a probe may leave
    /// behind what it logged in with.
    pub async fn try_current(&self, name: &CredentialName) -> Result<Option<Tried>, CommitError> {
        let (tell, told) = oneshot::channel();
        let (executor, name) = (self.clone(), name.clone());
        self.0.spawner.start("try", async move { drop(tell.send(executor.try_now(&name).await)) });
        told.await.map_err(|_gone| CommitError::Stopped)?
    }

    async fn try_now(&self, name: &CredentialName) -> Result<Option<Tried>, CommitError> {
        let seen = self.see(name).await?.ok_or_else(|| CommitError::NoSuchCredential(name.clone()))?;
        let Some(version) = seen.ledger.current else { return Ok(None) };
        let handle = handle_of(&seen, version)?;
        let fields = self.fields(seen.id, version).await?;
        let outcome = match self.0.drivers.driver(&seen.spec) {
            Ok(driver) => {
                let _room = self.room_at(seen.spec.driver.target().as_str()).await;
                let outcome = driver.probe(&fields, None).await;
                if let Err(error) = self.look_for_drift(&seen, &*driver, (version, &outcome)).await {
                    tracing::debug!(credential = %name, %error, "the target did not tell all");
                }
                outcome
            }
            Err(error) => Err(DriverError::Unavailable(Box::new(error))),
        };
        Ok(Some(Tried { version, handle, outcome }))
    }

    /// Logs in with a version and runs the declared probes, and looks what somebody else changed; says when to try again.
    /// A target that is away proves nothing.
    pub(super) async fn verify(&self, seen: &Seen, version: Version) -> Result<Duration, Trouble> {
        let every = seen.facts().policy.verify_every;
        let driver = self.0.drivers.driver(&seen.spec)?;
        let fields = self.fields(seen.id, version).await?;
        let outcome = driver.probe(&fields, None).await;
        let as_it_should_be = self.look_for_drift(seen, &*driver, (version, &outcome)).await?;
        if seen.is_followed() && matches!(outcome, Err(DriverError::Refused(_))) {
            self.look_at_place_now(&seen.spec.name);
        }
        match outcome {
            Ok(_proof) if as_it_should_be => Ok(every),
            Ok(_) | Err(DriverError::Refused(_)) => Ok(every.min(WHILE_FAILING)),
            Err(error) => Err(error.into()),
        }
    }

    /// Tries the version that holders move to, as long as they can go back; says when to try again. Refused at two
    /// tries in a row it failed, if the old version is let in; not while everything is held. A target that is away proves
    /// nothing.
    pub(super) async fn try_again(&self, seen: &Seen, version: Version) -> Result<Duration, Trouble> {
        let (name, policy) = (&seen.spec.name, seen.facts().policy);
        let [shortest, longest] = TRY;
        let every = (policy.floor / 2).clamp(shortest, longest).min(policy.verify_every);
        let driver = self.0.drivers.driver(&seen.spec)?;
        let fields = self.fields(seen.id, version).await?;
        let why = match driver.probe(&fields, None).await {
            Ok(_proof) => None,
            Err(DriverError::Refused(source)) => Some(Causes(&*source).to_string()),
            Err(error) => return Err(error.into()),
        };
        let Some((why, again)) = self.0.drift.tried(name, version, why) else { return Ok(every) };
        if again && seen.ledger.held.is_none() && self.old_works(seen, &*driver).await? {
            let why = format!("{version} does not work any more: {why}");
            self.commit_own(seen, Event::Failed { order: seen.ledger.order, why }).await?;
        }
        Ok(every.min(TRY_AGAIN))
    }

    /// Whether those who are sent back come to something that works; true where there is nothing to go back to.
    async fn old_works(&self, seen: &Seen, driver: &dyn Driver) -> Result<bool, Trouble> {
        let Some(old) = seen.ledger.open_rotation().and_then(|open| open.old) else { return Ok(true) };
        let fields = self.fields(seen.id, old).await?;
        Ok(driver.probe(&fields, None).await.is_ok())
    }

    /// Compares what is at the target with what was decided, and keeps what differs for the alarms; says whether nothing
    /// does. What could not be asked stays as it was found last.
    async fn look_for_drift(
        &self,
        seen: &Seen,
        driver: &dyn Driver,
        (version, outcome): (Version, &Result<Proof, DriverError>),
    ) -> Result<bool, Trouble> {
        let name = &seen.spec.name;
        let mut found = self.0.drift.found(name);
        match outcome {
            Ok(_proof) => found.failing = None,
            Err(DriverError::Refused(source)) => {
                found.failing = Some((version, Causes(&**source).to_string()));
            }
            Err(DriverError::Unavailable(_) | DriverError::Unknown(_)) => {}
        }
        match self.ask(&seen.spec).await {
            Checked::Good => found.lacks.clear(),
            Checked::Lacks(lacks) => found.lacks = lacks,
            Checked::Away(_) => {}
        }
        let surveyed = driver.survey().await;
        if let (Ok(survey), Some(after)) = (&surveyed, self.see(name).await?) {
            found.compare(survey.clone(), (&seen.ledger, &after.ledger));
        }
        let nothing = found.is_nothing();
        if self.0.drift.note(name, found.clone()) {
            tracing::warn!(credential = %name, ?found, "somebody else changed something at the target");
        }
        match surveyed {
            // A rotator that is refused is told of among what it lacks.
            Ok(_) | Err(DriverError::Refused(_)) => Ok(nothing),
            Err(error) => Err(error.into()),
        }
    }
}
