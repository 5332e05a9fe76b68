//! The SDK that an application links: follow a credential, read it in nanoseconds, report its use.
//!
//! A Rekey *sidecar* runs beside the application and serves credentials on a Unix socket. This package speaks to it:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = rekey_client::connect().await?;      // REKEY_SOCKET, or /run/rekey/rekey.sock
//! let orders = client.watch("orders/db").await?;    // from now on pushed, never polled
//! orders.ready().await?;                            // bounded; says why if there is nothing
//!
//! // As often as you like: a wait-free read of what is to be used now.
//! let credential = orders.load()?;
//! let (user, password) = (credential.text("username")?, credential.text("password")?);
//! # let _ = (user, password);
//! # Ok(()) }
//! ```
//!
//! # What to know
//! - A credential is swapped as a whole: a user name never meets the password of another version.
//! - While the sidecar is away the last value stays, and [`Watched::freshness`] says so. When a credential is revoked,
//!   withdrawn or older than its owner allows, the value is dropped and [`Watched::load`] says why.
//! - Old versions are ended when nobody uses them any more, so say what you use: [`Watched::uses`] while a connection
//!   made with a version is open, [`Watched::accepted`] and [`Watched::refused`] after each login. A value that you keep
//!   ([`Loaded::keep`]) counts by itself.
//! - A pool does all of that for you: see `RotatingManager` in the module `pool` (feature `deadpool`), and `follow` in
//!   the module `sqlx_pool` (feature `sqlx`).
//!
//! The package knows neither the controller nor any target; it links no TLS. One background task per [`Client`] keeps
//! the connection, and ends with the last handle.

mod answer;
mod back_off;
mod builder;
mod client;
mod clock;
mod credential;
mod error;
mod fetch;
mod keeper;
mod link;
#[cfg(feature = "deadpool")]
pub mod pool;
mod report;
mod slot;
#[cfg(feature = "sqlx")]
pub mod sqlx_pool;
mod usage;
mod watched;

pub use builder::Builder;
pub use client::{Client, Listed};
pub use credential::{Credential, FieldError, Freshness, PreviousVersion};
pub use error::{Error, Reason, Unavailable};
pub use fetch::Fetch;
pub use rekey_model::{CredentialName, Generation, NameError, SecretBytes, Stage, Version};
pub use usage::InUse;
pub use watched::{Loaded, Watched};

/// Connects to the sidecar that the environment names, with the settings of [`Builder::from_env`].
pub async fn connect() -> Result<Client, Error> {
    Builder::from_env()?.connect().await
}
