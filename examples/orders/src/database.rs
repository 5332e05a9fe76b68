//! The database: how to log in with whatever credential is current, and how a session ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rekey_client::pool::Connect;
use rekey_client::{Credential, FieldError, Version, Watched};
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Connection, NoTls, Socket, tls::NoTlsStream};

use crate::arguments::Arguments;
use crate::stats::{Stats, add};
use crate::verdict::{Desk, Trouble};

/// Knows the way to the database. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Database {
    host: Option<String>,
    port: Option<u16>,
    name: Option<String>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) desk: Arc<Desk>,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    #[error("the credential does not say where to log in")]
    Field(#[from] FieldError),
    #[error("the credential's port is not a number")]
    Port,
    #[error("the database did not let us in")]
    Database(#[from] tokio_postgres::Error),
    #[error("the database did not answer in time")]
    Late,
    #[error("the session is closed")]
    Closed,
}

/// A session, and what is known about its end.
pub(crate) struct Session {
    pub(crate) client: Client,
    driver: JoinHandle<()>,
    ending: Arc<Ending>,
}

/// Notices once that a session was terminated.
struct Ending {
    version: Version,
    terminated: AtomicBool,
    desk: Arc<Desk>,
}

impl Database {
    pub(crate) fn new(arguments: &Arguments, orders: Watched, stats: Arc<Stats>) -> Self {
        let desk = Arc::new(Desk::new(orders, Arc::clone(&stats)));
        let Arguments { host, port, database, .. } = arguments.clone();
        Self { host, port, name: database, stats, desk }
    }

    fn config(&self, credential: &Credential) -> Result<Config, LoginError> {
        let mut config = Config::new();
        config
            .user(credential.text("username")?)
            .password(credential.text("password")?)
            .host(self.host.as_deref().map_or_else(|| credential.text("host"), Ok)?)
            .port(match self.port {
                Some(port) => port,
                None => credential.text("port")?.parse().ok().ok_or(LoginError::Port)?,
            })
            .dbname(self.name.as_deref().map_or_else(|| credential.text("database"), Ok)?)
            .application_name("orders")
            .connect_timeout(Duration::from_secs(30));
        Ok(config)
    }

    /// Logs in, and counts how that went.
    async fn log_in(&self, credential: &Credential) -> Result<Session, LoginError> {
        let version = credential.version();
        let entered = async { Ok(self.config(credential)?.connect(NoTls).await?) };
        let entered =
            tokio::time::timeout(Duration::from_mins(1), entered).await.unwrap_or(Err(LoginError::Late));
        match entered {
            Ok((client, connection)) => {
                add(&self.stats.logins);
                Ok(Session::new(client, connection, version, Arc::clone(&self.desk)))
            }
            Err(error) => {
                if self.refused(&error) {
                    self.desk.judge(Trouble::Refused(version), &error);
                } else {
                    add(&self.stats.failed_logins);
                    self.stats.note("login", &error);
                }
                Err(error)
            }
        }
    }
}

/// What the pool needs to know.
impl Connect for Database {
    type Connection = Session;
    type Error = LoginError;

    async fn connect(&self, credential: &Credential) -> Result<Session, LoginError> {
        self.log_in(credential).await
    }

    async fn check(&self, session: &mut Session) -> Result<(), LoginError> {
        if session.client.is_closed() { Err(LoginError::Closed) } else { Ok(()) }
    }

    /// Class 28 is "invalid authorization": wrong password, no such role, a role that may not log in.
    fn refused(&self, error: &LoginError) -> bool {
        let LoginError::Database(error) = error else { return false };
        error.code().is_some_and(|code| code.code().starts_with("28"))
    }
}

impl Session {
    fn new(
        client: Client,
        connection: Connection<Socket, NoTlsStream>,
        version: Version,
        desk: Arc<Desk>,
    ) -> Self {
        let ending = Arc::new(Ending { version, terminated: AtomicBool::new(false), desk });
        let driver = drive(connection, Arc::clone(&ending));
        Self { client, driver, ending }
    }

    /// Takes note of a query that failed: as what an administrator's cut took along, or as a failure.
    pub(crate) async fn query_failed(&mut self, error: &tokio_postgres::Error) {
        self.ending.look_at(error);
        if error.is_closed() {
            // The database's last words went to the session's driver: let it come to its end.
            drop(tokio::time::timeout(Duration::from_secs(1), &mut self.driver).await);
        }
        if self.ending.terminated.load(Ordering::SeqCst) {
            self.ending.desk.judge(Trouble::Query(self.ending.version), error);
        } else {
            add(&self.ending.desk.stats().failed_queries);
            self.ending.desk.stats().note("query", error);
        }
    }
}

impl Ending {
    fn look_at(&self, error: &tokio_postgres::Error) {
        let terminated = error.code() == Some(&SqlState::ADMIN_SHUTDOWN);
        if terminated && !self.terminated.swap(true, Ordering::SeqCst) {
            self.desk.judge(Trouble::Session(self.version), error);
        }
    }
}

/// Moves the session's bytes in the background, until it ends.
#[expect(
    clippy::disallowed_methods,
    reason = "an application is free to spawn; only Rekey's own parts are not"
)]
fn drive(connection: Connection<Socket, NoTlsStream>, ending: Arc<Ending>) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            ending.look_at(&error);
        }
    })
}
