//! One POST to somebody else's server over HTTP/1.1: https, or http on this machine alone. A connection a request; no
//! redirect is followed, and of the answer nothing is read but its head.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{ClientTls, Clock};

/// The largest head of an answer, in bytes.
const HEAD_BYTES: usize = 32 << 10;

/// Where to post: `https://…`, or `http://` to a loopback address. It may hold a secret, so it is never shown whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    uri: Uri,
    host: String,
    port: u16,
    tls: bool,
}

/// A text that is no [`Url`] to post to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is no address of that kind.
    #[error("is no address such as https://hooks.example.com/rekey")]
    Form,
    /// It would carry everything in plain text over a network.
    #[error("is not https, and not on loopback (127.0.0.1, [::1])")]
    Plain,
}

impl Url {
    /// Whether it is reached by TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }
}

impl FromStr for Url {
    type Err = UrlError;
    fn from_str(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.trim().parse().map_err(|_no_uri| UrlError::Form)?;
        let authority = uri.authority().filter(|it| !it.as_str().contains('@')).ok_or(UrlError::Form)?;
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => {
                let here = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
                if !here {
                    return Err(UrlError::Plain);
                }
                false
            }
            Some(_) | None => return Err(UrlError::Form),
        };
        ServerName::try_from(host.as_str()).map_err(|_no_name| UrlError::Form)?;
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { uri, host, port, tls })
    }
}

/// Only where it leads: what comes after the host may be a secret.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}/…", if self.tls { "https" } else { "http" }, self.host, self.port)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

/// Why there was no answer. It may have arrived all the same, but for [`PostError::Unreachable`].
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// Nobody was reached, or the certificate was refused.
    #[error("the server cannot be reached")]
    Unreachable(#[source] std::io::Error),
    /// It was reached, and gave no answer that could be read.
    #[error("the server gave no answer")]
    Unanswered(#[source] hyper::Error),
    /// It took too long.
    #[error("the server did not answer within the time it has")]
    Slow,
    /// A header cannot be sent.
    #[error("a header cannot be sent")]
    Header,
}

/// What the server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The status, such as 200.
    pub status: u16,
    /// How long to wait at least before the next request, if it says so in seconds.
    pub retry_after: Option<Duration>,
}

/// What is posted.
#[derive(Debug)]
pub struct Letter<'a> {
    /// Headers beside those of every request.
    pub headers: &'a [(&'static str, String)],
    /// The body.
    pub body: Vec<u8>,
}

/// Posts `letter` to `url`, and takes the status of the answer; everything within `limit`. Without `tls`, only what needs
/// none can be reached.
pub async fn post(
    clock: &Clock,
    tls: Option<&ClientTls>,
    url: &Url,
    letter: Letter<'_>,
    limit: Duration,
) -> Result<Answer, PostError> {
    let mut request = Request::post(url.uri.path_and_query().map_or("/", |path| path.as_str()))
        .header("host", url.uri.authority().map_or("", |authority| authority.as_str()))
        .header("connection", "close");
    for (name, value) in letter.headers {
        request = request.header(*name, value);
    }
    let request = request.body(Full::new(Bytes::from(letter.body))).map_err(|_header| PostError::Header)?;
    clock.within(limit, reach(tls, url, request)).await.unwrap_or(Err(PostError::Slow))
}

async fn reach(
    tls: Option<&ClientTls>,
    url: &Url,
    request: Request<Full<Bytes>>,
) -> Result<Answer, PostError> {
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(PostError::Unreachable)?;
    let response = if url.tls {
        let name = ServerName::try_from(url.host.clone());
        let name = name.map_err(|error| PostError::Unreachable(std::io::Error::other(error)))?;
        let nobody = || PostError::Unreachable(std::io::Error::other("no authority is trusted here"));
        let mut config = (*tls.ok_or_else(nobody)?.config()).clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        send(shaken.map_err(PostError::Unreachable)?, request).await?
    } else {
        send(stream, request).await?
    };
    let seconds = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    Ok(Answer { status: response.status().as_u16(), retry_after: seconds.map(Duration::from_secs) })
}

async fn send(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, PostError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        .handshake(TokioIo::new(io))
        .await
        .map_err(PostError::Unanswered)?;
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(sender.send_request(request));
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        // What it has read before it ended is there still.
        _ended = &mut connection => answer.await,
    };
    answer.map_err(PostError::Unanswered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Clock;
    use crate::tls::Roots;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[test]
    fn only_https_and_loopback_are_addresses() {
        for good in [
            "https://hooks.example.com/a?b=c",
            "http://127.0.0.1:9/x",
            "http://[::1]:9",
            "https://[2001:db8::1]/",
        ] {
            assert!(good.parse::<Url>().is_ok(), "{good}");
        }
        for (bad, why) in [
            ("http://hooks.example.com/", UrlError::Plain),
            ("http://10.0.0.1/", UrlError::Plain),
            ("http://localhost/", UrlError::Plain),
            ("https://user:secret@example.com/", UrlError::Form),
            ("ftp://example.com/", UrlError::Form),
            ("/only/a/path", UrlError::Form),
            ("", UrlError::Form),
        ] {
            assert_eq!(bad.parse::<Url>().unwrap_err(), why, "{bad}");
        }
        let secret: Url = "https://hooks.example.com/services/T0/MARKER?key=MARKER".parse().unwrap();
        assert!(!format!("{secret} {secret:?}").contains("MARKER"));
    }

    /// A server that says `answer` to whatever comes; what it was sent.
    async fn said(answer: &'static str, limit: Duration) -> (Result<Answer, PostError>, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?a=b", listener.local_addr().unwrap()).parse().unwrap();
        let server = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = Vec::new();
            while !heard.ends_with(b"the body") {
                let mut part = [0; 1024];
                let size = stream.read(&mut part).await.unwrap();
                heard.extend_from_slice(&part[..size]);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            if answer.is_empty() {
                std::future::pending::<()>().await;
            }
            String::from_utf8(heard).unwrap()
        };
        let headers = [("x-own", "1".to_owned())];
        let clock = Clock::system();
        let letter = Letter { headers: &headers, body: b"the body".to_vec() };
        let client = post(&clock, None, &url, letter, limit);
        let (mut server, mut client) = (std::pin::pin!(server), std::pin::pin!(client));
        tokio::select! {
            answer = &mut client => (answer, String::new()),
            heard = &mut server => (client.await, heard),
        }
    }

    #[tokio::test]
    async fn the_status_is_told_whatever_comes_after_it() {
        let long = Duration::from_secs(10);
        let (answer, heard) = said("HTTP/1.1 204 No Content\r\n\r\n", long).await;
        assert_eq!(answer.unwrap(), Answer { status: 204, retry_after: None });
        assert!(
            heard.starts_with("POST /hook?a=b HTTP/1.1\r\n") && heard.contains("x-own: 1\r\n"),
            "{heard}"
        );
        let busy = "HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 100000\r\n\r\nnever all of it";
        let (answer, _) = said(busy, long).await;
        assert_eq!(answer.unwrap(), Answer { status: 429, retry_after: Some(Duration::from_secs(7)) });
        let moved = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(said(moved, long).await.0.unwrap().status, 302, "a redirect was followed");
        assert!(matches!(said("nonsense\r\n\r\n", long).await.0, Err(PostError::Unanswered(_))));
        let (slow, _) = said("", Duration::from_millis(200)).await;
        assert!(matches!(slow, Err(PostError::Slow)), "{slow:?}");
    }

    #[tokio::test]
    async fn a_server_without_tls_is_not_reached_by_https() {
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let roots = Roots::from_der([certificate.cert.der().to_vec()]).unwrap();
        let tls = ClientTls::new(&roots, None, Clock::system()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let (clock, letter) = (Clock::system(), Letter { headers: &[], body: Vec::new() });
        let refused = post(&clock, Some(&tls), &url, letter, Duration::from_secs(5));
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            drop(stream);
        };
        let (refused, ()) = tokio::join!(refused, server);
        assert!(matches!(refused, Err(PostError::Unreachable(_))), "{refused:?}");
    }
}
