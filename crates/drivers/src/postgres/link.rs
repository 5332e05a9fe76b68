//! One connection to a server: opened with limits, used by one call, closed.
//!
//! The connection is driven by whoever waits for an answer, so no task is spawned and nothing outlives the call. Every
//! change happens in a transaction, and the server ends one that hears nothing for the transit bound: a COMMIT that was
//! sent can land at most that long, and one statement's time, after we gave up ([`Driver::settle`](crate::Driver)).

use std::future::poll_fn;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt as _;
use rekey_model::SecretBytes;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
pub(crate) use tokio_postgres::config::ChannelBinding;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{Client, Config, Error, NoTls, Row, SimpleQueryMessage, SimpleQueryRow};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::fault::{Fault, leaves_commit_open};
use super::gate::{Gate, Gated};
use super::settings::Timeouts;
use crate::target::{Route, Tls};

/// A parameter of a statement.
pub(super) type Parameter<'a> = &'a (dyn ToSql + Sync);

type Wire = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Who logs in, where, and how.
#[derive(Debug)]
pub(crate) struct Login<'a> {
    pub(crate) route: &'a Route,
    pub(crate) tls: Option<&'a Tls>,
    pub(crate) database: &'a str,
    pub(crate) user: &'a str,
    pub(crate) password: &'a SecretBytes,
    /// What the session calls itself.
    pub(crate) application: &'a str,
    /// Our own settings for the session; a consumer's login gets none, to see what a consumer sees.
    pub(crate) own_settings: bool,
    /// Whether the login must be bound to the channel that TLS makes. A pooler cannot do that.
    pub(crate) binding: ChannelBinding,
    pub(crate) timeouts: Timeouts,
}

/// An open session.
pub(crate) struct Link<'a> {
    client: Client,
    wire: Option<Wire>,
    /// Set when something may have been committed.
    touched: &'a AtomicBool,
}

impl std::fmt::Debug for Link<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl<'a> Link<'a> {
    /// Opens a session.
    pub(crate) async fn open(login: &Login<'_>, touched: &'a AtomicBool) -> Result<Self, Fault> {
        let limit = login.timeouts.connect;
        let (client, wire) = timeout(limit, connect(login)).await.map_err(|_elapsed| {
            Fault::Away(format!(
                "{}:{} does not let us in within {limit:?}",
                login.route.host, login.route.port
            ))
        })??;
        Ok(Self { client, wire: Some(wire), touched })
    }

    /// Runs one statement with parameters. An answer that is larger than any honest one is not taken.
    pub(super) async fn rows(&mut self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Fault> {
        let Self { client, wire, .. } = self;
        let work = async {
            let said = |error| Fault::of_statement(&error);
            let mut answer = pin!(client.query_raw(sql, parameters.iter().copied()).await.map_err(said)?);
            let (mut room, mut rows) = (Room::default(), Vec::new());
            while let Some(row) = answer.next().await {
                let row = row.map_err(said)?;
                room.take(row.raw_size_bytes())?;
                rows.push(row);
            }
            Ok(rows)
        };
        drive(wire, work).await
    }

    /// Runs one statement with parameters that gives at most one row.
    pub(super) async fn row(
        &mut self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Option<Row>, Fault> {
        Ok(self.rows(sql, parameters).await?.into_iter().next())
    }

    /// Runs a statement that can have no parameters.
    pub(super) async fn run(&mut self, sql: &str) -> Result<(), Fault> {
        let Self { client, wire, .. } = self;
        drive(wire, client.batch_execute(sql)).await.map_err(|error| Fault::of_statement(&error))
    }

    /// Runs exactly one statement, without parameters, and takes at most `most` of its rows; the server ends it after
    /// `limit`. It is undone. All is one transaction: through a pooler only that is sure to reach one session, and nothing
    /// of it is left to the next one there.
    pub(super) async fn try_out(&mut self, sql: &str, most: i32, limit: Duration) -> Result<(), Fault> {
        let Self { client, wire, .. } = self;
        let work = async {
            let transaction = client.transaction().await?;
            let limit = format!("SET LOCAL statement_timeout = {}", limit.as_millis());
            transaction.batch_execute(&limit).await?;
            let statement = transaction.prepare(sql).await?;
            let portal = transaction.bind(&statement, &[]).await?;
            transaction.query_portal(&portal, most).await?;
            drop((portal, statement));
            transaction.rollback().await
        };
        drive(wire, work).await.map_err(|error| Fault::of_statement(&error))
    }

    /// Runs a command of a pooler's console, which speaks the simple protocol only, and gives the rows of its answer.
    pub(crate) async fn command(&mut self, words: &str) -> Result<Vec<SimpleQueryRow>, Fault> {
        let Self { client, wire, .. } = self;
        let work = async {
            let said = |error| Fault::of_statement(&error);
            let mut answer = pin!(client.simple_query_raw(words).await.map_err(said)?);
            let (mut room, mut rows) = (Room::default(), Vec::new());
            while let Some(message) = answer.next().await {
                if let SimpleQueryMessage::Row(row) = message.map_err(said)? {
                    let cells = (0..row.len()).filter_map(|column| row.try_get(column).ok().flatten());
                    let bytes = cells.map(str::len).sum();
                    room.take(bytes)?;
                    rows.push(row);
                }
            }
            Ok(rows)
        };
        drive(wire, work).await
    }

    /// Begins a transaction. If it is not committed, the server undoes it when the session ends.
    pub(super) async fn begin(&mut self) -> Result<(), Fault> {
        self.run("BEGIN").await
    }

    /// Commits it. From the first byte on something may have happened.
    pub(super) async fn commit(&mut self) -> Result<(), Fault> {
        let before = self.touched.swap(true, Ordering::Relaxed);
        let Self { client, wire, .. } = self;
        drive(wire, client.batch_execute("COMMIT")).await.map_err(|error| {
            let open = leaves_commit_open(&error);
            self.touched.store(before || open, Ordering::Relaxed);
            let fault = Fault::of_statement(&error);
            if open { Fault::Away(fault.to_string()) } else { fault }
        })
    }

    /// Ends the session in good order, so that the server does not show it any more.
    pub(crate) async fn close(self) {
        let Self { client, wire, .. } = self;
        drop(client);
        if let Some(wire) = wire {
            // What remains is a farewell; a server that does not take it loses the connection.
            drop(timeout(Duration::from_secs(1), wire).await);
        }
    }
}

/// How much of an answer there is room for.
#[derive(Debug, Default)]
struct Room {
    rows: usize,
    bytes: usize,
}

impl Room {
    /// The most rows of an answer, and the most bytes.
    const MOST: (usize, usize) = (20_000, 8 << 20);

    fn take(&mut self, bytes: usize) -> Result<(), Fault> {
        self.rows += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.rows > Self::MOST.0 || self.bytes > Self::MOST.1 {
            return Err(Fault::no("the server's answer is larger than any honest one"));
        }
        Ok(())
    }
}

/// The value in one column; never a panic, whatever a server sends.
pub(super) fn column<'r, T: FromSql<'r>>(row: &'r Row, index: usize) -> Result<T, Fault> {
    row.try_get(index)
        .map_err(|error| Fault::no(format!("column {index} of an answer is something else: {error}")))
}

/// Waits for `work` while driving the connection that it needs.
async fn drive<F: Future>(wire: &mut Option<Wire>, work: F) -> F::Output {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        if let Some(open) = wire
            && open.as_mut().poll(cx).is_ready()
        {
            // Dropping it tells `work` that no answer will come.
            *wire = None;
        }
        work.as_mut().poll(cx)
    })
    .await
}

async fn connect(login: &Login<'_>) -> Result<(Client, Wire), Fault> {
    let Route { host, port } = login.route;
    let away = |error: std::io::Error| Fault::Away(format!("{host}:{port}: {error}"));
    if host.starts_with('/') {
        let path = Path::new(host).join(format!(".s.PGSQL.{port}"));
        let stream = UnixStream::connect(path).await.map_err(away)?;
        return log_in(login, stream).await;
    }
    let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(away)?;
    stream.set_nodelay(true).map_err(away)?;
    log_in(login, stream).await
}

async fn log_in<S>(login: &Login<'_>, stream: S) -> Result<(Client, Wire), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut config = config(login);
    let Some(tls) = login.tls else {
        config.ssl_mode(SslMode::Disable).channel_binding(ChannelBinding::Disable);
        return finish(&config, Gate::new(stream), NoTls).await;
    };
    config.ssl_mode(SslMode::Require).channel_binding(login.binding);
    let name = tls.server_name.as_deref().unwrap_or(&login.route.host);
    let mut connector = MakeRustlsConnect::new(ClientConfig::clone(&tls.config));
    let connector = MakeTlsConnect::<S>::make_tls_connect(&mut connector, name);
    let connector = connector.map_err(|error| Fault::no(error.to_string()))?;
    finish(&config, stream, Gated(connector)).await
}

async fn finish<S, T>(config: &Config, stream: S, tls: T) -> Result<(Client, Wire), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: TlsConnect<S>,
    T::Stream: Send + 'static,
{
    let (client, connection) =
        config.connect_raw(stream, tls).await.map_err(|error| Fault::of_login(&error))?;
    Ok((client, Box::pin(connection)))
}

fn config(login: &Login<'_>) -> Config {
    let mut config = Config::new();
    config.user(login.user).dbname(login.database).application_name(login.application);
    config.password(login.password.expose());
    if login.own_settings {
        let statement = login.timeouts.statement.as_millis();
        let transit = login.timeouts.transit.as_millis();
        // Given at the start: they win over what a database's owner, our own consumer perhaps, has set for it.
        config.options(format!(
            "-c statement_timeout={statement} -c lock_timeout={statement} \
             -c idle_in_transaction_session_timeout={transit} -c search_path=pg_catalog,pg_temp \
             -c standard_conforming_strings=on -c default_transaction_read_only=off -c role=none \
             -c quote_all_identifiers=off \
             -c default_transaction_isolation=read\\ committed -c default_transaction_deferrable=off"
        ));
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_end_is_given_up() {
        let taken = |size| {
            (0..100_000).take_while({
                let mut room = Room::default();
                move |_| room.take(size).is_ok()
            })
        };
        assert_eq!(taken(100).count(), 20_000, "many small rows");
        assert_eq!(taken(1 << 20).count(), 8, "a few large ones");
    }
}
