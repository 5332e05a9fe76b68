//! The loop that performs what is due, and the one way in which a ledger changes.
//!
//! What is to be done is decided in `rekey-rotation`; here it is committed, done, and its outcome committed. A restart
//! is the same loop: what was due is due again. An effect is performed only for a state that is committed, and every
//! driver call may be repeated, so nothing here has to be remembered but for show.

mod act;
mod agenda;
mod check;
mod commit;
mod drift;
mod follow;
mod gate;
mod given;
mod judge;
mod lanes;
mod reconcile;
mod record;
mod report;
mod secrets;
mod seen;
mod unsure;
mod verify;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use rekey_drivers::{Class, Driver, Place};
use rekey_model::{CredentialName, Moment};
use rekey_rotation::{Event, Mode, Step};
use rekey_runtime::{CancellationToken, Clock, Spawner};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::audit::Actor;
use crate::seal::Seal;
use crate::spec::Spec;
use crate::store::{Changed, Store, StoreError};
use crate::targets::{TargetError, Targets};

pub use self::check::Checked;
pub use self::commit::{CommitError, Outcome};
pub use self::given::Given;
pub use self::judge::Judged;
pub use self::reconcile::{Reconciling, Silent};
pub use self::report::{Holding, Report};
pub use self::verify::Tried;

use self::agenda::{Agenda, LONGEST};
use self::drift::Drift;
use self::follow::{Follows, Readings};
use self::given::Refusals;
use self::lanes::{Lane, Lanes, Task};
use self::reconcile::Reconcile;
use self::seen::{Seen, Settles};
use self::unsure::Unsure;
use self::watch::Watch;

/// How soon everything is looked at again after the store failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How often a current version is tried, unless the config says otherwise.
pub const VERIFY: Duration = Duration::from_mins(15);
/// Reports made at a time: whoever only looks leaves connections to the store for the executor.
const REPORTS: usize = 2;

/// Finds the driver of a credential.
pub trait Drivers: Send + Sync + fmt::Debug {
    /// The driver for the credential that `spec` declares.
    fn driver(&self, spec: &Spec) -> Result<Arc<dyn Driver>, TargetError>;

    /// Who makes the secret of the credential that `spec` declares, and how many values its account takes.
    fn made(&self, spec: &Spec) -> (Class, Option<u32>) {
        (spec.driver.kind().class, spec.driver.slots())
    }

    /// Where somebody else's machine leaves the values of the credential that `spec` declares; none: it follows nobody.
    fn place(&self, _spec: &Spec) -> Result<Option<Place>, TargetError> {
        Ok(None)
    }
}

impl Drivers for Targets {
    fn driver(&self, spec: &Spec) -> Result<Arc<dyn Driver>, TargetError> {
        Self::driver(self, spec)
    }

    fn place(&self, spec: &Spec) -> Result<Option<Place>, TargetError> {
        Self::place(self, spec)
    }
}

/// What the controller's config says about all rotations.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long a holder counts as live after it was heard.
    pub lease: Duration,
    /// How far clocks may be apart.
    pub slack: Duration,
    /// Of how many holders one may vanish unacknowledged before it alarms.
    pub brake_divisor: u32,
    /// How many refusals of one secret value are borne.
    pub budget: u32,
    /// How often a current version is tried at the latest.
    pub verify: Duration,
}

impl Settings {
    /// The usual settings, with this lease.
    pub fn with_lease(lease: Duration) -> Self {
        Self { lease, slack: Duration::from_millis(50), brake_divisor: 10, budget: 3, verify: VERIFY }
    }
}

/// Performs what is due. Clones are the same executor.
#[derive(Debug, Clone)]
pub struct Executor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    seal: Seal,
    drivers: Arc<dyn Drivers>,
    clock: Clock,
    spawner: Spawner,
    settings: Settings,
    listening_since: Moment,
    lanes: Lanes,
    watch: Watch,
    drift: Drift,
    refusals: Refusals,
    follows: Follows,
    readings: Readings,
    unsure: Unsure,
    settles: Settles,
    reports: Semaphore,
    reconcile: Reconcile,
    /// Whether nothing is being looked at, nor known to be due.
    rests: AtomicBool,
}

/// What an executor is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where everything is kept.
    pub store: Store,
    /// What seals it.
    pub seal: Seal,
    /// The drivers.
    pub drivers: Arc<dyn Drivers>,
    /// The time.
    pub clock: Clock,
    /// What starts the steps.
    pub spawner: Spawner,
    /// What the config says.
    pub settings: Settings,
}

impl Executor {
    /// An executor. From now on it counts as listening to the holders.
    pub fn new(parts: Parts) -> Self {
        let Parts { store, seal, drivers, clock, spawner, settings } = parts;
        let listening_since = clock.now();
        let (lanes, watch, settles) = (Lanes::default(), Watch::default(), Settles::default());
        Self(Arc::new(Inner {
            store,
            seal,
            drivers,
            clock,
            spawner,
            settings,
            listening_since,
            lanes,
            watch,
            drift: Drift::default(),
            refusals: Refusals::default(),
            follows: Follows::default(),
            readings: Readings::default(),
            unsure: Unsure::default(),
            settles,
            reports: Semaphore::new(REPORTS),
            reconcile: Reconcile::default(),
            rests: AtomicBool::new(false),
        }))
    }

    /// Waits for room for one usual call to a target, beside those of the rotations.
    pub async fn room_at(&self, target: &str) -> Option<OwnedSemaphorePermit> {
        self.0.lanes.permit(target, Lane::Usual).await
    }

    /// Performs what is due until `cancel`. Calls `resumed` once what the life before left is taken up again. Ends with
    /// an error only when another controller has taken the store.
    pub async fn run(
        self,
        resumed: impl FnOnce() + Send,
        cancel: CancellationToken,
    ) -> Result<(), StoreError> {
        tokio::select! {
            ended = Box::pin(self.perform_until(resumed, cancel)) => ended,
            ended = Box::pin(self.reconcile()) => ended,
        }
    }

    async fn perform_until(
        &self,
        resumed: impl FnOnce() + Send,
        cancel: CancellationToken,
    ) -> Result<(), StoreError> {
        let mut changes = self.0.store.changes();
        let mut agenda = Agenda::default();
        let mut looks: FuturesUnordered<BoxFuture<'_, Result<Looked, StoreError>>> = FuturesUnordered::new();
        self.resume(&mut agenda).await?;
        resumed();
        // Invariant: nothing in this loop awaits the store but the looks, which hold its connections between two turns.
        loop {
            // Read once: what falls due between two readings would be neither taken nor waited for.
            let now = self.0.clock.elapsed();
            for name in agenda.take_due(now) {
                looks.push(Box::pin(self.look_and_log(name)));
            }
            let wait = agenda.wait(now);
            self.0.rests.store(looks.is_empty(), Ordering::Relaxed);
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                Some(looked) = looks.next() => self.looked(looked?, &mut agenda),
                change = changes.recv() => if self.note(change, &mut changes, &mut agenda) {
                    looks.push(Box::pin(self.list()));
                },
                () = self.0.lanes.poked() => self.0.lanes.take_poked(&mut agenda, self.0.clock.elapsed()),
                () = self.0.clock.sleep(wait) => {}
            }
        }
    }

    /// Does now what waits for its next look or its next try: it was declared anew, and that counts at once.
    pub fn look_now(&self, name: &CredentialName) {
        self.0.lanes.retry_now(name);
    }

    /// How many steps are under way while nothing else is to be done before the clock moves; none: something is.
    #[cfg(test)]
    fn at_rest(&self) -> Option<usize> {
        let rests = self.0.rests.load(Ordering::Relaxed) && self.0.readings.are_over();
        rests.then(|| self.0.lanes.at_rest()).flatten()
    }

    /// Looks at everything once: also what the life before left behind.
    async fn resume(&self, agenda: &mut Agenda) -> Result<(), StoreError> {
        for row in self.0.store.credentials().await? {
            match self.commit(&row.name, Event::Resumed, Actor::controller()).await {
                Ok(_) | Err(CommitError::OutOfOrder(_) | CommitError::NoSuchCredential(_)) => {}
                Err(CommitError::Store(error)) => return Err(error),
                Err(error) => {
                    tracing::error!(credential = %row.name, %error, "not resumed");
                    self.0.unsure.of_any(&row.name);
                }
            }
            agenda.soon(row.name, self.0.clock.elapsed());
        }
        Ok(())
    }

    /// Takes note of a change and of all others that wait; says whether everything is to be looked at.
    fn note(
        &self,
        first: Result<Changed, RecvError>,
        changes: &mut broadcast::Receiver<Changed>,
        agenda: &mut Agenda,
    ) -> bool {
        let (mut change, mut everything) = (first, false);
        loop {
            match change {
                Ok(Changed::Credential(name) | Changed::Holders(name)) => {
                    agenda.soon(name, self.0.clock.elapsed());
                }
                Ok(Changed::Instances | Changed::Admins) => {}
                Ok(Changed::Mode) | Err(RecvError::Lagged(_)) => everything = true,
                Err(RecvError::Closed) => return everything,
            }
            match changes.try_recv() {
                Ok(next) => change = Ok(next),
                Err(broadcast::error::TryRecvError::Lagged(by)) => change = Err(RecvError::Lagged(by)),
                Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => {
                    return everything;
                }
            }
        }
    }

    fn looked(&self, looked: Looked, agenda: &mut Agenda) {
        let elapsed = self.0.clock.elapsed();
        match looked {
            Looked::At(name, next) => agenda.looked(&name, next, elapsed),
            Looked::Everywhere(names) => names.into_iter().for_each(|name| agenda.soon(name, elapsed)),
        }
    }

    /// Finds everything that there is to look at.
    async fn list(&self) -> Result<Looked, StoreError> {
        loop {
            match self.0.store.credentials().await {
                Ok(rows) => return Ok(Looked::Everywhere(rows.into_iter().map(|row| row.name).collect())),
                Err(error) => tracing::warn!(error = %Causes(&error), "credentials not listed; trying again"),
            }
            self.0.clock.sleep(AFTER_FAILURE).await;
        }
    }

    /// Looks at one credential, and says when to look again.
    async fn look_and_log(&self, name: CredentialName) -> Result<Looked, StoreError> {
        let next = match self.look(&name).await {
            Ok(next) => next,
            Err(CommitError::Store(StoreError::LostEpoch)) => return Err(StoreError::LostEpoch),
            Err(error) => {
                tracing::warn!(credential = %name, error = %Causes(&error), "not looked at; trying again");
                Some(AFTER_FAILURE)
            }
        };
        Ok(Looked::At(name, next))
    }

    async fn look(&self, name: &CredentialName) -> Result<Option<Duration>, CommitError> {
        let Some(mut seen) = self.see(name).await? else {
            self.0.lanes.forget(name);
            self.0.watch.forget(name);
            self.0.drift.forget(name);
            self.0.refusals.forget(name);
            self.0.follows.forget(name);
            self.0.unsure.forget(name);
            return Ok(None);
        };
        if self.has_moved(&seen).await? {
            let outcome = self.commit(name, Event::Look, Actor::controller()).await?;
            seen.ledger = outcome.ledger;
        }
        if seen.facts().mode == Mode::Normal && !seen.claims.is_empty() {
            seen.ledger = self.take_late_claims(name).await?;
        }
        if let Some(failed) = seen.failure() {
            seen.ledger = self.commit(name, failed, Actor::controller()).await?.ledger;
        }
        if self.forget_deleted(&seen).await? {
            return Ok(None);
        }
        let due = seen.ledger.due(&seen.facts());
        let tasks: Vec<Task> = due.iter().map(|step| Task::of(name, step, &seen.ledger)).collect();
        self.0.lanes.keep_only(name, &tasks);
        for step in due {
            self.start(name, step, &seen);
        }
        let by_time = seen.ledger.look_again(&seen.facts());
        let retry = self.0.lanes.next_try(name, self.0.clock.elapsed());
        Ok(Some(retry.map_or(by_time, |retry| by_time.min(retry)).min(LONGEST)))
    }

    /// Starts a step, unless it is being done or waits for its next try.
    fn start(&self, name: &CredentialName, step: Step, seen: &Seen) {
        let task = Task::of(name, &step, &seen.ledger);
        let Some(give_up) = self.0.lanes.enter(&task, self.0.clock.elapsed()) else { return };
        let executor = self.clone();
        let target = seen.spec.driver.target().to_string();
        self.0.spawner.start("step", async move {
            let performed = Box::pin(executor.perform(&task, step, target));
            if give_up.run_until_cancelled(performed).await.is_none() {
                executor.0.lanes.worked(&task, Duration::ZERO);
            }
        });
    }
}

/// What came of a look.
#[derive(Debug)]
enum Looked {
    /// At one credential; in how long to look again, or none when it is gone.
    At(CredentialName, Option<Duration>),
    /// At all there is.
    Everywhere(Vec<CredentialName>),
}

/// An error with its causes, in one line.
struct Causes<'a>(&'a (dyn std::error::Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&rekey_runtime::tasks::with_causes(self.0))
    }
}

#[cfg(test)]
mod tests;
