//! The controller.

pub mod ca;
pub mod identity;
pub mod tokens;
