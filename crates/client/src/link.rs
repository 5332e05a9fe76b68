//! One connection to the sidecar: made, checked, named, and noticed when it ends.
//!
//! tonic's channel would quietly connect again by itself. What is reported counts per connection and the server's user
//! is checked per connection, so here a channel is one connection and no more; `keeper` makes the next one.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rekey_proto::local::credentials_client::CredentialsClient;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

use crate::answer::MOST_BYTES;
use crate::builder::Builder;
use crate::error::Error;

/// The most calls that wait for their answer at a time; more queue here. A sidecar answers 32 streams of a connection at
/// a time, and the open watches and the stream of reads are among them.
const MOST_CALLS: usize = 12;

/// The generated client over one connection.
pub(crate) type Calls = CredentialsClient<InterceptedService<Channel, Naming>>;

/// Which users a sidecar may run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// This process's own, or root.
    OwnOrRoot,
    /// Exactly this one.
    Only(u32),
}

/// One live connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// Tells two connections of one client apart.
    pub(crate) number: u64,
    calls: Calls,
    ended: watch::Receiver<()>,
}

impl Link {
    /// Connects once. The peer's user is checked before the first byte is sent.
    pub(crate) async fn open(builder: &Builder, number: u64) -> Result<Self, Error> {
        let path = builder.path();
        let connecting = async {
            let stream = UnixStream::connect(path).await;
            let stream = stream.map_err(|source| Error::Connect { path: path.to_owned(), source })?;
            check(path, builder.trust(), &stream)?;
            handshake(path, stream).await
        };
        let limit = builder.timeouts().call;
        let late = || Error::Connect { path: path.to_owned(), source: io::ErrorKind::TimedOut.into() };
        let (channel, ended) = tokio::time::timeout(limit, connecting).await.ok().ok_or_else(late)??;
        let calls = CredentialsClient::with_interceptor(channel, Naming(builder.application_metadata()))
            .max_decoding_message_size(MOST_BYTES);
        Ok(Self { number, calls, ended })
    }

    /// The calls over this connection.
    pub(crate) fn calls(&self) -> Calls {
        self.calls.clone()
    }

    /// Waits until the connection has ended.
    pub(crate) async fn ended(&self) {
        // Nothing is ever sent: the other half is dropped together with the socket.
        while self.ended.clone().changed().await.is_ok() {}
    }
}

/// Adds the caller's name to each call.
#[derive(Debug, Clone)]
pub(crate) struct Naming(MetadataValue<Ascii>);

impl Interceptor for Naming {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        request.metadata_mut().insert(rekey_proto::CLIENT_METADATA, self.0.clone());
        Ok(request)
    }
}

/// Refuses a server that runs as a user who is not trusted.
fn check(path: &Path, trust: Trust, stream: &UnixStream) -> Result<(), Error> {
    let ask = |stream: &UnixStream| {
        let peer = stream.peer_cred().map_err(|source| Error::Connect { path: path.to_owned(), source })?;
        Ok::<u32, Error>(peer.uid())
    };
    let uid = ask(stream)?;
    let (trusted, expected) = match trust {
        Trust::Only(only) => (uid == only, format!("uid {only}")),
        Trust::OwnOrRoot => {
            // A pair of sockets of our own knows who we are, without asking libc for it.
            let pair =
                UnixStream::pair().map_err(|source| Error::Connect { path: path.to_owned(), source })?;
            let own = ask(&pair.0)?;
            (uid == own || uid == 0, format!("uid {own} (its own) or root"))
        }
    };
    if trusted { Ok(()) } else { Err(Error::Stranger { path: path.to_owned(), uid, expected }) }
}

/// Speaks HTTP/2 over `stream`; the receiver ends with the connection.
async fn handshake(path: &Path, stream: UnixStream) -> Result<(Channel, watch::Receiver<()>), Error> {
    let (alive, ended) = watch::channel(());
    let only = Arc::new(Mutex::new(Some(Socket { stream, _alive: alive })));
    let connector = tower::service_fn(move |_: tonic::codegen::http::Uri| {
        let socket = only.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { socket.map(TokioIo::new).ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
    });
    let endpoint = Endpoint::from_static("http://sidecar.local")
        .concurrency_limit(MOST_CALLS)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true);
    let channel = endpoint.connect_with_connector(connector).await;
    Ok((channel.map_err(|source| Error::Protocol { path: path.to_owned(), source })?, ended))
}

/// A stream that tells when it is dropped. Writes are not vectored, which makes HTTP/2 send a small answer in one piece.
#[derive(Debug)]
struct Socket {
    stream: UnixStream,
    _alive: watch::Sender<()>,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
