//! Adoption: the password of the login that an application uses today becomes version 1, once it was seen to work. What is
//! handed in later is in [`super::drifted`].

use std::sync::Arc;

use rekey_drivers::{DriverError, Intent};
use rekey_model::{CredentialName, SecretBytes, Version};
use rekey_proto::admin as wire;

use super::caller::Caller;
use super::refusal::Refusal;
use super::{Admin, show};
use crate::audit::{Entry, Outcome, Verb};
use crate::spec::Spec;

/// The longest secret that is handed in.
pub(super) const LONGEST: usize = 4096;

impl Admin {
    pub(super) async fn adopt_login(
        &self,
        caller: &Caller,
        asked: wire::AdoptRequest,
    ) -> Result<wire::AdoptResponse, Refusal> {
        // From here on the password is wiped whatever happens.
        let password = SecretBytes::new(asked.password);
        let name = show::named(&asked.name)?;
        if password.expose().is_empty() || password.expose().len() > LONGEST {
            return Err(Refusal::invalid("password", "has 1 to 4096 bytes"));
        }
        match self.take_in(caller, &name, password).await {
            Ok(version) => Ok(wire::AdoptResponse { version: version.get() }),
            Err(refusal) => {
                self.record_refused(caller, (&name, Verb::Adopt), &refusal).await?;
                Err(refusal)
            }
        }
    }

    /// The driver proves the password before it gives the login anything, then everything that consumers need.
    async fn take_in(
        &self,
        caller: &Caller,
        name: &CredentialName,
        password: SecretBytes,
    ) -> Result<Version, Refusal> {
        let row =
            self.0.store.credential(name).await?.ok_or_else(|| Refusal::no_credential(name.as_str()))?;
        let spec = Spec::parse(&row.spec).map_err(|_problems| Refusal::Spec(name.clone()))?;
        if !row.ledger.versions.is_empty() {
            return self.take_drifted(caller, (row, spec), password).await;
        }
        let Some(adopt) = spec.driver.adopt() else {
            let message =
                format!("{name} declares no `adopt`: add the login to its declaration, and apply it");
            return Err(Refusal::invalid("name", message));
        };
        let driver = self.0.drivers.driver(&spec)?;
        let intent = Intent::chosen(Version::FIRST, adopt.clone(), Arc::new(password));
        let installed = driver.install(&intent).await.map_err(|error| target(&error))?;
        driver.probe(&installed.fields, None).await.map_err(|error| target(&error))?;
        let adopted = self.0.executor.adopt(&spec, &installed.fields, caller.actor()).await;
        adopted.map(|_outcome| Version::FIRST).map_err(|error| Refusal::of_commit(name, error))
    }

    /// Somebody tried a secret, which is to be seen. A refusal's text holds none.
    pub(super) async fn record_refused(
        &self,
        caller: &Caller,
        (name, verb): (&CredentialName, Verb),
        refusal: &Refusal,
    ) -> Result<(), Refusal> {
        let away = matches!(refusal, Refusal::TargetUnavailable(_));
        let outcome = if away { Outcome::Failed } else { Outcome::Refused };
        let entry = Entry::new(caller.actor(), verb, outcome).about(name);
        let mut tx = self.0.store.begin().await?;
        tx.audit(&entry.because(refusal.to_string())).await?;
        Ok(tx.commit().await?)
    }
}

/// What the target said, in terms of what the caller can do. A driver's errors hold no secret.
pub(super) fn target(error: &DriverError) -> Refusal {
    let said = rekey_runtime::tasks::with_causes(error);
    match error {
        DriverError::Refused(_) => Refusal::TargetRefused(said),
        DriverError::Unavailable(_) | DriverError::Unknown(_) => Refusal::TargetUnavailable(said),
    }
}
