//! Opening a session: everything that must be true and durable before a sidecar is welcomed.

use std::collections::BTreeSet;

use rekey_model::{CredentialName, Generation, Incarnation, Order};

use super::Fleet;
use super::refusal::Refusal;
use super::wire::Hello;
use crate::identity::SidecarIdentity;
use crate::store::{self, Applied, Granted, InstanceRow, Leaf, Tx};

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
        let restored = self.notice_a_restore(&mut tx, hello).await?;
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
        if tx.hello(&said).await? == Applied::Void {
            return Err(Refusal::Denied);
        }
        confirm(&mut tx, who, &row).await?;
        let holdings = tx.holdings_of(who.instance).await?;
        tx.commit().await?;
        if restored {
            self.views().refresh_all(self.hub()).await?;
        }
        let withdrawn = holdings.into_iter().filter(|row| row.withdrawn).map(|row| row.credential);
        Ok(Opened {
            seq: row.session_seq.saturating_add(1),
            granted: granted.into_iter().map(|granted| granted.credential).collect(),
            withdrawn: withdrawn.collect(),
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
    /// only reconciles (I25).
    async fn notice_a_restore(&self, tx: &mut Tx, hello: &Hello) -> Result<bool, Refusal> {
        let mut ahead: Option<Incarnation> = None;
        for held in &hello.held {
            let later = held.incarnation > tx.incarnation();
            let same_life = held.incarnation == tx.incarnation();
            let view = self.views().view(&held.name);
            let beyond = same_life && view.is_some_and(|view| held.order > view.seen.order);
            if later || (beyond && self.is_beyond(tx, held).await?) {
                ahead = ahead.max(Some(held.incarnation));
            }
        }
        if let Some(seen) = ahead {
            let incarnation = tx.begin_life(seen).await?;
            tracing::error!(%incarnation, "a sidecar has seen more than the store knows: it was restored from a backup");
        }
        Ok(ahead.is_some())
    }

    /// The views may be a moment behind; the store is not.
    async fn is_beyond(&self, tx: &mut Tx, held: &super::wire::Held) -> Result<bool, Refusal> {
        Ok(tx.load(&held.name).await?.is_some_and(|row| held.order > row.ledger.order))
    }
}

/// Notes that this leaf is in use: leaves before it are not accepted any more.
async fn confirm(tx: &mut Tx, who: &SidecarIdentity, row: &InstanceRow) -> Result<(), Refusal> {
    if who.counter > row.leaf.confirmed {
        let issued = row.leaf.issued.max(who.counter);
        tx.set_leaf(row.id, &Leaf { issued, confirmed: who.counter, ..row.leaf.clone() }).await?;
    }
    Ok(())
}
