//! The controller as one process: what it is built of, and how it begins and ends.

mod figures;
mod leaf;
mod listeners;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rekey_runtime::accept::Accept;
use rekey_runtime::http::Http;
use rekey_runtime::serve::{Drain, Knobs, serve};
use rekey_runtime::tasks::{self, Tasks};
use rekey_runtime::{Clock, Connections, Readiness};

use crate::admin::{Admin, AdminParts};
use crate::alarms::{Ground, Noting};
use crate::config::Config;
use crate::executor::{Executor, Parts, Settings};
use crate::fleet::{Fleet, FleetConfig, FleetParts};
use crate::init::{self, Authorities, InitError};
use crate::policy::Policy;
use crate::store::{Store, StoreError};
use crate::targets::Targets;
use crate::webhook::Webhooks;

use listeners::{BindError, Listeners};

/// How long calls may still take when the process is to end.
const GRACE: Duration = Duration::from_secs(5);
/// How long everything may take to end.
const END: Duration = Duration::from_secs(10);

/// Why the controller could not start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Opening what `init` made.
    #[error(transparent)]
    Open(#[from] InitError),
    /// Reading what is stored.
    #[error("the store cannot be read")]
    Store(#[from] StoreError),
    /// Listening.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// A controller that is bound and opened, and does nothing yet.
#[derive(Debug)]
pub struct App {
    tasks: Tasks,
    readiness: Readiness,
    store: Store,
    executor: Executor,
    fleet: Fleet,
    admin: Admin,
    listeners: Listeners,
    clock: Clock,
    policy: Policy,
    webhooks: Webhooks,
    verify: Duration,
}

impl App {
    /// Opens the store, reads everything, and binds every listener; fails loudly, before anything is served.
    pub async fn build(config: Config) -> Result<Self, BuildError> {
        let (clock, tasks) = (Clock::system(), Tasks::new());
        let (store, seal, authorities) = init::open(&config, &clock).await?;
        let Authorities { server, sidecar, admin } = authorities;
        let listeners = Listeners::bind(&config, server, (&sidecar, &admin), &clock)?;
        let address = listeners.admin_address(&config);
        config.policy.take_effect(&store).await?;
        let webhooks = Webhooks::begin(store.clone(), clock.clone(), config.webhooks.clone()).await?;
        let targets = Targets::new(config.targets.clone(), store.installation());
        let executor = Executor::new(Parts {
            store: store.clone(),
            seal: seal.clone(),
            drivers: Arc::new(targets.clone()),
            clock: clock.clone(),
            spawner: tasks.spawner(),
            settings: Settings { verify: config.verify, ..Settings::with_lease(config.lease) },
        });
        let fleet = Fleet::build(FleetParts {
            config: of_fleet(&config),
            store: store.clone(),
            seal: seal.clone(),
            authority: sidecar,
            connections: listeners.fleet.connections.clone(),
            clock: clock.clone(),
            spawner: tasks.spawner(),
        })
        .await?;
        let admin = Admin::new(AdminParts {
            store: store.clone(),
            executor: executor.clone(),
            fleet: fleet.clone(),
            targets,
            policy: config.policy.clone(),
            webhooks: webhooks.clone(),
            authority: admin,
            domain: config.trust_domain,
            ca_pem: listeners.ca_pem().to_owned(),
            address,
            clock: clock.clone(),
            connections: listeners.admin.connections.clone(),
        });
        let readiness = Readiness::of(&["executor", "fleet", "admin"]);
        let (policy, verify) = (config.policy, config.verify);
        Ok(Self {
            tasks,
            readiness,
            store,
            executor,
            fleet,
            admin,
            listeners,
            clock,
            policy,
            webhooks,
            verify,
        })
    }

    /// Runs until `signal`, or until a part that nothing goes without ends.
    pub async fn run(mut self, signal: impl Future<Output = ()>) -> tasks::Report {
        self.start_fleet();
        self.start_servers();
        // Their views were read when they were built, and their doors are open.
        self.readiness.mark("fleet");
        self.readiness.mark("admin");
        self.start_executor();
        self.start_telling();
        let store = self.store.clone();
        let readiness = self.readiness.clone();
        let told = async move {
            signal.await;
            // Before anything ends, so that nobody is sent here any more.
            readiness.close();
        };
        let report = self.tasks.run(told, END).await;
        store.close().await;
        report
    }

    fn start_executor(&mut self) {
        let readiness = self.readiness.clone();
        let resumed = move || {
            readiness.mark("executor");
            tracing::info!("controller ready");
        };
        self.tasks.essential("executor", self.executor.clone().run(resumed, self.tasks.cancel()));
    }

    /// What tells others: alarms to the audit, and the audit to webhooks.
    fn start_telling(&mut self) {
        let noting = Noting::new(self.store.clone(), self.clock.clone(), self.verify);
        self.tasks.essential("alarms", noting.run(self.ground(), self.tasks.cancel()));
        self.tasks.essential("webhooks", self.webhooks.clone().run(self.tasks.cancel()));
    }

    fn ground(&self) -> Ground {
        Ground {
            executor: self.executor.clone(),
            store: self.store.clone(),
            policy: self.policy.clone(),
            clock: self.clock.clone(),
        }
    }

    fn start_fleet(&mut self) {
        let cancel = self.tasks.cancel();
        self.tasks.essential("fleet", self.fleet.clone().run(cancel.clone()));
        self.tasks.essential("leaf", Arc::clone(&self.listeners.leaf).run(self.clock.clone(), cancel));
    }

    fn start_servers(&mut self) {
        let builder = || Knobs::CONTROLLER.server();
        let fleet =
            builder().add_service(self.fleet.identity_server()).add_service(self.fleet.follow_server());
        let admin = builder().add_service(self.admin.server());
        let local = builder().add_service(self.admin.server());
        let (http, clock, spawner) = (self.http(), self.clock.clone(), self.tasks.spawner());
        let accept = |connections: &Connections| Accept {
            connections: connections.clone(),
            clock: clock.clone(),
            spawner: spawner.clone(),
        };
        let doors = &mut self.listeners;
        for (name, door, router) in [
            ("fleet server", &mut doors.fleet, fleet),
            ("admin server", &mut doors.admin, admin),
            ("admin socket", &mut doors.local, local),
        ] {
            let Some(listener) = door.listener.take() else { continue };
            let drain = Drain { shutdown: self.tasks.cancel(), grace: GRACE };
            let served = serve(router, accept(&door.connections), listener, door.tls.clone(), drain);
            self.tasks.essential(name, served);
        }
        if let Some(door) = &mut doors.http
            && let Some(listener) = door.listener.take()
        {
            self.tasks.essential("http", http.serve(accept(&door.connections), listener));
        }
    }

    fn http(&self) -> Http {
        let doors = self.listeners.counted();
        let page = figures::kept(figures::read(self.ground(), doors), self.clock.clone());
        Http { readiness: self.readiness.clone(), page }
    }
}

/// What the fleet has to know of the config.
fn of_fleet(config: &Config) -> FleetConfig {
    FleetConfig {
        domain: config.trust_domain.clone(),
        leaf_life: config.leaf_life,
        rejoin_window: config.rejoin_window,
        lease: config.lease,
        software: software(),
    }
}

/// This program and its version.
pub fn software() -> String {
    concat!("rekey-controller/", env!("CARGO_PKG_VERSION")).to_owned()
}
