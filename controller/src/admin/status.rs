//! How credentials stand, and who the caller is.

use rekey_model::CredentialName;
use rekey_proto::admin as wire;

use super::caller::Caller;
use super::reconcile::sentence;
use super::refusal::Refusal;
use super::roles::Role;
use super::{Admin, show};
use crate::executor::Report;
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
        let reconciling = self.tell_reconciling().await?;
        Ok(wire::StatusResponse {
            credentials,
            alarms: self.alarms_of_all(reconciling.as_ref()).await?,
            now_ms: self.0.clock.now().wall_ms,
            reconciling,
        })
    }

    async fn status_of(&self, row: CredentialRow) -> Result<wire::CredentialStatus, Refusal> {
        let spec_json = row.spec.to_string();
        match self.0.executor.report(&row.name).await {
            Ok(Some(report)) => Ok(status(&report, spec_json)),
            // Deleted in between.
            Ok(None) => Err(Refusal::no_credential(row.name.as_str())),
            Err(error) => {
                let refusal = Refusal::of_commit(&row.name, error);
                if !matches!(refusal, Refusal::Spec(_)) {
                    return Err(refusal);
                }
                // One that does not read must not hide the others.
                let alarm = wire::Alarm {
                    kind: "spec_unreadable".to_owned(),
                    message: refusal.to_string(),
                    next_command: "rekeyctl apply -f FILE".to_owned(),
                };
                let name = row.name.to_string();
                let alarms = vec![alarm];
                Ok(wire::CredentialStatus { name, spec_json, alarms, ..Default::default() })
            }
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

    /// What concerns the whole controller.
    async fn alarms_of_all(
        &self,
        reconciling: Option<&wire::Reconciling>,
    ) -> Result<Vec<wire::Alarm>, Refusal> {
        let mut alarms = Vec::new();
        if let Some(waits) = reconciling {
            alarms.push(wire::Alarm {
                kind: "reconciling".to_owned(),
                message: format!(
                    "this store was restored ({}): nothing is rotated and nothing is ended, except by revoke; it waits {}",
                    waits.because,
                    sentence(waits)
                ),
                next_command: "rekeyctl reconcile".to_owned(),
            });
        }
        for row in self.0.store.instances().await?.iter().filter(|row| row.removed.is_none()) {
            let Some(why) = &row.locked else { continue };
            alarms.push(wire::Alarm {
                kind: "sidecar_locked".to_owned(),
                message: format!("{} is locked: {why}", row.spiffe),
                next_command: format!("rekeyctl sidecar remove {}", row.id),
            });
        }
        Ok(alarms)
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

fn status(report: &Report, spec_json: String) -> wire::CredentialStatus {
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
        alarms: show::alarms(report),
        held: show::hold(ledger),
        spec_json,
        order: ledger.order.0,
        history: Vec::new(),
    }
}
