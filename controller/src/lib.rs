//! The controller.

pub mod audit;
pub mod backup;
pub mod ca;
pub mod fields;
pub mod fleet;
pub mod identity;
pub mod seal;
pub mod spec;
pub mod store;
pub mod tokens;
