//! The rotation machine: what has been decided about one credential, and what follows from an event.
//!
//! Pure: time and the state of the holders are arguments, effects are data. [`Ledger`] is everything decided about one
//! credential; [`Ledger::after`] is the only place where it changes; [`Ledger::due`] says what is to be done now. There
//! is no list of effects beside it: an effect is due because of the state it was decided in, so that a restart performs
//! it again and the commit of its outcome removes it. The rules are those of `docs/rotation.md`.

mod after;
mod alarm;
mod alone;
mod begin;
mod canary;
mod cutover;
mod due;
mod edges;
mod emergency;
mod ending;
mod event;
mod facts;
pub mod group;
mod guard;
mod holders;
mod ledger;
mod making;
mod phase;
mod refusal;
mod restore;

pub use alarm::{Alarm, AlarmKind};
pub use alone::Alone;
pub use due::Step;
pub use emergency::{Emergency, EmergencyId, EmergencyKind, Fencing};
pub use ending::{Cause, Ending, EndingState};
pub use event::{AtTarget, Event, Why};
pub use facts::{
    Acked, Barrier, Evidence, Facts, HolderFacts, Making, Missing, Mode, Overlap, Policy, Schedule, Trial,
    Tried, Usage,
};
pub use guard::Unmet;
pub use ledger::{AfterRestore, Hold, Ledger, Unchecked, VersionRecord};
pub use phase::{Canary, Company, CutOver, Phase, Rotation};
pub use refusal::OutOfOrder;
pub use restore::{Claim, Listing, Shown};

#[cfg(test)]
mod tests;
