//! An example service: it takes orders, and never notices that its database password changes.
//!
//! Everything that concerns Rekey is in three places: `connect` below finds the sidecar and follows one credential,
//! `database.rs` says how to log in with whatever is current, and `workers.rs` uses connections of a pool that
//! `rekey_client` keeps fresh. Nothing here restarts, reloads or polls when a version changes.
//!
//! The rest is book-keeping, because this example is also a witness: `stats.rs` writes how many logins and queries
//! there were and how many failed, and `verdict.rs` tells apart what an emergency revocation was meant to cut.

mod arguments;
mod database;
mod stats;
mod verdict;
mod workers;

use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use rekey_client::Watched;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::Arguments;
use crate::database::Database;
use crate::stats::Stats;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    let orders = connect(&arguments).await?;
    let stats = Arc::new(Stats::default());
    let database = Database::new(&arguments, orders.clone(), Arc::clone(&stats));

    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    workers::run(&arguments, &orders, &database, stop).await?;
    stats::write(arguments.stats_file.as_deref(), &stats.snapshot(&orders, true)).context("the last figures")
}

/// The credential, followed from now on.
async fn connect(arguments: &Arguments) -> anyhow::Result<Watched> {
    let mut settings = rekey_client::Builder::from_env()?
        .application("orders", env!("CARGO_PKG_VERSION"))?
        .connect_timeout(arguments.start_within)
        .ready_timeout(arguments.start_within);
    if let Some(socket) = &arguments.socket {
        settings = settings.socket(socket);
    }
    let orders = settings.connect().await?.watch(&arguments.credential).await?;
    orders.ready().await?;
    Ok(orders)
}
