//! What must hold of the accept layer, attacked at every stage.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::*;
use crate::pki::Authority;
use crate::tls::{ClientAuth, ClientTls, Identity};
use crate::{Clock, Limits, ServerTls, Tasks};

mod cut;
mod door;
mod slow;
mod socket;

const HOUR: Duration = Duration::from_hours(1);

/// HTTP/2 begins with these bytes.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A listener that accepts, with the clock of both sides.
struct Door {
    clock: Clock,
    connections: Connections,
    incoming: Incoming,
    address: Option<SocketAddr>,
    _tasks: Tasks,
}

impl Door {
    fn open(listener: Listener, limits: Limits, clock: Clock, tls: Option<ServerTls>) -> Self {
        let tasks = Tasks::new();
        let connections = Connections::new(limits);
        let address = listener.local_addr();
        let accept =
            Accept { connections: connections.clone(), clock: clock.clone(), spawner: tasks.spawner() };
        let incoming = accept.incoming(listener, tls.map(Arc::new));
        Self { clock, connections, incoming, address, _tasks: tasks }
    }

    async fn next(&mut self) -> Connection {
        within(self.incoming.next()).await.unwrap().unwrap()
    }

    /// Waits until the counters are as `wanted`.
    async fn until(&self, wanted: impl Fn(&Counters) -> bool) -> Counters {
        within(async {
            loop {
                let counters = self.connections.counters();
                if wanted(&counters) {
                    return counters;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// Moves the clock on by a tenth of a second at a time until the counters are as `wanted`; says how far.
    async fn advance_until(&self, wanted: impl Fn(&Counters) -> bool) -> Duration {
        let step = Duration::from_millis(100);
        let mut moved = Duration::ZERO;
        while !wanted(&self.connections.counters()) {
            assert!(moved < Duration::from_mins(5), "nothing happened: {:?}", self.connections.counters());
            self.clock.advance(step);
            moved += step;
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        moved
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address.unwrap()).await.unwrap()
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("nothing happened for 20 s")
}

/// A listener with TLS, and those whom it knows.
struct Secure {
    door: Door,
    servers: Authority,
    clients: Authority,
}

impl Secure {
    fn open(limits: Limits) -> Self {
        let (clock, servers, clients) =
            (Clock::manual(), Authority::new("servers"), Authority::new("clients"));
        let auth = ClientAuth::Optional(clients.roots());
        let tls = ServerTls::new(&servers.server(), &auth, clock.clone()).unwrap();
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        Self { door: Door::open(listener, limits, clock, Some(tls)), servers, clients }
    }

    async fn call(&self, identity: Option<&Identity>) -> tokio_rustls::client::TlsStream<TcpStream> {
        let tls = ClientTls::new(&self.servers.roots(), identity, self.door.clock.clone()).unwrap();
        let connector = tokio_rustls::TlsConnector::from(tls.config());
        let stream = self.door.tcp().await;
        within(connector.connect(crate::pki::SERVER.try_into().unwrap(), stream)).await.unwrap()
    }
}

fn local(limits: Limits) -> (tempfile::TempDir, std::path::PathBuf, Door) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let path = directory.path().join("rekey.sock");
    let listener = Listener::unix(&path, UnixMode::PRIVATE).unwrap();
    (directory, path, Door::open(listener, limits, Clock::manual(), None))
}

/// Whether the other side has closed: an end or a reset.
async fn is_closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> bool {
    matches!(within(stream.read(&mut [0; 64])).await, Ok(0) | Err(_))
}
