//! Takes up an edited config while the sidecar runs: the whole file is read and checked as at the start, and a bad edit
//! changes nothing.
//!
//! The *directory* is watched, because Kubernetes swaps a symlink beside the file and editors rename over it; and it is
//! looked at once a minute anyway, where the kernel says nothing (NFS, overflow). An event means *look again*.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use rekey_runtime::{CancellationToken, Clock};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::{Config, ConfigError};
use crate::callers::InForce;

/// How long a directory must be quiet before it is read.
const QUIET: Duration = Duration::from_millis(200);
/// How often to look without being told.
const POLL: Duration = Duration::from_mins(1);

/// Watches one file.
#[derive(Debug)]
pub struct Reload {
    path: PathBuf,
    callers: Arc<InForce>,
    applied: Config,
    last: Option<Result<Config, Vec<String>>>,
}

/// What a look at the file led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// Nothing that was not seen before.
    Same,
    /// What reloads was put in force; these settings wait for a restart.
    Applied(Vec<&'static str>),
    /// It was refused for these reasons; nothing was changed.
    Refused(Vec<String>),
}

impl Reload {
    /// Puts what the file at `path` comes to say into `callers`; `applied` is in force now.
    pub fn new(path: PathBuf, applied: Config, callers: Arc<InForce>) -> Self {
        Self { path, callers, applied, last: None }
    }

    /// Looks again whenever the file may have changed, until `ended`.
    pub async fn run(mut self, clock: Clock, ended: CancellationToken) {
        let (tell, mut told) = mpsc::channel(1);
        let watcher = watch(&self.path, tell);
        if let Err(problem) = &watcher {
            warn!(error = problem as &dyn std::error::Error, "the config is only looked at once a minute");
        }
        loop {
            tokio::select! {
                () = ended.cancelled() => return,
                () = clock.sleep(POLL) => {}
                Some(()) = told.recv() => settle(&mut told, &clock).await,
            }
            report(&self.look());
        }
    }

    /// Reads the file now.
    pub fn look(&mut self) -> Look {
        let read = Config::load(&self.path).map_err(|error: ConfigError| error.lines());
        let seen = self.last.as_ref().map_or(Ok(&self.applied), |last| last.as_ref());
        match (&read, seen) {
            (Err(now), Err(before)) if now == before => return Look::Same,
            (Ok(now), Ok(before)) if same(now, before) => return Look::Same,
            _ => {}
        }
        let look = match &read {
            Ok(now) => {
                self.callers.replace(now.callers.clone());
                Look::Applied(now.differs_beyond_reload(&self.applied))
            }
            Err(lines) => Look::Refused(lines.clone()),
        };
        self.last = Some(read);
        look
    }
}

fn same(one: &Config, other: &Config) -> bool {
    one.callers == other.callers && one.differs_beyond_reload(other).is_empty()
}

fn report(look: &Look) {
    match look {
        Look::Same => {}
        Look::Applied(restart) if restart.is_empty() => info!("the config was reloaded"),
        Look::Applied(restart) => {
            warn!(settings = %restart.join(", "), "the config was reloaded; these settings wait for a restart");
        }
        Look::Refused(lines) => {
            for line in lines {
                error!("the config is refused and changes nothing: {line}");
            }
        }
    }
}

/// Waits until nothing was told for [`QUIET`], but not for ever.
async fn settle(told: &mut mpsc::Receiver<()>, clock: &Clock) {
    for _ in 0..25 {
        if !matches!(clock.within(QUIET, told.recv()).await, Some(Some(()))) {
            return;
        }
    }
}

fn watch(path: &Path, tell: mpsc::Sender<()>) -> notify::Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the file is an event, too; and a full queue says already what there is to say.
        let only_read = event.is_ok_and(|event| event.kind.is_access());
        let _told_before = (!only_read).then(|| tell.try_send(()));
    })?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    watcher.watch(directory, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}
