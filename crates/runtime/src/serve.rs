//! Serving gRPC with every knob set, and ending it in order: stop accepting, GOAWAY, a deadline, then the cut.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{Body as HttpBody, Bytes, Service, StdError};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tower::Layer;

use crate::accept::{Accept, Listener};
use crate::{Clock, Connections, ServerTls};

const FRAME: u32 = 16 << 10;
const HEADER_LIST: u32 = 8 << 10;
const LOCAL_RESETS: usize = 64;
const PENDING_RESETS: usize = 20;
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEPALIVE_LIMIT: Duration = Duration::from_secs(10);

/// How long connections that were cut may take to be gone.
const CUT: Duration = Duration::from_secs(1);

/// The limits of one HTTP/2 server. tonic leaves most of them open. The sidecar's socket has its own, which shed nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knobs {
    /// Streams at a time in one connection.
    pub streams: u32,
    /// Calls at a time in one connection that have not begun to answer; more are refused at once.
    pub calls: usize,
    /// Bytes that a peer may send ahead, in a stream and in a connection.
    pub window: u32,
    /// How long a call may take until it begins to answer.
    pub timeout: Duration,
}

impl Knobs {
    /// For a controller's listeners.
    pub const CONTROLLER: Self =
        Self { streams: 128, calls: 64, window: 256 << 10, timeout: Duration::from_secs(5) };

    /// A tonic server with these limits; add layers and services to it.
    pub fn server(&self) -> Server {
        Server::builder()
            .max_concurrent_streams(self.streams)
            .concurrency_limit_per_connection(self.calls)
            .load_shed(true)
            .timeout(self.timeout)
            .initial_stream_window_size(self.window)
            .initial_connection_window_size(self.window)
            .max_frame_size(FRAME)
            .http2_max_header_list_size(HEADER_LIST)
            .http2_max_local_error_reset_streams(Some(LOCAL_RESETS))
            .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
            .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
            .http2_keepalive_timeout(Some(KEEPALIVE_LIMIT))
            .accept_http1(false)
    }
}

/// How a server ends.
#[derive(Debug, Clone)]
pub struct Drain {
    /// When cancelled, the server accepts nothing more and says GOAWAY.
    pub shutdown: CancellationToken,
    /// How long calls may still take; then every connection is cut. Streams should end by themselves before.
    pub grace: Duration,
}

/// Why a server ended without being told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The accept loop is gone.
    #[error("the listener ended")]
    Ended,
    /// tonic failed.
    #[error("the server failed")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves `router` on `listener` until `drain` says otherwise, and returns when every connection is gone.
pub async fn serve<L, B>(
    router: Router<L>,
    accept: Accept,
    listener: Listener,
    tls: Option<std::sync::Arc<ServerTls>>,
    drain: Drain,
) -> Result<(), ServeError>
where
    L: Layer<Routes> + Clone,
    L::Service: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    <L::Service as Service<Request<Body>>>::Future: Send,
    <L::Service as Service<Request<Body>>>::Error: Into<StdError> + Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    let (connections, clock) = (accept.connections.clone(), accept.clock.clone());
    let shutdown = drain.shutdown.clone();
    let incoming = accept.incoming(listener, tls);
    let serving = router.serve_with_incoming_shutdown(incoming, async move { shutdown.cancelled().await });
    tokio::select! {
        served = serving => served?,
        () = end(&drain, &connections, &clock) => tracing::warn!("connections did not end even when cut"),
    }
    if drain.shutdown.is_cancelled() { Ok(()) } else { Err(ServeError::Ended) }
}

/// Waits for the word, then the grace, then cuts; ends only if that did not help.
async fn end(drain: &Drain, connections: &Connections, clock: &Clock) {
    drain.shutdown.cancelled().await;
    clock.sleep(drain.grace).await;
    let cut = connections.cut(|_| true);
    tracing::info!(cut, "the grace is over");
    clock.sleep(CUT).await;
}

#[cfg(test)]
mod tests;
