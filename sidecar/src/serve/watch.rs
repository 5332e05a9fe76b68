//! One watch: the current version, then every later one, and whether it is stale; a slow reader skips what was
//! overtaken. It ends when its reader may no longer read.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use rekey_proto::encoded::WatchResponse;
use rekey_proto::encoded::watch_response::Update;
use tokio::sync::watch;
use tonic::Status;

use super::Shared;
use super::counts::Method;
use super::credentials::Answers;
use super::unreadable::Refused;
use crate::live::{Reading, Unreadable};
use crate::usage::Consumer;

struct Watch {
    shared: Shared,
    consumer: Arc<Consumer>,
    name: String,
    revisions: watch::Receiver<u64>,
    rules: watch::Receiver<()>,
    sent: Option<Sent>,
    ended: bool,
}

/// What the reader was told last.
#[derive(PartialEq)]
enum Sent {
    Answer { answer: Bytes, stale: bool },
    Unavailable(Refused),
}

/// Opens a watch on `name`. A name that is none, or that this caller cannot have, is refused at once; nothing to give
/// yet is not.
pub(super) fn open(
    shared: Shared,
    consumer: Arc<Consumer>,
    name: String,
) -> Result<Answers<WatchResponse>, Status> {
    let (revisions, rules) = (shared.live.revisions(), shared.callers.replacements());
    if let Err(why) = shared.read(&consumer, &name)
        && ends_a_watch(&why)
    {
        shared.counts.answered(Method::Watch, Some(&why));
        return Err(why.status());
    }
    let watch = Watch { shared, consumer, name, revisions, rules, sent: None, ended: false };
    Ok(Box::pin(stream::unfold(watch, |mut watch| async move {
        let next = watch.next().await?;
        Some((next, watch))
    })))
}

fn ends_a_watch(why: &Refused) -> bool {
    matches!(why, Refused::Invalid(_) | Refused::Live(Unreadable::NotFound))
}

impl Watch {
    async fn next(&mut self) -> Option<Result<WatchResponse, Status>> {
        while !self.ended {
            self.revisions.mark_unchanged();
            self.rules.mark_unchanged();
            let found = self.shared.read(&self.consumer, &self.name);
            let look_again_at = match &found {
                Ok(reading) => reading.look_again_ms,
                Err(Refused::Live(Unreadable::Settling { until_ms })) => Some(*until_ms),
                Err(_) => None,
            };
            let refused = found.as_ref().err().cloned();
            if let Some(next) = self.tell(found) {
                self.shared.counts.answered(Method::Watch, refused.as_ref());
                return Some(next);
            }
            tokio::select! {
                changed = self.revisions.changed() => self.ended = changed.is_err(),
                replaced = self.rules.changed() => self.ended = replaced.is_err(),
                () = self.shared.live.clock().until(look_again_at) => {}
                () = self.shared.ended.cancelled() => {
                    self.ended = true;
                    return Some(Err(Status::unavailable("this sidecar is shutting down")));
                }
            }
        }
        None
    }

    /// What is news to the reader, if anything is.
    fn tell(&mut self, found: Result<Reading, Refused>) -> Option<Result<WatchResponse, Status>> {
        let (sent, response) = match found {
            Ok(Reading { answer, freshness, .. }) => {
                let update = Some(Update::Credential(answer.clone()));
                let sent = Sent::Answer { answer, stale: freshness.stale };
                (sent, WatchResponse { freshness: Some(freshness.into()), update })
            }
            Err(why) if ends_a_watch(&why) => {
                self.ended = true;
                return Some(Err(why.status()));
            }
            Err(why) => {
                let update = Some(Update::Unavailable(why.answer()));
                (Sent::Unavailable(why), WatchResponse { freshness: None, update })
            }
        };
        let news = self.sent.as_ref() != Some(&sent);
        self.sent = Some(sent);
        news.then_some(Ok(response))
    }
}
