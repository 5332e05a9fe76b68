//! Whether the process is ready, said out loud part by part.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// What must be ready before the process is, and what is not yet. Clones share it.
///
/// A part is ready only when somebody says so: a panic marks nothing.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<watch::Sender<Parts>>);

#[derive(Debug)]
struct Parts {
    ready: BTreeMap<&'static str, bool>,
    closing: bool,
}

impl Readiness {
    /// Nothing of `parts` is ready yet.
    pub fn of(parts: &[&'static str]) -> Self {
        let ready = parts.iter().map(|part| (*part, false)).collect();
        Self(Arc::new(watch::Sender::new(Parts { ready, closing: false })))
    }

    /// Says that `part` is ready. A part nobody named before is added.
    pub fn mark(&self, part: &'static str) {
        self.set(part, true);
    }

    /// Takes it back.
    pub fn unmark(&self, part: &'static str) {
        self.set(part, false);
    }

    /// The process is ending: never ready again, whatever is marked.
    pub fn close(&self) {
        self.0.send_modify(|parts| parts.closing = true);
    }

    /// Whether every part is ready.
    pub fn is_ready(&self) -> bool {
        self.0.borrow().all_ready()
    }

    /// The parts that are not ready.
    pub fn waiting_for(&self) -> Vec<&'static str> {
        let parts = self.0.borrow();
        let closing = parts.closing.then_some("ending");
        closing
            .into_iter()
            .chain(parts.ready.iter().filter(|(_, ready)| !**ready).map(|(part, _)| *part))
            .collect()
    }

    /// Returns when every part is ready.
    pub async fn ready(&self) {
        // The sender lives as long as `self`, so this cannot fail.
        drop(self.0.subscribe().wait_for(Parts::all_ready).await);
    }

    fn set(&self, part: &'static str, ready: bool) {
        self.0.send_if_modified(|parts| parts.ready.insert(part, ready) != Some(ready));
    }
}

impl Parts {
    fn all_ready(&self) -> bool {
        !self.closing && self.ready.values().all(|ready| *ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_process_is_ready_when_every_part_said_so() {
        let readiness = Readiness::of(&["store", "fleet"]);
        readiness.mark("store");
        assert_eq!(readiness.waiting_for(), ["fleet"]);
        let mut waiting = tokio_test::task::spawn(readiness.ready());
        tokio_test::assert_pending!(waiting.poll());
        readiness.mark("fleet");
        tokio_test::assert_ready!(waiting.poll());
        readiness.unmark("store");
        assert!(!readiness.is_ready());
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
