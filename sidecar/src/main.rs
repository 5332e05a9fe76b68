//! The program: hardens itself before anything else, then does what the command line says on one thread.

use std::alloc::System;
use std::process::ExitCode;

use anyhow::Context;
use rekey_sidecar::Cli;
use zeroizing_alloc::ZeroAlloc;

/// Wipes all memory that is freed: tonic, h2 and rustls copy every answer and wipe none.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> anyhow::Result<ExitCode> {
    rekey_runtime::harden::first().context("harden this process")?;
    let cli = match Cli::of_this_process() {
        Ok(cli) => cli,
        Err(code) => return Ok(code),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start the runtime")?.block_on(cli.run())
}
