//! Who this sidecar is: a key that never leaves it, and a short-lived leaf that the controller renews.
//!
//! Kept in `state_dir` when there is one (the only thing that a sidecar writes to disk), else only in memory, where a
//! restart needs a new join token.

mod enrol;
mod keeper;
mod leaf;
mod state;

pub use enrol::EnrolError;
pub use keeper::{Keeper, until_renewal};
pub use leaf::{KeyError, Leaf, LeafError};
pub use state::{StateDir, StateError};
