//! One connection as tonic sees it: bytes in and out, until it is cut or its time is over.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rekey_model::Moment;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::coop::unconstrained;
use tonic::transport::server::Connected;

use super::Peer;
use super::connections::Ticket;
use crate::Clock;

/// HTTP/2 begins with this many bytes from the client.
const PREFACE: usize = 24;

/// How often a connection with an expiry looks at the wall clock, which may jump.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection that was let in. It ends by itself when it is cut, when its client certificate expires, and when the
/// peer takes too long to begin.
pub struct Connection {
    io: Io,
    peer: Peer,
    /// Ends when the connection has lived as long as it may; none if it may for ever.
    expiry: Option<Wait>,
    /// Ends when the peer should have begun; none once it has.
    begin: Option<Wait>,
    received: usize,
    // Last, so that the place is given back after the socket was closed.
    ticket: Ticket,
}

/// What carries the bytes.
pub(super) enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<dyn Duplex>),
}

/// Bytes in both directions.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

impl Connection {
    /// `life` is the most that the connection may last; none is for ever.
    pub(super) fn new(io: Io, peer: Peer, ticket: Ticket, life: Option<Duration>, clock: &Clock) -> Self {
        let limit = ticket.limits().first_byte_timeout;
        let begin = clock.clone();
        // A busy peer uses up its task's share of work; that must not keep these from being looked at.
        let begin: Wait = Box::pin(unconstrained(async move { begin.sleep(limit).await }));
        let expiry = life.map(|life| {
            let expiry: Wait = Box::pin(unconstrained(expire(clock.clone(), clock.now(), life)));
            expiry
        });
        Self { io, peer, expiry, begin: Some(begin), received: 0, ticket }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Reads or writes, unless the connection was cut. Where that has to wait, the task is also woken by the cut and by
    /// the deadlines.
    fn guarded<T>(
        &mut self,
        cx: &mut Context<'_>,
        act: impl FnOnce(&mut Io, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.ticket.kill.was_said() {
            return Poll::Ready(Err(cut()));
        }
        let polled = act(&mut self.io, cx);
        if polled.is_pending() {
            if self.ticket.kill.heard_by(cx.waker()) {
                return Poll::Ready(Err(cut()));
            }
            if is_over(self.expiry.as_mut(), cx) {
                self.ticket.kill.cut();
                return Poll::Ready(Err(cut()));
            }
            if is_over(self.begin.as_mut(), cx) {
                self.ticket.kill.cut();
                let late = io::Error::new(io::ErrorKind::TimedOut, "the peer did not begin in time");
                return Poll::Ready(Err(late));
            }
        }
        polled
    }

    fn received(&mut self, bytes: usize) {
        self.received = self.received.saturating_add(bytes);
        if self.received >= PREFACE {
            self.begin = None;
        }
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was ended here")
}

fn is_over(wait: Option<&mut Wait>, cx: &mut Context<'_>) -> bool {
    wait.is_some_and(|wait| wait.as_mut().poll(cx).is_ready())
}

/// Ends after `life`, by whichever clock says so first: an expiry must not be put off by setting the date.
async fn expire(clock: Clock, start: Moment, life: Duration) {
    loop {
        let left = life.saturating_sub(clock.now().at_most_since(start));
        if left.is_zero() {
            return;
        }
        clock.sleep(left.min(LOOK_AGAIN)).await;
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let before = buf.filled().len();
        let polled = me.guarded(cx, |io, cx| match io {
            Io::Tcp(io) => Pin::new(io).poll_read(cx, buf),
            Io::Unix(io) => Pin::new(io).poll_read(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_read(cx, buf),
        });
        me.received(buf.filled().len().saturating_sub(before));
        polled
    }
}

/// Not vectored: tokio-rustls gains nothing by it, and one path is easier to reason about.
impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().guarded(cx, |io, cx| match io {
            Io::Tcp(io) => Pin::new(io).poll_write(cx, buf),
            Io::Unix(io) => Pin::new(io).poll_write(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_write(cx, buf),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().guarded(cx, |io, cx| match io {
            Io::Tcp(io) => Pin::new(io).poll_flush(cx),
            Io::Unix(io) => Pin::new(io).poll_flush(cx),
            Io::Tls(io) => Pin::new(io).poll_flush(cx),
        })
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().guarded(cx, |io, cx| match io {
            Io::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Io::Unix(io) => Pin::new(io).poll_shutdown(cx),
            Io::Tls(io) => Pin::new(io).poll_shutdown(cx),
        })
    }

    fn is_write_vectored(&self) -> bool {
        false
    }
}
