//! A sidecar as the controller sees it: it joins, opens streams, and says what a test has it say.

use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rekey_model::{InstanceId, SecretBytes, SessionId};
use rekey_proto::fleet::fleet_client::FleetClient;
use rekey_proto::fleet::identity_client::IdentityClient;
use rekey_proto::fleet::{
    Ack, Acknowledged, Change, Down, Goodbye, Held, Hello, IdentityResponse, JoinRequest, RenewRequest,
    Resync, SnapshotEnd, Up, Welcome, down, up,
};
use rekey_runtime::tls::{Identity, Roots, connect};
use rekey_runtime::{ClientTls, random};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::world::World;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_mins(1);

/// A key with a request for a leaf.
pub struct Request {
    pub key: KeyPair,
    pub csr: Vec<u8>,
}

impl Request {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
        Self { key, csr }
    }

    /// What it is with the leaf that was given for it.
    pub fn with(&self, given: &IdentityResponse) -> Identity {
        let key = SecretBytes::new(self.key.serialize_der());
        Identity::from_der(given.chain_der.clone(), &key).unwrap()
    }
}

/// A sidecar that has joined.
pub struct Sidecar {
    pub instance: InstanceId,
    pub request: Request,
    pub given: IdentityResponse,
    pub channel: Channel,
}

/// One stream.
pub struct Stream {
    pub session: SessionId,
    up: mpsc::Sender<Up>,
    down: Streaming<Down>,
}

/// A connection of somebody with this identity.
pub async fn channel(world: &World, identity: Option<&Identity>) -> Channel {
    let roots = Roots::from_der([world.server_ca.clone()]).unwrap();
    let tls = ClientTls::new(&roots, identity, world.clock.clone()).unwrap();
    connect(&tls, &world.dial).await.unwrap()
}

pub async fn join(channel: &Channel, token: &str, csr: &[u8]) -> Result<IdentityResponse, Status> {
    let request = JoinRequest { token: token.into(), csr_der: csr.to_vec() };
    IdentityClient::new(channel.clone()).join(request).await.map(tonic::Response::into_inner)
}

pub async fn renew(channel: &Channel, csr: &[u8]) -> Result<IdentityResponse, Status> {
    let request = RenewRequest { csr_der: csr.to_vec() };
    IdentityClient::new(channel.clone()).renew(request).await.map(tonic::Response::into_inner)
}

impl Sidecar {
    /// Joins as `spiffe`.
    pub async fn join(world: &World, spiffe: &str) -> Self {
        let request = Request::new();
        let token = world.token(spiffe).await;
        let given = join(&channel(world, None).await, &token, &request.csr).await.unwrap();
        Self::with(world, request, given).await
    }

    /// What has this leaf.
    pub async fn with(world: &World, request: Request, given: IdentityResponse) -> Self {
        let channel = channel(world, Some(&request.with(&given))).await;
        Self { instance: given.instance.parse().unwrap(), request, given, channel }
    }

    /// Opens a stream that says that it holds nothing, and reads up to the end of the first snapshot.
    pub async fn follow(&self) -> (Stream, Vec<Change>) {
        let mut stream = self.hello(Vec::new()).await.unwrap();
        stream.welcome().await;
        let (changes, _end) = stream.snapshot().await;
        (stream, changes)
    }

    /// Opens a stream and says hello.
    pub async fn hello(&self, held: Vec<Held>) -> Result<Stream, Status> {
        let session = random::id();
        let hello = Hello {
            session: SessionId::to_string(&session),
            held,
            software: "test/1".into(),
            host: "host".into(),
            ..Hello::default()
        };
        self.open(session, up::Message::Hello(hello)).await
    }

    /// Opens a stream and says `first`.
    pub async fn open(&self, session: SessionId, first: up::Message) -> Result<Stream, Status> {
        let (up, said) = mpsc::channel(16);
        up.send(Up { message: Some(first) }).await.unwrap();
        let mut client = FleetClient::new(self.channel.clone());
        let down = client.follow(ReceiverStream::new(said)).await?.into_inner();
        Ok(Stream { session, up, down })
    }
}

impl Stream {
    pub async fn say(&self, message: up::Message) {
        // A stream that has ended shows in what comes down.
        drop(self.up.send(Up { message: Some(message) }).await);
    }

    pub async fn resync(&self) {
        self.say(up::Message::Resync(Resync {})).await;
    }

    pub async fn goodbye(&self) {
        self.say(up::Message::Goodbye(Goodbye { reason: "test".into() })).await;
    }

    pub async fn ack(&self, generation: u64, changes: &[Change]) {
        let one = |change: &Change| Acknowledged {
            name: change.name.clone(),
            incarnation: change.incarnation,
            order: change.order,
            version: change.current.as_ref().map_or(0, |current| current.version),
        };
        let credentials = changes.iter().map(one).collect();
        self.say(up::Message::Ack(Ack { generation, credentials })).await;
    }

    /// What comes next.
    pub async fn next(&mut self) -> Result<down::Message, Status> {
        let next = tokio::time::timeout(PATIENCE, self.down.message()).await.expect("nothing came");
        match next? {
            Some(down) => Ok(down.message.expect("an empty message came")),
            None => Err(Status::ok("the stream ended")),
        }
    }

    pub async fn welcome(&mut self) -> Welcome {
        match self.next().await.unwrap() {
            down::Message::Welcome(welcome) => welcome,
            other => panic!("instead of a welcome came {other:?}"),
        }
    }

    pub async fn snapshot(&mut self) -> (Vec<Change>, SnapshotEnd) {
        let down::Message::SnapshotBegin(begin) = self.next().await.unwrap() else { panic!("no snapshot") };
        let mut changes = Vec::new();
        loop {
            match self.next().await.unwrap() {
                down::Message::Change(change) => changes.push(change),
                down::Message::SnapshotEnd(end) => {
                    assert_eq!(changes.len(), usize::try_from(begin.changes).unwrap());
                    assert!(changes.iter().all(|change| change.revision == 0));
                    return (changes, end);
                }
                other => panic!("in a snapshot came {other:?}"),
            }
        }
    }

    pub async fn change(&mut self) -> Change {
        match self.next().await.unwrap() {
            down::Message::Change(change) => change,
            other => panic!("instead of a change came {other:?}"),
        }
    }

    /// How the stream ends.
    pub async fn end(&mut self) -> Code {
        loop {
            if let Err(status) = self.next().await {
                return status.code();
            }
        }
    }
}

/// The password in a change.
pub fn password(change: &Change) -> &str {
    std::str::from_utf8(&change.current.as_ref().unwrap().fields["password"]).unwrap()
}
