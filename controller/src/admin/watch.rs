//! Follows a rotation until it ends, for a bounded time: a client that wants more asks again.

use std::time::Duration;

use futures_util::stream;
use rekey_model::{CredentialName, RotationId, millis};
use rekey_proto::admin as wire;
use rekey_rotation::Rotation;
use tokio::sync::broadcast::Receiver;
use tonic::Status;

use super::caller::Caller;
use super::refusal::Refusal;
use super::service::Streaming;
use super::{Admin, show};
use crate::executor::Report;
use crate::store::Changed;

/// How long one stream lives.
const LIFE: Duration = Duration::from_mins(10);
/// How soon it is looked again without a change: sessions at the target change without one.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How soon after a change it is looked again: acknowledgements come in swarms.
const REST: Duration = Duration::from_millis(20);
/// How many holders are named.
const NAMED: usize = 20;

/// Waits until a credential may have changed.
#[derive(Debug)]
pub(super) struct Looking {
    admin: Admin,
    name: CredentialName,
    changes: Receiver<Changed>,
    ends: Duration,
}

impl Looking {
    /// Looks at `name` for `life`.
    pub(super) fn new(admin: &Admin, name: CredentialName, life: Duration) -> Self {
        // Before the first read, so that no change falls between.
        let changes = admin.0.store.changes();
        let ends = admin.0.clock.elapsed().saturating_add(life);
        Self { admin: admin.clone(), name, changes, ends }
    }

    /// How it stands now; none when there is no such credential any more.
    pub(super) async fn report(&self) -> Result<Option<Report>, Refusal> {
        self.admin.0.executor.report(&self.name).await.map_err(|e| Refusal::of_commit(&self.name, e))
    }

    /// Waits until something may be new; false when the time is over.
    pub(super) async fn again(&mut self) -> bool {
        let clock = self.admin.0.clock.clone();
        if clock.elapsed() >= self.ends {
            return false;
        }
        let (name, changes) = (&self.name, &mut self.changes);
        let news = async {
            loop {
                match changes.recv().await {
                    Ok(Changed::Credential(of) | Changed::Holders(of)) if of != *name => {}
                    // Lagging means only: look.
                    Ok(_) | Err(_) => break,
                }
            }
        };
        if clock.within(LOOK_EVERY, news).await.is_some() {
            clock.sleep(REST).await;
        }
        true
    }
}

/// One stream: what it looks at, and what it said last.
struct Watching {
    looking: Looking,
    rotation: Rotation,
    last: Option<wire::RotationProgress>,
    over: bool,
}

impl Admin {
    pub(super) async fn tell_progress(
        &self,
        _caller: &Caller,
        asked: wire::WatchRotationRequest,
    ) -> Result<Streaming<wire::RotationProgress>, Refusal> {
        let remedy = "`rekeyctl status NAME` shows the open one";
        let unknown = || show::not_found("rotation", &asked.rotation_id, remedy);
        let id: RotationId = asked.rotation_id.parse().map_err(|_id| unknown())?;
        let (name, rotation) = self.0.store.rotation(id).await?.ok_or_else(unknown)?;
        let looking = Looking::new(self, name, LIFE);
        let watching = Watching { looking, rotation, last: None, over: false };
        Ok(Box::pin(stream::unfold(watching, Watching::next)))
    }
}

impl Watching {
    /// The next thing to say: the present state first, then each that differs; none after the end.
    async fn next(mut self) -> Option<(Result<wire::RotationProgress, Status>, Self)> {
        while !self.over {
            // What was told last is old by now at the earliest when something may have changed.
            if self.last.is_some() && !self.looking.again().await {
                return None;
            }
            match self.look().await {
                Ok(progress) if self.last.as_ref() == Some(&progress) => {}
                Ok(progress) => {
                    self.over = !self.rotation.phase.is_open();
                    self.last = Some(progress.clone());
                    return Some((Ok(progress), self));
                }
                Err(refusal) => {
                    self.over = true;
                    return Some((Err(refusal.to_status()), self));
                }
            }
        }
        None
    }

    async fn look(&mut self) -> Result<wire::RotationProgress, Refusal> {
        let report = self.looking.report().await?;
        if let Some((_, found)) = self.looking.admin.0.store.rotation(self.rotation.id).await? {
            self.rotation = found;
        }
        Ok(progress(&self.looking.name, &self.rotation, report.as_ref()))
    }
}

fn progress(name: &CredentialName, rotation: &Rotation, report: Option<&Report>) -> wire::RotationProgress {
    let open = report.filter(|_| rotation.phase.is_open());
    let waiting = open.into_iter().flat_map(|report| &report.holders);
    let waiting = waiting.filter(|holder| holder.counts && !holder.acknowledged);
    wire::RotationProgress {
        rotation: Some(show::rotation(name, rotation, report)),
        holders: report.map(show::count),
        waiting_holders: waiting.map(|holder| holder.name.clone()).take(NAMED).collect(),
        old_sessions: open.and_then(|report| report.sessions).map(|(_, sessions)| sessions.into()),
        propagation_ms: rotation.propagation().map(millis),
    }
}
