//! The whole sidecar: built so that it can fail loudly, then run until it is told to end.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rekey_runtime::accept::{Accept, Incoming, SocketError};
use rekey_runtime::tasks::Report;
use rekey_runtime::{CancellationToken, Clock, Connections, Limits, Listener, Tasks};
use tracing::info;

use crate::callers::InForce;
use crate::config::reload::Reload;
use crate::config::{Config, roots};
use crate::dial::{Controller, Dial};
use crate::figures::Door;
use crate::files::{Files, PlaceError};
use crate::identity::{Keeper, StateDir, StateError};
use crate::link::{Ground, Link};
use crate::live::{Live, Writer};
use crate::serve::{Counts, Health, Shared, serve};
use crate::usage::Consumers;

/// How long everything may take to end.
const GRACE: Duration = Duration::from_secs(8);
/// How long local calls may still take of it; then their connections are cut.
const CALLS: Duration = Duration::from_secs(5);

/// A sidecar that is ready to run.
#[derive(Debug)]
pub struct App {
    tasks: Tasks,
    clock: Clock,
    shared: Shared,
    health: Health,
    connections: Connections,
    incoming: Incoming,
    link: Link,
    stop: CancellationToken,
    reload: Reload,
    figures: Option<Door>,
    files: Files,
}

/// Why a sidecar cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The controller's CA cannot be used.
    #[error("controller.ca_file: {0}")]
    Roots(String),
    /// The identity cannot be kept.
    #[error("identity.state_dir")]
    State(#[from] StateError),
    /// The socket cannot be placed.
    #[error("socket.path")]
    Socket(#[from] SocketError),
    /// A file cannot be kept.
    #[error("files")]
    Files(#[from] PlaceError),
    /// The figures' address cannot be bound.
    #[error("metrics")]
    Metrics(#[source] std::io::Error),
}

/// Opens the state directory and places the socket. `path` is where `config` came from, for reloads.
pub async fn build(config: Config, path: PathBuf) -> Result<App, BuildError> {
    let (tasks, clock) = (Tasks::new(), Clock::system());
    let live = Live::new(clock.clone());
    let consumers = Arc::new(Consumers::default());
    let callers = Arc::new(InForce::new(config.callers.clone()));

    let roots = roots(&config.ca_file).map_err(BuildError::Roots)?;
    let dial: Arc<dyn Dial> =
        Arc::new(Controller { at: config.controller.clone(), roots, clock: clock.clone() });
    let state = config.state_dir.as_deref().map(StateDir::open).transpose()?;
    let keeper = Keeper::open(state, config.join_token_file.clone(), Arc::clone(&dial), clock.clone())?;
    let stop = CancellationToken::new();
    let ground = Ground {
        writer: Arc::new(Mutex::new(Writer::new(Arc::clone(&live)))),
        live: Arc::clone(&live),
        consumers: Arc::clone(&consumers),
        clock: clock.clone(),
        stop: stop.clone(),
    };

    let connections = Connections::new(Limits::sidecar());
    let accept = Accept { connections: connections.clone(), clock: clock.clone(), spawner: tasks.spawner() };
    let incoming = accept.plain(Listener::unix(&config.socket, config.socket_mode)?);
    info!(socket = %config.socket.display(), "listening");
    let counts: Arc<Counts> = Arc::default();
    let files = Files::open(&config.files, Arc::clone(&live), Arc::clone(&counts), &consumers)?;
    let shared = Shared { live, callers: Arc::clone(&callers), consumers, counts, ended: tasks.cancel() };
    let door = |address| Door::open(address, &tasks, &shared, &connections).map_err(BuildError::Metrics);
    let figures = config.metrics.map(door).transpose()?;
    Ok(App {
        shared,
        health: Health::new().await,
        link: Link::new(ground, dial, keeper),
        reload: Reload::new(path, config, callers),
        tasks,
        clock,
        connections,
        incoming,
        stop,
        figures,
        files,
    })
}

impl App {
    /// Where figures are served, if they are: the port that the kernel chose, if it was 0.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.figures.as_ref().and_then(Door::address)
    }

    /// Runs until `signal`, then ends in order: health says so, streams end, calls finish, the controller is told.
    pub async fn run(self, signal: impl Future<Output = ()>) -> Report {
        let Self { mut tasks, clock, shared, health, connections, incoming, link, stop, reload, .. } = self;
        let (figures, files) = (self.figures, self.files);
        if let Some(figures) = figures {
            tasks.essential("figures", figures.serve());
        }
        tasks.spawner().start("health", health.clone().begin(Arc::clone(&shared.live)));
        let ended = tasks.cancel();
        tasks.essential("reload", {
            let (clock, ended) = (clock.clone(), ended.clone());
            async move {
                reload.run(clock, ended).await;
                Ok::<(), std::convert::Infallible>(())
            }
        });
        tasks.essential("files", {
            let ended = ended.clone();
            async move {
                files.run(ended).await;
                Ok::<(), std::convert::Infallible>(())
            }
        });
        tasks.essential("link", async move {
            link.run().await;
            Ok::<(), std::convert::Infallible>(())
        });
        tasks.essential("serve", async move {
            let serving = serve(shared, health.clone(), incoming);
            let late = async {
                ended.cancelled().await;
                health.end().await;
                clock.sleep(CALLS).await;
                connections.cut(|_| true);
                std::future::pending::<()>().await;
            };
            let served = tokio::select! {
                served = serving => served,
                () = late => Ok(()),
            };
            // Nobody is served from here on: now the controller may be told.
            stop.cancel();
            served
        });
        tasks.run(signal, GRACE).await
    }
}
