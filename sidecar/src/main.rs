//! The program: hardens itself before anything else, then does what the command line says on one thread.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use rekey_sidecar::Cli;

fn main() -> anyhow::Result<ExitCode> {
    rekey_runtime::harden::first().context("harden this process")?;
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start the runtime")?.block_on(cli.run())
}
