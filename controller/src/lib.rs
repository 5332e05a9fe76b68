//! The controller.

pub mod ca;
pub mod identity;
pub mod spec;
pub mod tokens;
