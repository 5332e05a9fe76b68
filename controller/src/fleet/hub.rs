//! The live streams, and what each still has to be told.
//!
//! What waits for a stream is a set of names, never values: a stream that is slow finds the latest state when it comes
//! to a name, whatever happened in between. So a slot is bounded by the number of credentials, and a revocation, which
//! goes into the urgent half, is never behind more than the one message that is being sent.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rekey_model::{CredentialName, InstanceId, Order};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

/// The live streams of this controller, by instance. Clones are the same hub.
#[derive(Debug, Clone, Default)]
pub struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    streams: Mutex<HashMap<InstanceId, Arc<Slot>>>,
    acks: broadcast::Sender<Ack>,
}

impl Default for Inner {
    fn default() -> Self {
        Self { streams: Mutex::default(), acks: broadcast::channel(ACKS_KEPT).0 }
    }
}

/// What a holder said that it serves.
#[derive(Debug, Clone)]
pub(super) struct Ack {
    /// Who.
    pub instance: InstanceId,
    /// Which credential.
    pub name: CredentialName,
    /// By which order.
    pub order: Order,
}

/// How many acknowledgements whoever listens to them may be behind.
const ACKS_KEPT: usize = 1024;

/// How soon streams are to hear of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// In the order of names.
    Usual,
    /// Before everything else: a fence or a revocation.
    First,
}

/// One live stream as the rest of the fleet sees it.
#[derive(Debug)]
pub(super) struct Slot {
    seq: u64,
    waiting: Mutex<Waiting>,
    wake: Notify,
    ended: CancellationToken,
    why: Mutex<Option<Ended>>,
}

/// Why a stream is ended from this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// A newer stream of the same instance took its place.
    Replaced,
    /// The instance was removed or locked.
    Cut,
    /// The controller ends.
    Shutdown,
    /// The store turned out to be a restored one.
    NewLife,
}

/// The names of which a stream has not heard the latest.
#[derive(Debug, Default)]
struct Waiting {
    first: BTreeSet<CredentialName>,
    usual: BTreeSet<CredentialName>,
    snapshot: bool,
}

/// What a stream has to tell next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Everything.
    Snapshot,
    /// One credential.
    Credential(CredentialName),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// A hub without streams.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells every live stream that `name` is not what it was. What each is to see of it the stream finds out itself.
    pub fn changed(&self, name: &CredentialName, urgency: Urgency) {
        for slot in lock(&self.0.streams).values() {
            slot.mark(name.clone(), urgency);
        }
    }

    /// Ends the stream of `instance` at once, if it has one.
    pub fn cut(&self, instance: InstanceId) {
        if let Some(slot) = lock(&self.0.streams).remove(&instance) {
            slot.end(Ended::Cut);
        }
    }

    /// Has every live stream tell everything again.
    pub(super) fn snapshot_all(&self) {
        lock(&self.0.streams).values().for_each(|slot| slot.mark_snapshot());
    }

    /// Has those of `instances` that have a stream tell everything again: those that have.
    pub(super) fn snapshot_to(&self, instances: &[InstanceId]) -> Vec<InstanceId> {
        let streams = lock(&self.0.streams);
        let live = instances.iter().filter_map(|instance| Some((*instance, streams.get(instance)?)));
        live.map(|(instance, slot)| {
            slot.mark_snapshot();
            instance
        })
        .collect()
    }

    /// What holders acknowledge from now on.
    pub(super) fn acks(&self) -> broadcast::Receiver<Ack> {
        self.0.acks.subscribe()
    }

    /// Tells whoever listens that `instance` serves `name` by `order`, once that is durable.
    pub(super) fn acknowledged(&self, ack: Ack) {
        // Mostly nobody listens.
        drop(self.0.acks.send(ack));
    }

    /// Ends the streams of all but `instance`: a new life of the store begins, in which everybody says hello again.
    pub(super) fn begin_anew(&self, instance: InstanceId) {
        lock(&self.0.streams).retain(|other, slot| {
            if *other != instance {
                slot.end(Ended::NewLife);
            }
            *other == instance
        });
    }

    /// Which instances have a stream here.
    pub fn connected(&self) -> Vec<InstanceId> {
        lock(&self.0.streams).keys().copied().collect()
    }

    /// Enters the stream with the `seq`-th session of its instance; of two, the one with the later session stays.
    pub(super) fn enter(&self, instance: InstanceId, seq: u64) -> Arc<Slot> {
        let slot = Arc::new(Slot::new(seq));
        let mut streams = lock(&self.0.streams);
        match streams.get(&instance) {
            Some(live) if live.seq >= seq => slot.end(Ended::Replaced),
            _older => {
                if let Some(older) = streams.insert(instance, Arc::clone(&slot)) {
                    older.end(Ended::Replaced);
                }
            }
        }
        slot
    }

    /// Takes a stream out again, unless another has taken its place already.
    pub(super) fn leave(&self, instance: InstanceId, slot: &Arc<Slot>) {
        let mut streams = lock(&self.0.streams);
        if streams.get(&instance).is_some_and(|live| Arc::ptr_eq(live, slot)) {
            streams.remove(&instance);
        }
    }

    /// Ends all streams, so that the controller can end.
    pub(super) fn end_all(&self) {
        for (_, slot) in lock(&self.0.streams).drain() {
            slot.end(Ended::Shutdown);
        }
    }
}

impl Slot {
    fn new(seq: u64) -> Self {
        let waiting = Waiting { snapshot: true, ..Waiting::default() };
        Self {
            seq,
            waiting: Mutex::new(waiting),
            wake: Notify::new(),
            ended: CancellationToken::new(),
            why: Mutex::new(None),
        }
    }

    /// Notes that the stream has to tell of `name`.
    pub(super) fn mark(&self, name: CredentialName, urgency: Urgency) {
        let mut waiting = lock(&self.waiting);
        match urgency {
            Urgency::First => {
                waiting.usual.remove(&name);
                waiting.first.insert(name);
            }
            Urgency::Usual if waiting.first.contains(&name) => {}
            Urgency::Usual => {
                waiting.usual.insert(name);
            }
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// Notes that the stream has to tell everything.
    pub(super) fn mark_snapshot(&self) {
        lock(&self.waiting).snapshot = true;
        self.wake.notify_one();
    }

    /// Takes what is to be told next; a snapshot covers everything that waited.
    pub(super) fn next(&self) -> Option<Due> {
        let mut waiting = lock(&self.waiting);
        if waiting.snapshot {
            *waiting = Waiting::default();
            return Some(Due::Snapshot);
        }
        let name = waiting.first.pop_first().or_else(|| waiting.usual.pop_first())?;
        Some(Due::Credential(name))
    }

    /// Waits until there is something to tell. A mark that came before is not missed.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Ends the stream for this reason; the first reason stays.
    fn end(&self, why: Ended) {
        lock(&self.why).get_or_insert(why);
        self.ended.cancel();
    }

    /// Waits until the stream is ended from this side, and says why.
    pub(super) async fn ended(&self) -> Ended {
        self.ended.cancelled().await;
        lock(&self.why).unwrap_or(Ended::Shutdown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> CredentialName {
        text.parse().unwrap()
    }

    fn entered(hub: &Hub, bits: u128) -> Arc<Slot> {
        let slot = hub.enter(InstanceId::from_bits(bits), 1);
        assert_eq!(slot.next(), Some(Due::Snapshot), "a stream begins with a snapshot");
        slot
    }

    #[test]
    fn a_revocation_overtakes_everything_that_waits() {
        let hub = Hub::new();
        let slot = entered(&hub, 1);
        for i in 0..1000 {
            hub.changed(&name(&format!("bulk/c{i}")), Urgency::Usual);
        }
        hub.changed(&name("orders/db"), Urgency::First);
        hub.changed(&name("orders/db"), Urgency::Usual);
        assert_eq!(slot.next(), Some(Due::Credential(name("orders/db"))));
        assert_eq!(slot.next(), Some(Due::Credential(name("bulk/c0"))));
    }

    #[test]
    fn a_slow_stream_is_told_the_latest_once() {
        let hub = Hub::new();
        let slot = entered(&hub, 1);
        for _ in 0..1000 {
            hub.changed(&name("orders/db"), Urgency::Usual);
        }
        assert_eq!(slot.next(), Some(Due::Credential(name("orders/db"))));
        assert_eq!(slot.next(), None);
    }

    #[test]
    fn a_snapshot_covers_what_waited() {
        let hub = Hub::new();
        let slot = entered(&hub, 1);
        hub.changed(&name("a"), Urgency::First);
        slot.mark_snapshot();
        assert_eq!(slot.next(), Some(Due::Snapshot));
        assert_eq!(slot.next(), None);
    }

    #[tokio::test]
    async fn a_newer_stream_ends_the_older_and_the_older_cannot_take_it_out() {
        let hub = Hub::new();
        let instance = InstanceId::from_bits(1);
        let older = hub.enter(instance, 1);
        let newer = hub.enter(instance, 2);
        assert_eq!(older.ended().await, Ended::Replaced);
        hub.leave(instance, &older);
        let late = hub.enter(instance, 1);
        assert_eq!(late.ended().await, Ended::Replaced, "an older session does not come back");
        assert_eq!(hub.connected(), [instance]);
        hub.cut(instance);
        assert_eq!(newer.ended().await, Ended::Cut);
        assert!(hub.connected().is_empty());
    }
}
