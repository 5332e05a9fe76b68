//! One request over HTTP/1.1 on a connection of its own: the declared authority alone, no proxy, no redirect, no
//! repetition, and limits on time and size.

use std::time::Duration;

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
    /// Sends `body` as JSON, and a bearer's token where one is given. `path` is what follows the port.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&SecretBytes>,
        body: Option<&serde_json::Value>,
    ) -> Result<Answer, Failed> {
        self.send(self.request(method, path, token, body)?).await
    }

    /// The server as the `Host` header names it.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.tls.is_some() { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    /// Sends a request that is made already, with its `Host` header.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, Failed> {
        let socket = self.within(TcpStream::connect((self.host.as_str(), self.port))).await?;
        let socket = socket.map_err(|error| Failed::Away(error.to_string()))?;
        let Some(tls) = &self.tls else { return self.exchange(socket, request).await };
        let name = tls.server_name.clone().unwrap_or_else(|| self.host.clone());
        let name = ServerName::try_from(name).map_err(|_not| Failed::no("the host is no name for TLS"))?;
        let connector = TlsConnector::from(std::sync::Arc::clone(&tls.config));
        match self.within(connector.connect(name, socket)).await? {
            Ok(stream) => self.exchange(stream, request).await,
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
        token: Option<&SecretBytes>,
        body: Option<&serde_json::Value>,
    ) -> Result<Request<Full<Bytes>>, Failed> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.authority())
            .header(ACCEPT, "application/json");
        if let Some(token) = token {
            let bearer = Zeroizing::new([b"Bearer ".as_slice(), token.expose()].concat());
            let value = HeaderValue::from_bytes(&bearer);
            let mut value = value.map_err(|_not| Failed::no("a token is printable ASCII without spaces"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let body = body.map(|body| Bytes::from(body.to_string()));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body.unwrap_or_default()));
        request.map_err(|error| Failed::no(format!("the request cannot be made: {error}")))
    }

    /// Gives up what is not there in the time of a connection: nothing was sent yet.
    async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, Failed> {
        let late = |_elapsed| Failed::Away(format!("no connection after {:?}", self.connect));
        timeout(self.connect, work).await.map_err(late)
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, Failed> {
        let lost = |error: hyper::Error| Failed::Lost(format!("the answer was lost: {error}"));
        let both = async {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
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

#[cfg(test)]
mod tests;
