//! Hand-in: what a person made becomes the next version, once the provider was seen to take it; and a person says that an old
//! one is deleted.

use std::sync::Arc;
use std::time::Duration;

use rekey_drivers::{ByHand, Driver, DriverError, Intent};
use rekey_model::{CredentialName, Fields, SecretBytes, Version};
use rekey_proto::admin as wire;
use rekey_rotation::{Event, Why};

use super::adopt::{LONGEST, target};
use super::caller::Caller;
use super::refusal::Refusal;
use super::{Admin, show};
use crate::audit::Verb;
use crate::spec::Spec;
use crate::store::CredentialRow;

/// How often a value is tried that the provider refuses: it may not know a new one everywhere yet.
const TRIES: u32 = 3;
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest that a provider is asked: less than the listener gives a call.
const LONGEST_PROBE: Duration = Duration::from_millis(3_500);

impl Admin {
    pub(super) async fn take_hand_in(
        &self,
        caller: &Caller,
        asked: wire::HandInRequest,
    ) -> Result<wire::HandInResponse, Refusal> {
        // From here on the value is wiped whatever happens.
        let value = SecretBytes::new(asked.value);
        let name = show::named(&asked.name)?;
        let outcome = match (value.expose().len(), Version::new(asked.deleted_version)) {
            (0, Some(version)) => self.take_word(caller, &name, version).await,
            (1..=LONGEST, None) => self.take_value(caller, &name, value).await,
            (1.., Some(_)) => {
                Err(Refusal::invalid("deleted_version", "goes without a value: say one after the other"))
            }
            (_, None) => Err(Refusal::invalid("value", "has 1 to 4096 bytes")),
        };
        match outcome {
            Ok(version) => self.taken(&name, version).await,
            Err(refusal) => {
                self.record_refused(caller, (&name, Verb::HandIn), &refusal).await?;
                Err(refusal)
            }
        }
    }

    /// A credential whose versions others make, and what people do for it; where a machine does, it may be nothing.
    async fn made_by_others(
        &self,
        name: &CredentialName,
    ) -> Result<(CredentialRow, Spec, Option<ByHand>), Refusal> {
        let row = self.0.store.credential(name).await?;
        let row = row.ok_or_else(|| Refusal::no_credential(name.as_str()))?;
        let spec = Spec::parse(&row.spec).map_err(|_problems| Refusal::Spec(name.clone()))?;
        let by_hand = spec.driver.by_hand();
        if by_hand.is_none() && !spec.driver.is_followed() {
            let message = format!("versions of {name} are not handed in: `rekeyctl rotate {name}` makes one");
            return Err(Refusal::invalid("name", message));
        }
        Ok((row, spec, by_hand))
    }

    /// Nothing is stored, and nobody gets anything, before the provider was seen to take it.
    async fn take_value(
        &self,
        caller: &Caller,
        name: &CredentialName,
        value: SecretBytes,
    ) -> Result<Version, Refusal> {
        let (_row, spec, by_hand) = self.made_by_others(name).await?;
        let Some(by_hand) = by_hand.filter(|_| !spec.driver.is_followed()) else {
            return Err(Refusal::followed(name));
        };
        let (driver, value) = (self.0.drivers.driver(&spec)?, Arc::new(value));
        let handle = by_hand.called(Version::FIRST).parse();
        let handle = handle.map_err(|_name| Refusal::Internal("a version has no name".to_owned()))?;
        let intent = Intent::chosen(Version::FIRST, handle, Arc::clone(&value));
        let fields = driver.install(&intent).await.map_err(|error| target(&error))?.fields;
        let executor = &self.0.executor;
        let may = executor.may_be_given(name, (&value, &fields)).await;
        may.map_err(|error| Refusal::of_commit(name, error))?;
        let room = executor.room_at(spec.driver.target().as_str()).await;
        tokio::select! {
            proven = self.prove(&*driver, &fields) => proven?,
            () = self.0.clock.sleep(LONGEST_PROBE) => {
                let message = format!("nobody said within {LONGEST_PROBE:?} that it works");
                return Err(Refusal::TargetUnavailable(message));
            }
        }
        drop(room);
        let reason = "handed in".to_owned();
        let why = Why::Asked { reason, by: caller.name.clone(), request: String::new() };
        let given = executor.give(name, &value, (why, caller.actor())).await;
        Ok(given.map_err(|error| Refusal::of_commit(name, error))?.version)
    }

    async fn prove(&self, driver: &dyn Driver, fields: &Fields) -> Result<(), Refusal> {
        let mut left = TRIES;
        loop {
            left = left.saturating_sub(1);
            match driver.probe(fields, None).await {
                Ok(_proof) => return Ok(()),
                Err(DriverError::Refused(_)) if left > 0 => self.0.clock.sleep(PAUSE).await,
                Err(error) => return Err(target(&error)),
            }
        }
    }

    /// A person's word ends a version where nobody can be asked; else the provider must refuse it.
    async fn take_word(
        &self,
        caller: &Caller,
        name: &CredentialName,
        version: Version,
    ) -> Result<Version, Refusal> {
        let (row, _spec, by_hand) = self.made_by_others(name).await?;
        let remedy = "`rekeyctl status` lists those that there are";
        let none = || Refusal::NotFound { what: "version", name: format!("{name}@{version}"), remedy };
        let record = row.ledger.version(version).ok_or_else(none)?;
        if record.ended.is_some() {
            return Ok(version);
        }
        if !row.ledger.endings.contains_key(&version) {
            return Err(Refusal::TooEarly(name.clone(), version));
        }
        let asked = self.0.clock.now();
        let tried = self.0.executor.try_version(name, version).await;
        match tried.map_err(|error| Refusal::of_commit(name, error))? {
            // Where no page is declared, whoever rotates it ends it, and the target can be asked.
            Some(Ok(())) if by_hand.as_ref().is_none_or(|by_hand| by_hand.proven) => {
                let page = by_hand.map(|by_hand| format!(": delete it at {}", by_hand.page));
                let message = format!("{} still works{}", record.handle, page.unwrap_or_default());
                return Err(Refusal::TargetRefused(message));
            }
            Some(Err(error @ (DriverError::Unavailable(_) | DriverError::Unknown(_)))) => {
                return Err(target(&error));
            }
            // Without a secret of it here nobody can be asked: a restore left it behind.
            Some(Ok(()) | Err(DriverError::Refused(_))) | None => {}
        }
        self.changed(caller, name, Event::Ended { version, asked, sessions: 0 }).await?;
        Ok(version)
    }

    async fn taken(&self, name: &CredentialName, version: Version) -> Result<wire::HandInResponse, Refusal> {
        let report = self.0.executor.report(name).await.map_err(|e| Refusal::of_commit(name, e))?;
        let rotation = report.as_ref().and_then(|report| {
            let last = report.ledger.rotation.as_ref();
            let about = last.filter(|it| it.next == Some(version) || it.old == Some(version))?;
            Some(show::rotation(name, about, Some(report)))
        });
        Ok(wire::HandInResponse { version: version.get(), rotation })
    }
}
