//! A consumer that uses one credential all the time, as an application does: it reads it anew before each use, says which
//! version it is on, and reports how each use went.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, ensure};
use rekey_client::{Builder, Client, Credential, InUse, Watched};
use tokio::runtime::Runtime;

use crate::patience::comes;

/// How a consumer reads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum How {
    /// One call for each use.
    Get,
    /// What was pushed into its own memory.
    Watch,
}

/// One use of a credential.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    /// What is to be used.
    pub(crate) credential: &'a Credential,
    reader: &'a Reader,
}

impl Turn<'_> {
    /// A field as text.
    pub(crate) fn text(&self, field: &str) -> Result<&str, String> {
        self.credential.text(field).map_err(|error| error.to_string())
    }

    /// Says that this version is in use for as long as what this returns lives: beside a connection that is kept.
    pub(crate) fn hold(&self) -> InUse {
        self.reader.watched.uses(self.credential.version())
    }

    /// Another credential that it reads beside this one.
    pub(crate) fn beside(&self, name: &str) -> Result<Credential, String> {
        self.reader.get(name)
    }
}

/// What a consumer has counted.
#[derive(Debug, Default)]
pub(crate) struct Used {
    /// Uses in all.
    pub(crate) uses: u64,
    /// What failed, with the version.
    pub(crate) failures: Vec<String>,
    /// What failed while that was expected.
    pub(crate) expected: u64,
}

impl Used {
    /// Counts one use. What failed is a failure, but while refusals are expected.
    fn count(&mut self, outcome: Result<(), String>, expected: bool) {
        self.uses += 1;
        match outcome {
            Ok(()) => {}
            Err(_) if expected => self.expected += 1,
            Err(why) => self.failures.push(why),
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    refusals_expected: AtomicBool,
    uses: AtomicU64,
    /// Uses in a row that went well.
    good: AtomicU64,
}

/// A consumer at work. Ends with its handle.
#[derive(Debug)]
pub(crate) struct Consumer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<Used>>>,
}

impl Consumer {
    /// Starts one that uses `name`, served at `socket`, by `work`, which says what went wrong.
    pub(crate) fn start(
        socket: &Path,
        name: &str,
        how: How,
        work: impl FnMut(&Turn<'_>) -> Result<(), String> + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let (seen, name, builder) = (Arc::clone(&shared), name.to_owned(), builder(socket));
        let thread = std::thread::spawn(move || {
            // The client's own task goes on while a use of the credential takes its time.
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            let client = runtime.block_on(builder.connect())?;
            // It may have been declared a moment ago, and the sidecar hears of it a moment later.
            let mut watched = None;
            let there = comes(|| {
                watched = runtime.block_on(ready(&client, &name));
                watched.is_some()
            });
            ensure!(there, "there is nothing to read as {name}");
            let watched = watched.context("it was there")?;
            Ok(go_on(&seen, &Reader { runtime, client, watched, how }, work))
        });
        Self { shared, thread: Some(thread) }
    }

    /// Waits until it has used the credential so many times more.
    pub(crate) fn let_work(&self, times: u64) -> Result<()> {
        let until = self.shared.uses.load(Ordering::SeqCst) + times;
        self.wait("uses nothing", || self.shared.uses.load(Ordering::SeqCst) >= until)
    }

    /// From now on, refusals are expected: the credential is being cut.
    pub(crate) fn expect_refusals(&self) {
        self.shared.refusals_expected.store(true, Ordering::SeqCst);
    }

    /// Waits until it works again, five times in a row; from then on nothing may fail.
    pub(crate) fn recovered(&self) -> Result<()> {
        self.shared.good.store(0, Ordering::SeqCst);
        self.wait("does not work again", || self.shared.good.load(Ordering::SeqCst) >= 5)?;
        self.shared.refusals_expected.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Ends it, and gives what it has counted.
    pub(crate) fn end(mut self) -> Result<Used> {
        self.shared.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().context("it has ended")?;
        thread.join().unwrap_or_else(|_panic| anyhow::bail!("the consumer panicked"))
    }

    fn wait(&self, what: &str, done: impl Fn() -> bool) -> Result<()> {
        let ended = || self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        ensure!(comes(|| done() || ended()) && !ended(), "the consumer {what}");
        Ok(())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// How it gets what it uses.
#[derive(Debug)]
struct Reader {
    runtime: Runtime,
    client: Client,
    watched: Watched,
    how: How,
}

impl Reader {
    fn read(&self) -> Result<Arc<Credential>, String> {
        match self.how {
            How::Get => self.get(self.watched.name().as_str()).map(Arc::new),
            How::Watch => {
                self.runtime.block_on(self.watched.ready()).map_err(|error| error.to_string())?;
                self.watched.load().map(|loaded| loaded.keep()).map_err(|error| error.to_string())
            }
        }
    }

    fn get(&self, name: &str) -> Result<Credential, String> {
        self.runtime.block_on(self.client.get(name)).map_err(|error| error.to_string())
    }
}

fn go_on(shared: &Shared, reader: &Reader, mut work: impl FnMut(&Turn<'_>) -> Result<(), String>) -> Used {
    let mut used = Used::default();
    while !shared.stop.load(Ordering::SeqCst) {
        let expected_before = shared.refusals_expected.load(Ordering::SeqCst);
        let outcome = reader.read().and_then(|credential| {
            let watched = &reader.watched;
            let version = credential.version();
            // However long a use takes on a busy machine, the version is in use meanwhile.
            let in_use = watched.uses(version);
            let outcome = work(&Turn { credential: &credential, reader });
            drop(in_use);
            match outcome {
                Ok(()) => watched.accepted(version),
                Err(_) => watched.refused(version),
            }
            outcome.map_err(|why| format!("{version}: {why}"))
        });
        shared.uses.fetch_add(1, Ordering::SeqCst);
        match &outcome {
            Ok(()) => shared.good.fetch_add(1, Ordering::SeqCst),
            Err(_) => shared.good.swap(0, Ordering::SeqCst),
        };
        used.count(outcome, expected_before || shared.refusals_expected.load(Ordering::SeqCst));
    }
    used
}

async fn ready(client: &Client, name: &str) -> Option<Watched> {
    client.get(name).await.ok()?;
    let watched = client.watch(name).await.ok()?;
    watched.ready().await.ok()?;
    Some(watched)
}

fn builder(socket: &Path) -> Builder {
    let patient = std::time::Duration::from_secs(30);
    let builder = Builder::new(socket).connect_timeout(patient).call_timeout(patient);
    match rekey_testkit::unprivileged() {
        Some(uid) => builder.server_uid(uid),
        None => builder,
    }
}

/// What the sidecar gives out now.
pub(crate) fn read(socket: &Path, name: &str) -> Result<Credential> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { Ok(builder(socket).connect().await?.get(name).await?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_use_is_counted_and_every_failure_but_those_that_are_expected() {
        let mut used = Used::default();
        used.count(Ok(()), false);
        used.count(Ok(()), true);
        used.count(Err("v2: a login".to_owned()), true);
        used.count(Err("v3: a login".to_owned()), false);
        assert_eq!((used.uses, used.expected), (4, 1));
        assert_eq!(used.failures, ["v3: a login"]);
    }
}
