//! What must hold of a server: peers are known, calls are limited, and it ends when it is told to.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::accept::UnixMode;
use crate::pki::{Authority, SERVER};
use crate::tls::{self, ClientAuth, ClientTls, Dial, Identity};
use crate::{Limits, Peer, Tasks};

const GRACE: Duration = Duration::from_secs(5);

/// A health service behind the accept layer, with the peers that called it.
struct House {
    clock: Clock,
    connections: Connections,
    shutdown: CancellationToken,
    seen: Arc<Mutex<Vec<Peer>>>,
    served: tokio::task::JoinHandle<Result<(), ServeError>>,
    address: Option<std::net::SocketAddr>,
    _tasks: Tasks,
}

impl House {
    fn open(listener: Listener, tls: Option<ServerTls>, clock: Clock) -> Self {
        let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
        let (connections, seen) = (Connections::new(Limits::sidecar()), Arc::<Mutex<Vec<Peer>>>::default());
        let accept =
            Accept { connections: connections.clone(), clock: clock.clone(), spawner: tasks.spawner() };
        let (_, health) = tonic_health::server::health_reporter();
        let noted = Arc::clone(&seen);
        let note = move |request: tonic::Request<()>| {
            noted.lock().unwrap().extend(Peer::of(&request).cloned());
            Ok(request)
        };
        let router = Knobs::CONTROLLER.server().add_service(InterceptedService::new(health, note));
        let drain = Drain { shutdown: shutdown.clone(), grace: GRACE };
        let address = listener.local_addr();
        let mut set = tokio::task::JoinSet::new();
        let (told, end) = tokio::sync::oneshot::channel();
        set.spawn(
            async move { drop(told.send(serve(router, accept, listener, tls.map(Arc::new), drain).await)) },
        );
        let served = tokio::task::spawn_blocking(move || {
            let ended = end.blocking_recv().unwrap();
            drop(set);
            ended
        });
        Self { clock, connections, shutdown, seen, served, address, _tasks: tasks }
    }

    fn local() -> (tempfile::TempDir, PathBuf, Self) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/rekey.sock");
        let listener = Listener::unix(&path, UnixMode::PRIVATE).unwrap();
        (directory, path, Self::open(listener, None, Clock::manual()))
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("nothing happened for 20 s")
}

async fn check(channel: Channel) -> Result<(), tonic::Status> {
    let request = HealthCheckRequest { service: String::new() };
    within(HealthClient::new(channel).check(request)).await.map(drop)
}

fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[tokio::test]
async fn a_local_caller_is_known_by_the_kernel() {
    let (_directory, path, house) = House::local();
    check(tls::connect_unix(&path, Some(us())).await.unwrap()).await.unwrap();
    let seen = house.seen.lock().unwrap().clone();
    assert!(
        matches!(&seen[..], [Peer::Local { uid, pid: Some(pid), .. }] if *uid == us() && *pid == std::process::id())
    );
}

#[tokio::test]
async fn a_socket_whose_server_is_another_user_is_not_used() {
    let (_directory, path, house) = House::local();
    let refused = tls::connect_unix(&path, Some(us() + 1)).await.unwrap_err();
    assert!(crate::tasks::with_causes(&refused).contains("another user"), "{refused:?}");
    let lazy = tls::connect_unix_lazy(&path, Some(us() + 1)).unwrap();
    check(lazy).await.unwrap_err();
    assert!(house.seen.lock().unwrap().is_empty());
}

fn dial(house: &House) -> Dial {
    Dial {
        address: house.address.unwrap().to_string().parse().unwrap(),
        server_name: Some(SERVER.to_owned()),
    }
}

fn secure() -> (House, Authority, impl Fn(Option<&Identity>) -> ClientTls) {
    let (clock, servers, clients) = (Clock::manual(), Authority::new("servers"), Authority::new("clients"));
    let auth = ClientAuth::Required(clients.roots());
    let tls = ServerTls::new(&servers.server(), &auth, clock.clone()).unwrap();
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let (roots, time) = (servers.roots(), clock.clone());
    let client = move |identity: Option<&Identity>| ClientTls::new(&roots, identity, time.clone()).unwrap();
    (House::open(listener, Some(tls), clock), clients, client)
}

#[tokio::test]
async fn a_tls_caller_is_known_by_its_certificate() {
    let (house, clients, client) = secure();
    let identity = clients.client(Duration::from_hours(1));
    for channel in [
        tls::connect(&client(Some(&identity)), &dial(&house)).await.unwrap(),
        tls::connect_lazy(&client(Some(&identity)), &dial(&house)).unwrap(),
    ] {
        check(channel).await.unwrap();
    }
    let seen = house.seen.lock().unwrap().clone();
    assert!(seen.len() == 2 && seen.iter().all(|peer| **peer.leaf().unwrap() == *identity.leaf()));
    assert_ne!(seen[0].id(), seen[1].id());
}

#[tokio::test]
async fn a_caller_without_a_certificate_is_refused() {
    let (house, _clients, client) = secure();
    // In TLS 1.3 the refusal may show in connecting or in the first call.
    if let Ok(channel) = tls::connect(&client(None), &dial(&house)).await {
        check(channel).await.unwrap_err();
    }
    assert!(house.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_cut_ends_an_open_stream_and_the_next_call_connects_anew() {
    let (house, clients, client) = secure();
    let identity = clients.client(Duration::from_hours(1));
    let channel = tls::connect(&client(Some(&identity)), &dial(&house)).await.unwrap();
    let request = HealthCheckRequest { service: String::new() };
    let mut stream = within(HealthClient::new(channel.clone()).watch(request)).await.unwrap().into_inner();
    within(stream.message()).await.unwrap().unwrap();
    assert_eq!(house.connections.cut(|_| true), 1);
    within(stream.message()).await.unwrap_err();
    check(channel).await.unwrap();
}

#[tokio::test]
async fn an_idle_server_ends_at_once_when_told() {
    let (_directory, path, house) = House::local();
    let channel = tls::connect_unix(&path, None).await.unwrap();
    check(channel.clone()).await.unwrap();
    house.shutdown.cancel();
    within(house.served).await.unwrap().unwrap();
    assert!(!path.exists());
    check(channel).await.unwrap_err();
}

#[tokio::test]
async fn an_endless_stream_is_cut_when_the_grace_is_over_and_not_before() {
    let (_directory, path, house) = House::local();
    let channel = tls::connect_unix(&path, None).await.unwrap();
    let request = HealthCheckRequest { service: String::new() };
    let mut stream = within(HealthClient::new(channel).watch(request)).await.unwrap().into_inner();
    within(stream.message()).await.unwrap().unwrap();
    house.shutdown.cancel();
    within(async {
        while path.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    house.clock.advance(Duration::from_millis(4_900));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!house.served.is_finished() && house.connections.counters().open == 1);
    house.clock.advance(Duration::from_millis(100));
    within(stream.message()).await.unwrap_err();
    within(house.served).await.unwrap().unwrap();
}
