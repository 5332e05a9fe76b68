//! The accept layer in front of tonic, whose own defaults are unlimited: how many connections there may be, from whom,
//! how long a peer may take to say something, and how a live connection is ended at once.
//!
//! ```text
//! Listener ─accept→ admit (limits by uid or address) ─spawned→ handshake with deadline ─→ register (limit by peer, doorkeeper) ─→ tonic
//! ```

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

mod connection;
mod connections;
mod doorkeeper;
mod incoming;
mod kill;
mod listener;
mod socket;

pub use connection::Connection;
pub use connections::{Connections, Counters, Limits};
pub use doorkeeper::{Doorkeeper, PeerKey};
pub use incoming::{Accept, Incoming};
pub(crate) use incoming::{Secure, Secured, Securing};
pub use listener::Listener;
pub use socket::{SocketError, UnixMode};

/// The number of a connection within this process; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub(crate) u64);

impl std::fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Who is at the other end of a connection, as the kernel or the handshake says. Found in the extensions of every
/// request.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Peer {
    /// A process on this machine, by a Unix socket.
    Local {
        /// Which connection.
        id: ConnectionId,
        /// Its user when it connected.
        uid: u32,
        /// Its primary group when it connected.
        gid: u32,
        /// Its process id, for display only; none when it lives in a foreign PID namespace.
        pid: Option<u32>,
    },
    /// A TLS client.
    Tls {
        /// Which connection.
        id: ConnectionId,
        /// From where.
        addr: SocketAddr,
        /// The client's own certificate, verified; none where client certificates are optional and it showed none.
        leaf_der: Option<Arc<[u8]>>,
        /// What is the same in all certificates of this client, as the listener's [`Doorkeeper`] says.
        key: Option<PeerKey>,
    },
    /// A TCP client without TLS.
    Tcp {
        /// Which connection.
        id: ConnectionId,
        /// From where.
        addr: SocketAddr,
    },
}

impl Peer {
    /// Which connection this is.
    pub fn id(&self) -> ConnectionId {
        match self {
            Self::Local { id, .. } | Self::Tls { id, .. } | Self::Tcp { id, .. } => *id,
        }
    }

    /// The user of a local peer.
    pub fn uid(&self) -> Option<u32> {
        match self {
            Self::Local { uid, .. } => Some(*uid),
            Self::Tls { .. } | Self::Tcp { .. } => None,
        }
    }

    /// The verified certificate that the peer showed.
    pub fn leaf(&self) -> Option<&Arc<[u8]>> {
        match self {
            Self::Tls { leaf_der, .. } => leaf_der.as_ref(),
            Self::Local { .. } | Self::Tcp { .. } => None,
        }
    }

    /// What is the same in all certificates of the peer, if the listener has a [`Doorkeeper`] who knows.
    pub fn key(&self) -> Option<&PeerKey> {
        match self {
            Self::Tls { key, .. } => key.as_ref(),
            Self::Local { .. } | Self::Tcp { .. } => None,
        }
    }

    /// The peer of the connection that carries `request`; none only when it did not come through this accept layer.
    pub fn of<T>(request: &tonic::Request<T>) -> Option<&Self> {
        request.extensions().get()
    }
}

/// Whether a path would name an abstract socket, which has no owner and no mode.
pub(crate) fn is_abstract(path: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt as _;
    matches!(path.as_os_str().as_bytes().first(), None | Some(0 | b'@'))
}

#[cfg(test)]
mod tests;
