//! Supervised tasks: every one has a name and an end that somebody hears of.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long aborted tasks are waited for, after the grace.
const ABORT: Duration = Duration::from_secs(1);

/// The essential tasks of a process. When one of them ends, even well, the process ends.
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<(&'static str, How)>,
    running: Vec<&'static str>,
    spawner: Spawner,
}

/// Starts transient tasks: they may end as they like, and their panic ends nothing else. Clones belong together.
#[derive(Debug, Clone)]
pub struct Spawner {
    tracker: TaskTracker,
    cancel: CancellationToken,
    kill: CancellationToken,
    panics: Arc<AtomicU64>,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// With `Ok`.
    Finished,
    /// With this error and its causes.
    Failed(String),
    /// With a panic. What it said is not kept, because it may hold a secret.
    Panicked,
}

/// Why the process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Signal,
    /// An essential task ended.
    Task {
        /// Which one.
        name: &'static str,
        /// How.
        how: How,
    },
}

/// What [`Tasks::run`] has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Why the process ended.
    pub ended: Ended,
    /// Essential tasks that failed or panicked while they were told to end.
    pub failed: Vec<(&'static str, How)>,
    /// Essential tasks that did not end within the grace and were aborted.
    pub late: Vec<&'static str>,
    /// Transient tasks that did not end within the grace and were aborted.
    pub late_transient: usize,
    /// Panics of transient tasks in the life of the process.
    pub panics: u64,
}

impl Report {
    /// Whether the process ended because it was told to, with nothing failing and nobody late.
    pub fn is_clean(&self) -> bool {
        self.ended == Ended::Signal && self.failed.is_empty() && self.late.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ended {
            Ended::Signal => f.write_str("ended as told")?,
            Ended::Task { name, how: How::Finished } => write!(f, "task {name} ended")?,
            Ended::Task { name, how: How::Failed(error) } => write!(f, "task {name} failed: {error}")?,
            Ended::Task { name, how: How::Panicked } => write!(f, "task {name} panicked")?,
        }
        for (name, how) in &self.failed {
            write!(f, "; while ending, task {name}: {how:?}")?;
        }
        if !self.late.is_empty() {
            write!(f, "; aborted after the grace: {}", self.late.join(", "))?;
        }
        Ok(())
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    /// None yet.
    pub fn new() -> Self {
        let spawner = Spawner {
            tracker: TaskTracker::new(),
            cancel: CancellationToken::new(),
            kill: CancellationToken::new(),
            panics: Arc::default(),
        };
        Self { set: JoinSet::new(), running: Vec::new(), spawner }
    }

    /// Is cancelled when the process is to end: tasks stop what they do and return.
    pub fn cancel(&self) -> CancellationToken {
        self.spawner.cancel.clone()
    }

    /// For those who start transient tasks.
    pub fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    /// Starts an essential task. Its error is told with all its causes, so it must hold no secret.
    pub fn essential<E>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.running.push(name);
        self.set.spawn(async move {
            let how = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) => How::Finished,
                Ok(Err(error)) => How::Failed(with_causes(&*error.into())),
                Err(payload) => panicked(payload),
            };
            (name, how)
        });
    }

    /// Runs until `signal` ends or any essential task does, even with `Ok`; then cancels, waits `grace`, and aborts.
    pub async fn run(mut self, signal: impl Future<Output = ()>, grace: Duration) -> Report {
        let ended = tokio::select! {
            biased;
            Some((name, how)) = next(&mut self.set) => {
                self.ended(name);
                Ended::Task { name, how }
            }
            () = signal => Ended::Signal,
        };
        tracing::info!(why = %describe(&ended), "ending");
        self.spawner.cancel.cancel();
        self.spawner.tracker.close();
        let mut failed = Vec::new();
        let patience = tokio::time::timeout(grace, self.wait(&mut failed)).await;
        let (late, late_transient) = match patience {
            Ok(()) => (Vec::new(), 0),
            Err(_elapsed) => (std::mem::take(&mut self.running), self.spawner.tracker.len()),
        };
        self.spawner.kill.cancel();
        self.set.abort_all();
        let gone = async { while self.set.join_next().await.is_some() {} };
        if tokio::time::timeout(ABORT, gone).await.is_err() {
            tracing::error!("a task does not even stop when aborted");
        }
        let panics = self.spawner.panics();
        Report { ended, failed, late, late_transient, panics }
    }

    /// Waits for everything, noting which essential tasks failed on the way out.
    async fn wait(&mut self, failed: &mut Vec<(&'static str, How)>) {
        while let Some((name, how)) = next(&mut self.set).await {
            self.ended(name);
            if how != How::Finished {
                failed.push((name, how));
            }
        }
        self.spawner.tracker.wait().await;
    }

    fn ended(&mut self, name: &'static str) {
        if let Some(index) = self.running.iter().position(|running| *running == name) {
            self.running.swap_remove(index);
        }
    }
}

impl Spawner {
    /// Starts a transient task. A panic is counted and logged; at the end of the process the task is told by
    /// [`Spawner::cancel`], and aborted after the grace.
    pub fn start(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let (kill, panics) = (self.kill.clone(), Arc::clone(&self.panics));
        self.tracker.spawn(async move {
            let task = AssertUnwindSafe(task).catch_unwind();
            if let Some(Err(payload)) = kill.run_until_cancelled(task).await {
                panics.fetch_add(1, Ordering::Relaxed);
                tracing::error!(task = name, "a task panicked");
                drop(panicked(payload));
            }
        });
    }

    /// Is cancelled when the process is to end.
    pub fn cancel(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// How many transient tasks have panicked.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// How many transient tasks are running.
    pub fn running(&self) -> usize {
        self.tracker.len()
    }
}

/// Ends at SIGTERM or SIGINT: what [`Tasks::run`] is given by every `main`.
pub fn signalled() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// An error and what caused it, in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}

async fn next(set: &mut JoinSet<(&'static str, How)>) -> Option<(&'static str, How)> {
    match set.join_next().await? {
        Ok(ended) => Some(ended),
        // Panics are caught inside and nobody aborts before the end, so this names a task only in theory.
        Err(_) => Some(("unknown", How::Panicked)),
    }
}

/// Drops what a panic said; dropping that may panic again, which must not pass either.
fn panicked(payload: Box<dyn Any + Send>) -> How {
    if std::panic::catch_unwind(AssertUnwindSafe(|| drop(payload))).is_err() {
        tracing::error!("the payload of a panic panicked");
    }
    How::Panicked
}

fn describe(ended: &Ended) -> String {
    match ended {
        Ended::Signal => "told to".to_owned(),
        Ended::Task { name, how } => format!("task {name}: {how:?}"),
    }
}

#[cfg(test)]
mod tests;
