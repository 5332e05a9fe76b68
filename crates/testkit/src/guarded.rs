//! Processes of one part in one folder: ended in order with the handle, and also when the test process is killed.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::Process;

/// How long a process may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Running processes that work in one folder; the last one started is ended first.
#[derive(Debug)]
pub(crate) struct Guarded {
    processes: Vec<Process>,
    watchdog: Child,
}

impl Guarded {
    /// Guards processes whose working folder is `folder`, in the order in which they were started.
    pub(crate) fn new(processes: Vec<Process>, folder: &Path) -> Result<Self> {
        let ids: Vec<String> = processes.iter().rev().map(|process| process.id().to_string()).collect();
        let watchdog = watchdog(&ids, folder)?;
        Ok(Self { processes, watchdog })
    }

    /// The process that was started last.
    pub(crate) fn last(&mut self) -> Option<&mut Process> {
        self.processes.last_mut()
    }

    /// Their process ids.
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::id).collect()
    }

    /// Whether any has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.processes.iter_mut().any(|process| process.ended().is_some())
    }

    /// The last lines of their logs, for an error.
    pub(crate) fn log_end(&self) -> String {
        self.processes.iter().map(Process::log_end).collect::<Vec<_>>().join("\n")
    }

    /// Lets the watchdog see what it sees when the test process is killed, and waits for what it does then.
    pub(crate) fn as_if_killed(&mut self) {
        drop(self.watchdog.stdin.take());
        drop(self.watchdog.wait());
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // The watchdog first: it must not signal an id that belongs to somebody else by then.
        drop(self.watchdog.kill());
        drop(self.watchdog.wait());
        for process in self.processes.iter_mut().rev() {
            process.resume();
            process.terminate();
            if process.wait(GRACE).is_err() {
                process.kill();
            }
        }
    }
}

/// Kills them should this process be killed, and takes the folder away: it waits for the end of a pipe that only we hold
/// open.
fn watchdog(ids: &[String], folder: &Path) -> Result<Child> {
    let script = r#"cat >/dev/null; folder=$1; shift
for id; do [ "$(readlink "/proc/$id/cwd")" = "$folder" ] && kill -KILL "$id"; done
i=0; while [ $i -lt 50 ] && ! rm -rf "$folder" 2>/dev/null; do sleep 0.1; i=$((i+1)); done"#;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, "watchdog"]).arg(folder).args(ids);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().context("start the watchdog of a part")
}
