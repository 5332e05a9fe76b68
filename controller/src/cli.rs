//! The controller's command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use rekey_runtime::telemetry::Format;

/// Makes new credentials at their targets, hands them out, and ends the old ones by evidence.
#[derive(Debug, Parser)]
#[command(name = "rekey-controller", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do; without it: run.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to run, when no command is given.
    #[command(flatten)]
    pub run: Option<Run>,
    /// How log lines look: text or json. `RUST_LOG` sets how much is said.
    #[arg(long, global = true, default_value = "text", value_name = "FORMAT")]
    pub log_format: Format,
}

const EXAMPLES: &str = "Examples:
  rekey-controller dev --dir ./rekey                  make a controller on loopback and run it
  rekey-controller init --config controller.yaml      make KEK, store and authorities, once
  rekey-controller run --config controller.yaml       run it
  rekey-controller --config controller.yaml --check-config
  rekey-controller backup --config controller.yaml --to rekey-2026-11-21.db";

/// What the controller can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the KEK, the store and the certificate authorities, once; nothing that exists is overwritten.
    Init(Settings),
    /// Run.
    Run(Run),
    /// Make a controller in a folder, on loopback, if it is not there, and run it. For trying things out.
    Dev(Dev),
    /// Copy the store while it is in use (SQLite). The KEK file is not in the copy: keep both, apart.
    Backup(Backup),
    /// Put a copy back as the store. It reconciles with the sidecars first: until then it only revokes.
    Restore(Restore),
}

/// Where the settings are.
#[derive(Debug, Args)]
pub struct Settings {
    /// The config file.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// How to run.
#[derive(Debug, Args)]
pub struct Run {
    /// The config file.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Say what is wrong with the config, if anything, and end.
    #[arg(long)]
    pub check_config: bool,
}

/// Where a trial controller lives.
#[derive(Debug, Args)]
pub struct Dev {
    /// Its folder; made if it is missing.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
}

/// What to copy where.
#[derive(Debug, Args)]
pub struct Backup {
    /// The config file.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The file to write, which must not exist.
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
}

/// What to put back.
#[derive(Debug, Args)]
pub struct Restore {
    /// The config file; the store that it names must not exist.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The copy.
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_it_runs() {
        let cli = Cli::try_parse_from(["rekey-controller", "--config", "c.yaml", "--check-config"]).unwrap();
        assert!(cli.command.is_none() && cli.run.is_some_and(|run| run.check_config));
    }
}
