//! Opening a session: everything that must be true and durable before a sidecar is welcomed.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use rekey_model::{CredentialName, Generation, Handle, Incarnation, InstanceId, Order, Version};
use rekey_rotation::{Claim, Ledger};

use super::Fleet;
use super::refusal::Refusal;
use super::release;
use super::wire::{Held, Hello};
use crate::audit::{Actor, Entry, Outcome, Verb};
use crate::identity::SidecarIdentity;
use crate::store::{self, Applied, Granted, HolderRow, InstanceRow, Leaf, Mode, Tx};

/// No store has been restored so many times more than it knows of.
const MOST_LIVES_AHEAD: u64 = 1000;
/// No credential has changed so often, or had so many versions, since the backup that anybody restores.
const MOST_AHEAD: u64 = 1 << 32;

/// A session that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    /// The how-many-eth session of the instance this is.
    pub seq: u64,
    /// What it counts as a holder of.
    pub granted: BTreeSet<CredentialName>,
    /// What it lost the grant of and has not dropped yet.
    pub withdrawn: BTreeSet<CredentialName>,
    /// What its next generation must exceed.
    pub generation: Generation,
}

/// The instances whose word began a new life of the store since this process started, and those that were refused.
///
/// One word of one sidecar makes the whole installation only reconcile, for as long as that takes. A store cannot go
/// back under a process that has it open, so an honest sidecar needs that word once; a second time it is refused, and
/// so a sidecar that lies costs one reconciling a start of the controller, and no more.
#[derive(Debug, Default)]
pub(super) struct Claimants {
    believed: Mutex<BTreeSet<InstanceId>>,
    refused: Mutex<BTreeSet<InstanceId>>,
}

impl Claimants {
    fn is_believed(&self, instance: InstanceId) -> bool {
        self.believed.lock().unwrap_or_else(PoisonError::into_inner).contains(&instance)
    }

    fn believe(&self, instance: InstanceId) {
        self.believed.lock().unwrap_or_else(PoisonError::into_inner).insert(instance);
    }

    /// Whether this is the first time: only that is worth a record.
    fn refuse(&self, instance: InstanceId) -> bool {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(instance)
    }
}

impl Fleet {
    /// Commits the holder's row. The hello acknowledges nothing, whatever it says that the sidecar holds.
    pub(super) async fn open_session(&self, who: &SidecarIdentity, hello: &Hello) -> Result<Opened, Refusal> {
        let mut tx = self.store().begin().await?;
        let row = tx.instance(who.instance).await?.filter(|row| row.welcome() && row.spiffe == who.spiffe);
        let row = row.ok_or(Refusal::Denied)?;
        if who.counter < row.leaf.confirmed {
            return Err(Refusal::Superseded);
        }
        let restored = match self.notice_a_restore(&mut tx, who, hello).await {
            Err(Refusal::Future) => {
                tx.rollback().await?;
                return Err(self.refuse_the_future(who).await?);
            }
            noticed => noticed?,
        };
        self.keep_claims(&mut tx, (who, &row), hello).await?;
        let granted = self.granted_to(who, hello, tx.incarnation());
        let generation = row.generation.max(hello.generation);
        let said = store::Hello {
            instance: who.instance,
            session: hello.session,
            software: &hello.software,
            host: &hello.host,
            generation,
            lease: self.config().lease,
            granted: &granted,
        };
        let before = tx.holdings_of(who.instance).await?;
        if tx.hello(&said).await? == Applied::Void {
            return Err(Refusal::Denied);
        }
        tx.heard(who.instance).await?;
        confirm(&mut tx, who, &row).await?;
        let after = tx.holdings_of(who.instance).await?;
        release::record_changes(&mut tx, who, (&before, &after)).await?;
        tx.commit().await?;
        if restored {
            self.0.claimants.believe(who.instance);
            self.views().refresh_all(self.hub()).await?;
            self.hub().begin_anew(who.instance);
        }
        Ok(Opened {
            seq: row.session_seq.saturating_add(1),
            granted: granted.into_iter().map(|granted| granted.credential).collect(),
            withdrawn: after.into_iter().filter(is_withdrawn).map(|row| row.credential).collect(),
            generation,
        })
    }

    /// What the sidecar may have, and what it says that it holds of each: of this life of the store by its order, of an
    /// earlier one as something.
    fn granted_to(&self, who: &SidecarIdentity, hello: &Hello, incarnation: Incarnation) -> Vec<Granted> {
        let held_of = |name: &CredentialName| {
            let held = hello.held.iter().find(|held| held.name == *name && held.version.is_some())?;
            Some(if held.incarnation == incarnation { held.order } else { Order::default() })
        };
        let covering = self.views().covering(&who.spiffe);
        let names = covering.iter().map(|view| view.seen.name.clone());
        names.map(|name| Granted { held: held_of(&name), credential: name }).collect()
    }

    /// What a hello says of credentials that the sidecar may have: nobody's word about others is heard.
    fn covered<'a>(&self, who: &SidecarIdentity, hello: &'a Hello) -> Vec<&'a Held> {
        let covers =
            |held: &&Held| self.views().view(&held.name).is_some_and(|view| view.covers(&who.spiffe));
        hello.held.iter().filter(covers).collect()
    }

    /// A sidecar that has seen more than the store has been told shows that the store is a restored one: from then on it
    /// only reconciles (I25).
    async fn notice_a_restore(
        &self,
        tx: &mut Tx,
        who: &SidecarIdentity,
        hello: &Hello,
    ) -> Result<bool, Refusal> {
        let mut ahead: Option<Incarnation> = None;
        for held in self.covered(who, hello) {
            if is_ahead(tx, held).await? {
                ahead = ahead.max(Some(held.incarnation));
            }
        }
        let Some(seen) = ahead else { return Ok(false) };
        if self.0.claimants.is_believed(who.instance) {
            return Err(Refusal::Future);
        }
        let why = format!("{} ({}) has seen more than the store knew", who.spiffe, who.instance);
        let incarnation = tx.begin_life(seen, &why).await?;
        tracing::error!(%incarnation, %why, "the controller only reconciles from now on");
        let entry = Entry::new(Actor::controller(), Verb::Restore, Outcome::Done).because(why);
        tx.audit(&Entry { holder: Some(who.instance), ..entry }).await?;
        Ok(true)
    }

    /// Keeps what the sidecar says of an earlier life of the store: all of it while the store only reconciles; later,
    /// when it says hello for the first time, what nobody knows of yet.
    async fn keep_claims(
        &self,
        tx: &mut Tx,
        (who, row): (&SidecarIdentity, &InstanceRow),
        hello: &Hello,
    ) -> Result<(), Refusal> {
        let reconciles = tx.mode() == Mode::ReconcileOnly;
        if !reconciles && row.heard_in == tx.incarnation() {
            return Ok(());
        }
        for held in self.covered(who, hello) {
            let serves = held.version.zip(held.handle.clone());
            let ours = |(version, handle): &(Version, Handle)| {
                self.views().view(&held.name).is_some_and(|view| view.may_be_called(*version, handle))
            };
            let claim = Claim {
                incarnation: held.incarnation,
                order: held.order,
                serves: serves.filter(ours),
                fenced: held.fenced.clone(),
            };
            let Some(row) = tx.load(&held.name).await? else { continue };
            let earlier = held.incarnation < tx.incarnation();
            if reconciles || earlier && is_news(&claim, &row.ledger) {
                tx.put_claim(who.instance, &held.name, &claim).await?;
            }
        }
        Ok(())
    }

    /// Records, once, that a sidecar claims what cannot be.
    async fn refuse_the_future(&self, who: &SidecarIdentity) -> Result<Refusal, Refusal> {
        if self.0.claimants.refuse(who.instance) {
            let why = "it claims to have seen what cannot be, or again more than the store knows";
            tracing::error!(instance = %who.instance, spiffe = %who.spiffe, why, "a sidecar is not believed");
            let entry = Entry::new(Actor::controller(), Verb::Mode, Outcome::Refused);
            let entry = entry.because(format!("{}: {why}", who.spiffe));
            let mut tx = self.store().begin().await?;
            tx.audit(&Entry { holder: Some(who.instance), ..entry }).await?;
            tx.commit().await?;
        }
        Ok(Refusal::Future)
    }
}

/// Whether a sidecar has seen more than the store was told; [`Refusal::Future`] where that is more than can be.
async fn is_ahead(tx: &mut Tx, held: &Held) -> Result<bool, Refusal> {
    let lives = held.incarnation.0 > tx.incarnation().0.saturating_add(MOST_LIVES_AHEAD);
    let Some(row) = tx.load(&held.name).await? else { return Ok(false) };
    let last = row.ledger.last_version.map_or(0, Version::get).saturating_add(MOST_AHEAD);
    let told = held.version.iter().chain(&held.fenced).map(|version| version.get()).max().unwrap_or(0);
    if lives || told > last || held.order.0 > row.ledger.order.0.saturating_add(MOST_AHEAD) {
        return Err(Refusal::Future);
    }
    if held.incarnation != tx.incarnation() {
        return Ok(held.incarnation > tx.incarnation());
    }
    Ok(held.order > row.ledger.order)
}

/// Whether a ledger does not know what a sidecar tells.
fn is_news(claim: &Claim, ledger: &Ledger) -> bool {
    let known = |handle: &Handle| ledger.versions.values().any(|record| record.handle == *handle);
    claim.serves.as_ref().is_some_and(|(_, handle)| !known(handle)) || !claim.fenced.is_subset(&ledger.fenced)
}

fn is_withdrawn(row: &HolderRow) -> bool {
    row.withdrawn && row.gone.is_none()
}

/// Notes that this leaf is in use: leaves before it are not accepted any more.
async fn confirm(tx: &mut Tx, who: &SidecarIdentity, row: &InstanceRow) -> Result<(), Refusal> {
    if who.counter > row.leaf.confirmed {
        let issued = row.leaf.issued.max(who.counter);
        tx.set_leaf(row.id, &Leaf { issued, confirmed: who.counter, ..row.leaf.clone() }).await?;
    }
    Ok(())
}
