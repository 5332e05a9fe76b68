//! A controller's fleet with its store and its listener, and what a test puts into it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rekey_controller::ca::{Admin, Authority, Server, Sidecar};
use rekey_controller::fields;
use rekey_controller::fleet::{Fleet, FleetConfig, FleetParts};
use rekey_controller::seal::{Column, Kek, Place, Seal, Subject};
use rekey_controller::store::{CredentialRow, HolderRow, Store, StoreConfig, Tie, TieKind, TokenRow, Tx};
use rekey_controller::tokens::JoinToken;
use rekey_model::{CredentialName, Fields, InstanceId, Order, SecretBytes, Stage, TrustDomain, Version};
use rekey_rotation::{Canary, Company, Ledger, Phase, Rotation, VersionRecord, Why};
use rekey_runtime::accept::Accept;
use rekey_runtime::serve::{Drain, Knobs, serve};
use rekey_runtime::tls::{ClientAuth, Dial, Identity, Roots};
use rekey_runtime::{CancellationToken, Clock, Connections, Limits, Listener, ServerTls, Tasks, random};
use serde_json::json;

pub const LEASE: Duration = Duration::from_secs(30);
pub const LEAF_LIFE: Duration = Duration::from_hours(1);
pub const ORDERS: &str = "spiffe://rekey.local/sidecar/orders/a";

/// Everything that a test needs of a controller.
pub struct World {
    pub clock: Clock,
    pub store: Store,
    pub fleet: Fleet,
    pub connections: Connections,
    pub dial: Dial,
    pub server_ca: Vec<u8>,
    pub admins: Authority<Admin>,
    seal: Seal,
    stop: CancellationToken,
    _tasks: Tasks,
    _dir: tempfile::TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn domain() -> TrustDomain {
    "rekey.local".parse().unwrap()
}

pub fn name(text: &str) -> CredentialName {
    text.parse().unwrap()
}

fn listener_tls(clock: &Clock, sidecars: &Authority<Sidecar>) -> (Arc<ServerTls>, Vec<u8>) {
    let (servers, _key) = Authority::<Server>::create(&domain(), clock.now()).unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let life = Duration::from_hours(1_000_000);
    let own = servers.server_identity(&domain(), &names, life.min(LEAF_LIFE * 50_000), clock.now()).unwrap();
    let own = Identity::from_der(vec![own.leaf.der, servers.certificate().to_vec()], &own.key).unwrap();
    let roots = Roots::from_der([sidecars.certificate().to_vec()]).unwrap();
    let tls = ServerTls::new(&own, &ClientAuth::Optional(roots), clock.clone()).unwrap();
    (Arc::new(tls), servers.certificate().to_vec())
}

impl World {
    /// A fleet that listens on loopback.
    pub async fn new() -> Self {
        let clock = Clock::manual();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        let store = Store::create(&StoreConfig::Sqlite(path), clock.clone()).await.unwrap();
        let seal = Seal::new(Kek::create(&dir.path().join("kek")).unwrap());
        let (sidecars, _key) = Authority::<Sidecar>::create(&domain(), clock.now()).unwrap();
        let (admins, _key) = Authority::<Admin>::create(&domain(), clock.now()).unwrap();
        let (tls, server_ca) = listener_tls(&clock, &sidecars);
        let tasks = Tasks::new();
        let connections = Connections::new(Limits::controller());
        let parts = FleetParts {
            config: FleetConfig {
                domain: domain(),
                leaf_life: LEAF_LIFE,
                rejoin_window: Duration::from_hours(7 * 24),
                lease: LEASE,
                software: "test".into(),
            },
            store: store.clone(),
            seal: seal.clone(),
            authority: sidecars,
            connections: connections.clone(),
            clock: clock.clone(),
            spawner: tasks.spawner(),
        };
        let fleet = Fleet::build(parts).await.unwrap();
        let stop = CancellationToken::new();
        let spawner = tasks.spawner();
        let (running, cancel) = (fleet.clone(), stop.clone());
        spawner.start("fleet", async move { running.run(cancel).await.unwrap() });
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let accept =
            Accept { connections: connections.clone(), clock: clock.clone(), spawner: tasks.spawner() };
        let router = Knobs::CONTROLLER
            .server()
            .add_service(fleet.identity_server())
            .add_service(fleet.follow_server());
        let drain = Drain { shutdown: stop.clone(), grace: Duration::ZERO };
        spawner.start("serve", async move { drop(serve(router, accept, listener, Some(tls), drain).await) });
        let dial = Dial { address: format!("127.0.0.1:{port}").parse().unwrap(), server_name: None };
        Self {
            clock,
            store,
            fleet,
            connections,
            dial,
            server_ca,
            admins,
            seal,
            stop,
            _tasks: tasks,
            _dir: dir,
        }
    }

    /// A fresh join token for `spiffe`.
    pub async fn token(&self, spiffe: &str) -> String {
        let token = JoinToken::draw();
        let row = TokenRow {
            id: hex::encode(&token.hash().bytes()[..4]),
            spiffe: spiffe.parse().unwrap(),
            made: self.clock.now(),
            life: Duration::from_mins(10),
            made_by: "test".into(),
        };
        let mut tx = self.store.begin().await.unwrap();
        tx.put_token(&token.hash(), &row).await.unwrap();
        tx.commit().await.unwrap();
        String::from_utf8(token.text().expose().to_vec()).unwrap()
    }

    /// Declares a credential that is delivered to `to`, without a version.
    pub async fn declare(&self, credential: &str, to: &[&str]) -> CredentialRow {
        let mut tx = self.store.begin().await.unwrap();
        let row = tx.create(&name(credential), spec(credential, to), Ledger::default()).await.unwrap();
        tx.commit().await.unwrap();
        row
    }

    /// Makes `version` with `password` the current one, as a promotion does.
    pub async fn promote(&self, credential: &str, version: u64, password: &str) {
        self.promote_together(&[(credential, version, password)]).await;
    }

    /// Promotes several in one commit.
    pub async fn promote_together(&self, all: &[(&str, u64, &str)]) {
        let mut tx = self.store.begin().await.unwrap();
        for one in all {
            self.promote_in(&mut tx, *one).await;
        }
        tx.commit().await.unwrap();
    }

    async fn promote_in(&self, tx: &mut Tx, one: (&str, u64, &str)) {
        let (mut row, version) = self.made_in(tx, one).await;
        row.ledger.previous = row.ledger.current.replace(version);
        row.ledger.order = row.ledger.order.next();
        tx.save(&mut row).await.unwrap();
    }

    /// Has one holder try `version` with `password`, as a canary does, and the others stay with the current one.
    pub async fn try_first(&self, one: (&str, u64, &str), holder: InstanceId) {
        let mut tx = self.store.begin().await.unwrap();
        let (mut row, version) = self.made_in(&mut tx, one).await;
        let canary =
            Canary { holder: Some(holder), name: String::new(), since: self.clock.now(), passed: None };
        let open = self.open_in(Phase::Canary, row.ledger.current);
        row.ledger.rotation = Some(Rotation { next: Some(version), canary: Some(canary), ..open });
        row.ledger.order = row.ledger.order.next();
        tx.save(&mut row).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// A rotation that is open in this phase.
    fn open_in(&self, phase: Phase, old: Option<Version>) -> Rotation {
        let now = self.clock.now();
        Rotation {
            id: random::id(),
            phase,
            next: None,
            old,
            why: Why::TooOld,
            replacement: false,
            started: now,
            promoted: None,
            turned: Some(now),
            counted: 2,
            all_acked: None,
            grace_since: None,
            last_discount: None,
            no_holders: false,
            refusals: 0,
            ended: None,
            last_error: None,
            failed: false,
            forward_only: None,
            cut_over: None,
            company: Company::Alone,
            canary: None,
        }
    }

    /// Makes a version, as the target has it and nobody serves it yet.
    async fn made_in(
        &self,
        tx: &mut Tx,
        (credential, version, password): (&str, u64, &str),
    ) -> (CredentialRow, Version) {
        let mut row = tx.load(&name(credential)).await.unwrap().unwrap();
        let version = Version::new(version).unwrap();
        if row.ledger.versions.contains_key(&version) {
            return (row, version);
        }
        let place = Place {
            installation: self.store.installation(),
            subject: Subject::Version(row.id, version),
            column: Column::Secret,
        };
        let value = SecretBytes::from(password.to_owned());
        let values = Fields::new(BTreeMap::from([("password".parse().unwrap(), value)])).unwrap();
        let sealed = self.seal.seal(&place, fields::write(&values).expose()).unwrap();
        tx.put_secret(row.id, version, &sealed).await.unwrap();
        let record = VersionRecord {
            baseline: None,
            handle: format!("orders_app_{version}").parse().unwrap(),
            stage: Stage::Current,
            attempt: 1,
            adopted: false,
            lasting: true,
            created: self.clock.now(),
            proven: Some(self.clock.now()),
            promoted: Some(self.clock.now()),
            doubt: None,
            ended: None,
            sessions_ended: 0,
            stray: false,
        };
        row.ledger.versions.insert(version, record);
        (row, version)
    }

    /// Declares credentials that change together, in the midst of that.
    pub async fn declare_group(&self, names: &[&str], to: &[&str]) {
        for name in names {
            self.declare(name, to).await;
            let mut tx = self.store.begin().await.unwrap();
            let mut row = tx.load(&self::name(name)).await.unwrap().unwrap();
            row.spec["group"] = "database".into();
            let open = self.open_in(Phase::Rolling, None);
            row.ledger.rotation = Some(Rotation { company: Company::Grouped, ..open });
            tx.save(&mut row).await.unwrap();
            let tie = Tie { kind: TieKind::Group, word: "database".to_owned() };
            tx.tie(row.id, &[tie]).await.unwrap();
            tx.commit().await.unwrap();
        }
    }

    /// Changes what is stored of a credential.
    pub async fn change(&self, credential: &str, change: impl FnOnce(&mut CredentialRow)) {
        let mut tx = self.store.begin().await.unwrap();
        let mut row = tx.load(&name(credential)).await.unwrap().unwrap();
        change(&mut row);
        tx.save(&mut row).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// The holders of a credential once `until` is true of them.
    pub async fn holders(&self, credential: &str, until: impl Fn(&[HolderRow]) -> bool) -> Vec<HolderRow> {
        for _ in 0..12_000 {
            let holders = self.store.holders_of(&name(credential)).await.unwrap();
            if until(&holders) {
                return holders;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!(
            "the holders of {credential} never were so: {:?}",
            self.store.holders_of(&name(credential)).await
        )
    }
}

/// The order that a holder has acknowledged.
pub fn acked(holder: &HolderRow) -> Option<Order> {
    holder.acked.as_ref().map(|acked| acked.order)
}

/// A good spec.
pub fn spec(credential: &str, to: &[&str]) -> serde_json::Value {
    json!({
        "credential": credential,
        "owner": "team-orders",
        "environment": "production",
        "postgres": {
            "target": "orders-pg",
            "database": "orders",
            "owner_role": "orders_owner",
            "prefix": "orders_app",
        },
        "grace": { "max_reconnect": "30m", "floor": "1h", "quiet": "15m", "deadline": "48h" },
        "deliver": { "to": to, "offline": "serve-until-expiry", "offline_for": "24h" },
    })
}
