//! Webhooks: every record of the audit is posted to whoever the config names, in order, signed, at least once.
//!
//! How far each one is stands in the store, and moves on when its receiver said 2xx; so nothing is lost by a crash on
//! either side, and what is told twice has the same id. A receiver that is away is tried until it is back. What is told
//! are words and numbers of the audit: no secret is among them.

mod event;
mod send;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{Label, Moment};
use rekey_runtime::backoff::Backoff;
use rekey_runtime::post::Url;
use rekey_runtime::{CancellationToken, Clock};

use crate::audit::{Record, Verb};
use crate::store::{Store, StoreError, WebhookRow};

use event::Event;
use send::{Failed, Told};

/// How often is looked for records when no commit tells of itself.
const LOOK: Duration = Duration::from_secs(2);
/// Records read at a time.
const PAGE: u32 = 200;
/// The first and the longest wait before a try is made again.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));
/// How long one cannot be told anything until that alarms.
pub const BEHIND: Duration = Duration::from_mins(5);
/// How many records are counted to say how far behind one is.
pub const COUNTED: u32 = 1000;

/// One receiver, as the config has it.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// What it is called.
    pub name: Label,
    /// Where it is.
    pub to: To,
    /// The keys that sign, one a line, the newest first; none: nothing is signed.
    pub secret_file: Option<PathBuf>,
    /// What it is told of; empty: of everything.
    pub events: Vec<Verb>,
    /// What a body looks like.
    pub format: Format,
    /// How long one try may take.
    pub timeout: Duration,
    /// Whom it trusts, as PEM.
    pub ca_file: PathBuf,
}

/// Where a receiver is.
#[derive(Debug, Clone)]
pub enum To {
    /// Here.
    Url(Url),
    /// In this file, because the address is a secret; read at each use.
    File(PathBuf),
}

/// What a body looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `{"id", "type", "timestamp", "data"}`.
    Json,
    /// `{"text"}`, one sentence for people.
    Slack,
}

impl Format {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Slack => "slack",
        }
    }
}

impl Webhook {
    fn wants(&self, record: &Record) -> bool {
        self.events.is_empty() || self.events.iter().any(|verb| verb.as_str() == record.verb)
    }
}

/// How far a webhook is.
#[derive(Debug)]
pub struct Standing {
    /// Which.
    pub webhook: Webhook,
    /// What the store has of it.
    pub row: WebhookRow,
    /// Records that it is still to be told, counted among the next [`COUNTED`].
    pub behind: usize,
}

/// All webhooks. Clones are the same.
#[derive(Debug, Clone)]
pub struct Webhooks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    clock: Clock,
    all: Vec<Webhook>,
}

/// What became of a look.
enum Next {
    /// There may be more.
    More,
    /// There is nothing to tell.
    Nothing,
    /// It could not be told: try again after this time.
    Retry(Duration),
}

impl Webhooks {
    /// The webhooks of the config. New ones begin where the audit is now, and those that the config no longer has are
    /// forgotten.
    pub async fn begin(store: Store, clock: Clock, all: Vec<Webhook>) -> Result<Self, StoreError> {
        let known = store.webhooks().await?;
        let is = |row: &WebhookRow, webhook: &Webhook| row.name == webhook.name.as_str();
        let mut tx = store.begin().await?;
        for gone in known.iter().filter(|row| !all.iter().any(|webhook| is(row, webhook))) {
            tx.drop_webhook(&gone.name).await?;
        }
        for new in all.iter().filter(|webhook| !known.iter().any(|row| is(row, webhook))) {
            let told = tx.audit_seq();
            tx.put_webhook(&WebhookRow { told, ..WebhookRow::new(new.name.as_str()) }).await?;
        }
        tx.commit().await?;
        Ok(Self(Arc::new(Inner { store, clock, all })))
    }

    /// Tells all of them what there is to tell, until it is cancelled.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), StoreError> {
        let all = self.0.all.iter().map(|webhook| self.keep_telling(webhook));
        let all = futures_util::future::join_all(all);
        tokio::select! {
            () = cancel.cancelled() => {}
            // None of them ends; without any, there is nothing to do.
            _none = all => cancel.cancelled().await,
        }
        Ok(())
    }

    /// Tells one of them whatever happens. Does not end.
    async fn keep_telling(&self, webhook: &Webhook) {
        let mut changes = self.0.store.changes();
        let mut backoff = Backoff::new(WAITS.0, WAITS.1);
        loop {
            match self.tell(webhook, &mut backoff).await {
                Ok(Next::More) => {}
                Ok(Next::Nothing) => {
                    // What changed is no matter: a record may have come with it.
                    drop(self.0.clock.within(LOOK, changes.recv()).await);
                }
                Ok(Next::Retry(wait)) => self.0.clock.sleep(wait).await,
                Err(error) => {
                    tracing::warn!(webhook = %webhook.name, %error, "the store does not say what to tell; trying again");
                    self.0.clock.sleep(LOOK).await;
                }
            }
        }
    }

    /// Tells what is next. What was told is noted before anything else is.
    async fn tell(&self, webhook: &Webhook, backoff: &mut Backoff) -> Result<Next, StoreError> {
        let Some(mut row) = self.row(webhook).await?.filter(|row| !row.stopped) else {
            return Ok(Next::Nothing);
        };
        let page = self.0.store.audit_after(row.told, PAGE).await?;
        for record in page.iter().filter(|record| webhook.wants(record)) {
            match self.send(webhook, &Event::of(record)).await {
                Ok(Told(_status)) => {
                    backoff.worked();
                    row = WebhookRow { told: record.seq, ..WebhookRow::new(&row.name) };
                    self.put(&row).await?;
                }
                Err(failed) => return self.failed(row, failed, backoff).await,
            }
        }
        let whole = u32::try_from(page.len()).is_ok_and(|count| count == PAGE);
        match page.last().filter(|_| whole) {
            None => Ok(Next::Nothing),
            Some(last) => {
                if last.seq > row.told {
                    self.put(&WebhookRow { told: last.seq, ..row }).await?;
                }
                Ok(Next::More)
            }
        }
    }

    async fn failed(
        &self,
        row: WebhookRow,
        failed: Failed,
        backoff: &mut Backoff,
    ) -> Result<Next, StoreError> {
        let (why, now) = (failed.to_string(), self.0.clock.now());
        let wait = backoff.failed();
        let news = row.failing.is_none() || row.last_error != why || failed == Failed::Gone;
        if news {
            tracing::warn!(webhook = %row.name, %why, "a webhook was not told; trying again");
            let failing = Some(row.failing.unwrap_or(now));
            self.put(&WebhookRow { failing, last_error: why, stopped: failed == Failed::Gone, ..row })
                .await?;
        }
        Ok(Next::Retry(match failed {
            Failed::Busy(_, wanted) => wait.max(wanted.min(WAITS.1)),
            Failed::Gone | Failed::Refused(_) | Failed::Unreached(_) | Failed::Here(_) => wait,
        }))
    }

    async fn put(&self, row: &WebhookRow) -> Result<(), StoreError> {
        let mut tx = self.0.store.begin().await?;
        tx.put_webhook(row).await?;
        tx.commit().await
    }

    async fn row(&self, webhook: &Webhook) -> Result<Option<WebhookRow>, StoreError> {
        let rows = self.0.store.webhooks().await?;
        Ok(rows.into_iter().find(|row| row.name == webhook.name.as_str()))
    }

    /// How far each of them is.
    pub async fn standing(&self) -> Result<Vec<Standing>, StoreError> {
        let mut all = Vec::new();
        for webhook in &self.0.all {
            let Some(row) = self.row(webhook).await? else { continue };
            let next = self.0.store.audit_after(row.told, COUNTED).await?;
            let behind = next.iter().filter(|record| webhook.wants(record)).count();
            all.push(Standing { webhook: webhook.clone(), row, behind });
        }
        Ok(all)
    }

    /// Tells a webhook that this is a test: the status of the answer, or why there was none that is good. One that was
    /// stopped goes on if it worked. None: there is no such webhook.
    pub async fn test(&self, name: &str) -> Result<Option<Result<u16, String>>, StoreError> {
        let Some(webhook) = self.0.all.iter().find(|it| it.name.as_str() == name) else { return Ok(None) };
        match self.send(webhook, &Event::test(self.0.clock.now())).await {
            Ok(Told(status)) => {
                if let Some(row) = self.row(webhook).await?.filter(|row| row.stopped) {
                    self.put(&WebhookRow { told: row.told, ..WebhookRow::new(&row.name) }).await?;
                }
                Ok(Some(Ok(status)))
            }
            Err(failed) => Ok(Some(Err(failed.to_string()))),
        }
    }
}

/// Whether a webhook is so far behind that somebody is to know, and how to say it.
pub fn behind(row: &WebhookRow, now: Moment) -> Option<String> {
    if row.stopped {
        return Some(format!("webhook {} is told nothing any more: {}", row.name, row.last_error));
    }
    let long = row.failing.is_some_and(|since| now.at_least_since(since) >= BEHIND);
    long.then(|| {
        let least = rekey_model::Span::new(BEHIND);
        format!(
            "webhook {} was told nothing for more than {least}: {}; nothing is lost",
            row.name, row.last_error
        )
    })
}

#[cfg(test)]
mod tests;
