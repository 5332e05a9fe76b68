//! Driving a rotation by hand: begin, roll back, hold, release, try again. The executor decides whether it may be.

use rekey_model::{CredentialName, RotationId};
use rekey_proto::admin as wire;
use rekey_rotation::{Event, Ledger, Phase, Why};
use rekey_runtime::random;

use super::caller::Caller;
use super::refusal::Refusal;
use super::{Admin, show};
use crate::spec::Spec;

/// The longest id that a caller may give a request.
const LONGEST_REQUEST: usize = 64;

impl Admin {
    pub(super) async fn begin_rotation(
        &self,
        caller: &Caller,
        asked: wire::RotateRequest,
    ) -> Result<wire::RotateResponse, Refusal> {
        if asked.request_id.len() > LONGEST_REQUEST || asked.request_id.chars().any(char::is_control) {
            return Err(Refusal::invalid(
                "request_id",
                "at most 64 characters, none of them a control character",
            ));
        }
        let why = Why::Asked {
            reason: show::reason(&asked.reason, false)?,
            by: caller.name.clone(),
            request: asked.request_id,
        };
        self.may_be_begun(&show::named(&asked.name)?).await?;
        let event = Event::Begin { rotation: random::id(), why };
        let rotation = self.driven(caller, &asked.name, event).await?;
        Ok(wire::RotateResponse { rotation: Some(rotation) })
    }

    /// What somebody else's machine rotates is rotated there.
    async fn may_be_begun(&self, name: &CredentialName) -> Result<(), Refusal> {
        let row = self.0.store.credential(name).await?;
        let spec = row.and_then(|row| Spec::parse(&row.spec).ok());
        let followed = spec.is_some_and(|spec| spec.driver.is_followed());
        if followed { Err(Refusal::followed(name)) } else { Ok(()) }
    }

    pub(super) async fn roll_back(
        &self,
        caller: &Caller,
        asked: wire::RollbackRequest,
    ) -> Result<wire::RollbackResponse, Refusal> {
        let event = Event::Rollback { reason: show::reason(&asked.reason, false)? };
        let rotation = self.driven(caller, &asked.name, event).await?;
        Ok(wire::RollbackResponse { rotation: Some(rotation) })
    }

    pub(super) async fn put_hold(
        &self,
        caller: &Caller,
        asked: wire::HoldRequest,
    ) -> Result<wire::HoldResponse, Refusal> {
        let name = show::named(&asked.name)?;
        let reason = show::reason(&asked.reason, true)?;
        let event = Event::Hold { reason, by: caller.name.clone() };
        let ledger = self.changed(caller, &name, event).await?;
        Ok(wire::HoldResponse { too_late_for: too_late_for(&ledger) })
    }

    pub(super) async fn take_hold(
        &self,
        caller: &Caller,
        asked: wire::ReleaseRequest,
    ) -> Result<wire::ReleaseResponse, Refusal> {
        self.changed(caller, &show::named(&asked.name)?, Event::Release).await?;
        Ok(wire::ReleaseResponse {})
    }

    pub(super) async fn try_again(
        &self,
        caller: &Caller,
        asked: wire::RetryRequest,
    ) -> Result<wire::RetryResponse, Refusal> {
        let name = self.credential_of(&asked.rotation).await?;
        let reason = show::reason(&asked.reason, asked.no_holders)?;
        if asked.no_holders {
            self.changed(caller, &name, Event::NoHolders { reason }).await?;
        }
        let rotation = self.driven(caller, name.as_str(), Event::Retry).await?;
        Ok(wire::RetryResponse { rotation: Some(rotation) })
    }

    /// The credential that is named, or whose rotation is.
    async fn credential_of(&self, text: &str) -> Result<CredentialName, Refusal> {
        if let Ok(id) = text.parse::<RotationId>()
            && let Some((name, _)) = self.0.store.rotation(id).await?
        {
            return Ok(name);
        }
        show::named(text)
    }

    /// Commits `event` in the caller's name.
    pub(super) async fn changed(
        &self,
        caller: &Caller,
        name: &CredentialName,
        event: Event,
    ) -> Result<Ledger, Refusal> {
        let committed = self.0.executor.commit(name, event, caller.actor()).await;
        Ok(committed.map_err(|error| Refusal::of_commit(name, error))?.ledger)
    }

    /// Commits `event`, and shows the rotation that it is about.
    async fn driven(
        &self,
        caller: &Caller,
        name: &str,
        event: Event,
    ) -> Result<wire::RotationStatus, Refusal> {
        let name = show::named(name)?;
        let ledger = self.changed(caller, &name, event).await?;
        let rotation = ledger
            .rotation
            .as_ref()
            .ok_or_else(|| Refusal::OutOfOrder(name.clone(), rekey_rotation::OutOfOrder::NoRotation))?;
        let report = self.0.executor.report(&name).await.map_err(|e| Refusal::of_commit(&name, e))?;
        Ok(show::rotation(&name, rotation, report.as_ref()))
    }
}

/// What a hold cannot stop any more.
fn too_late_for(ledger: &Ledger) -> String {
    let ending = |rotation: &rekey_rotation::Rotation| match rotation.phase {
        Phase::Retiring | Phase::StuckRetiring => rotation.old,
        Phase::Undoing | Phase::StuckUndoing => rotation.next,
        Phase::Planned
        | Phase::Chosen
        | Phase::Staged
        | Phase::Barrier
        | Phase::CutOver
        | Phase::Installed
        | Phase::Proven
        | Phase::Canary
        | Phase::Rolling
        | Phase::Grace
        | Phase::Returning
        | Phase::Done
        | Phase::Abandoned => None,
    };
    let version = ledger.open_rotation().and_then(ending);
    version.map(|version| format!("{version} is already being ended")).unwrap_or_default()
}
