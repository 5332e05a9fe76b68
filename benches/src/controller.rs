//! A scripted controller: lets any sidecar join, sends a hundred credentials, and grants every lease.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, Result};
use futures_util::{Stream, StreamExt, stream};
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair};
use rekey_model::SecretBytes;
use rekey_proto::fleet::down::Message as DownMessage;
use rekey_proto::fleet::fleet_server::{Fleet, FleetServer};
use rekey_proto::fleet::identity_server::{Identity, IdentityServer};
use rekey_proto::fleet::up::Message as UpMessage;
use rekey_proto::fleet::{
    Down, IdentityResponse, JoinRequest, LeaseGrant, RejoinRequest, RenewRequest, SnapshotBegin, SnapshotEnd,
    Up, Welcome,
};
use rekey_runtime::accept::Accept;
use rekey_runtime::serve::{Drain, Knobs, serve};
use rekey_runtime::tls::{self, ClientAuth, Roots};
use rekey_runtime::{CancellationToken, Clock, Connections, Limits, Listener, ServerTls, Tasks};
use tonic::{Request, Response, Status, Streaming};

use crate::material::{self, CREDENTIALS};

/// How long a lease is, in milliseconds.
const LEASE_MS: u64 = 60_000;
/// How long a leaf is good, in milliseconds.
const LEAF_MS: u64 = 24 * 60 * 60 * 1000;

#[derive(Clone)]
struct Script {
    issuer: Arc<Issuer<'static, KeyPair>>,
    ca: Vec<u8>,
}

/// Writes a CA to `ca_file` and serves on loopback, on a thread of its own, as long as this process lives.
pub(crate) fn start(ca_file: &Path) -> Result<SocketAddr> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let ca = params.self_signed(&key)?;
    std::fs::write(ca_file, ca.pem())?;
    let script = Script { issuer: Arc::new(Issuer::new(params, key)), ca: ca.der().to_vec() };

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _inside = runtime.enter();
        Listener::tcp(SocketAddr::from(([127, 0, 0, 1], 0)))?
    };
    let address = listener.local_addr().context("the listener has no address")?;
    let tls = script.tls()?;
    std::thread::spawn(move || runtime.block_on(script.serve(listener, tls)));
    Ok(address)
}

impl Script {
    /// Who the controller is, and that it takes only leaves of its own.
    fn tls(&self) -> Result<ServerTls> {
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &self.issuer)?;
        let key = SecretBytes::new(key.serialize_der());
        let identity = tls::Identity::from_der(vec![leaf.der().to_vec()], &key)?;
        let roots = Roots::from_der([self.ca.clone()])?;
        Ok(ServerTls::new(&identity, &ClientAuth::Optional(roots), Clock::system())?)
    }

    async fn serve(self, listener: Listener, tls: ServerTls) {
        let tasks = Tasks::new();
        let connections = Connections::new(Limits::controller());
        let accept = Accept { connections, clock: Clock::system(), spawner: tasks.spawner() };
        let router = Knobs::CONTROLLER
            .server()
            .add_service(IdentityServer::new(self.clone()))
            .add_service(FleetServer::new(self));
        let drain = Drain { shutdown: CancellationToken::new(), grace: std::time::Duration::ZERO };
        drop(serve(router, accept, listener, Some(Arc::new(tls)), drain).await);
    }

    fn issue(&self, csr_der: Vec<u8>) -> Result<Response<IdentityResponse>, Status> {
        let leaf = CertificateSigningRequestParams::from_der(&csr_der.into())
            .and_then(|request| request.signed_by(&self.issuer))
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Response::new(IdentityResponse {
            chain_der: vec![leaf.der().to_vec(), self.ca.clone()],
            instance: "0123456789abcdef0123456789abcdef".to_owned(),
            spiffe_id: "spiffe://rekey.local/sidecar/bench".to_owned(),
            lives_ms: LEAF_MS,
        }))
    }
}

#[tonic::async_trait]
impl Identity for Script {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<IdentityResponse>, Status> {
        self.issue(request.into_inner().csr_der)
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<IdentityResponse>, Status> {
        self.issue(request.into_inner().csr_der)
    }

    async fn rejoin(&self, request: Request<RejoinRequest>) -> Result<Response<IdentityResponse>, Status> {
        self.issue(request.into_inner().csr_der)
    }
}

#[tonic::async_trait]
impl Fleet for Script {
    type FollowStream = Pin<Box<dyn Stream<Item = Result<Down, Status>> + Send>>;

    async fn follow(&self, request: Request<Streaming<Up>>) -> Result<Response<Self::FollowStream>, Status> {
        let downs = request.into_inner().flat_map(|up| {
            let downs = match up {
                Ok(up) => answers(up).into_iter().map(Ok).collect(),
                Err(status) => vec![Err(status)],
            };
            stream::iter(downs)
        });
        Ok(Response::new(Box::pin(downs)))
    }
}

/// What is said to one message.
fn answers(up: Up) -> Vec<Down> {
    let say = |message| Down { message: Some(message) };
    match up.message {
        Some(UpMessage::Hello(hello)) => {
            let welcome = Welcome {
                lease_ms: LEASE_MS,
                generation_floor: hello.generation,
                incarnation: 1,
                software: "bench".to_owned(),
            };
            let changes = u32::try_from(CREDENTIALS).unwrap_or(u32::MAX);
            let begin = SnapshotBegin { changes };
            let mut downs = vec![say(DownMessage::Welcome(welcome)), say(DownMessage::SnapshotBegin(begin))];
            downs.extend((0..CREDENTIALS).map(|number| say(DownMessage::Change(material::change(number)))));
            downs.push(say(DownMessage::SnapshotEnd(SnapshotEnd { revision: 1 })));
            downs
        }
        Some(UpMessage::Renew(renew)) => {
            let grant = LeaseGrant { number: renew.number, lease_ms: LEASE_MS, ..LeaseGrant::default() };
            vec![say(DownMessage::LeaseGrant(grant))]
        }
        _ => Vec::new(),
    }
}
