//! One local connection: who is at its other end, kept for as long as it is open.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rekey_runtime::Peer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use crate::callers::Process;
use crate::usage::{Consumer, Consumers};

/// What a kind of connection tells of the process at its other end.
pub trait Peered: Clone + Send + Sync + 'static {
    /// That process; `None`: the kernel cannot say.
    fn process(&self) -> Option<Process>;
}

impl Peered for Peer {
    fn process(&self) -> Option<Process> {
        match *self {
            Self::Local { uid, gid, pid, .. } => Some(Process { uid, gid, pid }),
            Self::Tls { .. } | Self::Tcp { .. } | _ => None,
        }
    }
}

/// A connection that is counted while it is open. Its requests find their [`Consumer`] in their extensions.
#[derive(Debug)]
pub struct Consumed<C> {
    io: C,
    consumer: Arc<Consumer>,
}

impl<C: Connected<ConnectInfo: Peered>> Consumed<C> {
    /// Counts `io` among `consumers`.
    pub fn new(io: C, consumers: &Arc<Consumers>) -> Self {
        let consumer = consumers.open(io.connect_info().process());
        Self { io, consumer }
    }
}

impl<C> Connected for Consumed<C> {
    type ConnectInfo = Arc<Consumer>;
    fn connect_info(&self) -> Arc<Consumer> {
        Arc::clone(&self.consumer)
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Consumed<C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

/// Never vectored: short answers go out in one write.
impl<C: AsyncWrite + Unpin> AsyncWrite for Consumed<C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
