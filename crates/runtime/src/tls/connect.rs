//! Making channels: over TLS to a controller, over a Unix socket to a sidecar or to a controller's own host.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use super::ClientTls;
use crate::accept::is_abstract;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEPALIVE_LIMIT: Duration = Duration::from_secs(10);
const WINDOW: u32 = 1 << 20;
const HEADER_LIST: u32 = 8 << 10;

/// A host and a port, written `host:port` or `[v6]:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

/// A text that is not an [`Address`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address is host:port, such as rekey.example.com:8443 or [::1]:8443")]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = text.rsplit_once(':').ok_or(AddressError)?;
        let port: u16 = port.parse().map_err(|_not_a_port| AddressError)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if port == 0 || (bare.contains(':') && bare == host) {
            return Err(AddressError);
        }
        ServerName::try_from(bare).map_err(|_not_a_name| AddressError)?;
        Ok(Self { host: bare.to_owned(), port })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Where to connect, and what name the server's certificate must have.
#[derive(Debug, Clone)]
pub struct Dial {
    /// Where.
    pub address: Address,
    /// The name in the server's certificate; the host of the address if none.
    pub server_name: Option<String>,
}

/// Why no channel could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server's name is not one that a certificate can have.
    #[error("the server's name must be a host name or an IP address")]
    ServerName,
    /// The path names an abstract socket, which anybody may bind.
    #[error("{0:?} names an abstract socket: give the path of a file")]
    Abstract(PathBuf),
    /// The server could not be reached, or its certificate was refused.
    #[error("cannot connect")]
    Transport(#[from] tonic::transport::Error),
}

/// Connects now. A client certificate that the server refuses shows only at the first call: TLS 1.3 is like that.
pub async fn connect(tls: &ClientTls, dial: &Dial) -> Result<Channel, ConnectError> {
    let (endpoint, name) = prepare(dial)?;
    let (tls, dial) = (tls.clone(), dial.clone());
    let connector = tower::service_fn(move |_: tonic::codegen::http::Uri| {
        reach(tls.clone(), dial.address.clone(), name.clone())
    });
    Ok(endpoint.connect_with_connector(connector).await?)
}

/// Connects when first used, and again whenever the connection was lost, each time with what was last swapped in.
pub fn connect_lazy(tls: &ClientTls, dial: &Dial) -> Result<Channel, ConnectError> {
    let (endpoint, name) = prepare(dial)?;
    let (tls, dial) = (tls.clone(), dial.clone());
    let connector = tower::service_fn(move |_: tonic::codegen::http::Uri| {
        reach(tls.clone(), dial.address.clone(), name.clone())
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// Connects now to a Unix socket, and only if its server runs as `server_uid` where that is given.
pub async fn connect_unix(path: &Path, server_uid: Option<u32>) -> Result<Channel, ConnectError> {
    let path = checked(path)?;
    let connector =
        tower::service_fn(move |_: tonic::codegen::http::Uri| reach_unix(Arc::clone(&path), server_uid));
    Ok(knobs(Endpoint::from_static("http://localhost")).connect_with_connector(connector).await?)
}

/// The same, when first used and again whenever the connection was lost.
pub fn connect_unix_lazy(path: &Path, server_uid: Option<u32>) -> Result<Channel, ConnectError> {
    let path = checked(path)?;
    let connector =
        tower::service_fn(move |_: tonic::codegen::http::Uri| reach_unix(Arc::clone(&path), server_uid));
    Ok(knobs(Endpoint::from_static("http://localhost")).connect_with_connector_lazy(connector))
}

fn prepare(dial: &Dial) -> Result<(Endpoint, ServerName<'static>), ConnectError> {
    let name = dial.server_name.clone().unwrap_or_else(|| dial.address.host.clone());
    let name = ServerName::try_from(name).map_err(|_not_a_name| ConnectError::ServerName)?;
    // tonic refuses https with a connector of our own where any of its TLS features is on: the scheme is only the origin's.
    let endpoint = Endpoint::from_shared(format!("http://{}", dial.address))?;
    let origin =
        format!("https://{}", dial.address).parse().map_err(|_not_a_uri| ConnectError::ServerName)?;
    Ok((knobs(endpoint.origin(origin)), name))
}

fn knobs(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_LIMIT * 2)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_LIMIT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .http2_max_header_list_size(HEADER_LIST)
        .tcp_nodelay(true)
}

async fn reach(
    tls: ClientTls,
    address: Address,
    name: ServerName<'static>,
) -> io::Result<hyper_util::rt::TokioIo<TlsStream<TcpStream>>> {
    let slow = |what| io::Error::new(io::ErrorKind::TimedOut, what);
    let (clock, config) = (tls.clock(), tls.config());
    let tcp = clock.within(CONNECT_LIMIT, TcpStream::connect((address.host.as_str(), address.port))).await;
    let stream = tcp.ok_or_else(|| slow("the server did not answer in time"))??;
    stream.set_nodelay(true)?;
    let shaken = clock.within(CONNECT_LIMIT, TlsConnector::from(config).connect(name, stream)).await;
    Ok(hyper_util::rt::TokioIo::new(shaken.ok_or_else(|| slow("the handshake took too long"))??))
}

fn checked(path: &Path) -> Result<Arc<Path>, ConnectError> {
    if is_abstract(path) { Err(ConnectError::Abstract(path.to_owned())) } else { Ok(path.into()) }
}

async fn reach_unix(
    path: Arc<Path>,
    server_uid: Option<u32>,
) -> io::Result<hyper_util::rt::TokioIo<UnixStream>> {
    let stream = UnixStream::connect(&path).await?;
    if let Some(expected) = server_uid
        && stream.peer_cred()?.uid() != expected
    {
        let message = "the socket's server runs as another user than expected";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(hyper_util::rt::TokioIo::new(stream))
}
