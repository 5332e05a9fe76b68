//! Figures and health over plain HTTP/1 on loopback: `/metrics`, `/healthz`, `/readyz`. Knows no caller, changes nothing.
//!
//! One request a connection, of which only the first line is looked at: a collector and a prober need no more, and a whole
//! HTTP server costs every sidecar memory.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::accept::Accept;
use crate::{Clock, Listener, Readiness};

/// How long a client may take to send its request's head.
const HEAD: Duration = Duration::from_secs(5);
/// How long the answer may take, the making of the page included.
const ANSWER: Duration = Duration::from_secs(30);
/// The largest head of a request, in bytes.
const HEAD_BYTES: usize = 8 << 10;

/// Writes the page of figures; none when they cannot be read now.
pub type Page = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Option<String>> + Send>> + Send + Sync>;

/// What is served.
#[derive(Clone)]
pub struct Http {
    /// Whether the process is ready, and what it waits for.
    pub readiness: Readiness,
    /// The figures.
    pub page: Page,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("readiness", &self.readiness).finish_non_exhaustive()
    }
}

/// A status, and what is said with it.
type Answer = (&'static str, String);

impl Http {
    /// Serves until the process ends.
    pub async fn serve(self, accept: Accept, listener: Listener) -> Result<(), Infallible> {
        let (spawner, clock) = (accept.spawner.clone(), accept.clock.clone());
        let shutdown = spawner.cancel();
        let connections = accept.plain(listener).take_until(shutdown.cancelled_owned());
        let mut connections = std::pin::pin!(connections);
        while let Some(connection) = connections.next().await {
            // The accept layer yields no errors.
            if let Ok(connection) = connection {
                spawner.start("http connection", self.clone().answer(connection, clock.clone()));
            }
        }
        Ok(())
    }

    async fn answer(self, mut io: impl AsyncRead + AsyncWrite + Unpin + Send, clock: Clock) {
        let answer = async {
            let Some(head) = clock.within(HEAD, head(&mut io)).await else { return };
            let (status, body) = match head {
                Some(head) => self.respond(&head).await,
                None => ("400 Bad Request", "this is no request that is understood here\n".to_owned()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            // A client that is gone needs no answer.
            if io.write_all((head + &body).as_bytes()).await.is_ok() {
                drop(io.shutdown().await);
            }
        };
        if clock.within(HEAD + ANSWER, answer).await.is_none() {
            tracing::debug!("an HTTP connection lasted too long");
        }
    }

    /// The answer to a request whose head begins with `head`.
    async fn respond(&self, head: &str) -> Answer {
        let mut words = head.lines().next().unwrap_or_default().split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = target.split('?').next().unwrap_or_default();
        match (method, path) {
            ("GET", "/metrics") => match (self.page)().await {
                Some(page) => ("200 OK", page),
                None => {
                    ("503 Service Unavailable", "the figures cannot be read; the log says why\n".to_owned())
                }
            },
            ("GET", "/healthz") => ("200 OK", "ok\n".to_owned()),
            ("GET", "/readyz") if self.readiness.is_ready() => ("200 OK", "ready\n".to_owned()),
            ("GET", "/readyz") => {
                let waiting = self.readiness.waiting_for().join(", ");
                ("503 Service Unavailable", format!("waiting for: {waiting}\n"))
            }
            ("GET", _) => ("404 Not Found", "there is /metrics, /healthz and /readyz\n".to_owned()),
            _other => ("405 Method Not Allowed", "only GET\n".to_owned()),
        }
    }
}

/// The head of a request, to its empty line; `None` if it is too large, is no text, or does not come to its end.
async fn head(io: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let mut part = [0; 1024];
        let size = io.read(&mut part).await.ok().filter(|size| *size > 0)?;
        head.extend_from_slice(part.get(..size)?);
        if head.len() > HEAD_BYTES {
            return None;
        }
    }
    String::from_utf8(head).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(readiness: Readiness) -> Http {
        Http { readiness, page: Arc::new(|| Box::pin(async { Some("rekey_up 1\n".to_owned()) })) }
    }

    /// What comes back for `request`.
    async fn asked(http: &Http, request: &str) -> String {
        let (mut client, server) = tokio::io::duplex(64 << 10);
        let talk = async {
            client.write_all(request.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
            let mut said = String::new();
            client.read_to_string(&mut said).await.unwrap();
            said
        };
        tokio::join!(http.clone().answer(server, Clock::system()), talk).1
    }

    fn get(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
    }

    #[tokio::test]
    async fn readiness_names_what_it_waits_for() {
        let readiness = Readiness::of(&["store"]);
        let http = http(readiness.clone());
        let waiting = asked(&http, &get("/readyz")).await;
        assert!(
            waiting.starts_with("HTTP/1.1 503 ") && waiting.ends_with("waiting for: store\n"),
            "{waiting}"
        );
        assert!(asked(&http, &get("/healthz")).await.starts_with("HTTP/1.1 200 "));
        readiness.mark("store");
        assert!(asked(&http, &get("/readyz")).await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn a_page_comes_whole_with_its_length() {
        let page = asked(&http(Readiness::of(&[])), &get("/metrics?x=1")).await;
        let (head, body) = page.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("content-length: 11\r\n"), "{head}");
        assert_eq!(body, "rekey_up 1\n");
    }

    #[tokio::test]
    async fn figures_that_cannot_be_read_are_no_page() {
        let none = Http { readiness: Readiness::of(&[]), page: Arc::new(|| Box::pin(async { None })) };
        let said = asked(&none, &get("/metrics")).await;
        assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
    }

    #[tokio::test]
    async fn only_three_pages_exist_and_only_for_reading() {
        let http = http(Readiness::of(&[]));
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(HEAD_BYTES));
        let post = "POST /metrics HTTP/1.1\r\n\r\n".to_owned();
        let half = "GET /metrics HTTP/1.1\r\n".to_owned();
        for (request, status) in
            [(get("/"), 404), (post, 405), (long, 400), (half, 400), ("\r\n\r\n".to_owned(), 405)]
        {
            let said = asked(&http, &request).await;
            assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {said}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_no_request_is_let_go() {
        let (client, server) = tokio::io::duplex(64);
        let answered = http(Readiness::of(&[])).answer(server, Clock::system());
        tokio::time::timeout(Duration::from_mins(1), answered).await.expect("it waits for ever");
        drop(client);
    }
}
