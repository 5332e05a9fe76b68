//! One connection to a server: opened with limits, used by one call, closed.
//!
//! No task is spawned and nothing outlives the call. Every statement is done at once, so one that was sent may land after
//! we gave up; the server closes a session of ours that hears nothing for the transit bound, so it lands at most that long,
//! and one statement's time, afterwards ([`Driver::settle`](crate::Driver)).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rekey_model::SecretBytes;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::fault::Fault;
use super::settings::Timeouts;
use super::wire::{self, Greeting, Head, Row, Server, Verdict};
use crate::target::{Route, Tls};

/// The most rows of an answer that are read.
const MOST_ROWS: usize = 10_000;
const QUERY: u8 = 3;
const QUIT: u8 = 1;

/// Who logs in, where, and how.
#[derive(Debug)]
pub(super) struct Login<'a> {
    pub(super) route: &'a Route,
    pub(super) tls: Option<&'a Tls>,
    pub(super) database: Option<&'a str>,
    pub(super) user: &'a str,
    pub(super) password: &'a SecretBytes,
    pub(super) timeouts: Timeouts,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// An open session.
pub(super) struct Link<'a> {
    pipe: Pipe<BufReader<Box<dyn Stream>>>,
    connection: u32,
    server: Server,
    /// Set when something may have been changed.
    touched: &'a AtomicBool,
}

impl std::fmt::Debug for Link<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl<'a> Link<'a> {
    /// Opens a session.
    pub(super) async fn open(login: &Login<'_>, touched: &'a AtomicBool) -> Result<Self, Fault> {
        let limit = login.timeouts.connect;
        let opened = timeout(limit, connect(login)).await.map_err(|_elapsed| {
            let Route { host, port } = login.route;
            Fault::Away(format!("{host}:{port} does not let us in within {limit:?}"))
        })?;
        let (pipe, connection, server) = opened?;
        Ok(Self { pipe, connection, server, touched })
    }

    /// The session's number in the process list.
    pub(super) fn connection(&self) -> u32 {
        self.connection
    }

    /// Whose server it is.
    pub(super) fn server(&self) -> Server {
        self.server
    }

    /// Where it is noted that something may have been changed.
    pub(super) fn touched(&self) -> &'a AtomicBool {
        self.touched
    }

    /// What holds for our own sessions, whatever the server's defaults are. The server ends a session that hears
    /// nothing for `transit`, and a statement that takes longer than `statement`: MySQL only one that reads, or waits for
    /// a lock.
    pub(super) async fn bind(&mut self, timeouts: Timeouts) -> Result<(), Fault> {
        let transit = timeouts.transit_seconds();
        let statement = self.limit(timeouts.statement);
        let locks = timeouts.statement.as_secs().max(1);
        self.rows(&format!(
            "SET SESSION wait_timeout = {transit}, interactive_timeout = {transit}, net_read_timeout = {transit}, \
             lock_wait_timeout = {locks}, {statement}, sql_mode = '', autocommit = 1"
        ))
        .await
        .map(drop)
    }

    /// The server's own limit for a statement.
    pub(super) fn limit(&self, limit: Duration) -> String {
        match self.server {
            Server::MariaDb => format!("max_statement_time = {}", limit.as_secs_f64()),
            Server::MySql => format!("max_execution_time = {}", limit.as_millis()),
        }
    }

    /// Runs one statement that changes nothing.
    pub(super) async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, Fault> {
        self.ask(sql).await?.map_err(Fault::from)
    }

    /// Runs one statement that changes something. From the first byte on it may have happened.
    pub(super) async fn change(&mut self, sql: &str) -> Result<(), Fault> {
        let before = self.touched.swap(true, Ordering::Relaxed);
        match self.ask(sql).await? {
            Ok(_rows) => Ok(()),
            Err(told) => {
                self.touched.store(before || told.leaves_open(), Ordering::Relaxed);
                Err(told.into())
            }
        }
    }

    async fn ask(&mut self, sql: &str) -> Result<Result<Vec<Row>, super::fault::Told>, Fault> {
        let pipe = &mut self.pipe;
        pipe.begin();
        pipe.send(&[&[QUERY], sql.as_bytes()].concat()).await?;
        let first = pipe.receive().await?;
        if let Some(told) = wire::told(&first) {
            return Ok(Err(told));
        }
        let Head::Columns(columns) = wire::head_of_result(&first)? else { return Ok(Ok(Vec::new())) };
        while !wire::ends(&pipe.receive().await?) {}
        let mut rows = Vec::new();
        loop {
            let packet = pipe.receive().await?;
            if let Some(told) = wire::told(&packet) {
                return Ok(Err(told));
            }
            if wire::ends(&packet) {
                return Ok(Ok(rows));
            }
            if rows.len() == MOST_ROWS {
                return Err(Fault::no(format!("an answer has more than {MOST_ROWS} rows")));
            }
            rows.push(wire::row(&packet, columns)?);
        }
    }

    /// Ends the session in good order, and waits for the server to do so too.
    pub(super) async fn close(mut self) {
        let farewell = async {
            self.pipe.begin();
            if self.pipe.send(&[QUIT]).await.is_ok() {
                // The end of the stream is the answer.
                drop(self.pipe.receive().await);
            }
        };
        drop(timeout(Duration::from_secs(1), farewell).await);
    }
}

/// The value in one column; none where it is NULL or missing.
pub(super) fn text(row: &Row, column: usize) -> Option<&str> {
    row.get(column).and_then(Option::as_deref)
}

/// Packets on a stream.
struct Pipe<S> {
    stream: S,
    /// The number of the next packet, in either direction.
    next: u8,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pipe<S> {
    fn begin(&mut self) {
        self.next = 0;
    }

    async fn send(&mut self, packet: &[u8]) -> Result<(), Fault> {
        let size = u32::try_from(packet.len()).ok().filter(|&size| size < 0x00ff_ffff);
        let [a, b, c, _] = size.ok_or_else(|| Fault::no("a statement is too long"))?.to_le_bytes();
        let framed = zeroize::Zeroizing::new([&[a, b, c, self.next], packet].concat());
        self.next = self.next.wrapping_add(1);
        self.stream.write_all(&framed).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)
    }

    async fn receive(&mut self) -> Result<Vec<u8>, Fault> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).await.map_err(lost)?;
        let [a, b, c, number] = head;
        let size = usize::try_from(u32::from_le_bytes([a, b, c, 0])).unwrap_or(usize::MAX);
        if number != self.next {
            return Err(wire::noise());
        }
        if size > wire::LONGEST {
            return Err(Fault::no(format!("the server sends more than {} bytes at once", wire::LONGEST)));
        }
        self.next = self.next.wrapping_add(1);
        let mut packet = vec![0; size];
        self.stream.read_exact(&mut packet).await.map_err(lost)?;
        Ok(packet)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn lost(error: std::io::Error) -> Fault {
    Fault::Away(format!("the connection is lost: {error}"))
}

/// An open session's stream, its number, and whose server it is at.
type Opened = (Pipe<BufReader<Box<dyn Stream>>>, u32, Server);

async fn connect(login: &Login<'_>) -> Result<Opened, Fault> {
    let Route { host, port } = login.route;
    let away = |error: std::io::Error| Fault::Away(format!("{host}:{port}: {error}"));
    if host.starts_with('/') {
        let stream = UnixStream::connect(host).await.map_err(away)?;
        return log_in(login, stream).await;
    }
    let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(away)?;
    stream.set_nodelay(true).map_err(away)?;
    log_in(login, stream).await
}

/// The greeting is read byte for byte, so that nothing that came before TLS is taken for something that came in it.
async fn log_in<S: Stream + 'static>(login: &Login<'_>, stream: S) -> Result<Opened, Fault> {
    let mut plain = Pipe { stream, next: 0 };
    let greeting = Greeting::read(&plain.receive().await?)?;
    let stream: Box<dyn Stream> = match login.tls {
        None => Box::new(plain.stream),
        Some(tls) => {
            plain.send(&greeting.request_for_tls(login.database.is_some())?).await?;
            Box::new(in_tls(login, tls, plain.stream).await?)
        }
    };
    let mut pipe = Pipe { stream: BufReader::new(stream), next: plain.next };
    pipe.send(&greeting.login(login.tls.is_some(), login.user, login.password, login.database)?).await?;
    // Where nobody else can listen: verified TLS, or a socket of this machine.
    let private = login.tls.is_some() || login.route.host.starts_with('/');
    for _ in 0..5 {
        match wire::verdict(greeting.server, &pipe.receive().await?)? {
            Verdict::In => return Ok((pipe, greeting.connection, greeting.server)),
            // An account with several ways to log in asks again.
            Verdict::Answer(challenge) => pipe.send(&challenge.answer(login.password)).await?,
            Verdict::Wait => {}
            Verdict::Password if private => {
                let password = zeroize::Zeroizing::new([login.password.expose(), b"\0"].concat());
                pipe.send(&password).await?;
            }
            Verdict::Password => {
                let why = "login: the server asks for the password itself, and gets it in TLS or on a Unix socket only";
                return Err(Fault::no(why));
            }
        }
    }
    Err(wire::noise())
}

async fn in_tls<S: Stream + 'static>(
    login: &Login<'_>,
    tls: &Tls,
    stream: S,
) -> Result<impl Stream + 'static + use<S>, Fault> {
    let name = tls.server_name.as_deref().unwrap_or(&login.route.host);
    let name = ServerName::try_from(name.to_owned()).map_err(|error| Fault::no(error.to_string()))?;
    let connector = TlsConnector::from(std::sync::Arc::clone(&tls.config));
    connector.connect(name, stream).await.map_err(|error| {
        let text = format!("TLS: {error}");
        if error.kind() == std::io::ErrorKind::InvalidData { Fault::No(text) } else { Fault::Away(text) }
    })
}
