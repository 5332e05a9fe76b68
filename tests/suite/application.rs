//! An application that uses a credential again and again, on a thread of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::Context as _;
use rekey_client::Credential;
use rekey_testkit::process::poll;

use crate::story::{PATIENCE, connect, until_readable};

/// It ends with the test that holds it.
pub(crate) struct Application {
    /// How often it has used the credential. The thread goes on for as long as somebody here wants to know.
    uses: Arc<AtomicU64>,
    /// In the end, what failed, and how often it has used the credential.
    thread: JoinHandle<(Vec<String>, u64)>,
}

impl Application {
    /// Waits until the sidecar behind `socket` serves the credential `name`, then begins to read it before each use.
    /// `work` is one use of it, and says what was wrong.
    pub(crate) fn start(
        socket: PathBuf,
        name: &'static str,
        mut work: impl FnMut(&Credential) -> anyhow::Result<()> + Send + 'static,
    ) -> Self {
        until_readable(&socket, name);
        let (runtime, client) = connect(socket);
        Self::repeat(move || {
            let read = runtime.block_on(client.get(name));
            let credential = read.with_context(|| format!("{name} is not served"))?;
            work(&credential).with_context(|| format!("{name} {}", credential.version()))
        })
    }

    /// Begins to do `work`: one use of what it reads by itself.
    pub(crate) fn repeat(mut work: impl FnMut() -> anyhow::Result<()> + Send + 'static) -> Self {
        let uses = Arc::new(AtomicU64::new(0));
        let counted = Arc::downgrade(&uses);
        let thread = std::thread::spawn(move || {
            let (mut failures, mut all) = (Vec::new(), 0);
            while let Some(uses) = counted.upgrade() {
                failures.extend(work().err().map(|error| format!("{error:#}")));
                all = uses.fetch_add(1, Ordering::SeqCst) + 1;
            }
            (failures, all)
        });
        Self { uses, thread }
    }

    /// Waits until it has used the credential so many times more.
    pub(crate) fn let_work(&self, times: u64) {
        let until = self.uses.load(Ordering::SeqCst) + times;
        let works = || self.uses.load(Ordering::SeqCst) >= until || self.thread.is_finished();
        assert!(poll(PATIENCE, works) && !self.thread.is_finished(), "the application does not work");
    }

    /// Ends it. Gives how often it used the credential; anything that failed fails the test.
    pub(crate) fn end_without_failure(self) -> u64 {
        drop(self.uses);
        let (failures, uses) = self.thread.join().unwrap();
        assert!(failures.is_empty(), "{} of {uses} uses failed: {failures:#?}", failures.len());
        uses
    }
}

/// What an application keeps for a while, as a pool with a maximum lifetime does.
pub(crate) struct Kept<T> {
    lifetime: u32,
    now: Option<(u32, T)>,
}

impl<T> Kept<T> {
    /// Each is used so many times.
    pub(crate) fn for_uses(lifetime: u32) -> Self {
        Self { lifetime, now: None }
    }

    /// What to use now: what is kept, or `fresh` where that is over.
    pub(crate) fn or(&mut self, fresh: T) -> &mut T {
        let young = self.now.take().filter(|(uses, _)| *uses < self.lifetime);
        let (uses, one) = young.unwrap_or((0, fresh));
        &mut self.now.insert((uses + 1, one)).1
    }
}
