//! `rekey.v1` on the local socket, with health and reflection beside it.
//!
//! Reads what is live and asks `callers` who may have it; publishes nothing and speaks to no controller. Wire types end
//! in this folder.

mod connection;
mod counts;
mod credentials;
mod freshness;
mod health;
mod reports;
mod routes;
mod unreadable;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use rekey_proto::encoded::credentials_server::CredentialsServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Connected;

pub use connection::{Consumed, Peered};
pub use counts::Counts;
pub use credentials::Credentials;
pub use health::Health;

use crate::callers::InForce;
use crate::live::Live;
use crate::usage::Consumers;

/// What may come in one message.
const MOST_RECEIVED: usize = 64 * 1024;
/// What may go out in one message: one credential has at most 64 KiB, a list of all of them takes more.
const MOST_SENT: usize = 1024 * 1024;
/// How long a unary call may take, its wait for a replacement included.
const UNARY: Duration = Duration::from_secs(5);
/// How long a reader waits for the replacement of what was cut.
const REPLACEMENT: Duration = Duration::from_secs(2);

/// What the services need.
#[derive(Debug, Clone)]
pub struct Shared {
    /// What is served.
    pub live: Arc<Live>,
    /// Who may read what.
    pub callers: Arc<InForce>,
    /// The open connections.
    pub consumers: Arc<Consumers>,
    /// How often was read.
    pub counts: Arc<Counts>,
    /// Ends the streams.
    pub ended: CancellationToken,
}

/// Why the socket is no longer served.
#[derive(Debug, thiserror::Error)]
#[error("serve the local socket")]
pub struct ServeError(#[source] tonic::transport::Error);

/// Serves every connection of `incoming` until `shared.ended`, then lets calls finish.
pub async fn serve<I, C>(shared: Shared, health: Health, incoming: I) -> Result<(), ServeError>
where
    I: Stream<Item = std::io::Result<C>>,
    C: AsyncRead + AsyncWrite + Connected<ConnectInfo: Peered> + Unpin + Send + 'static,
{
    let ended = shared.ended.clone();
    let consumers = Arc::clone(&shared.consumers);
    let credentials = CredentialsServer::new(Credentials::new(shared))
        .max_decoding_message_size(MOST_RECEIVED)
        .max_encoding_message_size(MOST_SENT);
    let services = routes::routes(credentials, health);
    let incoming = incoming.map(move |io| io.map(|io| Consumed::new(io, &consumers)));
    limited()
        .serve_with_incoming_shutdown(services, incoming, ended.cancelled_owned())
        .await
        .map_err(ServeError)
}

/// tonic's own limits are mostly none. The limit of streams also limits the calls of one connection, so there is no other
/// layer for that: a shed reader in an emergency would be a failed reader.
fn limited() -> Server {
    Server::builder()
        .timeout(UNARY)
        .max_concurrent_streams(32)
        .http2_max_local_error_reset_streams(Some(64))
        .http2_max_pending_accept_reset_streams(Some(20))
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(256 * 1024)
        .max_frame_size(16 * 1024)
        .http2_max_header_list_size(8 * 1024)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
}
