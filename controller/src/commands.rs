//! What each command of the controller's command line does.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::CommandFactory as _;
use rekey_runtime::{Clock, tasks};

use crate::app::App;
use crate::cli::{Backup, Cli, Command, Restore, Run};
use crate::config::Config;
use crate::store::StoreConfig;
use crate::{backup, dev, init};

/// Does what the command line says. Problems are told one a line, with file, line, field and remedy.
pub async fn perform(cli: Cli) -> Result<ExitCode> {
    let clock = Clock::system();
    match (cli.command, cli.run) {
        (Some(Command::Init(settings)), _) => {
            let config = Config::read(&settings.config)?;
            init::init(&config, &clock).await?;
            tracing::info!(
                "made; keep a copy of {} apart from the store: without it nothing in the store opens",
                config.kek_file.display()
            );
            tracing::info!("sidecars and operators trust the controller by {}", config.ca_file.display());
            Ok(ExitCode::SUCCESS)
        }
        (Some(Command::Run(run)), _) | (None, Some(run)) => serve(&run).await,
        (Some(Command::Dev(trial)), _) => {
            let config = dev::prepare(&trial.dir, &clock).await?;
            serve(&Run { config, check_config: false }).await
        }
        (Some(Command::Backup(wanted)), _) => copy(&wanted).await,
        (Some(Command::Restore(wanted)), _) => put_back(&wanted, &clock).await,
        (None, None) => {
            Cli::command().print_help()?;
            Ok(ExitCode::from(2))
        }
    }
}

async fn serve(run: &Run) -> Result<ExitCode> {
    let config = Config::read(&run.config)?;
    if run.check_config {
        return Ok(ExitCode::SUCCESS);
    }
    let signal = tasks::signalled()?;
    let report = App::build(config).await?.run(signal).await;
    if report.is_clean() { Ok(ExitCode::SUCCESS) } else { bail!("{report}") }
}

async fn copy(wanted: &Backup) -> Result<ExitCode> {
    let config = Config::read(&wanted.config)?;
    let to = wanted.to.display();
    backup::backup(&config.store, &wanted.to).await.with_context(|| format!("back up to {to}"))?;
    tracing::info!("written to {to}; without the KEK file {} it opens nothing", config.kek_file.display());
    Ok(ExitCode::SUCCESS)
}

async fn put_back(wanted: &Restore, clock: &Clock) -> Result<ExitCode> {
    let config = Config::read(&wanted.config)?;
    let StoreConfig::Sqlite(to) = &config.store else {
        bail!(
            "this store is on PostgreSQL: restore it with pg_restore; the controller notices and reconciles first"
        );
    };
    let store = backup::restore(&wanted.from, to, clock.clone())
        .await
        .with_context(|| format!("restore {}", shown(&wanted.from)))?;
    store.close().await;
    tracing::warn!(
        "restored; the controller reconciles with its sidecars first: `rekeyctl reconcile` says what it waits for"
    );
    Ok(ExitCode::SUCCESS)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
