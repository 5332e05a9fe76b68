//! How each kind of target is changed: one trait, one file a driver, one table of all.
//!
//! A driver makes, proves, watches and ends credentials at a target. It never retries, logs a secret, reads a clock or
//! knows a phase: what an answer means for a rotation is decided elsewhere.

mod driver;

pub use driver::{
    Cut, Driver, DriverError, DriverFuture, Expiry, Found, Installed, Intent, Proof, Session, Source, Usage,
};
