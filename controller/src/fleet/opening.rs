//! Opening a session: everything that must be true and durable before a sidecar is welcomed.

use std::collections::BTreeSet;

use rekey_model::{CredentialName, Generation, Incarnation, Order};

use super::Fleet;
use super::refusal::Refusal;
use super::release;
use super::wire::{Held, Hello};
use crate::audit::{Actor, Entry, Outcome, Verb};
use crate::identity::SidecarIdentity;
use crate::store::{self, Applied, Granted, HolderRow, InstanceRow, Leaf, Tx};

/// No store has been restored so many times more than it knows of.
const MOST_LIVES_AHEAD: u64 = 1000;

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

impl Fleet {
    /// Commits the holder's row. The hello acknowledges nothing, whatever it says that the sidecar holds.
    pub(super) async fn open_session(&self, who: &SidecarIdentity, hello: &Hello) -> Result<Opened, Refusal> {
        let mut tx = self.store().begin().await?;
        let row = tx.instance(who.instance).await?.filter(|row| row.welcome() && row.spiffe == who.spiffe);
        let row = row.ok_or(Refusal::Denied)?;
        if who.counter < row.leaf.confirmed {
            return Err(Refusal::Superseded);
        }
        let restored = self.notice_a_restore(&mut tx, who, hello).await?;
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
        confirm(&mut tx, who, &row).await?;
        let after = tx.holdings_of(who.instance).await?;
        release::record_changes(&mut tx, who, (&before, &after)).await?;
        tx.commit().await?;
        if restored {
            self.views().refresh_all(self.hub()).await?;
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

    /// A sidecar that has seen more than the store has been told shows that the store is a restored one: from then on it
    /// only reconciles (I25). Heard only about what the sidecar may have: nobody else's word stops a credential.
    async fn notice_a_restore(
        &self,
        tx: &mut Tx,
        who: &SidecarIdentity,
        hello: &Hello,
    ) -> Result<bool, Refusal> {
        let mut ahead: Option<Incarnation> = None;
        for held in &hello.held {
            let covered = self.views().view(&held.name).is_some_and(|view| view.covers(&who.spiffe));
            if covered && is_ahead(tx, held).await? {
                ahead = ahead.max(Some(held.incarnation));
            }
        }
        let Some(seen) = ahead else { return Ok(false) };
        if seen.0 > tx.incarnation().0.saturating_add(MOST_LIVES_AHEAD) {
            return Err(Refusal::Future);
        }
        let incarnation = tx.begin_life(seen).await?;
        let why = format!("{} has seen more than the store knows: it was restored from a backup", who.spiffe);
        tracing::error!(%incarnation, %why, "the controller only reconciles from now on");
        let entry = Entry::new(Actor::controller(), Verb::Mode, Outcome::Done).because(why);
        tx.audit(&Entry { holder: Some(who.instance), ..entry }).await?;
        Ok(true)
    }
}

async fn is_ahead(tx: &mut Tx, held: &Held) -> Result<bool, Refusal> {
    if held.incarnation != tx.incarnation() {
        return Ok(held.incarnation > tx.incarnation());
    }
    Ok(tx.load(&held.name).await?.is_some_and(|row| held.order > row.ledger.order))
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
