//! The loop that accepts, the handshakes beside it, and the stream that tonic takes connections from.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::connection::{Duplex, Io};
use super::connections::{Mishap, Origin, Ticket, Turned};
use super::listener::Arrived;
use super::{Connection, Connections, Listener, Peer};
use crate::tls::Leaf;
use crate::{Clock, ServerTls, Spawner, backoff};

/// Connections that are ready and wait for tonic.
const QUEUE: usize = 64;

/// How long the loop rests after a failed accept: this long, and up to [`PAUSE_JITTER`] more.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_JITTER: Duration = Duration::from_millis(90);

/// The user that stands for "not mapped into this user namespace".
const OVERFLOW_UID: u32 = 65_534;

/// Everything that accepting needs besides the listener.
#[derive(Debug, Clone)]
pub struct Accept {
    /// Limits, counts, and who is connected.
    pub connections: Connections,
    /// Tells when a peer is too slow and when a certificate expires.
    pub clock: Clock,
    /// Runs the loop and the handshakes.
    pub spawner: Spawner,
}

/// The connections of a listener, for tonic's `serve_with_incoming_shutdown`. It yields no error, and it ends only with
/// the process. Dropping it closes the listener.
#[derive(Debug)]
pub struct Incoming(mpsc::Receiver<Connection>);

/// Makes what was accepted over TCP ready to be read. Known only by this trait, so that a program all of whose doors are
/// plain does not carry a server's TLS.
pub(crate) trait Secure: Send + Sync {
    /// The caller sets the time limit.
    fn secure(&self, stream: TcpStream) -> Securing<'_>;
}

/// The future of [`Secure::secure`].
pub(crate) type Securing<'a> = Pin<Box<dyn Future<Output = io::Result<Secured>> + Send + 'a>>;

/// What [`Secure::secure`] leads to.
pub(crate) enum Secured {
    /// As it came.
    Plain(TcpStream),
    /// Over TLS, and the certificate that the client showed.
    Tls(Box<dyn Duplex>, Option<Leaf>),
}

/// No TLS.
struct Plain;

impl Secure for Plain {
    fn secure(&self, stream: TcpStream) -> Securing<'_> {
        Box::pin(async { Ok(Secured::Plain(stream)) })
    }
}

impl Accept {
    /// Begins to accept. TCP without `tls` is plain: for loopback only.
    pub fn incoming(self, listener: Listener, tls: Option<Arc<ServerTls>>) -> Incoming {
        match tls {
            Some(tls) => self.begin(listener, tls),
            None => self.plain(listener),
        }
    }

    /// Begins to accept without TLS: on a Unix socket, or on loopback.
    pub fn plain(self, listener: Listener) -> Incoming {
        self.begin(listener, Arc::new(Plain))
    }

    fn begin(self, listener: Listener, secure: Arc<dyn Secure>) -> Incoming {
        let (ready, incoming) = mpsc::channel(QUEUE);
        let spawner = self.spawner.clone();
        spawner.start("accept", self.run(listener, secure, ready));
        Incoming(incoming)
    }

    async fn run(self, listener: Listener, secure: Arc<dyn Secure>, ready: mpsc::Sender<Connection>) {
        let mut failures: u32 = 0;
        loop {
            let arrived = tokio::select! {
                biased;
                () = ready.closed() => return,
                arrived = listener.accept() => arrived,
            };
            match arrived {
                Ok(arrived) => {
                    failures = 0;
                    self.admit(arrived, &secure, &ready);
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.failed(&error, failures);
                    self.clock.sleep(PAUSE + backoff::jitter(PAUSE_JITTER)).await;
                }
            }
        }
    }

    fn failed(&self, error: &io::Error, failures: u32) {
        self.connections.count(Mishap::AcceptFailed);
        if failures <= 3 {
            tracing::warn!(%error, "cannot accept a connection; trying again");
        } else {
            tracing::debug!(%error, failures, "cannot accept a connection; trying again");
        }
    }

    /// Lets one peer in or closes its connection; nothing here waits.
    fn admit(&self, arrived: Arrived, secure: &Arc<dyn Secure>, ready: &mpsc::Sender<Connection>) {
        let ready = ready.clone();
        match arrived {
            Arrived::Unix(stream) => {
                let Some(connection) = self.local(stream) else { return };
                if let Err(TrySendError::Full(connection)) = ready.try_send(connection) {
                    self.spawner.start("hand over", async move { drop(ready.send(connection).await) });
                }
            }
            Arrived::Tcp(stream, address) => {
                let Ok(ticket) = self.connections.admit(Origin::address(address.ip())) else {
                    return self.refuse("too many connections from one address, or without a certificate");
                };
                let (accept, secure) = (self.clone(), Arc::clone(secure));
                self.spawner.start("handshake", async move {
                    if let Some(connection) = accept.remote(stream, address, ticket, &*secure).await {
                        drop(ready.send(connection).await);
                    }
                });
            }
        }
    }

    fn local(&self, stream: UnixStream) -> Option<Connection> {
        let Some(credentials) = stream.peer_cred().ok().filter(|who| who.uid() != OVERFLOW_UID) else {
            self.refuse("the kernel does not say which user it is");
            return None;
        };
        let uid = credentials.uid();
        let Ok(mut ticket) = self.connections.admit(Origin::User(uid)) else {
            self.refuse("too many connections of one user, or in all");
            return None;
        };
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0);
        let peer = Peer::Local { id: ticket.id, uid, gid: credentials.gid(), pid };
        ticket.register(&peer).ok()?;
        Some(Connection::new(Io::Unix(stream), peer, ticket, None, &self.clock))
    }

    async fn remote(
        &self,
        stream: TcpStream,
        addr: SocketAddr,
        mut ticket: Ticket,
        secure: &dyn Secure,
    ) -> Option<Connection> {
        let id = ticket.id;
        let limit = self.connections.limits().handshake_timeout;
        let Some(shaken) = self.clock.within(limit, secure.secure(stream)).await else {
            self.connections.count(Mishap::HandshakeTooSlow);
            return None;
        };
        let (io, peer, life) = match shaken {
            Ok(Secured::Plain(stream)) => (Io::Tcp(stream), Peer::Tcp { id, addr }, None),
            Ok(Secured::Tls(stream, leaf)) => {
                let anonymous = self.connections.limits().anonymous_life;
                let life = leaf.as_ref().map_or(anonymous, |leaf| leaf.left(&self.clock));
                let leaf_der = leaf.map(|leaf| leaf.der);
                let key = leaf_der.as_ref().and_then(|der| self.connections.peer_of(der));
                (Io::Tls(stream), Peer::Tls { id, addr, leaf_der, key }, Some(life))
            }
            Err(error) => {
                self.connections.count(Mishap::HandshakeFailed);
                tracing::debug!(%error, %addr, "a handshake failed");
                return None;
            }
        };
        if let Err(turned) = ticket.register(&peer) {
            self.refuse(match turned {
                Turned::Full => "too many connections of one owner of certificates",
                Turned::Unwelcome => "its owner may not come in any more",
            });
            return None;
        }
        Some(Connection::new(io, peer, ticket, life, &self.clock))
    }

    fn refuse(&self, why: &'static str) {
        self.connections.count(Mishap::Refused);
        tracing::debug!(why, "a connection was refused");
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().0.poll_recv(cx).map(|connection| connection.map(Ok))
    }
}
