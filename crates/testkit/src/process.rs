//! One process that a test started: its log in a file, its signals, its end.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

const POLL: Duration = Duration::from_millis(10);

/// What of our own environment a part may see.
const INHERITED: [&str; 6] = ["PATH", "HOME", "TMPDIR", "LANG", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"];

/// A process to be started.
#[derive(Debug)]
pub struct Launch {
    command: Command,
    log: PathBuf,
}

impl Launch {
    /// Starts `program` with a nearly empty environment; what it prints goes to the file `log`.
    pub fn new(program: impl AsRef<Path>, log: impl Into<PathBuf>) -> Self {
        let mut command = Command::new(program.as_ref());
        command.env_clear().stdin(Stdio::null()).process_group(0);
        for name in INHERITED {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        Self { command, log: log.into() }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.command.arg(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<T: Into<OsString>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.command.args(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.command.env(name.into(), value.into());
        self
    }

    /// Runs in this folder.
    #[must_use]
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.command.current_dir(folder.as_ref());
        self
    }

    /// Runs as this uid and gid; needs root.
    #[must_use]
    pub fn owner(mut self, id: Option<u32>) -> Self {
        if let Some(id) = id {
            self.command.uid(id).gid(id);
        }
        self
    }

    /// Starts it. The log is appended to, so a restarted part keeps one.
    pub fn start(mut self) -> Result<Process> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("open the log {}", self.log.display()))?;
        self.command.stdout(log.try_clone()?).stderr(log);
        let program = self.command.get_program().to_owned();
        let child = self.command.spawn().with_context(|| format!("start {}", program.display()))?;
        Ok(Process { child, log: self.log })
    }
}

/// A running process; killed when the handle is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it has printed so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Where it prints to.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends `signal`; a process that has ended already gets none.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_some() {
            return;
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may end between the look and the signal; as our unreaped child its id cannot be another's.
            kill_process(pid, signal).ok();
        }
    }

    /// Asks it to end: SIGTERM.
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Stops it where it stands: SIGSTOP.
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on: SIGCONT.
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Ends it at once and waits for that: SIGKILL.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        drop(self.child.wait());
    }

    /// Waits for its end at most `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        for _ in 0..polls(limit) {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            thread::sleep(POLL);
        }
        bail!("process {} still runs after {limit:?}; its log ends:\n{}", self.id(), self.log_end())
    }

    /// Waits at most `limit` until its log contains `text`.
    pub fn wait_for_log(&mut self, text: &str, limit: Duration) -> Result<()> {
        for _ in 0..polls(limit) {
            if self.log().contains(text) {
                return Ok(());
            }
            if let Some(status) = self.ended() {
                bail!("it ended ({status}) before it said {text:?}; its log ends:\n{}", self.log_end());
            }
            thread::sleep(POLL);
        }
        bail!("it has not said {text:?} within {limit:?}; its log ends:\n{}", self.log_end())
    }

    /// The last lines of its log, for an error.
    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(30)).copied().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Looks every 10 ms, at most `limit`, until `done`; says whether it was.
pub fn poll(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    for _ in 0..polls(limit) {
        if done() {
            return true;
        }
        thread::sleep(POLL);
    }
    done()
}

fn polls(limit: Duration) -> u128 {
    limit.as_millis() / POLL.as_millis() + 1
}

/// A TCP port on loopback that was free a moment ago. Prefer parts that bind port 0 and say what they got.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, folder: &Path) -> Process {
        Launch::new("/bin/sh", folder.join("log")).args(["-c", script]).start().unwrap()
    }

    #[test]
    fn a_process_ends_with_its_handle() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell("echo up; exec sleep 600", folder.path());
        process.wait_for_log("up", Duration::from_mins(1)).unwrap();
        let id = process.id();
        drop(process);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }

    #[test]
    fn an_early_end_is_told_with_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell("echo a reason; exit 3", folder.path());
        let error = process.wait_for_log("ready", Duration::from_mins(1)).unwrap_err().to_string();
        assert!(error.contains("a reason"), "{error}");
        assert_eq!(process.wait(Duration::from_mins(1)).unwrap().code(), Some(3));
    }

    #[test]
    fn the_environment_is_not_inherited() {
        let folder = tempfile::tempdir().unwrap();
        let mut process =
            Launch::new("/usr/bin/env", folder.path().join("log")).env("A", "1").start().unwrap();
        process.wait(Duration::from_mins(1)).unwrap();
        assert!(process.log().contains("A=1"));
        assert!(!process.log().contains("CARGO_PKG_NAME"), "{}", process.log());
    }
}
