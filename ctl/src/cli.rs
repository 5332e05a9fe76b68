//! What a person types: commands, flags, examples. Parsed here, carried out in [`crate::command`].

mod args;
mod people;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rekey_model::{CredentialName, Span, Version};

pub use args::Subject;
pub use people::{
    AddAdmin, AddContext, AdminCommand, AuditCommand, AuditQuery, ContextCommand, RoleWord, SidecarCommand,
    TokenCommand, WebhookCommand,
};

use crate::exit;

/// Declares, rotates and revokes the credentials that a Rekey controller looks after.
#[derive(Debug, Parser)]
#[command(
    name = "rekeyctl",
    version,
    after_help = "Begin with `rekeyctl status`. Exit codes: `rekeyctl exit-codes`. All commands: docs/rekeyctl.md."
)]
pub struct Cli {
    /// What goes with every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What goes with every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The controller: `unix:/path/of/admin.sock` or `host:port`. Goes before the context's.
    #[arg(long, global = true, env = "REKEY_CONTROLLER", value_name = "ADDRESS")]
    pub controller: Option<String>,
    /// The context to use (`rekeyctl context list`).
    #[arg(long, global = true, env = "REKEY_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// How to show the answer. JSON is stable and documented in docs/rekeyctl.md.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub output: Format,
    /// How long to wait for one answer of the controller.
    #[arg(long, global = true, default_value = "30s", value_name = "TIME")]
    pub call_timeout: Span,
}

/// How an answer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Declares credentials from YAML files: all of them or, when one has a problem, none.
    #[command(
        after_help = "Examples:\n  rekeyctl apply -f credentials/ --dry-run\n  rekeyctl apply -f orders.yaml -f billing.yaml\n  cat orders.yaml | rekeyctl apply -f -"
    )]
    Apply(Apply),
    /// Hands in the password that a login has today: version 1, or the next one where somebody changed it.
    ///
    /// Where an account takes one password at a time and somebody else changed it, the alarm `current_fails` stands: what
    /// works now can be handed in. It is tried first, and given to everybody; nothing is changed at the target.
    /// The password is asked for without echo, or read from --password-file or from a pipe. It is never an argument.
    #[command(
        after_help = "Examples:\n  rekeyctl adopt orders/db\n  rekeyctl adopt orders/db --password-file /run/secrets/orders\n  pass show orders | rekeyctl adopt orders/db"
    )]
    Adopt(Adopt),
    /// Hands in what a person made as the next version of a credential, or says that a person deleted an old one.
    ///
    /// The value is asked for without echo, or read from --file or from a pipe. It is never an argument. The provider is
    /// asked whether it works before anybody gets it. Exit code 3: it does not, or what was to be deleted still works.
    #[command(
        after_help = "Examples:\n  rekeyctl hand-in aos/clerk\n  rekeyctl hand-in aos/clerk --file clerk-key --wait=moved\n  pass show clerk | rekeyctl hand-in aos/clerk --file -\n  rekeyctl hand-in aos/clerk --deleted v2"
    )]
    HandIn(HandIn),
    /// Shows every credential, or one in full: versions, rotation, holders, alarms.
    #[command(
        after_help = "Examples:\n  rekeyctl status\n  rekeyctl status orders/db --watch\n  rekeyctl status -o json | jq '.credentials[] | select(.alarms != [])'"
    )]
    Status(Status),
    /// Lists credentials, one line each, what changes soonest first: owner, age, greatest age, next rotation, alarms.
    #[command(
        after_help = "Examples:\n  rekeyctl list\n  rekeyctl list --expiring-in 7d\n  rekeyctl list -o json | jq -r '.credentials[] | select(.age_percent > 90) | .name'"
    )]
    List(List),
    /// Writes down every credential, for an audit.
    #[command(
        subcommand,
        after_help = "Examples:\n  rekeyctl inventory export > inventory.csv\n  rekeyctl inventory export -o json"
    )]
    Inventory(InventoryCommand),
    /// Shows how a credential is declared.
    #[command(after_help = "Examples:\n  rekeyctl show orders/db\n  rekeyctl show orders/db -o json")]
    Show(Named),
    /// Says what a command would do, who holds the credential and what would break; changes nothing.
    #[command(subcommand, after_help = "Examples:\n  rekeyctl plan rotate orders/db")]
    Plan(PlanCommand),
    /// Moves a credential to a new version.
    #[command(
        after_help = "Examples:\n  rekeyctl rotate orders/db --wait\n  rekeyctl rotate orders/db --wait=moved --reason 'TICKET-7: contractor left'\n  rekeyctl rotate orders/db --wait --wait-timeout 2h"
    )]
    Rotate(Rotate),
    /// Sends everybody back to the version before, while that is still alive.
    #[command(
        after_help = "Examples:\n  rekeyctl rollback orders/db --reason 'reports fail since the rotation' --wait"
    )]
    Rollback(Rollback),
    /// Stops all automatic decisions about a credential until it is released.
    #[command(after_help = "Examples:\n  rekeyctl hold orders/db --reason 'release day'")]
    Hold(Hold),
    /// Takes a hold away.
    #[command(after_help = "Examples:\n  rekeyctl release orders/db")]
    Release(Named),
    /// Tries a rotation that is stuck, or that waits for its next attempt, again now.
    #[command(
        after_help = "Examples:\n  rekeyctl retry orders/db\n  rekeyctl retry orders/db --no-holders --reason 'the service is gone for good'"
    )]
    Retry(Retry),
    /// Tries the current version now, as its consumers would: a fresh login and the declared probes. Changes nothing.
    ///
    /// Exit code 3: it does not work, and the answer says why.
    #[command(after_help = "Examples:\n  rekeyctl verify orders/db\n  rekeyctl verify orders/db -o json")]
    Verify(Named),
    /// Has everybody who holds it told of it anew, and tries it at the target: for when something looks stale.
    ///
    /// No version and no order changes. Exit code 3: somebody who is connected did not confirm in time, or it does not work.
    #[command(after_help = "Examples:\n  rekeyctl refresh orders/db")]
    Refresh(Named),
    /// Writes down in the audit what was rotated by hand. Give ids, never values.
    #[command(
        after_help = "Examples:\n  rekeyctl record web/clerk --kind 'clerk secret key' --old sk_live_…4f2a --new sk_live_…9c01 --reason 'TICKET-9: automation was down'"
    )]
    Record(Record),
    /// Says which sidecars and processes hold a credential, and which sessions at the target use it.
    #[command(after_help = "Examples:\n  rekeyctl who orders/db\n  rekeyctl who orders/db@3 -o json")]
    Who(Who),
    /// Forgets a credential. Its logins at the target are ended or left: say which.
    #[command(
        after_help = "Examples:\n  rekeyctl delete orders/db --end\n  rekeyctl delete orders/db --leave --yes"
    )]
    Delete(Delete),
    /// Emergency: cuts a credential at the target and everywhere, makes a replacement, prints the receipt.
    ///
    /// NAME cuts every version that has not ended, NAME@VERSION only that one. Works while a rotation is under way.
    /// Typing it twice joins the first. Exit code 8: something is left to do, and the receipt says what.
    #[command(
        after_help = "Examples:\n  rekeyctl revoke orders/db --reason 'INC-42: key found in a log'\n  rekeyctl revoke orders/db@3 --reason 'INC-42'\n  rekeyctl revoke orders/db --reason 'decommissioned' --no-replacement"
    )]
    Revoke(Revoke),
    /// After a restore: says what the controller waits for before it does everything again, or has it go on now.
    ///
    /// A restored controller only reconciles: it asks its sidecars what they hold, and changes nothing but emergencies.
    /// It goes on by itself once all have told, or those that have not have been silent for long enough.
    #[command(
        after_help = "Examples:\n  rekeyctl reconcile\n  rekeyctl reconcile --now --reason 'the old pods are gone'"
    )]
    Reconcile(Reconcile),
    /// Lists and ends sidecars.
    #[command(subcommand)]
    Sidecar(SidecarCommand),
    /// Makes, lists and ends join tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Adds, lists and removes operators.
    #[command(subcommand)]
    Admin(AdminCommand),
    /// Shows and tries the webhooks that the controller's config has.
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// Reads the audit.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Keeps controllers and how to reach them, in ~/.config/rekey.
    #[command(subcommand)]
    Context(ContextCommand),
    /// Says who you are to the controller, and what you may do.
    #[command(after_help = "Examples:\n  rekeyctl whoami")]
    Whoami,
    /// Says which version this is, and the controller's if it answers.
    #[command(after_help = "Examples:\n  rekeyctl version -o json")]
    Version,
    /// Lists the exit codes.
    #[command(long_about = exit::TEXT, after_help = "Examples:\n  rekeyctl exit-codes -o json")]
    ExitCodes,
    /// Prints a completion script for a shell.
    #[command(after_help = "Examples:\n  rekeyctl completion bash > /etc/bash_completion.d/rekeyctl")]
    Completion {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// Arguments of `apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// A YAML file, a directory of them, or - for what is piped in; may be repeated.
    #[arg(short, long = "file", required = true, value_name = "PATH")]
    pub files: Vec<PathBuf>,
    /// Say what would change, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `adopt`.
#[derive(Debug, Args)]
pub struct Adopt {
    /// The credential.
    pub name: CredentialName,
    /// Read the password from this file (- for what is piped in); a line end at its end does not count.
    #[arg(long, value_name = "PATH")]
    pub password_file: Option<PathBuf>,
}

/// Arguments of `hand-in`.
#[derive(Debug, Args)]
pub struct HandIn {
    /// The credential.
    pub name: CredentialName,
    /// Nothing: taken so that a value here is refused with the reason why.
    #[arg(hide = true)]
    pub words: Vec<std::ffi::OsString>,
    /// Read the value from this file (- for what is piped in); a line end at its end does not count.
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// Say that this version was deleted where it was made; nothing is handed in.
    #[arg(long, value_name = "VERSION", conflicts_with_all = ["file", "wait"])]
    pub deleted: Option<Version>,
    /// How to wait.
    #[command(flatten)]
    pub wait: Wait,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// The credential; left out: all.
    pub name: Option<CredentialName>,
    /// Show it again whenever it changes, until interrupted.
    #[arg(short, long)]
    pub watch: bool,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only those whose next version is due within this time, overdue ones too.
    #[arg(long, value_name = "TIME")]
    pub expiring_in: Option<Span>,
}

/// What the inventory can do.
#[derive(Debug, Subcommand)]
pub enum InventoryCommand {
    /// Prints it as CSV (RFC 4180), or as JSON with `-o json`.
    #[command(after_help = "Examples:\n  rekeyctl inventory export > inventory.csv")]
    Export,
}

/// Arguments of `record`.
#[derive(Debug, Args)]
pub struct Record {
    /// The credential; it need not be one that Rekey looks after.
    pub name: CredentialName,
    /// What kind of thing it is.
    #[arg(long, value_name = "WORDS")]
    pub kind: String,
    /// The id of what was replaced; left out: there was none.
    #[arg(long, value_name = "ID", default_value = "")]
    pub old: String,
    /// The id of what replaced it.
    #[arg(long, value_name = "ID")]
    pub new: String,
    /// Why, and why by hand.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// One credential.
#[derive(Debug, Args)]
pub struct Named {
    /// The credential.
    pub name: CredentialName,
}

/// What can be planned.
#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// What `rekeyctl rotate` would do.
    #[command(after_help = "Examples:\n  rekeyctl plan rotate orders/db")]
    Rotate(Named),
}

/// Until when to follow a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// Until every holder uses the new version.
    Moved,
    /// Until the rotation has ended and with it the old version.
    Done,
}

/// How to wait for a rotation.
#[derive(Debug, Args)]
pub struct Wait {
    /// Follow the rotation until it is `done`, or only until every holder has `moved`.
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "done", value_name = "UNTIL")]
    pub wait: Option<Until>,
    /// Give up waiting after this time (the rotation goes on); left out: never.
    #[arg(long, requires = "wait", value_name = "TIME")]
    pub wait_timeout: Option<Span>,
}

/// Arguments of `rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    /// The credential.
    pub name: CredentialName,
    /// Why, for the audit.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub reason: String,
    /// How to wait.
    #[command(flatten)]
    pub wait: Wait,
}

/// Arguments of `rollback`.
#[derive(Debug, Args)]
pub struct Rollback {
    /// The credential.
    pub name: CredentialName,
    /// Why, for the audit.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub reason: String,
    /// How to wait.
    #[command(flatten)]
    pub wait: Wait,
}

/// Arguments of `hold`.
#[derive(Debug, Args)]
pub struct Hold {
    /// The credential.
    pub name: CredentialName,
    /// Why, for those who find it held.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// Arguments of `retry`.
#[derive(Debug, Args)]
pub struct Retry {
    /// The rotation's id, or the name of its credential.
    pub rotation: String,
    /// Let it go on although no sidecar is connected, and none is to come.
    #[arg(long, requires = "reason")]
    pub no_holders: bool,
    /// Why, for the audit.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub reason: String,
}

/// Arguments of `who`.
#[derive(Debug, Args)]
pub struct Who {
    /// The credential, or one version of it: NAME or NAME@VERSION.
    #[arg(value_name = "NAME[@VERSION]")]
    pub subject: Subject,
}

/// Arguments of `delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// The credential.
    pub name: CredentialName,
    /// End its logins at the target, sessions included.
    #[arg(long, conflicts_with = "leave")]
    pub end: bool,
    /// Leave its current login at the target as it is.
    #[arg(long)]
    pub leave: bool,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
}

/// Arguments of `reconcile`.
#[derive(Debug, Args)]
pub struct Reconcile {
    /// Do not wait for sidecars that have not said hello. What they hold is found at the target, and ended by evidence.
    #[arg(long, requires = "reason")]
    pub now: bool,
    /// Why, for the audit.
    #[arg(long, requires = "now", value_name = "TEXT")]
    pub reason: Option<String>,
    /// Do not ask.
    #[arg(short, long, requires = "now")]
    pub yes: bool,
}

/// Arguments of `revoke`.
#[derive(Debug, Args)]
pub struct Revoke {
    /// The credential, or one version of it: NAME or NAME@VERSION.
    #[arg(value_name = "NAME[@VERSION]")]
    pub subject: Subject,
    /// Why; it stands in the audit and on the receipt.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Make no replacement: the applications are left without.
    #[arg(long)]
    pub no_replacement: bool,
}

#[cfg(test)]
mod tests;
