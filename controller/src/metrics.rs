//! The page of figures, written from what was read of the store. `app/figures.rs` reads it, and keeps it for a moment.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rekey_model::Moment;
use rekey_rotation::Phase;
use rekey_runtime::accept::Counters;

use crate::alarms::{Notice, Standing};
use crate::executor::{Holding, Report};
use crate::fleet::VersionReport;

/// One label set of each kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCredential {
    credential: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfHolders {
    credential: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfAlarm {
    credential: String,
    alarm: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPhase {
    credential: String,
    phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfUses {
    credential: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfListener {
    listener: &'static str,
    event: &'static str,
}

#[derive(Debug, Default)]
struct Figures {
    version: Family<OfCredential, Gauge>,
    age: Family<OfCredential, Gauge>,
    max_age: Family<OfCredential, Gauge>,
    next: Family<OfCredential, Gauge>,
    failed: Family<OfCredential, Gauge>,
    deadline: Family<OfCredential, Gauge>,
    old_sessions: Family<OfCredential, Gauge>,
    uses: Family<OfUses, Gauge>,
    held: Family<OfCredential, Gauge>,
    phase: Family<OfPhase, Gauge>,
    holders: Family<OfHolders, Gauge>,
    alarms: Family<OfAlarm, Gauge>,
    connections: Family<OfListener, Gauge>,
    reconciling: Gauge,
    silent: Gauge,
    panics: Gauge,
}

/// Writes the page of what stands; `panics` of its tasks did.
pub fn page(standing: &Standing, listeners: &[(&'static str, Counters)], now: Moment, panics: u64) -> String {
    let figures = Figures::default();
    for report in &standing.reports {
        figures.credential(report, now);
    }
    for (listener, counters) in listeners {
        figures.listener(listener, *counters);
    }
    for (credential, notice) in &standing.notices {
        figures.alarm(credential.as_ref().map(ToString::to_string).unwrap_or_default(), notice);
    }
    figures.reconciling.set(i64::from(standing.reconciling.is_some()));
    let silent = standing.reconciling.as_ref().map_or(0, |waits| waits.silent.len());
    figures.silent.set(i64::try_from(silent).unwrap_or(i64::MAX));
    figures.panics.set(signed(panics));
    let mut page = String::new();
    if encode(&mut page, &figures.registry()).is_err() {
        // Writing to a string does not fail.
        tracing::error!("the page of figures could not be written");
    }
    page
}

impl Figures {
    fn credential(&self, report: &Report, now: Moment) {
        let ledger = &report.ledger;
        let name = OfCredential { credential: report.spec.name.to_string() };
        let credential = || name.credential.clone();
        let version = ledger.current.map_or(0, rekey_model::Version::get);
        self.version.get_or_create(&name).set(signed(version));
        let promoted = ledger.current.and_then(|v| ledger.version(v)).and_then(|record| record.promoted);
        let age = promoted.map_or(0, |promoted| now.at_most_since(promoted).as_secs());
        self.age.get_or_create(&name).set(signed(age));
        self.held.get_or_create(&name).set(i64::from(ledger.held.is_some()));
        if let Some(rotation) = ledger.open_rotation() {
            let phase = OfPhase { credential: credential(), phase: rotation.phase.as_str() };
            self.phase.get_or_create(&phase).set(1);
        }
        let states = [
            ("counting", report.holders.iter().filter(|h| h.counts).count()),
            ("live", report.holders.iter().filter(|h| h.live).count()),
            ("acknowledged", report.holders.iter().filter(|h| h.counts && h.acknowledged).count()),
        ];
        for (state, count) in states {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.holders.get_or_create(&OfHolders { credential: credential(), state }).set(count);
        }
        self.rotation(&name, report);
    }

    /// How old it may get, when it changes next, and how its rotation does.
    fn rotation(&self, name: &OfCredential, report: &Report) {
        let ledger = &report.ledger;
        if let Some(schedule) = &report.spec.schedule {
            self.max_age.get_or_create(name).set(signed(schedule.every.get().as_secs()));
        }
        if let Some(next) = report.next_rotation_ms {
            self.next.get_or_create(name).set(next.div_euclid(1000));
        }
        let failed = ledger.rotation.as_ref().is_some_and(|it| {
            let stuck = matches!(it.phase, Phase::Abandoned | Phase::StuckRetiring | Phase::StuckUndoing);
            stuck || it.phase.is_open() && it.forward_only.is_some()
        });
        self.failed.get_or_create(name).set(i64::from(failed));
        let turned = ledger.open_rotation().and_then(|open| open.turned);
        if let Some(turned) = turned {
            let deadline = i64::try_from(report.spec.grace.deadline.get().as_secs()).unwrap_or(i64::MAX);
            let ends = turned.wall_ms.div_euclid(1000).saturating_add(deadline);
            self.deadline.get_or_create(name).set(ends);
            let sessions = report.sessions.map_or(0, |(_, sessions)| sessions);
            self.old_sessions.get_or_create(name).set(sessions.into());
        }
        let reported = || report.holders.iter().flat_map(Holding::uses);
        let sum =
            |of: fn(&VersionReport) -> u64| reported().fold(0_u64, |sum, it| sum.saturating_add(of(&it)));
        for (outcome, uses) in [("accepted", sum(|it| it.accepted)), ("refused", sum(|it| it.refused))] {
            let credential = name.credential.clone();
            self.uses.get_or_create(&OfUses { credential, outcome }).set(signed(uses));
        }
    }

    fn alarm(&self, credential: String, notice: &Notice) {
        self.alarms.get_or_create(&OfAlarm { credential, alarm: notice.kind }).inc();
    }

    fn listener(&self, listener: &'static str, counters: Counters) {
        let events = [
            ("accepted", counters.accepted),
            ("refused", counters.refused),
            ("handshake_failed", counters.handshake_failures),
            ("handshake_timed_out", counters.handshake_timeouts),
            ("accept_failed", counters.accept_errors),
            ("cut", counters.cut),
            ("open", u64::try_from(counters.open).unwrap_or(u64::MAX)),
        ];
        for (event, count) in events {
            self.connections.get_or_create(&OfListener { listener, event }).set(signed(count));
        }
    }

    fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("rekey");
        let own = &mut registry;
        own.register("credential_version", "The current version; 0: none", self.version.clone());
        own.register("credential_age_seconds", "Since the current version became current", self.age.clone());
        own.register(
            "credential_max_age_seconds",
            "How old a version gets, as declared",
            self.max_age.clone(),
        );
        own.register(
            "credential_next_rotation_timestamp_seconds",
            "When the next rotation is due, since 1970",
            self.next.clone(),
        );
        own.register("rotation_failed", "Whether the last rotation failed", self.failed.clone());
        own.register(
            "rotation_deadline_timestamp_seconds",
            "When the grace of the open rotation should have ended, since 1970",
            self.deadline.clone(),
        );
        own.register(
            "rotation_old_sessions",
            "Sessions at the target on the version that is being left",
            self.old_sessions.clone(),
        );
        own.register(
            "credential_uses",
            "Uses that processes reported since they connected, by what the target said",
            self.uses.clone(),
        );
        own.register("credential_held", "Whether an operator holds it", self.held.clone());
        own.register("rotation_phase", "1 for the phase of an open rotation", self.phase.clone());
        own.register("credential_holders", "Sidecars that hold it, by state", self.holders.clone());
        own.register(
            "alarms",
            "What needs somebody's attention, by its stable name; no credential: the whole controller",
            self.alarms.clone(),
        );
        own.register(
            "connections",
            "What happened at a listener since it began; open: now",
            self.connections.clone(),
        );
        own.register(
            "reconciling",
            "Whether the store was restored and only reconciles",
            self.reconciling.clone(),
        );
        own.register(
            "reconciling_silent_sidecars",
            "Sidecars that have not said hello since the store was restored",
            self.silent.clone(),
        );
        own.register("panics", "Tasks that panicked since the start", self.panics.clone());
        registry
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
