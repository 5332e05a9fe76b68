//! What each command does: one file a topic. Here, which command is whose.

mod apply;
mod audit;
mod contexts;
mod drive;
mod follow;
mod hand_in;
mod operators;
mod reconcile;
mod revoke;
mod show;
mod sidecars;
mod tokens;
mod webhooks;

use clap::CommandFactory as _;

use crate::cli::{Cli, Command, InventoryCommand, PlanCommand};
use crate::exit::{self, Exit};
use crate::failure::Outcome;
use crate::output::{Output, answer};
use crate::session::Session;

/// Carries out what was typed.
pub(crate) async fn run(cli: Cli) -> Outcome {
    let output = Output::of_process(cli.global.output);
    let command = match local(cli.command, output)? {
        Local::Done => return Ok(Exit::Ok),
        Local::Remote(command) => command,
    };
    if matches!(command, Command::Version) {
        return show::versions(Session::open(&cli.global, output), output).await;
    }
    remote(command, Session::open(&cli.global, output)?).await
}

enum Local {
    Done,
    Remote(Command),
}

/// Carries out what needs no controller.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other command is the controller's")]
fn local(command: Command, output: Output) -> Outcome<Local> {
    match command {
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "rekeyctl", &mut script);
            answer(&String::from_utf8_lossy(&script))?;
        }
        Command::ExitCodes => output.show(&exit::List::new())?,
        Command::Context(command) => contexts::run(command, output)?,
        other => return Ok(Local::Remote(other)),
    }
    Ok(Local::Done)
}

/// Carries out what the controller does.
async fn remote(command: Command, session: Session) -> Outcome {
    match command {
        Command::Apply(args) => apply::apply(args, session).await,
        Command::Adopt(args) => apply::adopt(args, session).await,
        Command::HandIn(args) => hand_in::hand_in(args, session).await,
        Command::Status(args) => show::status(args, session).await,
        Command::List(args) => show::list(args, session).await,
        Command::Inventory(InventoryCommand::Export) => show::export(session).await,
        Command::Show(args) => show::declared(args, session).await,
        Command::Plan(PlanCommand::Rotate(args)) => show::plan(args, session).await,
        Command::Verify(args) => show::verify(args, session).await,
        Command::Refresh(args) => show::refresh(args, session).await,
        Command::Record(args) => drive::record(args, session).await,
        Command::Who(args) => show::who(args, session).await,
        Command::Whoami => show::whoami(session).await,
        Command::Rotate(args) => drive::rotate(args, session).await,
        Command::Rollback(args) => drive::rollback(args, session).await,
        Command::Hold(args) => drive::hold(args, session).await,
        Command::Release(args) => drive::release(args, session).await,
        Command::Retry(args) => drive::retry(args, session).await,
        Command::Delete(args) => drive::delete(args, session).await,
        Command::Revoke(args) => revoke::revoke(args, session).await,
        Command::Reconcile(args) => reconcile::reconcile(args, session).await,
        Command::Sidecar(command) => sidecars::run(command, session).await,
        Command::Token(command) => tokens::run(command, session).await,
        Command::Admin(command) => operators::run(command, session).await,
        Command::Webhook(command) => webhooks::run(command, session).await,
        Command::Audit(command) => audit::run(command, session).await,
        Command::Version | Command::Completion { .. } | Command::ExitCodes | Command::Context(_) => {
            Ok(Exit::Ok) // Carried out before.
        }
    }
}
