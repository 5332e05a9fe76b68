//! What is being done, what waits for its next try, and how much of it at once.
//!
//! A target gets at most [`WIDTH`] usual calls at a time. What readers wait for and what is cut in an emergency have lanes
//! of their own, each as wide again: no crowd of rotations, and of people who look, can delay one.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rekey_model::{CredentialName, Version};
use rekey_rotation::{Ledger, Step};
use rekey_runtime::{Backoff, CancellationToken};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::agenda::Agenda;

/// Calls to one target at a time, in each of its lanes.
const WIDTH: usize = 4;
/// The ceiling of the first wait after a failure.
const FIRST: Duration = Duration::from_millis(200);
/// The verb of the one call that makes something.
const INSTALL: &str = "install";
/// The longest wait after failures.
const CAP: Duration = Duration::from_secs(30);
/// The longest wait after failures of what is urgent.
const CAP_URGENT: Duration = Duration::from_secs(2);

/// The longest wait that a target may ask for.
const LONGEST: Duration = Duration::from_hours(1);
/// The longest that it may ask what is urgent to wait.
const LONGEST_URGENT: Duration = Duration::from_secs(30);

/// Among which calls to a target one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Lane {
    /// Nobody waits for it.
    Usual,
    /// Readers wait while the only value that the target takes is changed.
    Readers,
    /// An emergency.
    Emergency,
}

impl Lane {
    fn is_urgent(self) -> bool {
        self != Self::Usual
    }
}

/// One thing to be done about one credential.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Task {
    pub(super) name: CredentialName,
    pub(super) verb: &'static str,
    pub(super) version: Option<Version>,
    pub(super) lane: Lane,
}

impl Task {
    pub(super) fn of(name: &CredentialName, step: &Step, ledger: &Ledger) -> Self {
        let (verb, version) = match step {
            Step::Begin { .. } => ("begin", None),
            Step::Choose { version } => ("choose", Some(*version)),
            Step::Install { version, .. } => (INSTALL, Some(*version)),
            Step::Probe { version, .. } => ("probe", Some(*version)),
            Step::Lift { version } => ("lift", Some(*version)),
            Step::Sample { version } => ("sample", Some(*version)),
            Step::End { version, .. } => ("end", Some(*version)),
            Step::List => ("list", None),
            Step::CleanUp { version } => ("clean-up", Some(*version)),
            Step::Check { .. } => ("check", None),
            Step::Verify { version } => ("verify", Some(*version)),
            Step::Try { version } => ("try", Some(*version)),
            Step::Follow => ("follow", None),
        };
        let waited_for = matches!(step, Step::Install { .. } | Step::Probe { .. } | Step::Lift { .. });
        let lane = if matches!(step, Step::End { emergency: true, .. }) {
            Lane::Emergency
        } else if waited_for && ledger.is_cutting() {
            Lane::Readers
        } else {
            Lane::Usual
        };
        Self { name: name.clone(), verb, version, lane }
    }
}

/// How one task stands.
#[derive(Debug)]
struct Standing {
    busy: bool,
    next_try: Duration,
    backoff: Backoff,
    trouble: Option<String>,
    give_up: CancellationToken,
}

/// How soon a credential is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Soon,
    First,
}

#[derive(Debug, Default)]
pub(super) struct Lanes {
    tasks: Mutex<BTreeMap<Task, Standing>>,
    permits: Mutex<HashMap<(String, Lane), Arc<Semaphore>>>,
    poked: Mutex<BTreeMap<CredentialName, Urgency>>,
    poke: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lanes {
    /// Begins the task, if it is not being done and its next try has come. The token tells it to give up.
    pub(super) fn enter(&self, task: &Task, elapsed: Duration) -> Option<CancellationToken> {
        let mut tasks = lock(&self.tasks);
        let standing = tasks.entry(task.clone()).or_insert_with(|| Standing::new(task.lane));
        if standing.busy || standing.next_try > elapsed {
            return None;
        }
        standing.busy = true;
        standing.give_up = CancellationToken::new();
        Some(standing.give_up.clone())
    }

    /// The task was done; it may be done again from `again` on.
    pub(super) fn worked(&self, task: &Task, again: Duration) {
        if let Some(standing) = lock(&self.tasks).get_mut(task) {
            *standing = Standing { next_try: again, ..Standing::new(task.lane) };
        }
        self.poke(&task.name);
    }

    /// The task was not done, and the target may have asked to be left alone for a while; says how often in a row now.
    pub(super) fn failed(
        &self,
        task: &Task,
        (why, after): (String, Option<Duration>),
        elapsed: Duration,
    ) -> u32 {
        let mut tasks = lock(&self.tasks);
        let standing = tasks.entry(task.clone()).or_insert_with(|| Standing::new(task.lane));
        standing.busy = false;
        let longest = if task.lane.is_urgent() { LONGEST_URGENT } else { LONGEST };
        let wait = standing.backoff.failed().max(after.unwrap_or_default().min(longest));
        standing.next_try = elapsed.saturating_add(wait);
        standing.trouble = Some(why);
        let failures = standing.backoff.failures();
        drop(tasks);
        self.poke(&task.name);
        failures
    }

    /// Everything that waits for its next try is tried now.
    pub(super) fn retry_now(&self, name: &CredentialName) {
        for (_, standing) in lock(&self.tasks).iter_mut().filter(|(task, _)| task.name == *name) {
            standing.next_try = Duration::ZERO;
        }
        self.poke(name);
    }

    /// In how long something about a credential is tried again.
    pub(super) fn next_try(&self, name: &CredentialName, elapsed: Duration) -> Option<Duration> {
        let tasks = lock(&self.tasks);
        let waiting = tasks.iter().filter(|(task, standing)| task.name == *name && !standing.busy);
        let left = waiting.map(|(_, standing)| standing.next_try.saturating_sub(elapsed));
        left.filter(|left| !left.is_zero()).min()
    }

    /// What went wrong last with a credential, and is not mended.
    pub(super) fn troubles(&self, name: &CredentialName) -> Vec<String> {
        let tasks = lock(&self.tasks);
        tasks.iter().filter(|(task, _)| task.name == *name).filter_map(|(_, it)| it.trouble.clone()).collect()
    }

    /// What is no longer due needs no memory. Nothing that is being done is forgotten, but the making of a version is
    /// given up at once: its ending counts from then on how long the call may still land.
    pub(super) fn keep_only(&self, name: &CredentialName, due: &[Task]) {
        lock(&self.tasks).retain(|task, standing| {
            let kept = task.name != *name || due.contains(task);
            if !kept && task.verb == INSTALL {
                standing.give_up.cancel();
            }
            kept || standing.busy
        });
    }

    pub(super) fn forget(&self, name: &CredentialName) {
        self.keep_only(name, &[]);
    }

    /// Waits for room at a target.
    pub(super) async fn permit(&self, target: &str, lane: Lane) -> Option<OwnedSemaphorePermit> {
        let room = Arc::clone(
            lock(&self.permits)
                .entry((target.to_owned(), lane))
                .or_insert_with(|| Arc::new(Semaphore::new(WIDTH))),
        );
        room.acquire_owned().await.ok()
    }

    /// Has a credential looked at soon.
    pub(super) fn poke(&self, name: &CredentialName) {
        self.poke_as(name, Urgency::Soon);
    }

    /// Has a credential in an emergency looked at before all others.
    pub(super) fn hurry(&self, name: &CredentialName) {
        self.poke_as(name, Urgency::First);
    }

    fn poke_as(&self, name: &CredentialName, urgency: Urgency) {
        let mut poked = lock(&self.poked);
        let known = poked.entry(name.clone()).or_insert(urgency);
        *known = urgency.max(*known);
        drop(poked);
        self.poke.notify_one();
    }

    pub(super) async fn poked(&self) {
        self.poke.notified().await;
    }

    /// How many tasks are being done while nothing is poked; none: something is.
    #[cfg(test)]
    pub(super) fn at_rest(&self) -> Option<usize> {
        let busy = lock(&self.tasks).values().filter(|standing| standing.busy).count();
        lock(&self.poked).is_empty().then_some(busy)
    }

    /// Notes whatever was poked.
    pub(super) fn take_poked(&self, agenda: &mut Agenda, elapsed: Duration) {
        for (name, urgency) in std::mem::take(&mut *lock(&self.poked)) {
            match urgency {
                Urgency::Soon => agenda.soon(name, elapsed),
                Urgency::First => agenda.first(name),
            }
        }
    }
}

impl Standing {
    fn new(lane: Lane) -> Self {
        let cap = if lane.is_urgent() { CAP_URGENT } else { CAP };
        Self {
            busy: false,
            next_try: Duration::ZERO,
            backoff: Backoff::new(FIRST, cap),
            trouble: None,
            give_up: CancellationToken::new(),
        }
    }
}
