//! Who is live, who counts, who has acknowledged (`docs/rotation.md`, "The revoke guard").

use std::time::Duration;

use rekey_model::{Moment, Order};

use crate::facts::{Facts, HolderFacts};
use crate::ledger::Ledger;

impl HolderFacts {
    /// Whether its lease runs. The least time that can have passed counts, and only time in which the controller
    /// listened.
    pub fn is_live(&self, facts: &Facts<'_>) -> bool {
        self.gone.is_none() && self.silent_for(facts) < self.lease + facts.policy.slack
    }

    /// Whether its acknowledgement is waited for: it is live, or may still serve alone.
    pub fn counts(&self, facts: &Facts<'_>) -> bool {
        self.gone.is_none() && (self.is_live(facts) || self.discounted_for(facts).is_none())
    }

    /// Whether it acknowledged `order` or a later one.
    pub fn has_acked(&self, order: Order) -> bool {
        self.acked.is_some_and(|acked| acked.order >= order)
    }

    /// How long it has been silent while the controller listened.
    fn silent_for(&self, facts: &Facts<'_>) -> Duration {
        let listened = facts.now.at_least_since(facts.listening_since);
        facts.now.at_least_since(self.last_contact).min(listened)
    }

    /// For how long, at the least, it no longer counts; none: it counts, as long as a person does not say otherwise.
    fn discounted_for(&self, facts: &Facts<'_>) -> Option<Duration> {
        if let Some(gone) = self.gone {
            return Some(facts.now.at_least_since(gone));
        }
        let slack = facts.policy.slack;
        let lease_over = self.silent_for(facts).checked_sub(self.lease + slack)?;
        let alone = facts.now.at_least_since(self.last_contact);
        let alone_over = alone.checked_sub(self.alone?.saturating_add(slack))?;
        Some(lease_over.min(alone_over))
    }

    /// Whether it began after `turn` and with nothing, so that it never gave anybody what was served before.
    fn began_after(&self, turn: Moment) -> bool {
        self.came_empty && self.since.at_least_since(turn) > Duration::ZERO
    }

    /// Whether it still counted at `turn`.
    fn counted_at(&self, turn: Moment, facts: &Facts<'_>) -> bool {
        let slack = facts.policy.slack;
        let bound = self.alone.map_or(Duration::MAX, |alone| alone.max(self.lease).saturating_add(slack));
        turn.at_least_since(self.last_contact) < bound
    }
}

impl Facts<'_> {
    /// The holders whose acknowledgement is waited for.
    pub fn counting(&self) -> impl Iterator<Item = &HolderFacts> {
        self.holders.iter().filter(|holder| holder.counts(self))
    }

    /// The holders whose lease runs.
    pub fn live(&self) -> impl Iterator<Item = &HolderFacts> {
        self.holders.iter().filter(|holder| holder.is_live(self))
    }

    /// When the last holder that counts acknowledged; now, if nobody does.
    pub(crate) fn last_ack(&self) -> Moment {
        let acked = self.counting().filter_map(|holder| holder.acked).map(|acked| acked.at);
        acked.reduce(later).unwrap_or(self.now)
    }
}

/// The later of two moments, as far as both clocks agree.
pub(crate) fn later(one: Moment, other: Moment) -> Moment {
    if other.at_least_since(one) > Duration::ZERO { other } else { one }
}

impl Ledger {
    /// The holders that count and have not acknowledged the latest order.
    pub fn unacked<'a>(&self, facts: &'a Facts<'_>) -> Vec<&'a HolderFacts> {
        let order = self.order;
        facts.counting().filter(|holder| !holder.has_acked(order)).collect()
    }

    /// Whether nobody ever held the credential, through Rekey or before it: then nobody has to agree.
    pub(crate) fn nobody_ever(&self, facts: &Facts<'_>) -> bool {
        let adopted = self.versions.values().any(|record| record.adopted && !record.stage.is_final());
        !self.ever_held && facts.holders.is_empty() && !adopted
    }

    /// Whether a live holder is missing that would have to be there for any agreement to mean something.
    pub(crate) fn lacks_live_holder(&self, facts: &Facts<'_>) -> bool {
        let waived = self.open_rotation().is_some_and(|open| open.no_holders);
        facts.live().next().is_none() && !waived && !self.nobody_ever(facts)
    }

    /// Rule 2 of the guard: at least one holder is live, and every one that counts has acknowledged the latest order.
    pub(crate) fn all_acked(&self, facts: &Facts<'_>) -> bool {
        !self.lacks_live_holder(facts) && self.unacked(facts).is_empty()
    }

    /// For how long, at the least, every holder has served what is current and nobody was given up who might still serve
    /// something else; none: not everybody does.
    pub fn moved_for(&self, facts: &Facts<'_>) -> Option<Duration> {
        let turned = self.open_rotation()?.turned?;
        self.all_acked(facts).then(|| self.undisturbed_for(turned, facts))
    }

    /// How long ago, at the least, the last thing happened after which somebody may have begun to need the floor again:
    /// the turn, the last acknowledgement, the last discount of a holder that had not acknowledged.
    pub(crate) fn undisturbed_for(&self, turn: Moment, facts: &Facts<'_>) -> Duration {
        let mut shortest = facts.now.at_least_since(turn);
        for holder in facts.holders.iter().filter(|holder| !holder.began_after(turn)) {
            let since = match holder.acked.filter(|acked| acked.order >= self.order) {
                Some(acked) => Some(facts.now.at_least_since(acked.at)),
                None => holder.discounted_for(facts),
            };
            shortest = shortest.min(since.unwrap_or(Duration::ZERO));
        }
        let discount = self.open_rotation().and_then(|open| open.last_discount);
        discount.map_or(shortest, |at| shortest.min(facts.now.at_least_since(at)))
    }

    /// How many holders vanished since `turn` without a word and without having acknowledged.
    pub(crate) fn vanished_since(&self, turn: Moment, facts: &Facts<'_>) -> u32 {
        let silent = facts.holders.iter().filter(|holder| {
            let unheard = holder.gone.is_none() && !holder.counts(facts) && !holder.has_acked(self.order);
            unheard && holder.counted_at(turn, facts)
        });
        u32::try_from(silent.count()).unwrap_or(u32::MAX)
    }

    /// When a holder that had not acknowledged last said goodbye or was removed.
    pub(crate) fn last_goodbye(&self, facts: &Facts<'_>) -> Option<Moment> {
        let unacked = facts.holders.iter().filter(|holder| !holder.has_acked(self.order));
        unacked.filter_map(|holder| holder.gone).reduce(later)
    }
}
