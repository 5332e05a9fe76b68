//! `make demo`: a database password changes again and again under load, and nothing fails.
//!
//! Starts a private PostgreSQL, a controller, three sidecars and three copies of a service; rotates, holds, rolls back,
//! kills the controller, revokes; shows it live; writes `target/demo/summary.json`; exits 0 only if nothing failed.

#![expect(clippy::print_stdout, reason = "the demo talks to whoever started it")]

mod acts;
mod stage;
mod summary;
mod tally;
mod view;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Watch a database password change under load.
#[derive(Debug, Parser)]
#[command(version, after_help = "Example:\n  rekey-demo --rotations 200")]
struct Arguments {
    /// How many rotations to do.
    #[arg(long, default_value_t = 20)]
    rotations: u32,
    /// Where the summary, the logs and the files of the run go.
    #[arg(long, default_value = "target/demo")]
    folder: PathBuf,
    /// Keep the files of the run, for a look at its logs.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match acts::play(arguments.rotations, &arguments.folder, arguments.keep) {
        Ok(failures) if failures.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the demo could not go on: {error:#}");
            ExitCode::FAILURE
        }
    }
}
