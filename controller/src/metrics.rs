//! The page of figures, written from what was read of the store. `app/figures.rs` reads it, and keeps it for a moment.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rekey_model::{CredentialName, Moment};
use rekey_runtime::accept::Counters;

use crate::alarms::{self, Notice};
use crate::executor::{Reconciling, Report};

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
struct OfListener {
    listener: &'static str,
    event: &'static str,
}

#[derive(Debug, Default)]
struct Figures {
    version: Family<OfCredential, Gauge>,
    age: Family<OfCredential, Gauge>,
    held: Family<OfCredential, Gauge>,
    phase: Family<OfPhase, Gauge>,
    holders: Family<OfHolders, Gauge>,
    alarms: Family<OfAlarm, Gauge>,
    connections: Family<OfListener, Gauge>,
    reconciling: Gauge,
    silent: Gauge,
    panics: Gauge,
}

/// What concerns the whole process.
#[derive(Debug, Default)]
pub struct Whole {
    /// What a restored store waits for.
    pub reconciling: Option<Reconciling>,
    /// What needs attention beside what the reports say: by credential, or of the whole controller.
    pub alarms: Vec<(Option<CredentialName>, Notice)>,
    /// Tasks that panicked.
    pub panics: u64,
}

/// Writes the page.
pub fn page(
    reports: &[Report],
    listeners: &[(&'static str, Counters)],
    now: Moment,
    whole: &Whole,
) -> String {
    let figures = Figures::default();
    for report in reports {
        figures.credential(report, now);
    }
    for (listener, counters) in listeners {
        figures.listener(listener, *counters);
    }
    for (credential, notice) in &whole.alarms {
        figures.alarm(credential.as_ref().map(ToString::to_string).unwrap_or_default(), notice);
    }
    figures.reconciling.set(i64::from(whole.reconciling.is_some()));
    let silent = whole.reconciling.as_ref().map_or(0, |waits| waits.silent.len());
    figures.silent.set(i64::try_from(silent).unwrap_or(i64::MAX));
    figures.panics.set(signed(whole.panics));
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
        for notice in alarms::of_credential(report) {
            self.alarm(credential(), &notice);
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
