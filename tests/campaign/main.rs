//! `make campaign-…`: what is too long for a test. Bounded by time, taken up again where it stopped, one line of figures.

#![expect(clippy::print_stdout, reason = "its figures are what it is for")]

mod chance;
mod crash;
mod fuzz;
mod record;
mod soak;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use rekey_model::Moment;
use rekey_runtime::Clock;

use record::Record;

/// Looks for what only time finds. Exit 0 only if nothing was found.
#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  campaign crash --seconds 600")]
struct Arguments {
    /// What to do.
    #[arg(value_enum)]
    what: Campaign,
    /// How long; what is under way then is finished.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where its figures stay between two runs; remove the folder to begin anew.
    #[arg(long, default_value = "target/campaign")]
    folder: PathBuf,
}

/// The campaigns.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Campaign {
    /// Kills the controller at moments drawn at random, in rotation after rotation under load.
    Crash,
    /// Feeds every parser what is nearly right.
    Fuzz,
    /// Plays the demo again and again.
    Soak,
}

/// The end of a run.
#[derive(Debug)]
struct Limit {
    clock: Clock,
    since: Moment,
    length: Duration,
}

impl Limit {
    fn is_over(&self) -> bool {
        self.clock.now().at_most_since(self.since) >= self.length
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let clock = Clock::system();
    let limit = Limit { since: clock.now(), clock, length: Duration::from_secs(arguments.seconds) };
    match play(&arguments, &limit) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{:?}: {error:#}", arguments.what);
            ExitCode::FAILURE
        }
    }
}

fn play(arguments: &Arguments, limit: &Limit) -> Result<String> {
    let folder = &arguments.folder;
    match arguments.what {
        Campaign::Crash => crash::play(&mut Record::open(folder, "crash")?, limit),
        Campaign::Fuzz => fuzz::play(&mut Record::open(folder, "fuzz")?, limit),
        Campaign::Soak => soak::play(&mut Record::open(folder, "soak")?, limit),
    }
}
