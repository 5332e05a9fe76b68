//! What a sidecar says in its session: written down if it may say it. What follows from it is decided by the executor,
//! which hears of the rows.

use rekey_model::{CredentialName, Order};
use rekey_proto::fleet as wire;
use rekey_proto::fleet::down::Message as Down;

use super::{Heard, Session};
use crate::audit::Verb;
use crate::fleet::frame::Frame;
use crate::fleet::hub;
use crate::fleet::recorder::Evidence;
use crate::fleet::refusal::Refusal;
use crate::fleet::release::entry;
use crate::fleet::wire::{Ack, Nack, Up, Usage};
use crate::store;

impl Session {
    /// Takes one message.
    pub(super) async fn hear(&mut self, said: Up) -> Result<Heard, Refusal> {
        match said {
            Up::Hello(_) => return Err(Refusal::SecondHello),
            Up::Ack(ack) => self.acknowledged(ack).await?,
            Up::Nack(nack) => self.refused(nack).await?,
            Up::Renew { number } => self.renew(number).await?,
            Up::Usage(reports) => self.reported(reports).await?,
            Up::Resync => self.slot.mark_snapshot(),
            Up::Goodbye => {
                self.record(Evidence::Goodbye).await?;
                return Ok(Heard::Goodbye);
            }
        }
        Ok(Heard::Taken)
    }

    /// Whether this holder may say something about `name` at `order`. Nobody can have seen an order that does not
    /// exist yet: taken as evidence, it would agree to everything that is still to come.
    fn may_speak_of(&self, name: &CredentialName, order: Order) -> Result<bool, Refusal> {
        let Some(view) = self.fleet.views().view(name) else { return Ok(false) };
        if order > view.seen.order {
            return Err(Refusal::Future);
        }
        Ok(self.granted.contains(name) || self.withdrawn.contains(name))
    }

    async fn acknowledged(&mut self, ack: Ack) -> Result<(), Refusal> {
        let incarnation = self.fleet.views().incarnation();
        let (mut acks, mut dropped) = (Vec::new(), Vec::new());
        for one in ack.credentials.into_iter().filter(|one| one.incarnation == incarnation) {
            if !self.may_speak_of(&one.name, one.order)? {
                continue;
            }
            if self.granted.contains(&one.name) {
                acks.push(store::Ack { credential: one.name, order: one.order, version: one.version });
            } else if one.version.is_none() {
                dropped.push(one.name);
            }
        }
        let told: Vec<(CredentialName, Order)> =
            acks.iter().map(|ack| (ack.credential.clone(), ack.order)).collect();
        self.record(Evidence::Acks(ack.generation, acks, dropped.clone())).await?;
        for (name, order) in told {
            self.fleet.hub().acknowledged(hub::Ack { instance: self.who.instance, name, order });
        }
        for name in dropped {
            self.withdrawn.remove(&name);
        }
        Ok(())
    }

    async fn refused(&mut self, nack: Nack) -> Result<(), Refusal> {
        let ours = nack.incarnation == self.fleet.views().incarnation();
        if !ours || !self.may_speak_of(&nack.name, nack.order)? {
            return Ok(());
        }
        // What came with it was not taken either: the next word is about all of them.
        self.sent.clear();
        if self.refused.get(&nack.name).is_some_and(|order| nack.order <= *order) {
            return Ok(());
        }
        self.refused.insert(nack.name.clone(), nack.order);
        let Nack { name, order, reason, .. } = nack;
        let nacked = store::Nacked { order, reason: reason.clone() };
        let entry = Box::new(entry(&self.who, Verb::Nack, &name).because(reason));
        self.record(Evidence::Nack(name, nacked, entry)).await
    }

    /// Grants a longer lease once it is committed, and says anew how long versions in their grace are accepted.
    async fn renew(&mut self, number: u64) -> Result<(), Refusal> {
        self.record(Evidence::Renew).await?;
        let (clock, lease) = (self.fleet.clock(), self.fleet.config().lease);
        self.lease_end = clock.elapsed().saturating_add(lease);
        let views = self.granted.iter().filter_map(|name| self.fleet.views().view(name));
        let accepted = views.filter_map(|view| view.accepted(clock.now(), lease)).collect();
        let grant = wire::LeaseGrant { number, lease_ms: self.lease_ms(), accepted };
        self.send(Frame::plain(Down::LeaseGrant(grant))).await
    }

    async fn reported(&self, reports: Vec<Usage>) -> Result<(), Refusal> {
        let mut told = Vec::new();
        for usage in reports {
            if !self.may_speak_of(&usage.name, usage.order)? {
                continue;
            }
            let json = serde_json::to_value(&usage.report).map_err(store::StoreError::Encode)?;
            told.push((usage.name, usage.order, json));
        }
        self.record(Evidence::Usage(told)).await
    }
}
