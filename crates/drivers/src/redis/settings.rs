//! What a target and an account are, as they are written and as they were checked.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{SecretBytes, Span};
use schemars::JsonSchema;

use crate::Problem;
use crate::target::{Route, Tls, TlsSettings, check_probes, check_secret, check_times};

/// Once for each node, by an administrator, where what changes is kept by `ACL SAVE`. Then `ACL SETUSER rekey >…` with
/// the rotator's password.
pub const RIGHTS: &str = "ACL SETUSER rekey reset on -@all +acl|setuser +acl|getuser +acl|dryrun +acl|save \
    +config|get +client|list +client|kill +client|setname +time";

/// The same where it is kept by `CONFIG REWRITE`.
pub const RIGHTS_FOR_REWRITE: &str = "ACL SETUSER rekey reset on -@all +acl|setuser +acl|getuser +acl|dryrun \
    +config|rewrite +info +client|list +client|kill +client|setname +time";

/// The nodes of a Redis as the controller's own config describes them: `targets.NAME.redis`.
#[derive(Debug, Clone)]
pub struct TargetSettings {
    /// Every node, `host:port`. An ACL is not replicated, so replicas are nodes too.
    pub nodes: Vec<String>,
    /// Where consumers reach it, if not at the first node.
    pub consumer_host: Option<String>,
    /// The port for consumers, if not the first node's.
    pub consumer_port: Option<u16>,
    /// The rotator's user.
    pub user: String,
    /// The file with the rotator's password.
    pub password_file: PathBuf,
    /// How a change outlives a restart of a node.
    pub persist: Persist,
    /// TLS.
    pub tls: TlsSettings,
    /// The longest time until a connection is open and logged in.
    pub connect_timeout: Span,
    /// The longest time for one command.
    pub command_timeout: Span,
    /// The longest time for a whole call of the driver.
    pub call_timeout: Span,
}

/// How a change of a user outlives a restart of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Persist {
    /// `ACL SAVE` into the node's `aclfile`. The default.
    #[default]
    AclFile,
    /// `CONFIG REWRITE`, where users stand in `redis.conf` itself.
    ConfigRewrite,
    /// Not by us: the operator sees to it.
    None,
}

/// A user of Redis. Each version is one more password of it.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Redis")]
pub struct Account {
    /// The user. It exists, and its rules are yours: Rekey adds and removes passwords only.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_.:@-]+$"))]
    pub user: String,
    /// The password that the application uses before the first rotation. It becomes version 1 once it is handed in
    /// (`rekeyctl adopt`), and is taken away by the same evidence as any other version.
    pub adopt: Option<Adopt>,
    /// Whether the user is to have one password at a time, which replaces the one before at once. Left out: no, two are
    /// valid while applications move.
    #[schemars(default)]
    pub one_password: bool,
    /// Commands that must succeed with a new version before anybody gets it, words separated by spaces; at most 32. What
    /// they change stays changed.
    #[schemars(default)]
    #[schemars(length(max = 32))]
    pub probes: Vec<String>,
}

/// The password that the application uses before the first rotation.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "RedisAdopt")]
pub struct Adopt {
    /// Its SHA-256, as `ACL GETUSER` shows it.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: String,
}

/// The nodes, checked, with the rotator's password and the authority in hand.
#[derive(Debug, Clone)]
pub struct Target {
    pub(super) nodes: Vec<Route>,
    pub(super) consumer: Route,
    pub(super) user: String,
    pub(super) password: Arc<SecretBytes>,
    pub(super) persist: Persist,
    pub(super) tls: Option<Tls>,
    pub(super) timeouts: Timeouts,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    pub(super) connect: Duration,
    pub(super) command: Duration,
    pub(super) call: Duration,
}

/// A text that is no `host:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is host:port, a DNS name or an address (an IPv6 one in [ ])")]
pub(crate) struct NotARoute;

impl FromStr for Route {
    type Err = NotARoute;

    fn from_str(text: &str) -> Result<Self, NotARoute> {
        let (host, port) = text.rsplit_once(':').ok_or(NotARoute)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        let port = port.parse().ok().filter(|&port| port != 0).ok_or(NotARoute)?;
        let good = is_host(host) && (bare.is_some() || !host.contains(':'));
        if good { Ok(Self { host: host.to_owned(), port }) } else { Err(NotARoute) }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl TargetSettings {
    /// The most nodes.
    pub const MOST_NODES: usize = 64;

    /// Everything that is wrong with these settings, without a look at any file.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.tls.problems();
        if self.nodes.is_empty() || self.nodes.len() > Self::MOST_NODES {
            problems.push(Problem::new("nodes", format!("are 1 to {}, each host:port", Self::MOST_NODES)));
        }
        for (index, node) in self.nodes.iter().enumerate() {
            let field = format!("nodes[{index}]");
            match node.parse::<Route>() {
                Ok(route) => problems.extend(self.tls.problem_at(&field, &route.host)),
                Err(error) => problems.push(Problem::new(&field, error.to_string())),
            }
            if self.nodes.iter().take(index).any(|other| other == node) {
                problems.push(Problem::new(field, "is named twice"));
            }
        }
        if let Some(host) = &self.consumer_host {
            if !is_host(host) {
                problems.push(Problem::new("consumer_host", "is a DNS name or an address"));
            }
            problems.extend(self.tls.problem_at("consumer_host", host));
        }
        if self.consumer_port == Some(0) {
            problems.push(Problem::new("consumer_port", "is 1 to 65535"));
        }
        if !is_user(&self.user) {
            problems.push(Problem::new("user", NOT_A_USER));
        }
        self.check_times(&mut problems);
        problems
    }

    /// The target, with the password and the authorities (PEM) that were read from the files named.
    pub fn with(&self, password: SecretBytes, ca_pem: Option<&[u8]>) -> Result<Target, Vec<Problem>> {
        let mut problems = self.problems();
        check_secret(&mut problems, "password_file", &password);
        let nodes: Vec<Route> = self.nodes.iter().filter_map(|node| node.parse().ok()).collect();
        let Some(first) = nodes.first() else { return Err(problems) };
        let tls = self.tls.ready(ca_pem, problems)?;
        Ok(Target {
            consumer: first.of_consumers(self.consumer_host.as_ref(), self.consumer_port),
            nodes,
            user: self.user.clone(),
            password: Arc::new(password),
            persist: self.persist,
            tls,
            timeouts: Timeouts {
                connect: self.connect_timeout.get(),
                command: self.command_timeout.get(),
                call: self.call_timeout.get(),
            },
        })
    }

    fn check_times(&self, problems: &mut Vec<Problem>) {
        let parts = [("connect_timeout", self.connect_timeout), ("command_timeout", self.command_timeout)];
        check_times(problems, &parts, self.call_timeout);
    }
}

impl Account {
    /// Everything that is wrong with these settings.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !is_user(&self.user) {
            problems.push(Problem::new("user", NOT_A_USER));
        }
        if self.user == "default" && !self.one_password {
            let message = "is the user that every connection begins with: make one for the application";
            problems.push(Problem::new("user", message));
        }
        let hex = |text: &str| text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        if let Some(Adopt { sha256 }) = &self.adopt
            && (sha256.len() != 64 || !hex(sha256))
        {
            let message = "is 64 letters of 0-9 and a-f, as `ACL GETUSER` shows them";
            problems.push(Problem::new("adopt.sha256", message));
        }
        check_probes(&mut problems, &self.probes, "command", |_command| true);
        for (index, probe) in self.probes.iter().enumerate() {
            let first = probe.split_ascii_whitespace().next().unwrap_or_default().to_ascii_lowercase();
            if NOT_ONE_ANSWER.contains(&first.as_str()) {
                let message = "changes the connection: it can be no probe";
                problems.push(Problem::new(format!("probes[{index}]"), message));
            }
        }
        problems
    }
}

/// Commands after which a connection is another, or has more answers than one.
const NOT_ONE_ANSWER: [&str; 12] = [
    "auth",
    "client",
    "hello",
    "monitor",
    "multi",
    "psubscribe",
    "psync",
    "quit",
    "reset",
    "ssubscribe",
    "subscribe",
    "sync",
];

const NOT_A_USER: &str = "is 1 to 128 letters, digits, '-', '_', '.', ':' or '@'";

fn is_user(name: &str) -> bool {
    let good = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.' | b':' | b'@');
    (1..=128).contains(&name.len()) && name.bytes().all(good)
}

fn is_host(host: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '%');
    !host.is_empty() && host.chars().all(good)
}

#[cfg(test)]
mod tests;
