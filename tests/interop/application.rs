//! An application that uses one credential all the time, and an operator's words about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use rekey_client::{Builder, Credential};
use rekey_testkit::process::poll;
use rekey_testkit::system::write_private;
use serde_json::Value;

use crate::story::{PATIENCE, Story, settled, until_readable};

/// An application that reads its credential and uses it, again and again.
pub(crate) struct Application {
    stop: Arc<AtomicBool>,
    uses: Arc<AtomicU64>,
    thread: JoinHandle<Vec<String>>,
}

impl Application {
    /// Starts one; what `work` gives is what failed.
    pub(crate) fn start(
        story: &Story,
        name: &'static str,
        mut work: impl FnMut(&Credential) -> Vec<String> + Send + 'static,
    ) -> Self {
        until_readable(&story.system.socket("sidecar-1"), name);
        let (stop, uses) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&uses));
        let builder = Builder::new(story.system.socket("sidecar-1"));
        let builder = match rekey_testkit::unprivileged() {
            Some(uid) => builder.server_uid(uid),
            None => builder,
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let client = runtime.block_on(builder.connect()).unwrap();
            let mut failures = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                let credential = runtime.block_on(client.get(name)).unwrap();
                failures.extend(work(&credential));
                counted.fetch_add(1, Ordering::SeqCst);
            }
            failures
        });
        Self { stop, uses, thread }
    }

    pub(crate) fn let_work(&self, times: u64) {
        let until = self.uses.load(Ordering::SeqCst) + times;
        let worked =
            poll(PATIENCE, || self.uses.load(Ordering::SeqCst) >= until || self.thread.is_finished());
        assert!(worked && !self.thread.is_finished(), "the application does not work");
    }

    /// Ends it; nothing may have failed. Gives how often it used the credential.
    pub(crate) fn end(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        let (failures, uses) = (self.thread.join().unwrap(), self.uses.load(Ordering::SeqCst));
        assert!(failures.is_empty(), "{failures:?} in {uses} uses");
        uses
    }
}

/// Gives the controller a target, and declares a credential at it.
pub(crate) fn declare(story: &mut Story, target: &str, files: &[(&str, &str)], credential: &str) {
    let folder = story.system.folder().to_owned();
    let config = std::fs::read_to_string(folder.join("controller.yaml")).unwrap();
    for (name, text) in files {
        write_private(&folder.join(name), text).unwrap();
    }
    let config = config.replace("targets:\n", &format!("targets:\n{target}"));
    write_private(&folder.join("controller.yaml"), &config).unwrap();
    write_private(&folder.join("interop.yaml"), credential).unwrap();
    story.system.kill_controller();
    story.system.start_controller().unwrap();
    story.system.ctl(&["apply", "-f", "interop.yaml"]).unwrap();
}

pub(crate) fn status(story: &Story, name: &str) -> Value {
    let all = story.system.ctl(&["status", name]).unwrap();
    all.pointer("/credentials/0").cloned().unwrap_or_default()
}

/// Waits until `version` is current and nothing is under way.
pub(crate) fn until_settled_on(story: &Story, name: &str, version: u64) {
    let is = || {
        let status = status(story, name);
        status["current"] == version && settled(&status)
    };
    assert!(poll(PATIENCE, is), "{:#}", status(story, name));
}

pub(crate) fn rotate(story: &Story, name: &str) -> Value {
    story.system.ctl(&["rotate", name, "--wait", "--wait-timeout", "90s", "--reason", "test"]).unwrap()
}

/// What the sidecar gives out now.
pub(crate) fn read(story: &Story, name: &'static str) -> Credential {
    until_readable(&story.system.socket("sidecar-1"), name)
}
