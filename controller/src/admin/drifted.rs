//! Adoption once more: somebody changed the only value that an account takes, and hands in the one that works now.

use std::sync::Arc;

use rekey_drivers::{DriverError, Intent, Strategy};
use rekey_model::{SecretBytes, Version};
use rekey_rotation::OutOfOrder;
use rekey_runtime::random;

use super::Admin;
use super::adopt::target;
use super::caller::Caller;
use super::refusal::Refusal;
use crate::spec::Spec;
use crate::store::CredentialRow;

impl Admin {
    /// Nothing is stored, and nobody gets anything, before the current value was seen to be refused and this one to work.
    pub(super) async fn take_drifted(
        &self,
        caller: &Caller,
        (row, spec): (CredentialRow, Spec),
        password: SecretBytes,
    ) -> Result<Version, Refusal> {
        let name = &spec.name;
        if spec.driver.facts().strategy != Strategy::Single {
            let why = OutOfOrder::NoEdge { event: "adopt", phase: None };
            return Err(Refusal::OutOfOrder(name.clone(), why));
        }
        let (driver, version) = (self.0.drivers.driver(&spec)?, row.ledger.next_version());
        let handle = spec.driver.handle(version, Some(&password), random::nonce).parse();
        let handle = handle.map_err(|_name| Refusal::Internal("a version has no name".to_owned()))?;
        let intent = Intent::chosen(version, handle, Arc::new(password));
        let fields = driver.fields(&intent);
        let fields =
            fields.ok_or_else(|| Refusal::invalid("password", "is none that the target would take"))?;
        let executor = &self.0.executor;
        let tried = executor.try_current(name).await.map_err(|error| Refusal::of_commit(name, error))?;
        match tried.map(|tried| (tried.version, tried.outcome)) {
            Some((current, Ok(_proof))) => {
                let message = format!("{current} of {name} works: there is nothing to adopt");
                return Err(Refusal::invalid("name", message));
            }
            Some((_, Err(DriverError::Refused(_)))) | None => {}
            Some((_, Err(away))) => return Err(target(&away)),
        }
        let _room = executor.room_at(spec.driver.target().as_str()).await;
        driver.probe(&fields, None).await.map_err(|error| target(&error))?;
        let adopted = executor.adopt_next(&spec, (&intent, &fields), caller.actor()).await;
        adopted.map(|_outcome| version).map_err(|error| Refusal::of_commit(name, error))
    }
}
