//! A store in a folder of its own, a target, three holders, and lives of an executor one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rekey_model::{CredentialName, Generation, InstanceId, Order, SessionId, Version};
use rekey_rotation::{Claim, Event, Ledger, Phase, Why};
use rekey_runtime::{Clock, Tasks, random};
use tokio::sync::oneshot;

use super::driver::{Rules, Target};
use crate::audit::Actor;
use crate::executor::{CommitError, Executor, Outcome, Parts, Report, Settings};
use crate::fleet::{UsageReport, VersionReport};
use crate::seal::{Kek, Seal};
use crate::spec::{Spec, ties};
use crate::store::{Ack, Granted, Hello, Leaf, Mode, Nacked, Store, StoreConfig};

const LEASE: Duration = Duration::from_secs(2);
/// What the clock is moved by at each step.
const TICK: Duration = Duration::from_millis(10);
/// More steps than anything takes.
const PATIENCE: u32 = 3_000;

pub(super) struct Stage {
    pub(super) clock: Clock,
    pub(super) target: Target,
    pub(super) name: CredentialName,
    /// The lease in the config of the next life; holders were granted another.
    pub(super) lease: Duration,
    pub(super) holders: Vec<(InstanceId, SessionId, bool)>,
    /// What the processes behind each live holder told of their uses.
    pub(super) uses: Vec<VersionReport>,
    /// Behind which holder only; none: behind each.
    behind: Option<usize>,
    seal: Seal,
    life: Option<Life>,
    pub(super) store: Store,
    config: StoreConfig,
    _folder: tempfile::TempDir,
}

struct Life {
    executor: Executor,
    resumed: Arc<AtomicBool>,
    end: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<rekey_runtime::tasks::Report>,
}

fn spec() -> serde_json::Value {
    serde_json::json!({
        "credential": "orders/db", "owner": "team-orders", "environment": "test",
        "postgres": {
            "target": "pg", "database": "orders", "owner_role": "orders_owner", "prefix": "orders_app",
        },
        "grace": { "max_reconnect": "300ms", "floor": "400ms", "quiet": "300ms", "deadline": "1h" },
        "deliver": {
            "to": ["spiffe://rekey.local/sidecar/orders/*"], "offline": "serve-until-expiry", "offline_for": "5s",
        },
        "fields": { "login": "{username}/{password|url}" },
    })
}

/// The same account, where it takes one value at a time.
fn spec_of_one_value() -> serde_json::Value {
    let mut spec = spec();
    spec["postgres"] = serde_json::json!({ "target": "pg", "database": "orders", "role": "orders_fixed" });
    spec["barrier"] = serde_json::json!({ "wait": "400ms", "drain": "50ms" });
    spec["grace"] = serde_json::Value::Null;
    spec
}

impl Stage {
    /// Three holders, nothing made yet, an executor running; secrets are made by `rules`.
    async fn with(rules: Rules, spec: serde_json::Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual();
        let config = StoreConfig::Sqlite(folder.path().join("store.db"));
        let store = Store::create(&config, clock.clone()).await.unwrap();
        let seal = Seal::new(Kek::create(&folder.path().join("kek")).unwrap());
        let name: CredentialName = "orders/db".parse().unwrap();
        let mut tx = store.begin().await.unwrap();
        tx.create(&name, spec, Ledger::default()).await.unwrap();
        tx.commit().await.unwrap();
        let mut stage = Self {
            clock,
            target: Target::default(),
            name,
            lease: LEASE,
            holders: Vec::new(),
            uses: Vec::new(),
            behind: None,
            seal,
            life: None,
            store,
            config,
            _folder: folder,
        };
        stage.target.lock().rules = rules;
        for _ in 0..3 {
            stage.join().await;
        }
        stage.start();
        stage
    }

    /// Version 1 is current and nothing is open.
    pub(super) async fn settled() -> Self {
        Self::settled_with(Rules::default()).await
    }

    /// The same where the target makes secrets by `rules`.
    pub(super) async fn settled_with(rules: Rules) -> Self {
        Self::with(rules, spec()).await.settle().await
    }

    /// Nothing is made yet.
    pub(super) async fn begun(rules: Rules) -> Self {
        Self::with(rules, spec()).await
    }

    /// The same with these parts of its declaration.
    pub(super) async fn begun_as(rules: Rules, parts: &[(&str, serde_json::Value)]) -> Self {
        let mut spec = spec();
        for (key, value) in parts {
            spec[*key] = value.clone();
        }
        Self::with(rules, spec).await
    }

    /// The same where the account takes one value at a time.
    pub(super) async fn settled_single() -> Self {
        Self::with(Rules { one_value: true, ..Rules::default() }, spec_of_one_value()).await.settle().await
    }

    async fn settle(mut self) -> Self {
        self.until("v1 is current and nothing is open", |ledger| {
            ledger.current.is_some() && ledger.open_rotation().is_none()
        })
        .await;
        self
    }

    async fn join(&mut self) {
        self.join_as("spiffe://rekey.local/sidecar/orders/a").await;
    }

    /// One more holder, live from now on.
    pub(super) async fn join_as(&mut self, spiffe: &str) -> InstanceId {
        let (instance, session): (InstanceId, SessionId) = (random::id(), random::id());
        let spiffe = spiffe.parse().unwrap();
        let mut tx = self.store.begin().await.unwrap();
        tx.join(instance, &spiffe, &Leaf::default()).await.unwrap();
        let granted = [Granted { credential: self.name.clone(), held: None }];
        let hello = Hello {
            instance,
            session,
            software: "test",
            host: "",
            generation: Generation(0),
            lease: LEASE,
            granted: &granted,
        };
        tx.hello(&hello).await.unwrap();
        tx.commit().await.unwrap();
        self.holders.push((instance, session, true));
        instance
    }

    /// What the processes tell of their uses behind one holder only, or behind each.
    pub(super) fn uses_are(&mut self, behind: Option<usize>, uses: &[VersionReport]) {
        (self.behind, self.uses) = (behind, uses.to_vec());
    }

    /// A second credential that no sidecar may have, with its first version current.
    pub(super) async fn second(&mut self) -> CredentialName {
        let name = self.another(&[]).await;
        self.until_current(&name).await;
        name
    }

    /// Steps until a credential has a version.
    pub(super) async fn until_current(&mut self, name: &CredentialName) {
        for _ in 0..PATIENCE {
            if self.ledger_of(name).await.current.is_some() {
                return;
            }
            self.step().await;
        }
        panic!("{name} has no version: {:#?}", self.ledger_of(name).await);
    }

    /// The same with these parts of its declaration, and nothing is waited for.
    pub(super) async fn another(&self, parts: &[(&str, serde_json::Value)]) -> CredentialName {
        let name: CredentialName = "orders/second".parse().unwrap();
        let mut spec = spec();
        spec["credential"] = name.as_str().into();
        spec["postgres"]["prefix"] = "second_app".into();
        spec["deliver"]["to"] = serde_json::json!([]);
        for (key, value) in parts {
            spec[*key] = value.clone();
        }
        let ties = ties::of(&Spec::parse(&spec).unwrap());
        let mut tx = self.store.begin().await.unwrap();
        let row = tx.create(&name, spec, Ledger::default()).await.unwrap();
        tx.tie(row.id, &ties).await.unwrap();
        tx.commit().await.unwrap();
        name
    }

    /// Declares a credential with `value` as its `key`, as `apply` would.
    pub(super) async fn declare(&self, name: &CredentialName, key: &str, value: serde_json::Value) {
        let mut tx = self.store.begin().await.unwrap();
        let mut row = tx.load(name).await.unwrap().unwrap();
        row.spec[key] = value;
        tx.save(&mut row).await.unwrap();
        tx.tie(row.id, &ties::of(&Spec::parse(&row.spec).unwrap())).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// What is stored as a declaration, whatever it is.
    pub(super) async fn put_spec(&self, name: &CredentialName, spec: serde_json::Value) {
        let mut tx = self.store.begin().await.unwrap();
        let mut row = tx.load(name).await.unwrap().unwrap();
        row.spec = spec;
        tx.save(&mut row).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub(super) async fn ledger_of(&self, name: &CredentialName) -> Ledger {
        self.store.credential(name).await.unwrap().unwrap().ledger
    }

    /// Takes the one right to write for as long as the result lives.
    pub(super) async fn busy_store(&self) -> crate::store::Tx {
        self.store.begin().await.unwrap()
    }

    /// Begins a life of the controller.
    pub(super) fn start(&mut self) {
        let mut tasks = Tasks::new();
        let executor = Executor::new(Parts {
            store: self.store.clone(),
            seal: self.seal.clone(),
            drivers: Arc::new(self.target.clone()),
            clock: self.clock.clone(),
            spawner: tasks.spawner(),
            settings: Settings { slack: Duration::ZERO, ..Settings::with_lease(self.lease) },
        });
        let resumed = Arc::new(AtomicBool::new(false));
        let said = Arc::clone(&resumed);
        let say = move || said.store(true, Ordering::SeqCst);
        tasks.essential("executor", executor.clone().run(say, tasks.cancel()));
        let (end, told) = oneshot::channel::<()>();
        let run = tasks.run(async { drop(told.await) }, Duration::ZERO);
        #[expect(clippy::disallowed_methods, reason = "the test plays main")]
        let ended = tokio::spawn(run);
        self.life = Some(Life { executor, resumed, end, ended });
    }

    /// Ends the life of the controller in the middle of whatever it does, and opens the store anew.
    pub(super) async fn crash(&mut self) {
        let life = self.life.take().unwrap();
        drop(life.end);
        life.ended.await.unwrap();
        self.store = Store::open(&self.config, self.clock.clone()).await.unwrap();
    }

    pub(super) fn executor(&self) -> &Executor {
        &self.life.as_ref().unwrap().executor
    }

    /// Whether this life has said that it took up what the one before left.
    pub(super) fn has_resumed(&self) -> bool {
        self.life.as_ref().unwrap().resumed.load(Ordering::SeqCst)
    }

    pub(super) async fn ledger(&self) -> Ledger {
        self.store.credential(&self.name).await.unwrap().unwrap().ledger
    }

    pub(super) async fn seq(&self) -> u64 {
        self.store.credential(&self.name).await.unwrap().unwrap().seq
    }

    pub(super) async fn report(&self) -> Report {
        self.executor().report(&self.name).await.unwrap().unwrap()
    }

    pub(super) async fn commit(&self, event: Event) -> Result<Outcome, CommitError> {
        self.executor().commit(&self.name, event, Actor::controller()).await
    }

    pub(super) async fn rotate(&self) {
        let why = Why::Asked { reason: String::new(), by: "test".to_owned(), request: String::new() };
        self.commit(Event::Begin { rotation: random::id(), why }).await.unwrap();
    }

    pub(super) async fn phase(&self) -> Option<Phase> {
        self.ledger().await.rotation.map(|rotation| rotation.phase)
    }

    /// The store was put back: it is what it was then, and knows nothing of what came after.
    pub(super) async fn put_back(&mut self, ledger: Ledger) {
        let mut tx = self.store.begin().await.unwrap();
        let mut row = tx.load(&self.name).await.unwrap().unwrap();
        row.ledger = ledger;
        tx.save(&mut row).await.unwrap();
        tx.begin_life(tx.incarnation(), "the test put it back").await.unwrap();
        tx.commit().await.unwrap();
    }

    /// The store that was put back has no secret of this version.
    pub(super) async fn lose_secret(&self, version: Version) {
        let mut tx = self.store.begin().await.unwrap();
        let row = tx.load(&self.name).await.unwrap().unwrap();
        tx.drop_secret(row.id, version).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Holder `index` says hello in this life, and what it had in the life that was lost.
    pub(super) async fn tells(&self, index: usize, claim: Option<&Claim>) {
        let who = self.holders[index].0;
        let mut tx = self.store.begin().await.unwrap();
        if let Some(claim) = claim {
            tx.put_claim(who, &self.name, claim).await.unwrap();
        }
        tx.heard(who).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Has holder `index` say nothing more, or speak again.
    pub(super) fn mute(&mut self, index: usize, speaks: bool) {
        self.holders[index].2 = speaks;
    }

    /// The same of every holder.
    pub(super) fn mute_all(&mut self, speaks: bool) {
        self.holders.iter_mut().for_each(|holder| holder.2 = speaks);
    }

    /// Somebody else shuts what is served: that it is refused is not ours.
    pub(super) fn served_is_refused(&self) {
        self.target.lock().meddled = true;
    }

    /// Has holder `index` refuse the latest order. No time passes.
    pub(super) async fn nack(&self, index: usize, reason: &str) {
        let (instance, session, _) = self.holders[index];
        let mut tx = self.store.begin().await.unwrap();
        let order = tx.load(&self.name).await.unwrap().unwrap().ledger.order;
        let nacked = Nacked { order, reason: reason.to_owned() };
        tx.nack(instance, session, &self.name, &nacked).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Declares anew how long a sidecar may serve alone.
    pub(super) async fn declare_bound(&self, bound: &str) {
        let mut tx = self.store.begin().await.unwrap();
        let mut row = tx.load(&self.name).await.unwrap().unwrap();
        row.spec["deliver"]["offline_for"] = bound.into();
        tx.save(&mut row).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// A little time passes: the clock moves, holders say what they have to say, the executor runs.
    pub(super) async fn step(&mut self) {
        self.clock.advance(TICK);
        self.target.tick(self.clock.elapsed());
        self.speak().await;
        self.rest().await;
        let wrong = self.target.lock().wrong.clone();
        assert!(wrong.is_empty(), "{wrong:?}");
        let mode = self.store.meta().await.unwrap().mode;
        let ledger = self.ledger().await;
        let served: Vec<String> = self.target.lock().served.values().cloned().collect();
        let accepted = self.target.accepted();
        let cut = |handle: &String| {
            ledger.fenced.iter().filter_map(|v| ledger.version(*v)).any(|r| r.handle.as_str() == handle)
        };
        // Behind a barrier nobody reads what is served, and so it is until everybody has moved.
        let rolls = ledger.open_rotation().is_some_and(|open| open.phase == Phase::Rolling);
        let unread = self.target.lock().rules.one_value && (ledger.barrier_is_up() || rolls);
        let lost: Vec<&String> = served.iter().filter(|it| !accepted.contains(it) && !cut(it)).collect();
        let meddled = self.target.lock().meddled;
        assert!(lost.is_empty() || meddled || unread, "I1: {lost:?} is served and refused");
        if mode == Mode::ReconcileOnly || ledger.restore.unlisted {
            // What a restored store believes need not be so.
            return;
        }
        let lasting = |handle: &str| self.target.lock().roles.get(handle).is_some_and(|role| role.lasting);
        let current = ledger.current.and_then(|current| ledger.version(current));
        let dies = current.filter(|record| !lasting(record.handle.as_str()));
        assert!(
            meddled || unread || dies.is_none() || ledger.fenced.contains(&ledger.current.unwrap()),
            "expiry of {dies:?}"
        );
    }

    /// A while passes at once, when whatever was due before is done.
    pub(super) async fn leap(&self, by: Duration) {
        self.rest().await;
        self.clock.advance(by);
    }

    /// Waits until the executor has nothing to do before the clock moves: what a test sees does not depend on how fast
    /// the machine is. Where the test itself keeps the store busy, that is not waited for.
    async fn rest(&self) {
        let Some(life) = &self.life else { return };
        for _ in 0..PATIENCE {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let stuck = self.target.lock().stuck;
            if life.executor.at_rest().is_some_and(|busy| busy <= stuck) {
                return;
            }
        }
    }

    /// Live holders acknowledge and report whatever is current.
    pub(super) async fn speak(&mut self) {
        // In this order: what is read after the mode is at least as new.
        let mode = self.store.meta().await.unwrap().mode;
        let ledger = self.ledger().await;
        let untold = ledger.is_foreign() || mode == Mode::ReconcileOnly;
        let mut tx = self.store.begin().await.unwrap();
        for (index, (instance, session, speaks)) in self.holders.iter().enumerate() {
            if !speaks {
                continue;
            }
            let key = u8::try_from(index).unwrap();
            if untold {
                // Nothing is sent to it, and so it goes on with what it has.
                tx.renew(*instance, *session, LEASE).await.unwrap();
                continue;
            }
            let named = |version| ledger.version(version).map(|r| (version, r.handle.clone()));
            let current = ledger.served_by(*instance).and_then(named);
            match &current {
                Some((_, handle)) => drop(self.target.lock().served.insert(key, handle.to_string())),
                None => drop(self.target.lock().served.remove(&key)),
            }
            let version = current.as_ref().map(|(version, _)| *version);
            let ack = Ack { credential: self.name.clone(), order: ledger.order, version };
            tx.renew(*instance, *session, LEASE).await.unwrap();
            if ledger.order > Order(0) {
                tx.acks(*instance, *session, &[ack]).await.unwrap();
                let tells = self.behind.is_none_or(|behind| behind == index);
                let versions = if tells { self.uses.clone() } else { Vec::new() };
                let report = serde_json::to_value(UsageReport { versions, silent: 0 }).unwrap();
                tx.usage(*instance, *session, &self.name, (ledger.order, &report)).await.unwrap();
            }
        }
        tx.commit().await.unwrap();
    }

    /// Steps until the ledger is as said.
    pub(super) async fn until(&mut self, what: &str, is: impl Fn(&Ledger) -> bool) {
        for _ in 0..PATIENCE {
            if is(&self.ledger().await) {
                return;
            }
            self.step().await;
        }
        let report = self.report().await;
        panic!(
            "never: {what}; waits for {:?}, troubles {:?}, {:#?}",
            report.waiting_for, report.troubles, report.ledger
        );
    }

    /// Steps until the report is as said.
    pub(super) async fn until_report(&mut self, what: &str, is: impl Fn(&Report) -> bool) {
        for _ in 0..PATIENCE {
            if is(&self.report().await) {
                return;
            }
            self.step().await;
        }
        panic!("never: {what}");
    }

    /// Steps until this version is current and nothing is open.
    pub(super) async fn until_settled(&mut self, version: u64) {
        self.until("settled", |ledger| {
            ledger.current.is_some_and(|it| it.get() == version) && ledger.open_rotation().is_none()
        })
        .await;
    }

    /// Steps until nothing is open, owed or left to clean up.
    pub(super) async fn until_calm(&mut self) {
        self.until("calm", |ledger| {
            ledger.open_rotation().is_none() && ledger.endings.is_empty() && !ledger.owed
        })
        .await;
        let current = self.ledger().await.current.map(Version::get);
        let accepted = self.target.lock().roles.len();
        assert_eq!(accepted, usize::from(current.is_some()), "orphans at the target (I10)");
    }
}
