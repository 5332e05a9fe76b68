//! Who holds a credential: sidecars, processes behind them, sessions at the target.

use std::time::Duration;

use rekey_drivers::{Age, Usage};
use rekey_model::{Version, millis};
use rekey_proto::admin as wire;
use serde::Deserialize as _;

use super::caller::Caller;
use super::refusal::Refusal;
use super::{Admin, show};
use crate::executor::{Holding, Report};
use crate::fleet::UsageReport;

/// How long the target may take to say who uses it.
const LOOK: Duration = Duration::from_secs(3);

impl Admin {
    pub(super) async fn tell_who(
        &self,
        _caller: &Caller,
        asked: wire::WhoRequest,
    ) -> Result<wire::WhoResponse, Refusal> {
        let name = show::named(&asked.name)?;
        let only = Version::new(asked.version);
        let report = self.0.executor.report(&name).await.map_err(|e| Refusal::of_commit(&name, e))?;
        let report = report.ok_or_else(|| Refusal::no_credential(name.as_str()))?;
        if let Some(version) = only.filter(|version| report.ledger.version(*version).is_none()) {
            let remedy = "`rekeyctl status NAME` lists its versions";
            return Err(show::not_found("version", &format!("{name}@{}", version.get()), remedy));
        }
        let holders = report.holders.iter().map(holder).filter(|h| holds(h, only)).collect();
        let (sessions, sessions_unknown) = match self.sessions(&report, only).await {
            Ok(sessions) => (sessions, String::new()),
            Err(why) => (Vec::new(), why),
        };
        Ok(wire::WhoResponse { holders, sessions, sessions_unknown })
    }

    /// The sessions by versions that have not ended, or why they are not known.
    async fn sessions(
        &self,
        report: &Report,
        only: Option<Version>,
    ) -> Result<Vec<wire::TargetSession>, String> {
        let driver = self.0.drivers.driver(&report.spec).map_err(|error| error.to_string())?;
        let target = report.spec.driver.target().to_string();
        let mut found = Vec::new();
        let versions = report.ledger.versions.iter().filter(|(_, it)| it.ended.is_none());
        for (version, record) in versions.filter(|(v, _)| only.is_none_or(|only| only == **v)) {
            let looked = async {
                let _room = self.0.executor.room_at(&target).await;
                driver.usage(&record.handle).await
            };
            let usage = self.0.clock.within(LOOK, looked).await;
            match usage.ok_or("the target did not answer in time")? {
                Ok(Usage::Sessions(sessions) | Usage::OfAccount(sessions)) => {
                    found.extend(sessions.into_iter().map(|session| wire::TargetSession {
                        version: version.get(),
                        client: session.client,
                        application: session.application,
                        since_ms: session.since_ms,
                    }));
                }
                Ok(Usage::LastUsed(age)) => {
                    found.extend(age.map(|age| wire::TargetSession {
                        version: version.get(),
                        client: String::new(),
                        application: "last use".to_owned(),
                        since_ms: ago(self.0.clock.now().wall_ms, age),
                    }));
                }
                Ok(Usage::CannotTell) => return Err("this kind of target cannot tell".to_owned()),
                Err(error) => return Err(rekey_runtime::tasks::with_causes(&error)),
            }
        }
        Ok(found)
    }
}

/// When it was `age` ago; for display.
fn ago(now_ms: i64, age: Age) -> i64 {
    now_ms.saturating_sub_unsigned(millis(age.least))
}

fn holds(holder: &wire::HolderStatus, only: Option<Version>) -> bool {
    let Some(version) = only.map(Version::get) else { return true };
    let used = |it: &wire::VersionProcesses| it.version == version && it.processes > 0;
    holder.version == version || holder.processes.iter().any(used)
}

fn holder(holding: &Holding) -> wire::HolderStatus {
    let row = &holding.row;
    let report = row.reported.as_ref().and_then(|reported| UsageReport::deserialize(&reported.report).ok());
    let report = report.unwrap_or_default();
    let silent = report.silent;
    let processes = report.versions.into_iter().map(|it| wire::VersionProcesses {
        version: it.version.get(),
        processes: it.processes,
        accepted: it.accepted,
        refused: it.refused,
    });
    wire::HolderStatus {
        instance: holding.instance.to_string(),
        spiffe_id: row.spiffe.to_string(),
        host: row.host.clone(),
        live: holding.live,
        counts: holding.counts,
        version: show::number(row.acked.and_then(|acked| acked.version)),
        order: row.acked.map_or(0, |acked| acked.order.0),
        last_contact_ms: show::ms(row.last_contact),
        processes: processes.collect(),
        silent,
    }
}
