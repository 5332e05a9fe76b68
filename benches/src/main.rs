//! `make bench`: what a read costs, side by side with the bare thing that it is made of.
//!
//! Nothing here passes or fails. Each measure runs in rounds, ours and its anchor in turn within each, and what counts
//! is the median of the rounds' ratios: absolute figures move with the machine, ratios of one moment hardly do.
//!
//! ```text
//! bench ── scripted controller (TLS, 100 credentials) ──► rekey-sidecar, a process ◄── load by this process
//!       └─ bare echo: tonic's server as it comes, the same message, a process      ◄── the same load
//! ```

mod calls;
mod clock;
mod controller;
mod echo;
mod material;
mod memory;
mod parts;
mod rounds;
mod table;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::parts::Stage;
use crate::rounds::Amount;
use crate::table::Table;

/// Measures reads of a sidecar beside their anchors.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// How many rounds.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// How many calls a measure makes in a round.
    #[arg(long, default_value_t = 4000)]
    calls: usize,
    /// Where to write the figures.
    #[arg(long, default_value = "target/bench/local.json")]
    out: PathBuf,
}

/// What this program can be beside the benchmark itself.
#[derive(Debug, Subcommand)]
enum Part {
    /// The bare echo: an equal service on a tonic server with no settings.
    Echo {
        /// Its socket.
        socket: PathBuf,
    },
    /// Only start what is measured, and wait: to look at it with other tools.
    Hold,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.part {
        Some(Part::Echo { socket }) => return runtime.block_on(echo::serve(&socket)),
        Some(Part::Hold) => return runtime.block_on(parts::hold()),
        None => {}
    }
    let amount = Amount { rounds: arguments.rounds.max(1), calls: arguments.calls.max(100) };
    let table = runtime.block_on(measure(amount))?;
    table.print()?;
    table.write(&arguments.out).with_context(|| format!("write {}", arguments.out.display()))
}

/// All measures, one after the other on a quiet stage.
async fn measure(amount: Amount) -> Result<Table> {
    let mut stage = Stage::set().await?;
    let mut table = Table::default();
    parts::startup(&mut stage, amount, &mut table).await?;
    parts::idle_memory(&stage, &mut table)?;
    calls::measure(&stage, amount, &mut table).await?;
    memory::measure(&stage, amount, &mut table).await?;
    Ok(table)
}
