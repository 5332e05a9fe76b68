//! `rekey-controller`: reads the command line and does what it says.

use std::process::ExitCode;

use clap::Parser as _;
use rekey_controller::cli::Cli;
use rekey_runtime::{harden, telemetry, tls};

fn main() -> ExitCode {
    let hardened = harden::first();
    let cli = Cli::parse();
    telemetry::init(cli.log_format);
    tls::install_provider();
    let done = hardened.map_err(Into::into).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(rekey_controller::commands::perform(cli))
    });
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("rekey-controller: {error:#}");
            ExitCode::FAILURE
        }
    }
}
