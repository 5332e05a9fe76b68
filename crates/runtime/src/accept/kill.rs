//! The word that ends a live connection, heard by whatever task is serving it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;

/// Said once, by anybody; heard at the connection's next read or write, for which its task is woken.
#[derive(Debug, Default)]
pub(super) struct Kill {
    said: AtomicBool,
    task: AtomicWaker,
}

impl Kill {
    /// Says it. Whether nobody had before.
    pub(super) fn cut(&self) -> bool {
        let first = !self.said.swap(true, Ordering::AcqRel);
        self.task.wake();
        first
    }

    /// Whether it was said: one load, for every read and write.
    pub(super) fn was_said(&self) -> bool {
        self.said.load(Ordering::Acquire)
    }

    /// Whether it was said; if not, `waker` will be woken when it is.
    pub(super) fn heard_by(&self, waker: &Waker) -> bool {
        self.task.register(waker);
        self.was_said()
    }
}
