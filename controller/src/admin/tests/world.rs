//! A controller with its two admin listeners, and operators who call it.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rekey_model::{SecretBytes, TrustDomain};
use rekey_proto::admin as wire;
use rekey_proto::admin::admin_client::AdminClient;
use rekey_runtime::accept::{Accept, UnixMode};
use rekey_runtime::serve::{Drain, Knobs, serve};
use rekey_runtime::tls::{ClientAuth, Dial, Identity, Roots, connect_lazy, connect_unix_lazy};
use rekey_runtime::{CancellationToken, ClientTls, Clock, Connections, Limits, Listener, ServerTls, Tasks};
use tonic::transport::Channel;

use super::target::Obedient;
use crate::admin::{Admin, Inner};
use crate::ca::{self, Authority};
use crate::executor::{Executor, Parts, Settings};
use crate::fleet::{Fleet, FleetConfig, FleetParts};
use crate::policy::{Class, Policy};
use crate::seal::{Kek, Seal};
use crate::spec::claims::Known;
use crate::store::{Store, StoreConfig};
use crate::webhook::Webhooks;

const LEASE: Duration = Duration::from_secs(2);

pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) target: Obedient,
    folder: tempfile::TempDir,
    dial: Dial,
    server_ca: Vec<u8>,
    stop: CancellationToken,
    _tasks: Tasks,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn domain() -> TrustDomain {
    "rekey.local".parse().unwrap()
}

impl World {
    pub(super) async fn new() -> Self {
        let (clock, folder, tasks) = (Clock::system(), tempfile::tempdir().unwrap(), Tasks::new());
        let config = StoreConfig::Sqlite(folder.path().join("store.db"));
        let store = Store::create(&config, clock.clone()).await.unwrap();
        let (seal, target) =
            (Seal::new(Kek::create(&folder.path().join("kek")).unwrap()), Obedient::default());
        let (stop, spawner) = (CancellationToken::new(), tasks.spawner());
        let executor = Executor::new(Parts {
            store: store.clone(),
            seal: seal.clone(),
            drivers: Arc::new(target.clone()),
            clock: clock.clone(),
            spawner: tasks.spawner(),
            settings: Settings::with_lease(LEASE),
        });
        let (running, cancel) = (executor.clone(), stop.clone());
        spawner.start("executor", async move { running.run(|| {}, cancel).await.unwrap() });
        let fleet = fleet(&store, &seal, &clock, &tasks).await;
        let connections = Connections::new(Limits::controller());
        let (authority, _key) = Authority::<ca::Admin>::create(&domain(), clock.now()).unwrap();
        let (tls, server_ca) = listener_tls(&clock, &authority);
        let inner = Inner {
            store: store.clone(),
            executor,
            fleet,
            drivers: Arc::new(target.clone()),
            known: Known {
                trust_domain: domain(),
                targets: [("pg".to_owned(), "postgres")].into(),
                policy: policy(),
            },
            webhooks: Webhooks::begin(store.clone(), clock.clone(), Vec::new()).await.unwrap(),
            authority,
            ca_pem: "ca".to_owned(),
            address: "localhost:1".to_owned(),
            clock: clock.clone(),
            connections: connections.clone(),
        };
        let admin = Admin(Arc::new(inner));
        let tcp = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = tcp.local_addr().unwrap().port();
        let mode = UnixMode { mode: 0o600, gid: None };
        let unix = Listener::unix(&folder.path().join("admin.sock"), mode).unwrap();
        for (listener, tls, connections) in
            [(tcp, Some(tls), connections), (unix, None, Connections::new(Limits::controller()))]
        {
            let accept = Accept { connections, clock: clock.clone(), spawner: tasks.spawner() };
            let router = Knobs::CONTROLLER.server().add_service(admin.server());
            let drain = Drain { shutdown: stop.clone(), grace: Duration::ZERO };
            spawner.start("serve", async move { drop(serve(router, accept, listener, tls, drain).await) });
        }
        let dial = Dial { address: format!("127.0.0.1:{port}").parse().unwrap(), server_name: None };
        Self { clock, store, target, folder, dial, server_ca, stop, _tasks: tasks }
    }

    /// The way over the local socket.
    pub(super) fn local(&self) -> Channel {
        connect_unix_lazy(&self.folder.path().join("admin.sock"), None).unwrap()
    }

    /// Root, or whoever runs this, on the local socket.
    pub(super) fn root(&self) -> AdminClient<Channel> {
        AdminClient::new(self.local())
    }

    /// Adds an operator; the way with its certificate.
    pub(super) async fn operator(&self, name: &str, roles: &[wire::Role]) -> Channel {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap();
        let request = wire::AddAdminRequest {
            name: name.to_owned(),
            roles: roles.iter().map(|role| i32::from(*role)).collect(),
            csr_der: csr.der().to_vec(),
            lives_ms: 0,
        };
        let answer = self.root().add_admin(request).await.unwrap().into_inner();
        let key = SecretBytes::new(key.serialize_pem().into_bytes());
        let identity = Identity::from_pem(answer.chain_pem.as_bytes(), &key).unwrap();
        self.dialled(Some(&identity))
    }

    /// The way over TLS with this identity or none.
    pub(super) fn dialled(&self, identity: Option<&Identity>) -> Channel {
        let roots = Roots::from_der([self.server_ca.clone()]).unwrap();
        let tls = ClientTls::new(&roots, identity, self.clock.clone()).unwrap();
        connect_lazy(&tls, &self.dial).unwrap()
    }

    /// Declares `orders/db`, without a login to adopt, and waits for its first version.
    pub(super) async fn declared(&self) {
        let specs_json = vec![spec("orders/db", "orders_app").to_string()];
        let answer = self.root().apply(wire::ApplyRequest { specs_json, dry_run: false }).await.unwrap();
        assert_eq!(answer.into_inner().problems, []);
        self.until(|status| status.current == 1 && status.rotation.is_none()).await;
    }

    /// Waits until `orders/db` is as said.
    pub(super) async fn until(&self, is: impl Fn(&wire::CredentialStatus) -> bool) -> wire::CredentialStatus {
        for _ in 0..600 {
            let request = wire::StatusRequest { name: "orders/db".to_owned() };
            let status = self.root().status(request).await.unwrap().into_inner().credentials.remove(0);
            if is(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never")
    }
}

/// One class, which gives less time in production.
fn policy() -> Policy {
    let map = |json: serde_json::Value| json.as_object().unwrap().clone();
    let class = Class {
        usual: map(serde_json::json!({
            "schedule": { "every": "365d" },
            "grace": { "max_reconnect": "10ms", "floor": "50ms", "quiet": "50ms", "deadline": "1h" },
            "deliver": { "offline": "fail-closed" },
        })),
        environments: [(
            "production".parse().unwrap(),
            map(serde_json::json!({ "schedule": { "every": "90d" } })),
        )]
        .into(),
    };
    Policy { classes: [("databases".parse().unwrap(), class)].into(), ..Policy::default() }
}

pub(in crate::admin) fn spec(name: &str, prefix: &str) -> serde_json::Value {
    serde_json::json!({
        "credential": name, "owner": "team", "environment": "test",
        "postgres": { "target": "pg", "database": "orders", "owner_role": "owner", "prefix": prefix },
        "grace": { "max_reconnect": "10ms", "floor": "50ms", "quiet": "50ms", "deadline": "1h" },
        "deliver": { "to": ["spiffe://rekey.local/sidecar/orders/*"], "offline": "fail-closed" },
    })
}

async fn fleet(store: &Store, seal: &Seal, clock: &Clock, tasks: &Tasks) -> Fleet {
    let (authority, _key) = Authority::<ca::Sidecar>::create(&domain(), clock.now()).unwrap();
    let config = FleetConfig {
        domain: domain(),
        leaf_life: Duration::from_hours(1),
        rejoin_window: Duration::from_hours(1),
        lease: LEASE,
        software: "test".to_owned(),
    };
    let parts = FleetParts {
        config,
        store: store.clone(),
        seal: seal.clone(),
        authority,
        connections: Connections::new(Limits::controller()),
        clock: clock.clone(),
        spawner: tasks.spawner(),
    };
    Fleet::build(parts).await.unwrap()
}

fn listener_tls(clock: &Clock, admins: &Authority<ca::Admin>) -> (Arc<ServerTls>, Vec<u8>) {
    let (servers, _key) = Authority::<ca::Server>::create(&domain(), clock.now()).unwrap();
    let names = ["127.0.0.1".to_owned()];
    let own = servers.server_identity(&domain(), &names, Duration::from_hours(1), clock.now()).unwrap();
    let own = Identity::from_der(vec![own.leaf.der], &own.key).unwrap();
    let roots = Roots::from_der([admins.certificate().to_vec()]).unwrap();
    let tls = ServerTls::new(&own, &ClientAuth::Optional(roots), clock.clone()).unwrap();
    (Arc::new(tls), servers.certificate().to_vec())
}
