//! Connection pools that follow a credential (feature `deadpool`).
//!
//! New connections are made with the current version, idle old ones are closed right after a swap, borrowed ones when
//! they come back. A login that the target refuses waits a moment for a newer version and is tried again before any
//! error reaches a caller. Every live connection counts as a use of its version, so the old version is not ended under
//! it.
//!
//! Say how to connect, and build the pool:
//!
//! ```no_run
//! use rekey_client::Credential;
//! use rekey_client::pool::{Connect, RotatingManager, RotatingPool};
//!
//! struct Database;
//! # struct Connection; #[derive(Debug, thiserror::Error)] #[error("no")] struct LoginError { wrong_password: bool }
//! # async fn log_in(_: &str, _: &str) -> Result<Connection, LoginError> { Ok(Connection) }
//!
//! impl Connect for Database {
//!     type Connection = Connection;
//!     type Error = LoginError;
//!
//!     async fn connect(&self, credential: &Credential) -> Result<Connection, LoginError> {
//!         log_in(credential.text("username").unwrap(), credential.text("password").unwrap()).await
//!     }
//!
//!     async fn check(&self, _connection: &mut Connection) -> Result<(), LoginError> {
//!         Ok(()) // or a look whether it was closed
//!     }
//!
//!     fn refused(&self, error: &LoginError) -> bool {
//!         error.wrong_password
//!     }
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let orders = rekey_client::connect().await?.watch("orders/db").await?;
//! let pool: RotatingPool<Database> = RotatingManager::new(orders, Database).pool(8)?;
//! let connection = pool.get().await?;
//! # drop(connection); Ok(()) }
//! ```
//!
//! # Other pools
//! For sqlx see the module `sqlx_pool` (feature `sqlx`). The same three rules serve any pool: connect with what
//! [`Watched::load`] gives *now*; refuse to hand out again what belongs to another version than [`Watched::version`];
//! hold [`Watched::uses`] beside each connection.

use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{
    self, BuildError, Metrics, Object, Pool, PoolBuilder, RecycleError, RecycleResult, WeakPool,
};
use tokio::time::Instant;

use crate::clock;
use crate::credential::Credential;
use crate::error::Unavailable;
use crate::slot::Slot;
use crate::usage::InUse;
use crate::watched::Watched;

/// How to make a connection to one kind of target.
pub trait Connect: Send + Sync + 'static {
    /// What is pooled.
    type Connection: Send + 'static;
    /// Why none could be made.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Logs in with `credential`. Called with the value that is current at that moment.
    fn connect(
        &self,
        credential: &Credential,
    ) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send;

    /// Whether a connection that was idle is still good, before it is handed out again.
    fn check(
        &self,
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Whether `error` means that the target refused the credential itself: wrong password, no such user, login not
    /// allowed. Only then another version may help.
    fn refused(&self, error: &Self::Error) -> bool;
}

/// Why a pool could not give a connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError<E: std::error::Error + 'static> {
    /// There is no credential to log in with, also not after a while.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The target refused this version, and no other came in time.
    #[error("the target refused the login with {version}, and no newer version came")]
    Refused {
        /// The version.
        version: rekey_model::Version,
        /// The target's words.
        #[source]
        source: E,
    },
    /// The target could not be reached, or something else than the credential is wrong.
    #[error("cannot connect")]
    Failed(#[source] E),
}

/// A pool of connections that follow a credential.
pub type RotatingPool<C> = Pool<RotatingManager<C>, Borrowed<C>>;

/// Makes and recycles the connections of a pool; see the [module](self).
#[derive(Debug)]
pub struct RotatingManager<C> {
    watched: Watched,
    connect: Arc<C>,
    patience: Duration,
}

impl<C: Connect> RotatingManager<C> {
    /// A manager that logs in with what `watched` holds.
    pub fn new(watched: Watched, connect: C) -> Self {
        Self { watched, connect: Arc::new(connect), patience: Duration::from_secs(5) }
    }

    /// How long a caller may wait for a credential, or for a newer one after a refused login. Default 5 s.
    #[must_use]
    pub fn patience(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }

    /// The pool, of at most `size` connections.
    pub fn pool(self, size: usize) -> Result<RotatingPool<C>, BuildError> {
        self.pool_with(|builder| builder.max_size(size))
    }

    /// The pool, with settings of deadpool's own.
    pub fn pool_with(
        self,
        settings: impl FnOnce(PoolBuilder<Self, Borrowed<C>>) -> PoolBuilder<Self, Borrowed<C>>,
    ) -> Result<RotatingPool<C>, BuildError> {
        let watched = self.watched.clone();
        let pool = settings(Pool::builder(self).runtime(deadpool::Runtime::Tokio1)).build()?;
        let chore = close_idle(Arc::clone(watched.slot()), pool.weak());
        if watched.owner().attend(Box::pin(chore)).is_err() {
            tracing::warn!(name = %watched.name(), "the client has ended; this pool will not follow its credential");
        }
        Ok(pool)
    }

    async fn log_in(&self) -> Result<Pooled<C::Connection>, ConnectError<C::Error>> {
        let deadline = clock::now() + self.patience;
        loop {
            self.watched.ready_within(left(deadline)).await?;
            // The guard comes first: a version counts as in use while a login with it is under way.
            let credential = self.watched.load()?.keep();
            let mut tried = self.try_with(&credential).await;
            if let (Err(ConnectError::Refused { .. }), Some(next)) = (&tried, credential.next()) {
                tried = self.try_with(next).await;
            }
            let version = credential.version();
            drop(credential);
            match tried {
                Err(ConnectError::Refused { .. })
                    if self.watched.other_than(version, left(deadline)).await => {}
                done => return done,
            }
        }
    }

    async fn try_with(
        &self,
        credential: &Credential,
    ) -> Result<Pooled<C::Connection>, ConnectError<C::Error>> {
        let version = credential.version();
        let in_use = self.watched.uses(version);
        match self.connect.connect(credential).await {
            Ok(connection) => {
                self.watched.accepted(version);
                Ok(Pooled { connection, in_use })
            }
            Err(source) if self.connect.refused(&source) => {
                self.watched.refused(version);
                Err(ConnectError::Refused { version, source })
            }
            Err(error) => Err(ConnectError::Failed(error)),
        }
    }

    /// Whether a connection belongs to what is to be used now.
    fn is_current(&self, pooled: &Pooled<C::Connection>) -> bool {
        self.watched.slot().is_good(pooled.in_use.version())
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(clock::now())
}

/// Closes what is idle and of an old version, after each change, for as long as the pool lives.
///
/// It is done by the client's task, so it must not keep the client alive: it holds no [`Watched`].
async fn close_idle<C: Connect>(slot: Arc<Slot>, pool: WeakPool<RotatingManager<C>>) {
    let mut turns = slot.turns();
    while turns.changed().await.is_ok() {
        // Once more a moment later: a connection may have been on its way back into the pool during the swap.
        for wait in [Duration::ZERO, Duration::from_millis(200)] {
            tokio::time::sleep(wait).await;
            let Some(pool) = pool.upgrade() else { return };
            let closed = pool.retain(|pooled, _| pool.manager().is_current(pooled)).removed;
            if !closed.is_empty() {
                tracing::debug!(name = %slot.name, closed = closed.len(), "idle connections of an old version closed");
            }
        }
    }
}

/// A connection, and the version that it was made with. [`Borrowed`] is what a caller sees of it.
#[derive(Debug)]
pub struct Pooled<T> {
    connection: T,
    in_use: InUse,
}

impl<C: Connect> managed::Manager for RotatingManager<C> {
    type Type = Pooled<C::Connection>;
    type Error = ConnectError<C::Error>;

    async fn create(&self) -> Result<Self::Type, Self::Error> {
        self.log_in().await
    }

    async fn recycle(&self, pooled: &mut Self::Type, _: &Metrics) -> RecycleResult<Self::Error> {
        if !self.is_current(pooled) {
            return Err(RecycleError::message("it was made with another version"));
        }
        let checked = self.connect.check(&mut pooled.connection).await;
        checked.map_err(|error| RecycleError::Backend(ConnectError::Failed(error)))
    }
}

/// A connection taken from a [`RotatingPool`]. It goes back when it is dropped, or is closed then if its version is no
/// longer the current one.
pub struct Borrowed<C: Connect>(Option<Object<RotatingManager<C>>>);

impl<C: Connect> Borrowed<C> {
    /// The version that it was made with.
    pub fn version(borrowed: &Self) -> rekey_model::Version {
        borrowed.pooled().in_use.version()
    }

    /// Closes it instead of giving it back, for instance after an error that leaves it in doubt.
    pub fn close(mut borrowed: Self) {
        drop(borrowed.0.take().map(Object::take));
    }

    #[expect(clippy::expect_used, reason = "it is taken out only where the whole is consumed")]
    fn pooled(&self) -> &Pooled<C::Connection> {
        self.0.as_ref().expect("a borrowed connection is there until it is dropped")
    }
}

impl<C: Connect> From<Object<RotatingManager<C>>> for Borrowed<C> {
    fn from(object: Object<RotatingManager<C>>) -> Self {
        Self(Some(object))
    }
}

impl<C: Connect> Deref for Borrowed<C> {
    type Target = C::Connection;
    fn deref(&self) -> &C::Connection {
        &self.pooled().connection
    }
}

impl<C: Connect> DerefMut for Borrowed<C> {
    #[expect(clippy::expect_used, reason = "it is taken out only where the whole is consumed")]
    fn deref_mut(&mut self) -> &mut C::Connection {
        &mut self.0.as_mut().expect("a borrowed connection is there until it is dropped").connection
    }
}

impl<C: Connect> Drop for Borrowed<C> {
    fn drop(&mut self) {
        let Some(object) = self.0.take() else { return };
        let current = Object::pool(&object).is_some_and(|pool| pool.manager().is_current(&object));
        if current {
            drop(object);
        } else {
            drop(Object::take(object));
        }
    }
}

impl<C: Connect> fmt::Debug for Borrowed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Borrowed").field(&Self::version(self)).finish()
    }
}
