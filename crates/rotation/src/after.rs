//! The one place where a ledger changes.

use crate::event::Event;
use crate::facts::Facts;
use crate::ledger::Ledger;
use crate::refusal::OutOfOrder;

impl Ledger {
    /// The ledger after `event`, with every edge taken that is free then. The same ledger if nothing follows from it;
    /// an event that has no edge is refused and changes nothing.
    pub fn after(&self, event: &Event, _facts: &Facts<'_>) -> Result<Self, OutOfOrder> {
        Err(OutOfOrder::NoEdge { event: event.name(), phase: self.open_rotation().map(|open| open.phase) })
    }
}
