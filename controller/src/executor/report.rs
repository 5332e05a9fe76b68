//! How a credential stands, for people and for figures.

use rekey_drivers::Place;
use rekey_model::{CredentialName, InstanceId, Version};
use rekey_rotation::{Alarm, Evidence, Ledger, OutOfOrder};
use serde::Deserialize as _;

use super::seen::called;
use super::{CommitError, Executor, Judged};
use crate::fleet::{UsageReport, VersionReport};
use crate::spec::Spec;
use crate::store::HolderRow;

/// How a credential stands.
#[derive(Debug)]
pub struct Report {
    /// What was declared.
    pub spec: Spec,
    /// What was decided.
    pub ledger: Ledger,
    /// Who has it.
    pub holders: Vec<Holding>,
    /// What it waits for, one sentence each.
    pub waiting_for: Vec<String>,
    /// What needs somebody's attention.
    pub alarms: Vec<Alarm>,
    /// When this was so, in milliseconds since 1970 UTC.
    pub now_ms: i64,
    /// When the next rotation is due, in milliseconds since 1970 UTC.
    pub next_rotation_ms: Option<i64>,
    /// When the version that is being left may be ended at the earliest, in milliseconds since 1970 UTC.
    pub earliest_end_ms: Option<i64>,
    /// What stands in the way of a rotation that somebody would ask for now.
    pub obstacle: Option<OutOfOrder>,
    /// What went wrong last and is not mended, each in one line.
    pub troubles: Vec<String>,
    /// Sessions on the version that is being left, as last seen.
    pub sessions: Option<(Version, u32)>,
    /// When the canary's time is over, in milliseconds since 1970 UTC; none: there is no canary.
    pub canary_until_ms: Option<i64>,
    /// How the uses of the version went that the canary has, or that holders move to; none where they move to none.
    pub judged: Option<Judged>,
    /// Where somebody else's machine leaves its values, if one does.
    pub place: Option<Place>,
}

/// One holder of a credential.
#[derive(Debug)]
pub struct Holding {
    /// The instance.
    pub instance: InstanceId,
    /// What people call it.
    pub name: String,
    /// Whether its lease runs.
    pub live: bool,
    /// Whether its acknowledgement is waited for.
    pub counts: bool,
    /// Whether it has acknowledged the latest order.
    pub acknowledged: bool,
    /// What the store knows of it.
    pub row: HolderRow,
}

impl Holding {
    /// What the processes behind it reported, version by version.
    pub fn uses(&self) -> Vec<VersionReport> {
        let reported = self.row.reported.as_ref();
        let report = reported.and_then(|reported| UsageReport::deserialize(&reported.report).ok());
        report.unwrap_or_default().versions
    }
}

impl Executor {
    /// How a credential stands now; none when there is no such credential.
    pub async fn report(&self, name: &CredentialName) -> Result<Option<Report>, CommitError> {
        // Never closed.
        let _room = self.0.reports.acquire().await;
        let Some(seen) = self.see(name).await? else { return Ok(None) };
        let facts = seen.facts();
        let mut report = Report {
            holders: Vec::new(),
            waiting_for: seen.ledger.waiting_for(&facts),
            alarms: seen.ledger.alarms(&facts),
            now_ms: facts.now.wall_ms,
            next_rotation_ms: seen.ledger.next_rotation_ms(&facts),
            earliest_end_ms: seen.ledger.ends_after(&facts).map(|left| facts.now.wall_ms_after(left)),
            obstacle: seen.ledger.obstacle(&facts),
            troubles: self.0.lanes.troubles(name),
            sessions: self.sessions(name),
            canary_until_ms: seen.ledger.canary_left(&facts).map(|left| facts.now.wall_ms_after(left)),
            judged: seen.judged(),
            place: self.0.drivers.place(&seen.spec).unwrap_or_default(),
            spec: seen.spec.clone(),
            ledger: seen.ledger.clone(),
        };
        report.alarms.extend(self.0.drift.alarms(name, &seen.ledger));
        report.alarms.extend(self.0.follows.alarm(name));
        for row in &seen.rows {
            let holder = facts.holders.iter().find(|holder| holder.instance == row.instance);
            report.holders.push(Holding {
                instance: row.instance,
                name: called(&row.spiffe, &row.host),
                live: holder.is_some_and(|holder| holder.is_live(&facts)),
                counts: holder.is_some_and(|holder| holder.counts(&facts)),
                acknowledged: holder.is_some_and(|holder| holder.has_acked(report.ledger.order)),
                row: row.clone(),
            });
        }
        Ok(Some(report))
    }

    /// Sessions on the version that is being left, as the target last showed them.
    fn sessions(&self, name: &CredentialName) -> Option<(Version, u32)> {
        match self.0.watch.evidence(name)? {
            Evidence::Quiet { version, .. } => Some((version, 0)),
            Evidence::Busy { version, sessions } => Some((version, sessions)),
            Evidence::Unknown { .. } | Evidence::CannotTell { .. } => None,
        }
    }
}
