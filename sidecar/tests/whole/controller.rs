//! A controller that does what a test says: the real generated services, over streams within this process.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rekey_proto::fleet::down::Message as Down;
use rekey_proto::fleet::fleet_server::{Fleet, FleetServer};
use rekey_proto::fleet::identity_server::{Identity, IdentityServer};
use rekey_proto::fleet::up::Message as Up;
use rekey_proto::fleet::{
    Ack, Change, Hello, IdentityResponse, JoinRequest, LeaseGrant, RejoinRequest, RenewRequest, Serving,
    SnapshotBegin, SnapshotEnd, VersionData, Welcome, serving,
};
use rekey_sidecar::dial::{Dial, DialError, Dialled};
use rekey_sidecar::identity::Leaf;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// The test's hand on it.
pub(crate) struct Controller {
    pub(crate) state: Arc<State>,
    follows: mpsc::Receiver<Follow>,
}

/// What it knows and how it behaves.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) sign: Mutex<Option<Sign>>,
    pub(crate) away: AtomicBool,
    pub(crate) lives_ms: Mutex<u64>,
    pub(crate) calls: Mutex<Vec<&'static str>>,
    pub(crate) proof: Mutex<Option<RejoinRequest>>,
    pub(crate) refuses: AtomicBool,
}

/// Makes a chain for a request to sign.
pub(crate) type Sign = Box<dyn Fn(&[u8]) -> Vec<Vec<u8>> + Send>;

struct Follow {
    up: Streaming<rekey_proto::fleet::Up>,
    down: mpsc::Sender<Result<rekey_proto::fleet::Down, Status>>,
}

/// One session, after its hello.
pub(crate) struct Session {
    pub(crate) hello: Hello,
    up: Streaming<rekey_proto::fleet::Up>,
    down: mpsc::Sender<Result<rekey_proto::fleet::Down, Status>>,
    aside: VecDeque<Up>,
}

#[derive(Clone)]
struct Services {
    state: Arc<State>,
    follows: mpsc::Sender<Follow>,
}

impl Controller {
    /// One that serves what is dialled on the [`Dial`] beside it; `server` is to be run.
    pub(crate) fn new() -> (Self, Arc<dyn Dial>, impl Future<Output = ()> + Send) {
        let (connect, connections) = mpsc::channel(4);
        let (controller, server) = Self::serving(ReceiverStream::new(connections));
        let dial = Arc::new(InProcess { state: Arc::clone(&controller.state), connect });
        (controller, dial, server)
    }

    /// One that serves `incoming`.
    pub(crate) fn serving<I, C>(incoming: I) -> (Self, impl Future<Output = ()> + Send)
    where
        I: Stream<Item = std::io::Result<C>> + Send,
        C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let (tell, follows) = mpsc::channel(4);
        let state = Arc::new(State { lives_ms: Mutex::new(3_600_000), ..State::default() });
        let services = Services { state: Arc::clone(&state), follows: tell };
        let server = async move {
            let fleet = FleetServer::new(services.clone());
            let router = Server::builder().add_service(fleet).add_service(IdentityServer::new(services));
            router.serve_with_incoming(incoming).await.unwrap();
        };
        (Self { state, follows }, server)
    }

    /// The next session that says hello.
    pub(crate) async fn session(&mut self) -> Session {
        let next = async {
            let Follow { mut up, down } = self.follows.recv().await.unwrap();
            let first = up.message().await.unwrap().unwrap().message;
            let Some(Up::Hello(hello)) = first else { panic!("not a hello: {first:?}") };
            Session { hello, up, down, aside: VecDeque::new() }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("nobody connects")
    }

    /// A session that is welcome and has a snapshot of `changes`.
    pub(crate) async fn level(&mut self, changes: Vec<Change>) -> Session {
        let mut session = self.session().await;
        session.welcome(1).await;
        session.snapshot(changes, 0).await;
        session
    }

    pub(crate) fn calls(&self) -> Vec<&'static str> {
        self.state.calls.lock().unwrap().clone()
    }
}

impl Session {
    pub(crate) async fn send(&self, message: Down) {
        self.down.send(Ok(rekey_proto::fleet::Down { message: Some(message) })).await.unwrap();
    }

    pub(crate) async fn welcome(&self, incarnation: u64) {
        let lease_ms = 30_000;
        let welcome = Welcome { lease_ms, generation_floor: 10, incarnation, software: "test".to_owned() };
        self.send(Down::Welcome(welcome)).await;
    }

    /// Sends a snapshot and waits for its ack.
    pub(crate) async fn snapshot(&mut self, changes: Vec<Change>, revision: u64) -> Ack {
        let count = u32::try_from(changes.len()).unwrap();
        self.send(Down::SnapshotBegin(SnapshotBegin { changes: count })).await;
        for change in changes {
            self.send(Down::Change(Change { revision: 0, ..change })).await;
        }
        self.send(Down::SnapshotEnd(SnapshotEnd { revision })).await;
        self.ack().await
    }

    pub(crate) async fn change(&self, revision: u64, change: Change) {
        self.send(Down::Change(Change { revision, ..change })).await;
    }

    /// What `pick` takes among the messages up; the others are kept for later.
    pub(crate) async fn next<T>(&mut self, pick: impl Fn(&Up) -> Option<T>) -> T {
        if let Some(place) = self.aside.iter().position(|up| pick(up).is_some()) {
            return pick(&self.aside.remove(place).unwrap()).unwrap();
        }
        let found = async {
            loop {
                let up = self.up.message().await.expect("the stream broke").expect("the stream ended");
                let up = up.message.unwrap();
                match pick(&up) {
                    Some(picked) => return picked,
                    None => self.aside.push_back(up),
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("it is not said")
    }

    pub(crate) async fn ack(&mut self) -> Ack {
        self.next(|up| if let Up::Ack(ack) = up { Some(ack.clone()) } else { None }).await
    }

    pub(crate) async fn grant(&self, number: u64, lease_ms: u64) {
        self.send(Down::LeaseGrant(LeaseGrant { number, lease_ms, ..LeaseGrant::default() })).await;
    }

    /// Reads until the sidecar hangs up; gives what it said.
    pub(crate) async fn rest(mut self) -> Vec<Up> {
        let all = async {
            let mut said: Vec<Up> = self.aside.into();
            while let Ok(Some(up)) = self.up.message().await {
                said.extend(up.message);
            }
            said
        };
        tokio::time::timeout(PATIENCE, all).await.expect("it does not hang up")
    }
}

/// Version `number` of `name` at `order` of the store's first life.
pub(crate) fn change(name: &str, order: u64, number: u64) -> Change {
    let fields = [("username", format!("user-{number}")), ("password", format!("word-{number}"))];
    Change {
        name: name.to_owned(),
        incarnation: 1,
        order,
        current: Some(VersionData {
            version: number,
            handle: format!("orders_v{number}"),
            fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())).collect(),
            expires_in_ms: None,
        }),
        serving: Some(Serving {
            offline: serving::Offline::ServeUntilExpiry.into(),
            offline_for_ms: None,
            one_at_a_time: false,
        }),
        replacement_owed: true,
        ..Change::default()
    }
}

#[tonic::async_trait]
impl Fleet for Services {
    type FollowStream = ReceiverStream<Result<rekey_proto::fleet::Down, Status>>;
    async fn follow(
        &self,
        request: Request<Streaming<rekey_proto::fleet::Up>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let (down, downs) = mpsc::channel(64);
        self.follows.send(Follow { up: request.into_inner(), down }).await.unwrap();
        Ok(Response::new(ReceiverStream::new(downs)))
    }
}

impl Services {
    fn identity(&self, call: &'static str, csr: &[u8]) -> Result<Response<IdentityResponse>, Status> {
        self.state.calls.lock().unwrap().push(call);
        if self.state.refuses.load(Ordering::Relaxed) {
            return Err(Status::permission_denied("no"));
        }
        assert!(csr.len() > 100, "a request to sign");
        let sign = self.state.sign.lock().unwrap();
        Ok(Response::new(IdentityResponse {
            chain_der: sign.as_ref().map_or_else(|| vec![vec![1; 8]], |sign| sign(csr)),
            instance: "000000000000000000000000000000aa".to_owned(),
            spiffe_id: "spiffe://rekey.local/sidecar/orders".to_owned(),
            lives_ms: *self.state.lives_ms.lock().unwrap(),
        }))
    }
}

#[tonic::async_trait]
impl Identity for Services {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<IdentityResponse>, Status> {
        let JoinRequest { token, csr_der } = request.into_inner();
        if token != "the-token" {
            return Err(Status::unauthenticated("no such token"));
        }
        self.identity("join", &csr_der)
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<IdentityResponse>, Status> {
        self.identity("renew", &request.into_inner().csr_der)
    }

    async fn rejoin(&self, request: Request<RejoinRequest>) -> Result<Response<IdentityResponse>, Status> {
        let request = request.into_inner();
        let answer = self.identity("rejoin", &request.csr_der);
        *self.state.proof.lock().unwrap() = Some(request);
        answer
    }
}

struct InProcess {
    state: Arc<State>,
    connect: mpsc::Sender<Result<DuplexStream, std::io::Error>>,
}

impl Dial for InProcess {
    fn dial(&self, _leaf: Option<Arc<Leaf>>) -> Dialled<'_> {
        Box::pin(async move {
            if self.state.away.load(Ordering::Relaxed) {
                return Err(DialError("away".into()));
            }
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            self.connect.send(Ok(theirs)).await.map_err(|gone| DialError(Box::new(gone)))?;
            Ok(channel(ours).await)
        })
    }
}

/// A channel over `io`, which is not made again when it is lost.
pub(crate) async fn channel(io: DuplexStream) -> tonic::transport::Channel {
    let once = Mutex::new(Some(io));
    let connector = tower::service_fn(move |_| {
        let io = once.lock().unwrap().take();
        async move { io.map(TokioIo::new).ok_or_else(|| std::io::Error::other("only once")) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await.unwrap()
}
