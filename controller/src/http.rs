//! Figures and health over plain HTTP on loopback: `/metrics`, `/healthz`, `/readyz`. Knows no caller, changes nothing.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rekey_runtime::accept::{Accept, Connection};
use rekey_runtime::{Listener, Readiness};

/// How long a client may take to send its request's head.
const HEAD: Duration = Duration::from_secs(5);
/// How long one connection may last in all.
const CONNECTION: Duration = Duration::from_mins(1);
/// The largest head of a request, in bytes.
const HEAD_BYTES: usize = 8 << 10;

/// Writes the page of figures.
pub type Page = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = String> + Send>> + Send + Sync>;

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

impl Http {
    /// Serves until the process ends.
    pub async fn serve(self, accept: Accept, listener: Listener) -> Result<(), Infallible> {
        let (spawner, shutdown) = (accept.spawner.clone(), accept.spawner.cancel());
        let connections = accept.incoming(listener, None).take_until(shutdown.cancelled_owned());
        let mut connections = std::pin::pin!(connections);
        while let Some(connection) = connections.next().await {
            // The accept layer yields no errors.
            if let Ok(connection) = connection {
                spawner.start("http connection", self.clone().answer(connection));
            }
        }
        Ok(())
    }

    async fn answer(self, connection: Connection) {
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let http = self.clone();
            async move { Ok::<_, Infallible>(http.respond(request.method(), request.uri().path()).await) }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(connection), service);
        match tokio::time::timeout(CONNECTION, served).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection failed"),
            Err(_elapsed) => tracing::debug!("an HTTP connection lasted too long"),
        }
    }

    async fn respond(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        match (method, path) {
            (&Method::GET, "/metrics") => text(StatusCode::OK, (self.page)().await),
            (&Method::GET, "/healthz") => text(StatusCode::OK, "ok\n".to_owned()),
            (&Method::GET, "/readyz") if self.readiness.is_ready() => {
                text(StatusCode::OK, "ready\n".to_owned())
            }
            (&Method::GET, "/readyz") => {
                let waiting = self.readiness.waiting_for().join(", ");
                text(StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {waiting}\n"))
            }
            (&Method::GET, _) => {
                text(StatusCode::NOT_FOUND, "there is /metrics, /healthz and /readyz\n".to_owned())
            }
            _other => text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned()),
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let plain = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, plain);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(readiness: Readiness) -> Http {
        Http { readiness, page: Arc::new(|| Box::pin(async { "rekey_up 1\n".to_owned() })) }
    }

    #[tokio::test]
    async fn readiness_names_what_it_waits_for() {
        let readiness = Readiness::of(&["store"]);
        let http = http(readiness.clone());
        let waiting = http.respond(&Method::GET, "/readyz").await;
        assert_eq!(waiting.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(http.respond(&Method::GET, "/healthz").await.status(), StatusCode::OK);
        readiness.mark("store");
        assert_eq!(http.respond(&Method::GET, "/readyz").await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn only_three_pages_exist_and_only_for_reading() {
        let http = http(Readiness::of(&[]));
        assert_eq!(http.respond(&Method::GET, "/metrics").await.status(), StatusCode::OK);
        assert_eq!(http.respond(&Method::GET, "/").await.status(), StatusCode::NOT_FOUND);
        assert_eq!(http.respond(&Method::POST, "/metrics").await.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
