//! An application that reads a credential before each use of it, again and again, on a thread of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use rekey_client::{Builder, Client, Credential};
use rekey_testkit::process::poll;
use tokio::runtime::{self, Runtime};

use crate::story::PATIENCE;

/// It ends with the test that holds it.
pub(crate) struct Application {
    stop: Arc<AtomicBool>,
    uses: Arc<AtomicU64>,
    thread: JoinHandle<Vec<String>>,
}

impl Application {
    /// Begins to use the credential `name`, which the sidecar behind `socket` serves or will serve soon. `work` is one use
    /// of it, and says what was wrong.
    pub(crate) fn start(
        socket: PathBuf,
        name: &'static str,
        mut work: impl FnMut(&Credential) -> anyhow::Result<()> + Send + 'static,
    ) -> Self {
        let (stop, uses) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&uses));
        let thread = std::thread::spawn(move || {
            let (runtime, client) = connect(socket);
            assert!(poll(PATIENCE, || runtime.block_on(client.get(name)).is_ok()), "{name} is not served");
            let mut failures = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                match runtime.block_on(client.get(name)) {
                    Ok(credential) => {
                        if let Err(error) = work(&credential) {
                            failures.push(format!("{name} {}: {error:#}", credential.version()));
                        }
                    }
                    Err(error) => failures.push(format!("{name} is not served: {error}")),
                }
                counted.fetch_add(1, Ordering::SeqCst);
            }
            failures
        });
        Self { stop, uses, thread }
    }

    /// Waits until it has used the credential so many times more.
    pub(crate) fn let_work(&self, times: u64) {
        let until = self.uses.load(Ordering::SeqCst) + times;
        let works = || self.uses.load(Ordering::SeqCst) >= until || self.thread.is_finished();
        assert!(poll(PATIENCE, works) && !self.thread.is_finished(), "the application does not work");
    }

    /// Ends it. Gives how often it used the credential; anything that failed fails the test.
    pub(crate) fn end_without_failure(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        let (failures, uses) = (self.thread.join().unwrap(), self.uses.load(Ordering::SeqCst));
        assert!(failures.is_empty(), "{} of {uses} uses failed: {failures:#?}", failures.len());
        uses
    }
}

fn connect(socket: PathBuf) -> (Runtime, Client) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let builder = Builder::new(socket);
    let builder = match rekey_testkit::unprivileged() {
        Some(uid) => builder.server_uid(uid),
        None => builder,
    };
    let client = runtime.block_on(builder.connect()).unwrap();
    (runtime, client)
}
