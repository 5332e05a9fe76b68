//! The controller: makes new credentials at the target, hands them out, waits until everybody has moved, and ends the
//! old ones.
//!
//! What is decided lives in `rekey-rotation`; here it is kept (`store`, `seal`, `audit`), done (`executor`, `targets`), handed out
//! (`fleet`, `ca`, `identity`, `tokens`), asked for (`admin`, `spec`, `policy`), told (`audit`, `alarms`, `metrics`, `webhook`) and started (`cli`, `config`, `init`, `app`).

pub mod admin;
pub mod alarms;
pub mod app;
pub mod audit;
pub mod backup;
pub mod ca;
pub mod cli;
pub mod commands;
pub mod config;
pub mod dev;
pub mod executor;
pub mod fields;
pub mod fleet;
pub mod identity;
pub mod init;
pub mod metrics;
pub mod policy;
pub mod seal;
pub mod spec;
pub mod store;
pub mod targets;
pub mod template;
pub mod tokens;
pub mod webhook;
