//! One connection to a node: opened with limits, used by one call, closed.

use std::io;
use std::time::Duration;

use rekey_model::SecretBytes;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::fault::told;
use super::resp::{self, LARGEST, Reply};
use super::settings::Timeouts;
use crate::answer::{Failed, Touched};
use crate::target::{Route, Tls};

/// How much is read at once.
const CHUNK: usize = 16 * 1024;

/// Who logs in, where, and how.
#[derive(Debug)]
pub(super) struct Login<'a> {
    pub(super) route: &'a Route,
    pub(super) tls: Option<&'a Tls>,
    pub(super) user: &'a str,
    pub(super) password: &'a SecretBytes,
    pub(super) timeouts: Timeouts,
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Wire for S {}

/// An open connection, logged in.
pub(super) struct Link<'a> {
    wire: Box<dyn Wire>,
    /// What was read of the next answer.
    read: Vec<u8>,
    route: &'a Route,
    password: &'a SecretBytes,
    limit: Duration,
    touched: &'a Touched,
}

impl std::fmt::Debug for Link<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("route", &self.route).finish_non_exhaustive()
    }
}

impl<'a> Link<'a> {
    /// Connects and logs in.
    pub(super) async fn open(login: &Login<'a>, touched: &'a Touched) -> Result<Self, Failed> {
        let limit = login.timeouts.connect;
        let late = |_elapsed| Err(Failed::Lost(format!("does not let us in within {limit:?}")));
        timeout(limit, Self::log_in(login, touched)).await.unwrap_or_else(late)
    }

    async fn log_in(login: &Login<'a>, touched: &'a Touched) -> Result<Self, Failed> {
        let &Login { route, tls, user, password, timeouts } = login;
        let wire = connect(route, tls).await?;
        let mut link = Self { wire, read: Vec::new(), route, password, limit: timeouts.command, touched };
        let words = [b"AUTH".as_slice(), user.as_bytes(), password.expose()];
        let answer = link.asked(&words).await.map_err(|failed| failed.during("login"))?;
        if answer.text() == Some("OK") { Ok(link) } else { Err(Failed::no("login: the answer is not OK")) }
    }

    /// The node.
    pub(super) fn route(&self) -> &'a Route {
        self.route
    }

    /// Sends a command that changes nothing, and gives the answer; an error is a failure.
    pub(super) async fn ask(&mut self, words: &[&str]) -> Result<Reply, Failed> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.asked(&words).await
    }

    /// Sends a command that changes who may log in. From the first byte on it may have happened, unless the server says
    /// that it has not.
    pub(super) async fn change(&mut self, words: &[&str]) -> Result<(), Failed> {
        let touched = self.touched;
        touched.by(self.ask(words)).await.map(drop)
    }

    /// Says good-bye and waits until the server has let go, so that it does not show the connection any more.
    pub(super) async fn close(mut self) {
        let farewell = async {
            self.wire.write_all(&resp::request(&[b"QUIT"])).await?;
            let mut rest = [0; 64];
            while self.wire.read(&mut rest).await? > 0 {}
            io::Result::Ok(())
        };
        // A server that does not take it loses the connection.
        drop(timeout(Duration::from_secs(1), farewell).await);
    }

    async fn asked(&mut self, words: &[&[u8]]) -> Result<Reply, Failed> {
        let limit = self.limit;
        let late = |_elapsed| Err(Failed::Lost(format!("no answer within {limit:?}")));
        match timeout(limit, self.exchange(words)).await.unwrap_or_else(late)? {
            Reply::Error(text) if self.repeats_the_secret(&text) => {
                Err(Failed::no("the server repeats the password in an error"))
            }
            Reply::Error(text) => Err(told(&text)),
            reply @ (Reply::Text(_) | Reply::Number(_) | Reply::Nil | Reply::List(_)) => Ok(reply),
        }
    }

    async fn exchange(&mut self, words: &[&[u8]]) -> Result<Reply, Failed> {
        let broken = |error: io::Error| Failed::Lost(error.to_string());
        self.wire.write_all(&resp::request(words)).await.map_err(broken)?;
        self.wire.flush().await.map_err(broken)?;
        let mut chunk = vec![0; CHUNK];
        loop {
            let parsed = resp::parse(&self.read).map_err(|noise| Failed::Lost(noise.to_string()))?;
            if let Some((reply, rest)) = parsed {
                self.read = rest.to_vec();
                return Ok(reply);
            }
            let count = self.wire.read(&mut chunk).await.map_err(broken)?;
            if count == 0 || self.read.len() > LARGEST {
                return Err(Failed::Lost("the connection ended before the answer".to_owned()));
            }
            self.read.extend_from_slice(chunk.get(..count).unwrap_or_default());
        }
    }

    fn repeats_the_secret(&self, text: &str) -> bool {
        let secret = self.password.expose();
        !secret.is_empty() && text.as_bytes().windows(secret.len()).any(|window| window == secret)
    }
}

async fn connect(route: &Route, tls: Option<&Tls>) -> Result<Box<dyn Wire>, Failed> {
    let lost = |error: io::Error| Failed::Lost(error.to_string());
    let stream = TcpStream::connect((route.host.as_str(), route.port)).await.map_err(lost)?;
    stream.set_nodelay(true).map_err(lost)?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let name = tls.server_name.as_deref().unwrap_or(&route.host).to_owned();
    let name = ServerName::try_from(name).map_err(|error| Failed::no(error.to_string()))?;
    let stream = TlsConnector::from(std::sync::Arc::clone(&tls.config)).connect(name, stream).await;
    // What rustls objects to; everything else is the network's.
    let objects = |kind| matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput);
    stream.map(|stream| Box::new(stream) as Box<dyn Wire>).map_err(|error| {
        let text = format!("TLS: {error}");
        if objects(error.kind()) { Failed::no(text) } else { Failed::Lost(text) }
    })
}
