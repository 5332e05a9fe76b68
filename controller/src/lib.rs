//! The controller.

pub mod audit;
pub mod backup;
pub mod ca;
pub mod cli;
pub mod config;
pub mod dev;
pub mod fields;
pub mod fleet;
pub mod http;
pub mod identity;
pub mod init;
pub mod seal;
pub mod spec;
pub mod store;
pub mod targets;
pub mod tokens;
