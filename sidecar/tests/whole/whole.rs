//! A whole sidecar but for its process and its sockets: link, live, serve, with time in the test's hand.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use rekey_proto::local::credentials_client::CredentialsClient;
use rekey_proto::local::{Credential, GetRequest};
use rekey_runtime::{CancellationToken, Clock, Tasks};
use rekey_sidecar::callers::{Callers, InForce, Process};
use rekey_sidecar::identity::Keeper;
use rekey_sidecar::link::{Ground, Link};
use rekey_sidecar::live::{Live, Writer};
use rekey_sidecar::serve::{Health, Peered, Shared, serve};
use rekey_sidecar::usage::Consumers;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::transport::server::Connected;
use tonic::{Request, Status};

use crate::controller::{Controller, channel};

/// The user that may read everything unless a test says otherwise.
pub(crate) const UID: u32 = 1000;

pub(crate) struct Whole {
    pub(crate) clock: Clock,
    pub(crate) live: Arc<Live>,
    pub(crate) callers: Arc<InForce>,
    pub(crate) stop: CancellationToken,
    pub(crate) ended: CancellationToken,
    pub(crate) controller: Controller,
    locals: mpsc::Sender<std::io::Result<Local>>,
    _token: tempfile::TempDir,
    _tasks: Tasks,
}

/// A client with the metadata that every call needs.
pub(crate) type Client = CredentialsClient<InterceptedService<Channel, Signed>>;

#[derive(Clone)]
pub(crate) struct Signed;

impl tonic::service::Interceptor for Signed {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(rekey_proto::CLIENT_METADATA, "test/1".parse().unwrap());
        Ok(request)
    }
}

impl Whole {
    /// A sidecar that has just started: it has a token and no identity.
    pub(crate) async fn start() -> Self {
        let tasks = Tasks::new();
        let clock = Clock::manual();
        let (controller, dial, server) = Controller::new();
        tasks.spawner().start("controller", server);

        let token = tempfile::tempdir().unwrap();
        let file = token.path().join("token");
        std::fs::write(&file, "the-token\n").unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, private).unwrap();

        let live = Live::new(clock.clone());
        let consumers = Arc::new(Consumers::default());
        let callers = Arc::new(InForce::new(Callers::only(UID)));
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let ground = Ground {
            writer: Arc::new(Mutex::new(Writer::new(Arc::clone(&live)))),
            live: Arc::clone(&live),
            consumers: Arc::clone(&consumers),
            clock: clock.clone(),
            stop: stop.clone(),
        };
        let keeper = Keeper::open(None, Some(file), Arc::clone(&dial), clock.clone()).unwrap();
        tasks.spawner().start("link", Link::new(ground, dial, keeper).run());

        let (locals, incoming) = mpsc::channel(4);
        let shared = Shared {
            counts: Arc::default(),
            live: Arc::clone(&live),
            callers: Arc::clone(&callers),
            consumers,
            ended: ended.clone(),
        };
        let health = Health::new().await;
        tasks.spawner().start("health", health.clone().begin(Arc::clone(&live)));
        tasks.spawner().start("serve", async move {
            serve(shared, health, ReceiverStream::new(incoming)).await.unwrap();
        });
        Self { clock, live, callers, stop, ended, controller, locals, _token: token, _tasks: tasks }
    }

    /// A raw connection of `process`.
    pub(crate) async fn connect(&self, process: Option<Process>) -> Channel {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        self.locals.send(Ok(Local { io: theirs, process })).await.unwrap();
        channel(ours).await
    }

    /// A client of the user `uid`.
    pub(crate) async fn client(&self, uid: u32) -> Client {
        let process = Process { uid, gid: uid, pid: Some(7) };
        CredentialsClient::with_interceptor(self.connect(Some(process)).await, Signed)
    }

    /// Waits until `what` holds, while time passes in small steps.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        for _ in 0..5_000 {
            if holds() {
                return;
            }
            self.pass(Duration::from_millis(50)).await;
        }
        panic!("never: {what}");
    }

    /// Lets everybody do what they can, then moves time on.
    pub(crate) async fn pass(&self, time: Duration) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.clock.advance(time);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What `client` gets for `name`.
pub(crate) async fn get(client: &mut Client, name: &str) -> Result<Credential, Status> {
    let response = client.get(GetRequest { name: name.to_owned() }).await?;
    Ok(response.into_inner().credential.unwrap())
}

/// A local connection of a process that the test makes up.
pub(crate) struct Local {
    io: DuplexStream,
    process: Option<Process>,
}

#[derive(Clone)]
pub(crate) struct Who(Option<Process>);

impl Peered for Who {
    fn process(&self) -> Option<Process> {
        self.0
    }
}

impl Connected for Local {
    type ConnectInfo = Who;
    fn connect_info(&self) -> Who {
        Who(self.process)
    }
}

impl AsyncRead for Local {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Local {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
