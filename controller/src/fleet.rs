//! The controller's side of the fleet: identities for sidecars, and one stream to each.
//!
//! ```text
//! store ─changes→ views ─names→ hub ─wakes→ session ─frames→ sidecar
//!                                             session ←what it says─ sidecar
//! store ←many a commit─ recorder ←evidence─ session
//! ```
//!
//! A session never holds back what others wait for: what is due to it are names, and their latest state is looked up
//! when its turn comes. Nothing is told before it is durable, and nothing that a dead session says is written down.
//! What acknowledgements lead to is decided by the executor, which hears of them from the store.

use std::sync::Arc;
use std::time::Duration;

use rekey_model::{InstanceId, TrustDomain};
use rekey_proto::fleet::identity_server::IdentityServer;
use rekey_runtime::{CancellationToken, Clock, Connections, Peer, Spawner};
use tokio::sync::Mutex;
use tokio::sync::broadcast::Receiver;

use crate::ca::{Authority, Sidecar};
use crate::identity::{Identity, SidecarIdentity};
use crate::seal::Seal;
use crate::store::{Changed, Store, StoreError};

mod door;
mod frame;
mod hub;
mod issue;
mod limit;
mod opening;
mod recorder;
mod refresh;
mod refusal;
mod release;
mod session;
mod stream;
mod usage;
mod view;
mod views;
mod wire;

pub use hub::{Hub, Urgency};
pub use stream::FollowServer;
pub use usage::{UsageReport, VersionReport};

use door::Door;
use limit::Limiters;
use opening::Claimants;
use recorder::{Recorder, Writer, recorder};
use refusal::Refusal;
use views::{Noted, Views};

/// How long to wait before the store is read again after it could not be.
const PAUSE: Duration = Duration::from_millis(200);

/// The settings of the fleet.
#[derive(Debug, Clone)]
pub struct FleetConfig {
    /// The installation's name, in every SPIFFE id.
    pub domain: TrustDomain,
    /// How long a sidecar's leaf lives.
    pub leaf_life: Duration,
    /// How long after its end a leaf still gets its owner a new one.
    pub rejoin_window: Duration,
    /// How long a holder counts as live after it was heard.
    pub lease: Duration,
    /// The controller's version, for display.
    pub software: String,
}

/// What the fleet is made of.
#[derive(Debug)]
pub struct FleetParts {
    /// The settings.
    pub config: FleetConfig,
    /// The store.
    pub store: Store,
    /// Opens the values that go out.
    pub seal: Seal,
    /// Issues the leaves of sidecars.
    pub authority: Authority<Sidecar>,
    /// The connections of the fleet's listener.
    pub connections: Connections,
    /// Time.
    pub clock: Clock,
    /// Runs the sessions.
    pub spawner: Spawner,
}

/// The fleet. Clones are the same.
#[derive(Debug, Clone)]
pub struct Fleet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parts: FleetParts,
    hub: Hub,
    views: Views,
    recorder: Recorder,
    limits: Limiters,
    door: Arc<Door>,
    claimants: Claimants,
    /// What [`Fleet::run`] takes.
    work: Mutex<Option<(Writer, Receiver<Changed>)>>,
}

impl Fleet {
    /// Reads the credentials; serves nobody yet.
    pub async fn build(parts: FleetParts) -> Result<Self, StoreError> {
        // Before the first read, so that no change falls between.
        let changes = parts.store.changes();
        let views = Views::load(parts.store.clone(), parts.seal.clone()).await?;
        let (recorder, writer) = recorder(parts.store.clone(), parts.clock.clone(), parts.config.lease);
        let work = Mutex::new(Some((writer, changes)));
        let door = Arc::new(Door::new(parts.config.domain.clone(), parts.store.unwelcome().await?));
        parts.connections.ask(Arc::<Door>::clone(&door));
        let (hub, limits, claimants) = (Hub::new(), Limiters::default(), Claimants::default());
        Ok(Self(Arc::new(Inner { parts, hub, views, recorder, limits, door, claimants, work })))
    }

    /// The `Identity` service.
    pub fn identity_server(&self) -> IdentityServer<Self> {
        IdentityServer::new(self.clone())
            .max_decoding_message_size(stream::MOST_MESSAGE)
            .max_encoding_message_size(stream::MOST_MESSAGE)
    }

    /// The `Fleet` service.
    pub fn follow_server(&self) -> FollowServer {
        FollowServer(self.clone())
    }

    /// The live streams.
    pub fn hub(&self) -> &Hub {
        &self.0.hub
    }

    /// Ends everything that `instance` has open here, at once and for good: it was removed or locked.
    pub fn cut(&self, instance: InstanceId) {
        // Closed first, so that who is in a handshake is either turned away or cut.
        self.0.door.close(instance);
        self.hub().cut(instance);
        let key = door::key(instance);
        self.connections().cut(|peer| peer.key() == Some(&key));
    }

    /// Keeps the views up with the store and writes down what sidecars say, until it is cancelled. Once.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), StoreError> {
        let Some((writer, changes)) = self.0.work.lock().await.take() else { return Ok(()) };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = writer.run(cancel.clone()) => {}
            () = self.keep_views_up(changes) => {}
        }
        self.hub().end_all();
        Ok(())
    }

    async fn keep_views_up(&self, mut changes: Receiver<Changed>) {
        loop {
            let mut kept_up = self.views().keep_up(&mut changes, self.hub()).await;
            while let Err(error) = &kept_up {
                tracing::warn!(%error, "the store cannot be read; trying again");
                self.clock().sleep(PAUSE).await;
                kept_up = self.views().refresh_all(self.hub()).await.map(|()| Noted::Instances);
            }
            if matches!(kept_up, Ok(Noted::Instances)) {
                while let Err(error) = self.cut_the_unwelcome().await {
                    tracing::error!(%error, "who was removed cannot be read; trying again");
                    self.clock().sleep(PAUSE).await;
                }
            }
        }
    }

    /// Ends what instances have open that were removed or locked, here or by another controller.
    async fn cut_the_unwelcome(&self) -> Result<(), StoreError> {
        for instance in self.store().unwelcome().await? {
            if self.0.door.close(instance) {
                self.cut(instance);
            }
        }
        Ok(())
    }

    /// The sidecar at the other end of a connection.
    fn sidecar_behind(&self, peer: Option<&Peer>) -> Result<SidecarIdentity, Refusal> {
        self.sidecar_of(peer.and_then(Peer::leaf).ok_or(Refusal::Anonymous)?)
    }

    fn sidecar_of(&self, leaf: &[u8]) -> Result<SidecarIdentity, Refusal> {
        let identity = Identity::of_leaf(leaf, &self.config().domain).map_err(|error| {
            tracing::warn!(%error, "a leaf identifies nobody");
            Refusal::Anonymous
        })?;
        identity.into_sidecar().ok_or(Refusal::NotASidecar)
    }

    fn config(&self) -> &FleetConfig {
        &self.0.parts.config
    }

    fn store(&self) -> &Store {
        &self.0.parts.store
    }

    fn authority(&self) -> &Authority<Sidecar> {
        &self.0.parts.authority
    }

    fn connections(&self) -> &Connections {
        &self.0.parts.connections
    }

    fn clock(&self) -> &Clock {
        &self.0.parts.clock
    }

    fn spawner(&self) -> &Spawner {
        &self.0.parts.spawner
    }

    fn views(&self) -> &Views {
        &self.0.views
    }

    fn recorder(&self) -> &Recorder {
        &self.0.recorder
    }

    fn limits(&self) -> &Limiters {
        &self.0.limits
    }
}
