//! How long holders may serve alone: which bound went out with which order.
//!
//! A holder learns of a changed bound as of anything else that it is to go by: with an order. Until it has acknowledged
//! that order it may still go by an earlier bound, and the revoke guard waits for the longest of those.

use std::time::Duration;

use rekey_model::Order;
use serde::{Deserialize, Serialize};

use crate::facts::{Facts, Mode};
use crate::ledger::Ledger;

/// How many bounds are told apart; of more, the two oldest count as the longer of them.
const MOST: usize = 8;

/// A bound, and the order that it first went out with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Alone {
    /// The order.
    pub order: Order,
    /// How long a sidecar may serve it without word from the controller; none: without end.
    pub bound: Option<Duration>,
}

impl Ledger {
    /// The bound that goes out with the present order; `declared` as long as none went out.
    pub fn alone(&self, declared: Option<Duration>) -> Option<Duration> {
        self.alone.last().map_or(declared, |last| last.bound)
    }

    /// The longest bound that a holder may go by which has `acked` this order in its present session, or nothing:
    /// the one that came with it, or any later one, which it may have got and not acknowledged.
    pub fn longest_alone(&self, acked: Option<Order>, declared: Option<Duration>) -> Option<Duration> {
        let came_with = |acked| self.alone.iter().rposition(|alone| alone.order <= acked);
        let since = acked.and_then(came_with).unwrap_or(0);
        let bounds = self.alone.iter().skip(since).map(|alone| alone.bound);
        bounds.reduce(longer).unwrap_or(declared)
    }

    /// Sends a changed bound out with an order of its own, and forgets the bounds that no holder can go by any more.
    pub(crate) fn follow_bound(&mut self, facts: &Facts<'_>) {
        if facts.mode != Mode::Normal || self.order == Order::default() || self.deleted.is_some() {
            return;
        }
        let bound = facts.policy.offline_for;
        match self.alone.last() {
            None => self.alone.push(Alone { order: self.order, bound }),
            Some(last) if last.bound != bound => {
                self.order = self.order.next();
                self.alone.push(Alone { order: self.order, bound });
            }
            Some(_) => {}
        }
        let order = self.alone.last().map_or(self.order, |last| last.order);
        if facts.holders.iter().all(|holder| holder.gone.is_some() || holder.has_acked(order)) {
            self.alone.retain(|alone| alone.order == order);
        }
        while self.alone.len() > MOST {
            let oldest = self.alone.remove(0);
            if let Some(next) = self.alone.first_mut() {
                *next = Alone { order: oldest.order, bound: longer(oldest.bound, next.bound) };
            }
        }
    }
}

/// The longer of two bounds, of which none is without end.
fn longer(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.zip(other).map(|(one, other)| one.max(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(bounds: &[(u64, Option<u64>)]) -> Ledger {
        let one = |(order, secs): &(u64, Option<u64>)| Alone {
            order: Order(*order),
            bound: secs.map(Duration::from_secs),
        };
        Ledger { alone: bounds.iter().map(one).collect(), ..Ledger::default() }
    }

    #[test]
    fn a_holder_goes_by_what_came_with_its_order_or_by_anything_later() {
        let ledger = ledger(&[(2, Some(9)), (5, Some(60)), (7, Some(3))]);
        let longest = |acked: Option<u64>| ledger.longest_alone(acked.map(Order), None).unwrap().as_secs();
        for (acked, expected) in [
            (None, 60),
            (Some(1), 60),
            (Some(2), 60),
            (Some(4), 60),
            (Some(6), 60),
            (Some(7), 3),
            (Some(9), 3),
        ] {
            assert_eq!(longest(acked), expected, "{acked:?}");
        }
    }

    #[test]
    fn without_end_is_longer_than_any_bound_and_what_never_went_out_is_as_declared() {
        let without_end = ledger(&[(2, None), (5, Some(60))]);
        assert_eq!(without_end.longest_alone(Some(Order(4)), Some(Duration::ZERO)), None);
        assert_eq!(without_end.alone(None), Some(Duration::from_mins(1)));
        assert_eq!(ledger(&[]).longest_alone(None, Some(Duration::ZERO)), Some(Duration::ZERO));
        assert_eq!(ledger(&[]).alone(None), None);
    }
}
