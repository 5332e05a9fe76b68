//! Which local connections read and use what: said by their reports, gathered for the controller.
//!
//! A report lives with its connection and dies with it. Nothing here is stored.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rekey_model::{CredentialName, Order, Version};
use tokio::sync::watch;

use crate::callers::Process;
use crate::live::Snapshot;

/// All open local connections.
#[derive(Debug, Default)]
pub struct Consumers {
    open: Mutex<Open>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Open {
    last: u64,
    by_number: HashMap<u64, Weak<Consumer>>,
}

/// One local connection: who is at its other end, what was read on it, what it last reported.
#[derive(Debug)]
pub struct Consumer {
    number: u64,
    process: Option<Process>,
    home: Weak<Consumers>,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    read: BTreeSet<Box<str>>,
    report: Option<Report>,
}

/// What a process does with its credentials: the whole of it.
pub type Report = BTreeMap<CredentialName, BTreeMap<Version, Use>>;

/// What a process does with one version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    /// Whether it may still use it.
    pub in_use: bool,
    /// Uses that the target accepted.
    pub accepted: u64,
    /// Uses that the target refused because of the credential.
    pub refused: u64,
}

/// What all local processes do with one credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialUsage {
    /// The credential.
    pub name: CredentialName,
    /// The order that was live before this was gathered.
    pub order: Order,
    /// By version.
    pub versions: BTreeMap<Version, VersionUsage>,
    /// How many connections read it without reporting on it.
    pub silent: u32,
}

/// What all local processes do with one version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VersionUsage {
    /// How many say that they may still use it.
    pub processes: u32,
    /// Uses that the target accepted since they connected.
    pub accepted: u64,
    /// Uses that the target refused since they connected.
    pub refused: u64,
}

impl Consumers {
    /// Counts a new connection until the last `Arc` of it is gone.
    pub fn open(self: &Arc<Self>, process: Option<Process>) -> Arc<Consumer> {
        let mut open = unpoisoned(&self.open);
        open.last += 1;
        let number = open.last;
        let home = Arc::downgrade(self);
        let consumer = Arc::new(Consumer { number, process, home, said: Mutex::default() });
        open.by_number.insert(number, Arc::downgrade(&consumer));
        consumer
    }

    /// Tells when [`Consumers::usage`] may have changed. Means *look again*.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// What all connections do with what is in `snapshot`, which was loaded before this is called.
    pub fn usage(&self, snapshot: &Snapshot) -> Vec<CredentialUsage> {
        let open: Vec<Arc<Consumer>> =
            unpoisoned(&self.open).by_number.values().filter_map(Weak::upgrade).collect();
        let mut all = Vec::new();
        for entry in snapshot.sorted() {
            let mut usage = CredentialUsage {
                name: entry.name.clone(),
                order: entry.mark.order,
                versions: BTreeMap::new(),
                silent: 0,
            };
            for consumer in &open {
                consumer.add_to(&mut usage);
            }
            all.push(usage);
        }
        all
    }

    fn tell(&self) {
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
    }
}

impl Consumer {
    /// The process at the other end, as far as the kernel can tell.
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Notes that `name` was given out on this connection.
    pub fn note_read(&self, name: &str) {
        let mut said = unpoisoned(&self.said);
        if !said.read.contains(name) {
            said.read.insert(name.into());
            drop(said);
            self.tell();
        }
    }

    /// Takes a report in place of the one before.
    pub fn report(&self, report: Report) {
        let mut said = unpoisoned(&self.said);
        if said.report.as_ref() != Some(&report) {
            said.report = Some(report);
            drop(said);
            self.tell();
        }
    }

    fn add_to(&self, usage: &mut CredentialUsage) {
        let said = unpoisoned(&self.said);
        let Some(versions) = said.report.as_ref().and_then(|report| report.get(&usage.name)) else {
            usage.silent += u32::from(said.read.contains(usage.name.as_str()));
            return;
        };
        for (version, one) in versions {
            let sum = usage.versions.entry(*version).or_default();
            sum.processes += u32::from(one.in_use);
            sum.accepted = sum.accepted.saturating_add(one.accepted);
            sum.refused = sum.refused.saturating_add(one.refused);
        }
    }

    fn tell(&self) {
        if let Some(home) = self.home.upgrade() {
            home.tell();
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            unpoisoned(&home.open).by_number.remove(&self.number);
            home.tell();
        }
    }
}

/// A lock whose holder panicked still guards whole values: every change under it is one assignment.
fn unpoisoned<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(versions: &[(u64, bool)]) -> Report {
        let one = |&(number, in_use): &(u64, bool)| {
            (Version::new(number).unwrap(), Use { in_use, accepted: 2, refused: 1 })
        };
        Report::from([("orders/db".parse().unwrap(), versions.iter().map(one).collect())])
    }

    fn usage(consumers: &Consumers) -> CredentialUsage {
        let name: CredentialName = "orders/db".parse().unwrap();
        let mut usage = CredentialUsage { name, order: Order(0), versions: BTreeMap::new(), silent: 0 };
        let open: Vec<_> = unpoisoned(&consumers.open).by_number.values().filter_map(Weak::upgrade).collect();
        for consumer in &open {
            consumer.add_to(&mut usage);
        }
        usage
    }

    #[test]
    fn a_report_replaces_the_one_before_and_dies_with_its_connection() {
        let consumers = Arc::new(Consumers::default());
        let (one, two) = (consumers.open(None), consumers.open(None));
        one.report(report(&[(1, true)]));
        one.report(report(&[(1, false), (2, true)]));
        two.report(report(&[(2, true)]));
        let seen = usage(&consumers);
        let processes: Vec<u32> = seen.versions.values().map(|v| v.processes).collect();
        assert_eq!(processes, [0, 2]);
        drop(one);
        let seen = usage(&consumers);
        assert_eq!(seen.versions.len(), 1);
        assert_eq!(seen.versions.values().next().unwrap().accepted, 2);
    }

    #[test]
    fn who_reads_without_a_word_is_counted_apart_and_every_change_is_told() {
        let consumers = Arc::new(Consumers::default());
        let mut changes = consumers.changes();
        let one = consumers.open(None);
        one.note_read("orders/db");
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        one.note_read("orders/db");
        assert!(!changes.has_changed().unwrap());
        assert_eq!(usage(&consumers).silent, 1);
        one.report(report(&[(1, true)]));
        assert_eq!(usage(&consumers).silent, 0);
        changes.mark_unchanged();
        drop(one);
        assert!(changes.has_changed().unwrap());
    }
}
