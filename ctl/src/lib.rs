//! `rekeyctl`, the operator's command line.
//!
//! [`cli`] is what a person types, `command` is what each command does, [`view`] is what is shown, as text or as JSON.
//! Everything is asked of a controller through `rekey.admin.v1`, over its local socket or mutual TLS ([`connect`]); how
//! a command ended is a number ([`exit`]). docs/rekeyctl.md is the manual, and tests keep it level.

#![expect(
    clippy::format_push_string,
    reason = "an answer is put together once; plain words go before an allocation"
)]
#![expect(clippy::struct_field_names, reason = "the fields of a view are the documented names in JSON")]

pub mod cli;
mod command;
pub mod connect;
pub mod context;
mod declarations;
pub mod exit;
pub mod failure;
mod files;
pub mod output;
mod progress;
mod prompt;
pub mod session;
mod table;
mod text;
pub mod time;
pub mod view;
mod yaml;

use clap::Parser as _;

use exit::Exit;

/// Does what was typed; the exit code. Failures are said on standard error.
pub async fn run() -> Exit {
    rekey_runtime::tls::install_provider();
    let cli = cli::Cli::parse();
    let format = cli.global.output;
    match command::run(cli).await {
        Ok(exit) => exit,
        Err(failure) => {
            output::say(failure.text(format).trim_end());
            failure.exit
        }
    }
}
