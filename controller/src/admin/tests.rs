//! The admin API over its real listeners, with a real store, a running executor and a target that obeys.

mod calls;
mod checks;
mod target;
mod world;

pub(super) use world::spec;
