//! How credentials stand, and who the caller is.

use rekey_drivers::ByHand;
use rekey_model::{CredentialName, Handle, Version};
use rekey_proto::admin as wire;
use serde_json::Value;

use super::caller::Caller;
use super::reconcile::told;
use super::refusal::Refusal;
use super::roles::Role;
use super::{Admin, show};
use crate::alarms;
use crate::executor::{CommitError, Report};
use crate::spec::TAKEN;
use crate::store::CredentialRow;

/// How many past rotations are shown.
const HISTORY: u32 = 10;

impl Admin {
    pub(super) async fn tell_status(
        &self,
        _caller: &Caller,
        asked: wire::StatusRequest,
    ) -> Result<wire::StatusResponse, Refusal> {
        let mut credentials = Vec::new();
        if asked.name.is_empty() {
            for row in self.0.store.credentials().await? {
                credentials.push(self.status_of(row).await?);
            }
        } else {
            let name = show::named(&asked.name)?;
            let row =
                self.0.store.credential(&name).await?.ok_or_else(|| Refusal::no_credential(name.as_str()))?;
            let mut status = self.status_of(row).await?;
            status.history = self.history(&name, &status).await?;
            credentials.push(status);
        }
        let reconciling = self.0.executor.reconciling().await?;
        let (instances, webhooks) = (self.0.store.instances().await?, self.0.store.webhooks().await?);
        let now = self.0.clock.now();
        let of_controller = alarms::of_controller(reconciling.as_ref(), &instances, (&webhooks, now));
        Ok(wire::StatusResponse {
            credentials,
            alarms: show::alarms(of_controller),
            now_ms: now.wall_ms,
            reconciling: reconciling.as_ref().map(told),
        })
    }

    async fn status_of(&self, row: CredentialRow) -> Result<wire::CredentialStatus, Refusal> {
        let (spec_json, from_class_json) = apart(&row.spec);
        let notices = self.0.known.policy.notices(&row.spec);
        match self.0.executor.report(&row.name).await {
            Ok(Some(report)) => {
                let mut status = status(&report);
                status.alarms.extend(show::alarms(notices));
                Ok(wire::CredentialStatus { spec_json, from_class_json, ..status })
            }
            // Deleted in between.
            Ok(None) => Err(Refusal::no_credential(row.name.as_str())),
            // One that does not read must not hide the others.
            Err(CommitError::Spec(name)) => {
                let alarms = show::alarms(vec![alarms::of_unreadable(&name)]);
                let name = name.to_string();
                Ok(wire::CredentialStatus { name, spec_json, from_class_json, alarms, ..Default::default() })
            }
            Err(error) => Err(Refusal::of_commit(&row.name, error)),
        }
    }

    async fn history(
        &self,
        name: &CredentialName,
        status: &wire::CredentialStatus,
    ) -> Result<Vec<wire::RotationStatus>, Refusal> {
        let open = status.rotation.as_ref().map(|rotation| rotation.id.as_str());
        let past = self.0.store.rotations(name, HISTORY).await?;
        let past = past.iter().map(|rotation| show::rotation(name, rotation, None));
        Ok(past.filter(|rotation| Some(rotation.id.as_str()) != open).collect())
    }

    #[expect(clippy::unused_async, reason = "every call has the same form")]
    pub(super) async fn tell_caller(
        &self,
        caller: &Caller,
        _asked: wire::WhoAmIRequest,
    ) -> Result<wire::WhoAmIResponse, Refusal> {
        Ok(wire::WhoAmIResponse {
            name: caller.name.clone(),
            authenticated_by: caller.known_by().to_owned(),
            roles: caller.roles.iter().copied().map(Role::to_wire).collect(),
            software: concat!("rekey-controller/", env!("CARGO_PKG_VERSION")).to_owned(),
        })
    }
}

/// What somebody declared, and what that took from its class; each as JSON.
fn apart(stored: &Value) -> (String, String) {
    let mut declared = stored.clone();
    let taken = declared.as_object_mut().and_then(|map| map.remove(TAKEN));
    (declared.to_string(), taken.map(|taken| taken.to_string()).unwrap_or_default())
}

fn status(report: &Report) -> wire::CredentialStatus {
    let (spec, ledger) = (&report.spec, &report.ledger);
    wire::CredentialStatus {
        name: spec.name.to_string(),
        owner: spec.owner.to_string(),
        environment: spec.environment.to_string(),
        target: format!("{} {}", spec.driver.kind().name, spec.driver.target()),
        versions: show::versions(report),
        current: show::number(ledger.current),
        rotation: ledger.open_rotation().map(|open| show::rotation(&spec.name, open, Some(report))),
        next_rotation_ms: report.next_rotation_ms.unwrap_or(0),
        holders: Some(show::count(report)),
        alarms: show::alarms(alarms::of_credential(report)),
        held: show::hold(ledger),
        order: ledger.order.0,
        by_hand: spec
            .driver
            .by_hand()
            .filter(|_| report.place.is_none())
            .map(|by_hand| told_by_hand(report, &by_hand)),
        ..Default::default()
    }
}

/// What a person does for it, and is asked to do.
fn told_by_hand(report: &Report, by_hand: &ByHand) -> wire::ByHandStatus {
    let asked = alarms::asked(report, by_hand);
    let next = asked.as_ref().map(|asked| asked.version);
    let to_delete = |(version, handle): (Version, Handle)| wire::ToDelete {
        version: version.get(),
        steps: by_hand.delete(handle.as_str()),
        handle: handle.to_string(),
    };
    wire::ByHandStatus {
        page: by_hand.page.clone(),
        next_handle: next.map(|version| by_hand.called(version)).unwrap_or_default(),
        asked: asked.as_ref().is_some_and(|asked| asked.now),
        due_ms: asked.and_then(|asked| asked.due_ms).unwrap_or(0),
        steps: next.map(|version| by_hand.steps(version)).unwrap_or_default(),
        to_delete: alarms::to_delete(report).into_iter().map(to_delete).collect(),
    }
}
