//! The controller.

pub mod ca;
pub mod fields;
pub mod identity;
pub mod spec;
pub mod tokens;
