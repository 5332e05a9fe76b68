//! Everything that is served, as one immutable value with one number.

use std::collections::HashMap;
use std::sync::Arc;

use rekey_model::{Generation, Moment};

use super::{Contact, Entry, Reading, Unreadable};

/// One generation. Readers hold it whole or not at all. Two with one number differ at most in how long earlier versions
/// are said to be accepted.
#[derive(Debug, Default)]
pub struct Snapshot {
    generation: Generation,
    complete: bool,
    entries: HashMap<Box<str>, Arc<Entry>>,
}

impl Snapshot {
    pub(super) fn new(
        generation: Generation,
        complete: bool,
        entries: impl Iterator<Item = Arc<Entry>>,
    ) -> Self {
        let entries = entries.map(|entry| (entry.name.as_str().into(), entry)).collect();
        Self { generation, complete, entries }
    }

    /// Its number.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether the source has said once what there is: before that an unknown name may only be early.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The credential with this name.
    pub fn entry(&self, name: &str) -> Option<&Arc<Entry>> {
        self.entries.get(name)
    }

    /// All credentials in the order of their names.
    pub fn sorted(&self) -> Vec<&Arc<Entry>> {
        let mut all: Vec<_> = self.entries.values().collect();
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        all
    }

    pub(super) fn read(&self, name: &str, contact: &Contact, now: Moment) -> Result<Reading, Unreadable> {
        match self.entries.get(name) {
            Some(entry) => entry.read(contact, now),
            None if self.complete => Err(Unreadable::NotFound),
            None => Err(Unreadable::Waiting),
        }
    }
}
