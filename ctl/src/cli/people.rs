//! Commands about sidecars, tokens, operators, webhooks, the audit and contexts.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use rekey_model::{CredentialName, Span, SpiffeId};

/// `rekeyctl sidecar …`
#[derive(Debug, Subcommand)]
pub enum SidecarCommand {
    /// Lists sidecars: who they are, whether they are connected, what they hold.
    #[command(after_help = "Examples:\n  rekeyctl sidecar list")]
    List,
    /// Ends a sidecar: it is cut off within a second and cannot come back without a new token.
    #[command(
        after_help = "Examples:\n  rekeyctl sidecar remove spiffe://rekey.local/sidecar/orders/a --reason 'host is gone'"
    )]
    Remove {
        /// The instance, or a SPIFFE id that only one instance has.
        sidecar: String,
        /// Why, for the audit.
        #[arg(long, default_value = "", value_name = "TEXT")]
        reason: String,
        /// Do not ask. Without a terminal nothing is asked anyway.
        #[arg(short, long)]
        yes: bool,
    },
}

/// `rekeyctl token …`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Makes a join token and prints it once, alone, on standard output.
    #[command(
        after_help = "Examples:\n  rekeyctl token create --for spiffe://rekey.local/sidecar/orders/a > join-token\n  rekeyctl token create --for spiffe://rekey.local/sidecar/orders/a --lives 5m"
    )]
    Create {
        /// Who joins with it.
        #[arg(long = "for", value_name = "SPIFFE-ID")]
        spiffe_id: SpiffeId,
        /// How long it is good, at most 1h.
        #[arg(long, default_value = "10m", value_name = "TIME")]
        lives: Span,
    },
    /// Lists tokens that nobody has used.
    #[command(after_help = "Examples:\n  rekeyctl token list")]
    List,
    /// Makes a token useless.
    #[command(after_help = "Examples:\n  rekeyctl token revoke 5f2c…")]
    Revoke {
        /// Its id, from `rekeyctl token list`.
        id: String,
    },
}

/// `rekeyctl webhook …`
#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// Lists webhooks: how far each is behind, and why.
    #[command(after_help = "Examples:\n  rekeyctl webhook list")]
    List,
    /// Sends a test now. One that was stopped, because its receiver said 410, goes on if the test worked.
    ///
    /// Exit code 1: it was not delivered, and the answer says why.
    #[command(after_help = "Examples:\n  rekeyctl webhook test ops")]
    Test {
        /// Its name in the controller's config.
        name: String,
    },
}

/// What an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleWord {
    /// May look.
    Viewer,
    /// May declare, adopt, rotate, roll back, hold, release, retry, record.
    Operator,
    /// May revoke in an emergency.
    Responder,
    /// May do everything.
    Admin,
}

/// `rekeyctl admin …`
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Adds an operator: makes a key here, has it signed, and writes a context that is ready to use.
    ///
    /// The key never leaves this machine. It is written with mode 0600.
    #[command(
        after_help = "Examples:\n  rekeyctl admin add alice --role operator --role responder\n  rekeyctl admin add ci --role operator --lives 24h --dir ./ci-identity"
    )]
    Add(AddAdmin),
    /// Lists operators.
    #[command(after_help = "Examples:\n  rekeyctl admin list")]
    List,
    /// Ends an operator's access within a second.
    #[command(after_help = "Examples:\n  rekeyctl admin remove alice")]
    Remove {
        /// The operator.
        name: String,
    },
}

/// Arguments of `admin add`.
#[derive(Debug, Args)]
pub struct AddAdmin {
    /// A name: a-z, 0-9, '-', '_' and '.'.
    pub name: String,
    /// What the operator may do; may be repeated.
    #[arg(long = "role", value_enum, required = true)]
    pub roles: Vec<RoleWord>,
    /// How long the certificate is good.
    #[arg(long, default_value = "30d", value_name = "TIME")]
    pub lives: Span,
    /// The address of the admin API as the operator reaches it, if the controller's own word for it is not right.
    #[arg(long, value_name = "HOST:PORT")]
    pub address: Option<String>,
    /// Write key and certificates here instead of into ~/.config/rekey, and no context.
    #[arg(long, value_name = "PATH")]
    pub dir: Option<PathBuf>,
}

/// `rekeyctl audit …`
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Shows audit records, the newest first.
    #[command(
        after_help = "Examples:\n  rekeyctl audit query --credential orders/db\n  rekeyctl audit query --verb revoke --limit 200 -o json"
    )]
    Query(AuditQuery),
}

/// Arguments of `audit query`.
#[derive(Debug, Args)]
pub struct AuditQuery {
    /// Only about this credential.
    #[arg(long, value_name = "NAME")]
    pub credential: Option<CredentialName>,
    /// Only with this verb, such as revoke.
    #[arg(long, default_value = "", value_name = "VERB")]
    pub verb: String,
    /// Only by this actor.
    #[arg(long, default_value = "", value_name = "NAME")]
    pub actor: String,
    /// At most so many records.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "N")]
    pub limit: u32,
    /// Only records older than this number.
    #[arg(long, default_value_t = 0, value_name = "SEQ")]
    pub before: u64,
}

/// `rekeyctl context …`
#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// Adds a context, or replaces the one of this name.
    #[command(
        after_help = "Examples:\n  rekeyctl context add prod --at rekey.example.com:8444 --ca ca.pem --cert me.pem --key me.key\n  rekeyctl context add here --at unix:/run/rekey-controller/admin.sock"
    )]
    Add(AddContext),
    /// Makes a context the one that is used when none is named.
    #[command(after_help = "Examples:\n  rekeyctl context use prod")]
    Use {
        /// The context.
        name: String,
    },
    /// Lists contexts.
    #[command(after_help = "Examples:\n  rekeyctl context list")]
    List,
    /// Forgets a context. Its key files stay where they are.
    #[command(after_help = "Examples:\n  rekeyctl context remove prod")]
    Remove {
        /// The context.
        name: String,
    },
}

/// Arguments of `context add`.
#[derive(Debug, Args)]
pub struct AddContext {
    /// The context's name.
    pub name: String,
    /// The controller: `unix:/path/of/admin.sock` or `host:port`.
    #[arg(long, value_name = "ADDRESS")]
    pub at: String,
    /// What to trust the controller by (PEM).
    #[arg(long, value_name = "PATH", requires_all = ["cert", "key"])]
    pub ca: Option<PathBuf>,
    /// Your certificate and its chain (PEM).
    #[arg(long, value_name = "PATH", requires_all = ["ca", "key"])]
    pub cert: Option<PathBuf>,
    /// Your key (PEM).
    #[arg(long, value_name = "PATH", requires_all = ["ca", "cert"])]
    pub key: Option<PathBuf>,
    /// The name in the controller's certificate, if it is not the host of the address.
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
}
