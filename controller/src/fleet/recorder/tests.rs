//! What is written down of a session that is over: nothing.

use rekey_model::{BootId, Order};
use rekey_rotation::Ledger;
use rekey_runtime::{Tasks, random};

use super::*;
use crate::store::{Granted, Hello, HolderRow, Leaf, StoreConfig};

const LEASE: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> Moment {
    let wall_ms = i64::try_from(seconds * 1000).unwrap();
    Moment { wall_ms, boot: BootId(1), boot_ms: seconds * 1000 }
}

#[test]
fn a_lease_ends_only_while_somebody_listens() {
    let lapsed = |contact, now, listening| lapsed((Some(at(contact)), LEASE), at(now), at(listening));
    assert!(!lapsed(100, 129, 0));
    assert!(lapsed(100, 130, 0));
    assert!(!lapsed(100, 5000, 4990), "the controller was away: everybody gets a full lease");
    assert!(lapsed(100, 5020, 4990));
}

#[test]
fn a_jump_of_the_wall_clock_ends_no_lease() {
    let jumped = Moment { wall_ms: 90_000_000, ..at(105) };
    assert!(!lapsed((Some(at(100)), LEASE), jumped, at(0)));
}

/// A store with one credential and one instance, and who writes to it.
struct Stage {
    store: Store,
    clock: Clock,
    recorder: Recorder,
    instance: InstanceId,
    name: CredentialName,
    tasks: Tasks,
    _dir: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual();
        let store =
            Store::create(&StoreConfig::Sqlite(dir.path().join("store.db")), clock.clone()).await.unwrap();
        let (name, instance): (CredentialName, _) = ("orders/db".parse().unwrap(), random::id());
        let mut tx = store.begin().await.unwrap();
        tx.create(&name, serde_json::Value::Null, Ledger::default()).await.unwrap();
        tx.join(instance, &"spiffe://rekey.local/sidecar/a".parse().unwrap(), &Leaf::default())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let tasks = Tasks::new();
        let recorder = start(&store, &clock, &tasks);
        Self { store, clock, recorder, instance, name, tasks, _dir: dir }
    }

    async fn hello(&self) -> SessionId {
        let session = random::id();
        let granted = [Granted { credential: self.name.clone(), held: None }];
        let hello = Hello {
            instance: self.instance,
            session,
            software: "test",
            host: "host",
            generation: Generation::default(),
            lease: LEASE,
            granted: &granted,
        };
        let mut tx = self.store.begin().await.unwrap();
        assert_eq!(tx.hello(&hello).await.unwrap(), Applied::Taken);
        tx.commit().await.unwrap();
        session
    }

    async fn say(&self, session: SessionId, what: Evidence) -> Result<(), Refusal> {
        self.recorder.record(self.instance, session, what).await
    }

    fn ack(&self, order: u64) -> Evidence {
        let ack = Ack { credential: self.name.clone(), order: Order(order), version: None };
        Evidence::Acks(Generation(order), vec![ack], Vec::new())
    }

    async fn holder(&self) -> HolderRow {
        self.store.holders_of(&self.name).await.unwrap().remove(0)
    }

    async fn acked(&self) -> Option<Order> {
        self.holder().await.acked.map(|acked| acked.order)
    }
}

fn start(store: &Store, clock: &Clock, tasks: &Tasks) -> Recorder {
    let (recorder, writer) = recorder(store.clone(), clock.clone(), LEASE);
    tasks.spawner().start("recorder", writer.run(tasks.cancel()));
    recorder
}

#[tokio::test]
async fn acknowledgements_only_rise() {
    let stage = Stage::new().await;
    let session = stage.hello().await;
    stage.say(session, stage.ack(3)).await.unwrap();
    stage.say(session, stage.ack(2)).await.unwrap();
    assert_eq!(stage.acked().await, Some(Order(3)));
}

#[tokio::test]
async fn a_session_whose_lease_has_ended_is_not_revived_by_anything_it_says() {
    let stage = Stage::new().await;
    let session = stage.hello().await;
    stage.clock.advance(LEASE);
    for late in [Evidence::Renew, stage.ack(1), Evidence::Goodbye] {
        assert!(matches!(stage.say(session, late.clone()).await, Err(Refusal::Over)), "{late:?} was taken");
    }
    let contact = stage.holder().await.last_contact.unwrap();
    assert_eq!(stage.clock.now().at_least_since(contact), LEASE, "it was renewed");
    let session = stage.hello().await;
    stage.say(session, stage.ack(1)).await.unwrap();
    assert_eq!(stage.acked().await, Some(Order(1)));
}

#[tokio::test]
async fn what_an_earlier_session_says_changes_nothing() {
    let stage = Stage::new().await;
    let earlier = stage.hello().await;
    let later = stage.hello().await;
    for what in [Evidence::Renew, stage.ack(1), Evidence::Goodbye] {
        assert!(matches!(stage.say(earlier, what.clone()).await, Err(Refusal::Over)), "{what:?} was taken");
    }
    let holder = stage.holder().await;
    assert_eq!((holder.session, holder.acked), (Some(later), None));
}

#[tokio::test]
async fn a_controller_that_was_away_gives_everybody_a_full_lease_first() {
    let mut stage = Stage::new().await;
    let session = stage.hello().await;
    stage.clock.advance(100 * LEASE);
    stage.recorder = start(&stage.store, &stage.clock, &stage.tasks);
    stage.say(session, Evidence::Renew).await.unwrap();
    stage.clock.advance(LEASE);
    assert!(matches!(stage.say(session, Evidence::Renew).await, Err(Refusal::Over)));
}

#[tokio::test]
async fn many_messages_share_a_commit_and_each_gets_its_own_answer() {
    let stage = Stage::new().await;
    let (earlier, later) = (stage.hello().await, stage.hello().await);
    let before = stage.store.meta().await.unwrap().commits;
    let all = (0..100).map(|i| stage.say(if i % 2 == 0 { earlier } else { later }, stage.ack(i)));
    let answers = futures_util::future::join_all(all).await;
    for (i, answer) in answers.iter().enumerate() {
        assert_eq!(answer.is_ok(), i % 2 == 1, "{i}: {answer:?}");
    }
    let commits = stage.store.meta().await.unwrap().commits - before;
    assert!(commits <= 3, "{commits} commits");
    assert_eq!(stage.acked().await, Some(Order(99)));
}
