//! Whether the process is ready, said out loud part by part.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What must be ready before the process is, and what is not yet. Clones share it.
///
/// A part is ready only when somebody says so: a panic marks nothing.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Mutex<Parts>>);

#[derive(Debug)]
struct Parts {
    ready: BTreeMap<&'static str, bool>,
    closing: bool,
}

impl Readiness {
    /// Nothing of `parts` is ready yet.
    pub fn of(parts: &[&'static str]) -> Self {
        let ready = parts.iter().map(|part| (*part, false)).collect();
        Self(Arc::new(Mutex::new(Parts { ready, closing: false })))
    }

    /// Says that `part` is ready. A part nobody named before is added.
    pub fn mark(&self, part: &'static str) {
        self.parts().ready.insert(part, true);
    }

    /// The process is ending: never ready again, whatever is marked.
    pub fn close(&self) {
        self.parts().closing = true;
    }

    /// Whether every part is ready.
    pub fn is_ready(&self) -> bool {
        let parts = self.parts();
        !parts.closing && parts.ready.values().all(|ready| *ready)
    }

    /// The parts that are not ready.
    pub fn waiting_for(&self) -> Vec<&'static str> {
        let parts = self.parts();
        let closing = parts.closing.then_some("ending");
        closing
            .into_iter()
            .chain(parts.ready.iter().filter(|(_, ready)| !**ready).map(|(part, _)| *part))
            .collect()
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_ready_when_every_part_said_so() {
        let readiness = Readiness::of(&["store", "fleet"]);
        readiness.mark("store");
        assert_eq!(readiness.waiting_for(), ["fleet"]);
        assert!(!readiness.is_ready());
        readiness.mark("fleet");
        assert!(readiness.is_ready());
    }

    #[test]
    fn an_ending_process_is_never_ready() {
        let readiness = Readiness::of(&[]);
        assert!(readiness.is_ready());
        readiness.close();
        readiness.mark("late");
        assert!(!readiness.is_ready());
        assert_eq!(readiness.waiting_for(), ["ending"]);
    }
}
