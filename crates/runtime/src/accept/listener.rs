//! Where peers come in: a TCP port or a Unix socket.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};

use super::socket::{Socket, SocketError, UnixMode};

/// Connections that the kernel keeps for us until we accept them.
const BACKLOG: u32 = 1_024;

/// A peer whose machine is gone is given up after this long without an answer to what was sent.
const SILENT: Duration = Duration::from_secs(30);

/// A bound listener. Dropping it closes it; a Unix socket's file goes with it.
#[derive(Debug)]
pub struct Listener(pub(super) Kind);

#[derive(Debug)]
pub(super) enum Kind {
    Tcp(TcpListener),
    Unix(Socket),
}

/// What was just accepted.
#[derive(Debug)]
pub(super) enum Arrived {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Listener {
    /// Binds a TCP port. Must be called within a tokio runtime.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self(Kind::Tcp(socket.listen(BACKLOG)?)))
    }

    /// Binds a Unix socket at `path`, so that nobody ever sees it with another mode or owner than `mode` says: it is
    /// bound in a private directory beside and renamed into place. A stale socket is replaced only when no living
    /// process holds the lock beside it. Must be called within a tokio runtime.
    pub fn unix(path: &Path, mode: UnixMode) -> Result<Self, SocketError> {
        Socket::place(path, mode).map(|socket| Self(Kind::Unix(socket)))
    }

    /// The bound TCP address: the port that the kernel chose, if it was 0.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Tcp(listener) => listener.local_addr().ok(),
            Kind::Unix(_) => None,
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Arrived> {
        match &self.0 {
            Kind::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                prepare(&stream)?;
                Ok(Arrived::Tcp(stream, address))
            }
            Kind::Unix(socket) => Ok(Arrived::Unix(socket.accept().await?)),
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, SILENT)?;
    sockopt::set_tcp_user_timeout(stream, u32::try_from(SILENT.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}
