//! The store: everything a controller must not forget, in SQLite (embedded, the default) or PostgreSQL.
//!
//! One set of statements runs on both; what differs is in `dialect.rs`. Reads see what is committed
//! ([`Store`]'s own methods); every change goes through one [`Tx`], of which there is one at a time, whichever database:
//! a guard that is read in a transaction still holds when it commits. A transaction checks the *epoch*: a controller
//! that opened the store later wins, and the earlier one gets [`StoreError::LostEpoch`] from then on.
//!
//! Secrets are stored as [`crate::seal::Sealed`] only. What is decided from these rows is not decided here.

mod admins;
mod audit;
mod claims;
mod columns;
mod copy;
mod credentials;
mod dialect;
mod error;
mod holders;
mod instances;
mod keys;
mod meta;
mod migrations;
mod mirror;
mod open;
mod secrets;
mod sessions;
mod ties;
mod tokens;
mod tx;
mod webhooks;

use std::sync::Arc;

use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyPool};
use tokio::sync::broadcast;

use rekey_model::CredentialName;
use rekey_runtime::Clock;

pub use self::admins::AdminRow;
pub use self::credentials::{CredentialId, CredentialRow};
pub use self::error::{OpenError, StoreError};
pub use self::holders::{Acked, HolderRow, Nacked, Reported};
pub use self::instances::{InstanceRow, Leaf};
pub use self::meta::{InstallationId, LifeId, Meta};
pub use self::open::{PostgresStore, StoreConfig, StoreTls};
pub use self::sessions::{Ack, Applied, Granted, Hello};
pub use self::ties::{Tie, TieKind};
pub use self::tokens::TokenRow;
pub use self::tx::Tx;
pub use self::webhooks::{AlarmRow, WebhookRow};
pub use rekey_rotation::Mode;

pub(crate) use self::copy::copy_into;
pub(crate) use self::mirror::sync_folder;
pub(crate) use self::open::full;

use self::dialect::Dialect;
use self::mirror::Mirror;

/// Something that a commit has changed. Only a hint to look again: a receiver that lagged looks at everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// The spec or the ledger of this credential, or it is new or gone.
    Credential(CredentialName),
    /// What holders of this credential have acknowledged or reported, or who holds it.
    Holders(CredentialName),
    /// An instance joined, was locked, removed, or opened or ended a session.
    Instances,
    /// Operators.
    Admins,
    /// The mode of the store.
    Mode,
}

/// How many changes a slow receiver may be behind before it lags.
const CHANGES_KEPT: usize = 1024;

/// An open store. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    dialect: Dialect,
    writer: AnyPool,
    readers: AnyPool,
    epoch: u64,
    installation: InstallationId,
    mirror: Option<Mirror>,
    changes: broadcast::Sender<Changed>,
    clock: Clock,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("dialect", &self.dialect)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Begins the one transaction there can be; waits for the one before, at most ten seconds ([`StoreError::Busy`]).
    ///
    /// Invariant: whoever holds a [`Tx`] begins no second one and waits for nothing but the store.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        Tx::begin(self.clone()).await
    }

    /// Tells of each commit from now on, in this process. [`broadcast::error::RecvError::Lagged`] means only: look at
    /// everything.
    pub fn changes(&self) -> broadcast::Receiver<Changed> {
        self.0.changes.subscribe()
    }

    /// The epoch that this controller writes under.
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// Whose store this is; never changes.
    pub fn installation(&self) -> InstallationId {
        self.0.installation
    }

    /// Writes what is left and closes all connections.
    pub async fn close(&self) {
        self.0.readers.close().await;
        self.0.writer.close().await;
        if let Some(mirror) = &self.0.mirror {
            mirror.sync();
        }
    }

    async fn reader(&self) -> Result<PoolConnection<Any>, StoreError> {
        Ok(self.0.readers.acquire().await?)
    }
}

#[cfg(test)]
pub(crate) mod tests;
