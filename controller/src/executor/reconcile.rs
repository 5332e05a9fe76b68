//! Taking a restored store up again: what it waits for, and the one commit that leaves the mode.
//!
//! The mode is left by itself once every sidecar has said hello in this life of the store, or has been silent for as
//! long as a living one never is, and once no call of the life that was lost can land any more. A holder that is away
//! for longer is not forgotten: it counts for as long as it may serve alone, what it holds is found at the target and
//! ends by evidence only, and what it tells when it comes is taken in then.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use rekey_drivers::{Driver, Listed};
use rekey_model::{CredentialName, InstanceId, Moment};
use rekey_rotation::{
    Event, Facts, Ledger, Listing, Making, Mode, OutOfOrder, Overlap, Policy, Shown, Tried,
};
use tokio::sync::broadcast::error::RecvError;

use super::act::Trouble;
use super::commit::save;
use super::seen::called;
use super::{AFTER_FAILURE, Causes, CommitError, Executor};
use crate::audit::{Actor, Entry, Outcome, Verb};
use crate::spec::Spec;
use crate::store::{Changed, CredentialId, CredentialRow, InstanceRow, LifeId, StoreError, Tx};

/// How long a sidecar that lost its stream may take to open the next one, over and above its lease: the longest pause
/// of its back-off.
const RECONNECT: Duration = Duration::from_secs(30);
/// How often it is looked whether the mode can be left.
const LOOK: Duration = Duration::from_millis(250);
/// How many targets are asked at once what they have.
const AT_ONCE: usize = 8;

/// What this process knows of the present life of a store that only reconciles.
#[derive(Debug, Default)]
pub(super) struct Reconcile(Mutex<Option<Life>>);

#[derive(Debug, Clone)]
struct Life {
    id: LifeId,
    /// Not before this process listened to anybody.
    since: Moment,
    /// Who said that silent sidecars are not to be waited for, and why.
    hurried: Option<(Actor, String)>,
}

impl Reconcile {
    /// Looks at what is known of the life `id`, and changes it.
    fn with<T>(&self, id: LifeId, now: Moment, act: impl FnOnce(&mut Life) -> T) -> T {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = known.take().filter(|life| life.id == id);
        act(known.insert(same.unwrap_or(Life { id, since: now, hurried: None })))
    }
}

/// What a restored store waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciling {
    /// Why it only reconciles.
    pub because: String,
    /// How many sidecars have said hello in this life.
    pub heard: usize,
    /// Those that have not.
    pub silent: Vec<Silent>,
    /// How long those are waited for yet; zero: no longer.
    pub silence_left: Duration,
    /// How long calls of the life that was lost may land yet.
    pub settle_left: Duration,
    /// Whether an operator said that silent sidecars are not to be waited for.
    pub hurried: bool,
}

/// A sidecar that has not said hello since the store was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silent {
    /// The instance.
    pub instance: InstanceId,
    /// What people call it.
    pub name: String,
}

impl Reconciling {
    /// In how long the mode is left by itself, if nobody says hello before.
    pub fn left(&self) -> Duration {
        let nobody = self.silent.is_empty() || self.hurried;
        let silence = if nobody { Duration::ZERO } else { self.silence_left };
        silence.max(self.settle_left)
    }
}

impl Executor {
    /// Leaves the mode whenever that may be done, until the store is taken by another controller.
    pub(super) async fn reconcile(&self) -> Result<(), StoreError> {
        let mut changes = self.0.store.changes();
        loop {
            match self.look_whether_reconciled().await {
                Ok(Some(left)) => self.0.clock.sleep(left.clamp(Duration::from_millis(10), LOOK)).await,
                Ok(None) => loop {
                    match changes.recv().await {
                        Ok(Changed::Mode) | Err(RecvError::Lagged(_)) => break,
                        Ok(_) => {}
                        Err(RecvError::Closed) => std::future::pending().await,
                    }
                },
                Err(CommitError::Store(StoreError::LostEpoch)) => return Err(StoreError::LostEpoch),
                Err(error) => {
                    tracing::warn!(error = %Causes(&error), "the restored store is not taken up yet; trying again");
                    self.0.clock.sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    /// In how long to look again; none: there is nothing to reconcile.
    async fn look_whether_reconciled(&self) -> Result<Option<Duration>, CommitError> {
        let Some(waits) = self.reconciling().await? else { return Ok(None) };
        if waits.left().is_zero() {
            let counted = format!("{} sidecars heard, {} silent", waits.heard, waits.silent.len());
            let life = self.0.store.meta().await?.life;
            let hurried = self.0.reconcile.with(life, self.0.clock.now(), |life| life.hurried.clone());
            let (actor, why) = hurried.unwrap_or((Actor::controller(), String::new()));
            let why = if why.is_empty() { counted } else { format!("{counted}; {why}") };
            self.leave_reconciling(actor, &why).await?;
            return Ok(Some(Duration::ZERO));
        }
        Ok(Some(waits.left()))
    }

    /// What the store waits for before it does everything again; none: it does.
    pub async fn reconciling(&self) -> Result<Option<Reconciling>, StoreError> {
        let meta = self.0.store.meta().await?;
        if meta.mode == Mode::Normal {
            return Ok(None);
        }
        let now = self.0.clock.now();
        let known = self.0.reconcile.with(meta.life, now, |life| life.clone());
        let passed = now.at_least_since(known.since);
        let slack = self.0.settings.slack;
        let (mut heard, mut silent) = (0_usize, Vec::new());
        for row in self.0.store.instances().await?.into_iter().filter(InstanceRow::welcome) {
            if row.heard_in == meta.incarnation {
                heard = heard.saturating_add(1);
            } else {
                silent.push(Silent { instance: row.id, name: called(&row.spiffe, &row.host) });
            }
        }
        let settle = self.longest_settle().await?;
        Ok(Some(Reconciling {
            because: meta.because.unwrap_or_default(),
            heard,
            silent,
            silence_left: (self.0.settings.lease + slack + RECONNECT).saturating_sub(passed),
            settle_left: (settle + slack).saturating_sub(passed),
            hurried: known.hurried.is_some(),
        }))
    }

    /// An operator says that silent sidecars are not to be waited for; false: the store does everything already. Calls
    /// of the life that was lost are waited for all the same: what they make after the target was asked would be
    /// forgotten.
    pub async fn hurry(&self, actor: Actor, why: &str) -> Result<bool, StoreError> {
        let mut tx = self.0.store.begin().await?;
        if tx.mode() == Mode::Normal {
            tx.rollback().await?;
            return Ok(false);
        }
        let (life, now) = (tx.life(), tx.now());
        let entry = Entry::new(actor.clone(), Verb::Mode, Outcome::Done);
        tx.audit(&entry.because(format!("silent sidecars are not waited for: {why}"))).await?;
        tx.commit().await?;
        self.0.reconcile.with(life, now, |life| life.hurried = Some((actor, why.to_owned())));
        Ok(true)
    }

    async fn longest_settle(&self) -> Result<Duration, StoreError> {
        let rows = self.0.store.credentials().await?;
        let specs = rows.iter().filter_map(|row| Spec::parse(&row.spec).ok());
        Ok(specs.map(|spec| self.settle(&spec)).max().unwrap_or_default())
    }

    /// Takes every credential up again and leaves the mode, in one commit; false: it was left already.
    ///
    /// One commit for the whole store, so that there is no time in which some credentials go by the new life and some
    /// by the old: if it fails, nothing happened and it is done again.
    async fn leave_reconciling(&self, actor: Actor, why: &str) -> Result<bool, CommitError> {
        let life = self.0.store.meta().await?.life;
        let listings = self.ask_all_targets().await?;
        let mut tx = self.0.store.begin().await?;
        if tx.mode() == Mode::Normal || tx.life() != life {
            tx.rollback().await?;
            return Ok(false);
        }
        for row in tx.load_all().await? {
            let listing = listings.get(&row.name).cloned().unwrap_or(Listing::Unasked);
            self.take_up(&mut tx, row, listing).await?;
        }
        let entry = Entry::new(actor, Verb::Mode, Outcome::Done).because(format!("normal: {why}"));
        tx.audit(&entry).await?;
        tx.leave_reconciling().await?;
        tx.commit().await?;
        tracing::info!(%why, "the restored store is taken up again: everything goes on");
        Ok(true)
    }

    async fn take_up(&self, tx: &mut Tx, row: CredentialRow, listing: Listing) -> Result<(), CommitError> {
        let (name, former) = (row.name.clone(), tx.former());
        let event = Event::Reconciled { former, listing };
        let after = match self.see_in(tx, row.clone()).await {
            Ok(seen) => row.ledger.after(&event, &seen.facts())?,
            // What cannot be read must not hold up the others: what was told of it is taken in all the same.
            Err(CommitError::Spec(_)) => blind(tx, &row, &event).await?,
            Err(error) => return Err(error),
        };
        save(tx, &row, after, (&event, &Actor::controller()), None).await?;
        Ok(tx.drop_claims(&name).await?)
    }

    /// What every target has of every credential, as far as it answers.
    async fn ask_all_targets(&self) -> Result<BTreeMap<CredentialName, Listing>, StoreError> {
        let rows = self.0.store.credentials().await?;
        let specs = rows.into_iter().filter_map(|row| Spec::parse(&row.spec).ok().map(|spec| (row, spec)));
        let mut by_target: BTreeMap<String, Vec<(CredentialRow, Spec)>> = BTreeMap::new();
        for (row, spec) in specs {
            by_target.entry(spec.driver.target().to_string()).or_default().push((row, spec));
        }
        let asked = futures_util::stream::iter(by_target.into_values().map(|specs| self.ask_target(specs)));
        Ok(asked.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await.into_iter().flatten().collect())
    }

    /// One target that does not answer is not asked again here: each credential asks it later.
    async fn ask_target(&self, specs: Vec<(CredentialRow, Spec)>) -> Vec<(CredentialName, Listing)> {
        let mut answers = Vec::new();
        for (row, spec) in specs {
            let Ok(driver) = self.0.drivers.driver(&spec) else { break };
            let name = row.name.clone();
            match self.shows((row.id, &row.ledger), &spec, &*driver).await {
                Ok(listing) => answers.push((name, listing)),
                Err(error) => {
                    tracing::warn!(credential = %name, error = %Causes(&error), "the target is asked later what it has");
                    break;
                }
            }
        }
        answers
    }

    /// What a target shows of a credential. Where it takes one value and cannot tell which, the current version is tried:
    /// if that is let in, it is the value, whatever anybody claims to have been given later.
    pub(super) async fn shows(
        &self,
        (id, ledger): (CredentialId, &Ledger),
        spec: &Spec,
        driver: &dyn Driver,
    ) -> Result<Listing, Trouble> {
        let listed = driver.list().await?;
        let current = ledger.current.filter(|_| spec.barrier.is_some() && listed == Listed::CannotTell);
        let known = current.and_then(|current| Some((current, ledger.version(current)?)));
        let Some((version, record)) = known else { return Ok(listing(listed)) };
        match self.takes(id, version, driver).await? {
            Some(true) => Ok(Listing::Shown(vec![Shown {
                version: Some(version),
                handle: record.handle.clone(),
                accepted: true,
                adopted: record.adopted,
            }])),
            Some(false) | None => Ok(Listing::CannotTell),
        }
    }

    /// Takes in what a holder tells that was away while the store was taken up again.
    pub(super) async fn take_late_claims(&self, name: &CredentialName) -> Result<Ledger, CommitError> {
        let mut tx = self.0.store.begin().await?;
        let row = tx.load(name).await?.ok_or_else(|| CommitError::NoSuchCredential(name.clone()))?;
        let seen = self.see_in(&mut tx, row.clone()).await?;
        if seen.facts().mode != Mode::Normal {
            tx.rollback().await?;
            return Ok(row.ledger);
        }
        let after = row.ledger.after(&Event::Heard, &seen.facts())?;
        if row.ledger != after {
            save(&mut tx, &row, after.clone(), (&Event::Heard, &Actor::controller()), None).await?;
        }
        tx.drop_claims(name).await?;
        tx.commit().await?;
        Ok(after)
    }
}

/// Takes up a credential whose declaration does not read: nothing is known of its policy, and nothing of that is asked.
async fn blind(tx: &mut Tx, row: &CredentialRow, event: &Event) -> Result<Ledger, CommitError> {
    let claims = tx.claims_of(&row.name).await?;
    let long = Duration::from_hours(24);
    let policy = Policy {
        schedule: None,
        max_reconnect: long,
        floor: long,
        quiet: long,
        deadline: long,
        offline_for: None,
        lease: long,
        slack: long,
        brake_divisor: 10,
        budget: 1,
        settle: long,
        adopts: false,
        canary: None,
        overlap: Overlap::Both,
        making: Making::Ours,
        slots: None,
        verify_every: long,
        verify_after: long,
    };
    let (now, mode) = (tx.now(), tx.mode());
    let facts = Facts {
        now,
        mode,
        policy: &policy,
        holders: &[],
        listening_since: now,
        evidence: None,
        claims: &claims,
        gate: None,
        mates: &[],
        tried: Tried::default(),
    };
    let after: Result<Ledger, OutOfOrder> = row.ledger.after(event, &facts);
    Ok(after?)
}

/// A driver's list in the rotation machine's words.
fn listing(listed: Listed) -> Listing {
    match listed {
        Listed::CannotTell => Listing::CannotTell,
        Listed::Versions(versions) => Listing::Shown(
            versions
                .into_iter()
                .map(|it| Shown {
                    version: it.version,
                    handle: it.handle,
                    accepted: it.accepted,
                    adopted: it.adopted,
                })
                .collect(),
        ),
    }
}
