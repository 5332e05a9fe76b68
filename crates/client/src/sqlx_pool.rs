//! A pool of sqlx for PostgreSQL that follows a credential (feature `sqlx`).
//!
//! New connections log in with the current version. Right after a swap what is idle is closed, and what is borrowed
//! when it comes back. What was made while the version changed is made again before anybody sees it. No caller notices:
//!
//! ```no_run
//! use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let orders = rekey_client::connect().await?.watch("orders/db").await?;
//! let server = PgConnectOptions::new_without_pgpass().host("db.example").database("orders");
//! let pool = rekey_client::sqlx_pool::follow(orders, server, PgPoolOptions::new().max_connections(8)).await?;
//! sqlx::query("SELECT 1").execute(&*pool).await?;
//! # Ok(()) }
//! ```
//!
//! User name and password come from the credential, all else from the settings that are given. The three hooks
//! `after_connect`, `before_acquire` and `after_release` are this module's. The pool follows as long as the
//! [`RotatingPgPool`] lives; a clone of the [`PgPool`] in it that outlives it does not. While it lives, the current
//! version counts as in use; sessions that are left on an older one are seen at the database.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, Postgres};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock;
use crate::credential::{Credential, FieldError};
use crate::error::{Error, Unavailable};
use crate::usage::InUse;
use crate::watched::Watched;
use rekey_model::Version;

/// How long [`RotatingPgPool::acquire`] waits for a newer version after a refused login.
const PATIENCE: Duration = Duration::from_secs(5);
/// A connection that was made so soon after a swap counts as made before it: sqlx takes the time a moment after our
/// look at the user.
const MARGIN: Duration = Duration::from_millis(20);
/// When idle connections are looked for after a swap. Once more a moment later: some may have been on their way back.
const SWEEPS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(200)];

/// Why a pool cannot follow a credential.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// There is no credential to log in with.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// It is no login of a database.
    #[error("the credential is no login")]
    Login(#[from] FieldError),
    /// The client has ended.
    #[error(transparent)]
    Ended(#[from] Error),
}

/// A pool whose connections follow a credential; see the [module](self).
pub struct RotatingPgPool {
    pool: PgPool,
    follower: Arc<Follower>,
    /// When this is dropped, following ends.
    _follows: watch::Sender<()>,
}

/// Makes a pool that logs in with what `watched` holds, to the server and with the settings that are given.
pub async fn follow(
    watched: Watched,
    server: PgConnectOptions,
    settings: PgPoolOptions,
) -> Result<RotatingPgPool, FollowError> {
    watched.ready().await?;
    let first = watched.load()?.keep();
    let login = login(&server, &first)?;
    let turn = Turn { version: first.version(), user: login.get_username().to_owned(), since: None };
    let follower = Arc::new(Follower { watched, server, turn: Mutex::new(turn) });
    let pool = hooked(settings, &follower).connect_lazy_with(login);
    let (follows, ended) = watch::channel(());
    let in_use = follower.watched.uses(first.version());
    let chore = keep_up(Arc::clone(&follower), pool.clone(), in_use, ended);
    follower.watched.owner().attend(Box::pin(chore))?;
    Ok(RotatingPgPool { pool, follower, _follows: follows })
}

impl RotatingPgPool {
    /// As [`sqlx::Pool::acquire`]; but a login that the database refuses waits a moment for a newer version and is tried
    /// again. That is of use in an emergency, when a version is cut before its replacement is here. While nobody can say
    /// which of two values the target takes, both are tried.
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let deadline = clock::now() + PATIENCE;
        let mut tried_other = None;
        loop {
            let left = deadline.saturating_duration_since(clock::now());
            // Where the target takes one version at a time, this waits while it is changed.
            drop(self.follower.watched.ready_within(left).await);
            let served = self.follower.watched.load().map(|served| served.version());
            let version = self.follower.turn(&self.pool);
            match self.pool.acquire().await {
                Err(error) if is_refusal(&error) => {
                    let served = served.unwrap_or(version);
                    // That the target does not take the one that is to come yet says nothing against it.
                    if version <= served {
                        self.follower.watched.refused(version);
                    }
                    // Once for each version that is served, so that two dead values are not tried in turn.
                    if tried_other.replace(served) != Some(served)
                        && self.follower.try_other(&self.pool, version)
                    {
                        continue;
                    }
                    let left = deadline.saturating_duration_since(clock::now());
                    if !self.follower.watched.other_than(served, left).await {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
    }
}

impl Deref for RotatingPgPool {
    type Target = PgPool;
    fn deref(&self) -> &PgPool {
        &self.pool
    }
}

impl fmt::Debug for RotatingPgPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotatingPgPool").field("watched", &self.follower.watched).finish_non_exhaustive()
    }
}

/// What the hooks and the chore share.
struct Follower {
    watched: Watched,
    server: PgConnectOptions,
    turn: Mutex<Turn>,
}

/// What new connections log in with.
struct Turn {
    version: Version,
    user: String,
    /// Since when; none from the start.
    since: Option<Instant>,
}

impl Follower {
    /// Has new connections log in with what is current now, and gives its version.
    fn turn(&self, pool: &PgPool) -> Version {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(current) = self.watched.load() else { return turn.version };
        let is_next = current.next().is_some_and(|next| next.version() == turn.version);
        if current.version() == turn.version || is_next {
            return turn.version;
        }
        self.turn_to(&current.keep(), turn, pool)
    }

    /// While nobody can say which of two values the target takes: has new connections log in with the one that was not
    /// refused just now. Whether there is one.
    fn try_other(&self, pool: &PgPool, refused: Version) -> bool {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(served) = self.watched.load().map(|served| served.keep()) else { return false };
        let Some(next) = served.next() else { return false };
        let other = if next.version() == refused { &*served } else { next };
        self.turn_to(other, turn, pool) == other.version()
    }

    fn turn_to(&self, to: &Credential, mut turn: MutexGuard<'_, Turn>, pool: &PgPool) -> Version {
        match login(&self.server, to) {
            Ok(login) => {
                let user = login.get_username().to_owned();
                pool.set_connect_options(login);
                *turn = Turn { version: to.version(), user, since: Some(clock::now()) };
            }
            Err(error) => {
                tracing::warn!(name = %self.watched.name(), %error, "the new version is no login");
            }
        }
        turn.version
    }

    /// Whether a connection of this age was made before the last swap.
    fn is_old(&self, age: Duration) -> bool {
        let since = self.turn.lock().unwrap_or_else(PoisonError::into_inner).since;
        since.is_some_and(|since| clock::now().saturating_duration_since(since) < age.saturating_add(MARGIN))
    }

    /// Refuses a connection that began to log in before a swap and ended after it: sqlx makes another.
    async fn judge(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let user: String = sqlx::query_scalar("SELECT session_user::text").fetch_one(connection).await?;
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if user == turn.user {
            self.watched.accepted(turn.version);
            Ok(())
        } else {
            Err(sqlx::Error::Protocol("the login changed meanwhile; another connection is made".to_owned()))
        }
    }
}

fn login(server: &PgConnectOptions, credential: &Credential) -> Result<PgConnectOptions, FieldError> {
    let (user, password) = (credential.text("username")?, credential.text("password")?);
    Ok(server.clone().username(user).password(password))
}

fn hooked(settings: PgPoolOptions, follower: &Arc<Follower>) -> PgPoolOptions {
    let (made, taken, given) = (Arc::clone(follower), Arc::clone(follower), Arc::clone(follower));
    settings
        .after_connect(move |connection, _| {
            let made = Arc::clone(&made);
            Box::pin(async move { made.judge(connection).await })
        })
        .before_acquire(move |_, is| {
            let good = !taken.is_old(is.age);
            Box::pin(async move { Ok(good) })
        })
        .after_release(move |_, is| {
            let good = !given.is_old(is.age);
            Box::pin(async move { Ok(good) })
        })
}

/// Whether the server refused the login itself: a wrong password, or a role that may not log in or is gone.
fn is_refusal(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("28P01" | "28000"))
}

/// Turns to each new version and closes what is idle of the one before, until `ended`.
async fn keep_up(follower: Arc<Follower>, pool: PgPool, mut in_use: InUse, mut ended: watch::Receiver<()>) {
    let mut watched = follower.watched.clone();
    loop {
        tokio::select! {
            _ = ended.changed() => return,
            () = watched.changed() => {}
        }
        let next = watched.uses(follower.turn(&pool));
        for wait in SWEEPS {
            tokio::time::sleep(wait).await;
            // Whatever is idle goes through the hook that judges what comes back.
            let idle: Vec<_> = (0..pool.num_idle()).map_while(|_| pool.try_acquire()).collect();
            drop(idle);
        }
        // Only now: a login that was under way at the swap has ended by then or will be made again.
        drop(std::mem::replace(&mut in_use, next));
    }
}
