//! One request over HTTP/1.1 on a connection of its own: the declared authority alone, no proxy, no redirect, no
//! repetition, and limits on time and size.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HOST, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rekey_model::SecretBytes;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::answer::Failed;
use crate::target::Tls;

/// The most bytes of an answer.
const MOST: usize = 1024 * 1024;

/// A way to a server.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Option<Tls>,
    /// The longest time until the connection is open, TLS included.
    pub(crate) connect: Duration,
    /// The longest time from there to the end of the answer.
    pub(crate) request: Duration,
}

/// What was answered, whatever the status. The body may hold a secret.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Zeroizing<Vec<u8>>,
    /// For how long the server asks to be left alone, in seconds.
    pub(crate) retry_after: Option<u64>,
    /// When the server answered, by its own clock and in its words.
    pub(crate) date: Option<String>,
}

/// Who asks.
#[derive(Clone, Copy)]
pub(crate) enum Login<'a> {
    /// Whoever has this token.
    Bearer(&'a SecretBytes),
    /// A user, and its password.
    Basic(&'a str, &'a SecretBytes),
}

/// A connection, plain or in TLS.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Wire for S {}

/// Scheme, host and port of a server; none where it is more than that, or less.
pub(crate) fn route(server: &str) -> Option<(&'static str, String, u16)> {
    let uri: hyper::Uri = server.parse().ok()?;
    let (scheme, usual) = match uri.scheme_str()? {
        "https" => ("https", 443),
        "http" => ("http", 80),
        _ => return None,
    };
    let authority = uri.authority()?;
    let bare = uri.path() == "/"
        && uri.query().is_none()
        && !authority.as_str().contains('@')
        && !server.contains('#');
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    (bare && !host.is_empty()).then(|| (scheme, host.to_owned(), authority.port_u16().unwrap_or(usual)))
}

impl Http {
    /// Sends `body` as JSON. `path` is what follows the port.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        login: Login<'_>,
        body: Option<&serde_json::Value>,
    ) -> Result<Answer, Failed> {
        self.send(self.request(method, path, login, body)?).await
    }

    /// The server as the `Host` header names it.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.tls.is_some() { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    /// Sends a request that is made already, with its `Host` header.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, Failed> {
        self.exchange(self.open().await?, request).await
    }

    /// A connection, secured where TLS is spoken; nothing was sent over it yet.
    pub(crate) async fn open(&self) -> Result<Box<dyn Wire>, Failed> {
        let socket = self.within(TcpStream::connect((self.host.as_str(), self.port))).await?;
        let socket = socket.map_err(|error| Failed::Away(error.to_string()))?;
        let Some(tls) = &self.tls else { return Ok(Box::new(socket)) };
        let name = tls.server_name.clone().unwrap_or_else(|| self.host.clone());
        let unfit =
            |_not| Failed::no(format!("TLS: no certificate is for {:?}: say tls.server_name", self.host));
        let name = ServerName::try_from(name).map_err(unfit)?;
        let connector = TlsConnector::from(std::sync::Arc::clone(&tls.config));
        match self.within(connector.connect(name, socket)).await? {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error)
                if error
                    .get_ref()
                    .is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) =>
            {
                Err(Failed::no(format!("TLS: {error}")))
            }
            Err(error) => Err(Failed::Away(format!("TLS: {error}"))),
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        login: Login<'_>,
        body: Option<&serde_json::Value>,
    ) -> Result<Request<Full<Bytes>>, Failed> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.authority())
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, login.header()?);
        let body = body.map(|body| Bytes::from(body.to_string()));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body.unwrap_or_default()));
        request.map_err(|error| Failed::no(format!("a request for {path} cannot be made: {error}")))
    }

    /// Gives up what is not there in the time of a connection: nothing was sent yet.
    async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, Failed> {
        let late = |_elapsed| Failed::Away(format!("no connection after {:?}", self.connect));
        timeout(self.connect, work).await.map_err(late)
    }

    async fn exchange(&self, wire: Box<dyn Wire>, request: Request<Full<Bytes>>) -> Result<Answer, Failed> {
        let lost = |error: hyper::Error| Failed::Lost(format!("the answer was lost: {error}"));
        let both = async {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(wire)).await.map_err(lost)?;
            let answered = async {
                let answer = sender.send_request(request).await.map_err(lost)?;
                let status = answer.status().as_u16();
                let header = |name| answer.headers().get(name)?.to_str().ok();
                let retry_after = header(RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
                let date = header(DATE).map(str::to_owned);
                let body = Limited::new(answer.into_body(), MOST).collect().await;
                let body = body.map_err(|error| Failed::Lost(format!("the answer was lost: {error}")))?;
                Ok(Answer { status, body: Zeroizing::new(body.to_bytes().to_vec()), retry_after, date })
            };
            tokio::pin!(answered, connection);
            tokio::select! {
                biased;
                answer = &mut answered => answer,
                // It ends when all is said; what came is in the other's hands then.
                _ended = &mut connection => answered.await,
            }
        };
        let late = |_elapsed| Err(Failed::Lost(format!("no answer after {:?}", self.request)));
        timeout(self.request, both).await.unwrap_or_else(late)
    }
}

impl Login<'_> {
    fn header(self) -> Result<HeaderValue, Failed> {
        let text = match self {
            Self::Bearer(token) => [b"Bearer ".as_slice(), token.expose()].concat(),
            Self::Basic(user, password) => {
                let both = Zeroizing::new([user.as_bytes(), b":", password.expose()].concat());
                let both = Zeroizing::new(STANDARD.encode(&*both));
                [b"Basic ".as_slice(), both.as_bytes()].concat()
            }
        };
        let value = HeaderValue::from_bytes(&Zeroizing::new(text));
        let mut value = value.map_err(|_not| {
            Failed::no("the token cannot be sent: it is not printable ASCII without spaces")
        })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

#[cfg(test)]
mod tests;
