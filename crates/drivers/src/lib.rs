//! How each kind of target is changed: one trait, one file a driver, one table of all.
//!
//! A driver makes, proves, watches and ends credentials at a target. It never retries, logs a secret, reads a clock or
//! knows a phase: what an answer means for a rotation is decided elsewhere.

mod answer;
pub mod approle;
pub mod aws_iam;
mod by_hand;
mod driver;
mod fault;
mod follower;
pub mod hand_in;
mod http;
pub mod kubernetes;
pub mod mysql;
pub mod pgbouncer;
mod place;
mod plug;
pub mod postgres;
pub mod rabbitmq;
pub mod redis;
mod scram;
mod table;
mod target;
mod together;

pub use by_hand::ByHand;
pub use driver::{
    Age, Cut, Driver, DriverError, DriverFuture, Expiry, Found, Installed, Intent, Lack, Later, Listed,
    ListedVersion, Proof, Session, Sessions, Sighting, Source, Survey, Usage,
};
pub use follower::{FOLLOWERS, Follower, FollowerKind};
pub use place::{Left, Place};
pub use plug::{
    Account, Also, BuildError, Claim, Claimed, Facts, MOST_BESIDE, Names, Owner, Plan, Plug, Target,
};
pub use table::{ALL, Class, Kind, Strategy, account, kind, names, target};

/// What is wrong with one field of a driver's settings. Its text holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Problem {
    /// The field, as it is written: `tls.ca_file`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem with `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}
