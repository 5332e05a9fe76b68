//! `make runbooks`: every row on real parts, one after the other; a table, `summary.json`, and one last line.

#![expect(clippy::print_stdout, reason = "the runner talks to whoever started it")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use rekey_runbooks::{Choice, Size, run};
use rekey_testkit::platform::Programs;

/// Run the runbooks' rows on real parts.
#[derive(Debug, Parser)]
#[command(version, after_help = "Example:\n  rekey-runbooks --row A3 --row C4")]
struct Arguments {
    /// Only this row; may be said again.
    #[arg(long)]
    row: Vec<String>,
    /// Only the rows of this system, such as `aos`.
    #[arg(long)]
    system: Option<String>,
    /// One rotation where the whole form has three.
    #[arg(long)]
    small: bool,
    /// Where the summary and what rows write go.
    #[arg(long, default_value = "target/runbooks")]
    folder: PathBuf,
    /// Keep the files of the run, for a look at its logs.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let choice = Choice {
        rows: arguments.row,
        system: arguments.system,
        size: if arguments.small { Size::Small } else { Size::Whole },
        folder: arguments.folder,
        keep: arguments.keep,
    };
    let programs = || Programs::beside(std::env::current_exe()?.parent().context("where am I?")?);
    match programs().and_then(|programs| run(&choice, programs)) {
        Ok(summary) => {
            print!("{summary}");
            if summary.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("the runbooks could not be run: {error:#}");
            ExitCode::FAILURE
        }
    }
}
