//! Writes down what sidecars say: many messages a commit, and nothing of a session that is over.
//!
//! A session is over for good once its lease has ended, even if no other has taken its place: a late renewal or
//! acknowledgement must not revive a holder that a guard may already have left out.

use std::time::Duration;

use rekey_model::{CredentialName, Generation, InstanceId, Moment, Order, SessionId};
use rekey_runtime::{CancellationToken, Clock};
use tokio::sync::{mpsc, oneshot};

use super::refusal::Refusal;
use crate::audit::Entry;
use crate::store::{Ack, Applied, InstanceRow, Nacked, Store, StoreError, Tx};

/// How many messages may wait; streams that have more to say wait themselves.
const QUEUE: usize = 1024;
/// How many messages one commit takes.
const BATCH: usize = 256;
/// How often a commit is tried.
const TRIES: u32 = 3;
/// How long after a failed one.
const PAUSE: Duration = Duration::from_millis(50);

/// Takes what sessions say. Clones lead to the same writer.
#[derive(Debug, Clone)]
pub(super) struct Recorder(mpsc::Sender<Said>);

/// The one who writes.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Receiver<Said>,
    store: Store,
    clock: Clock,
    lease: Duration,
    listening: Moment,
}

/// Something that a session said.
#[derive(Debug)]
struct Said {
    instance: InstanceId,
    session: SessionId,
    what: Evidence,
    done: oneshot::Sender<Option<Applied>>,
}

/// What can be written down.
#[derive(Debug, Clone)]
pub(super) enum Evidence {
    /// What was swapped to, and what was dropped because it is no longer granted.
    Acks(Generation, Vec<Ack>, Vec<CredentialName>),
    /// What was refused.
    Nack(CredentialName, Nacked, Box<Entry>),
    /// What local processes do.
    Usage(Vec<(CredentialName, Order, serde_json::Value)>),
    /// It is there and wants to go on.
    Renew,
    /// It goes.
    Goodbye,
}

/// A recorder for `store` that listens since now.
pub(super) fn recorder(store: Store, clock: Clock, lease: Duration) -> (Recorder, Writer) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let listening = clock.now();
    (Recorder(sender), Writer { queue, store, clock, lease, listening })
}

impl Recorder {
    /// Returns once `what` is durable. [`Refusal::Over`]: the session is over and nothing was written.
    pub(super) async fn record(
        &self,
        instance: InstanceId,
        session: SessionId,
        what: Evidence,
    ) -> Result<(), Refusal> {
        let (done, told) = oneshot::channel();
        let said = Said { instance, session, what, done };
        self.0.send(said).await.map_err(|_closed| Refusal::Ending)?;
        match told.await {
            Ok(Some(Applied::Taken)) => Ok(()),
            Ok(Some(Applied::Void)) => Err(Refusal::Over),
            Ok(None) => Err(Refusal::Unrecorded),
            Err(_dropped) => Err(Refusal::Ending),
        }
    }
}

impl Writer {
    /// Writes until it is cancelled or nobody can say anything any more.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let received = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                received = self.queue.recv_many(&mut batch, BATCH) => received,
            };
            if received == 0 {
                return;
            }
            let applied = self.write(&batch).await;
            let mut applied = applied.into_iter().flatten();
            for said in batch.drain(..) {
                if said.done.send(applied.next()).is_err() {
                    tracing::trace!(instance = %said.instance, "the session ended before its answer");
                }
            }
        }
    }

    /// What became of each message, or `None` when nothing was written.
    async fn write(&self, batch: &[Said]) -> Option<Vec<Applied>> {
        for left in (0..TRIES).rev() {
            match self.try_write(batch).await {
                Ok(applied) => return Some(applied),
                Err(error) if left == 0 => tracing::error!(%error, "what sidecars said was not written down"),
                Err(error) => {
                    tracing::warn!(%error, "what sidecars said was not written down; trying again");
                    self.clock.sleep(PAUSE).await;
                }
            }
        }
        None
    }

    async fn try_write(&self, batch: &[Said]) -> Result<Vec<Applied>, StoreError> {
        let mut tx = self.store.begin().await?;
        let mut applied = Vec::with_capacity(batch.len());
        for said in batch {
            applied.push(self.take(&mut tx, said).await?);
        }
        tx.commit().await?;
        Ok(applied)
    }

    async fn take(&self, tx: &mut Tx, said: &Said) -> Result<Applied, StoreError> {
        let (id, session) = (said.instance, said.session);
        let row = tx.instance(id).await?;
        if !row.is_some_and(|row| self.is_live(&row, session, tx.now())) {
            return Ok(Applied::Void);
        }
        match &said.what {
            Evidence::Acks(generation, acks, dropped) => {
                tx.generation(id, session, *generation).await?;
                for name in dropped {
                    tx.let_go(id, name).await?;
                }
                tx.acks(id, session, acks).await
            }
            Evidence::Nack(name, nacked, entry) => {
                tx.audit(entry).await?;
                tx.nack(id, session, name, nacked).await
            }
            Evidence::Usage(reports) => {
                for (name, order, report) in reports {
                    tx.usage(id, session, name, (*order, report)).await?;
                }
                Ok(Applied::Taken)
            }
            Evidence::Renew => tx.renew(id, session, self.lease).await,
            Evidence::Goodbye => tx.goodbye(id, session).await,
        }
    }

    fn is_live(&self, row: &InstanceRow, session: SessionId, now: Moment) -> bool {
        let lapsed = lapsed((row.last_contact, row.lease), now, self.listening);
        row.welcome() && row.session == Some(session) && !lapsed
    }
}

/// Whether a lease that began with `contact` has ended while somebody listened for its renewal.
fn lapsed((contact, lease): (Option<Moment>, Duration), now: Moment, listening: Moment) -> bool {
    contact.is_none_or(|contact| now.at_least_since(contact) >= lease)
        && now.at_least_since(listening) >= lease
}

#[cfg(test)]
mod tests;
