//! What a target and an account are, as they are written and as they were checked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{SecretBytes, Span};
use schemars::JsonSchema;

use super::link::ChannelBinding;
use super::quote::{self, LONGEST_NAME};
use crate::Problem;
use crate::follower::Way;
use crate::target::{Route, Tls, TlsSettings, check_routes, check_statements, check_times};

/// A PostgreSQL server as the controller's own config describes it: `targets.NAME.postgres`.
#[derive(Debug, Clone)]
pub struct TargetSettings {
    /// A DNS name, an address, or the folder of a Unix socket (begins with `/`).
    pub host: String,
    /// The port.
    pub port: u16,
    /// Where consumers reach the server, if not as we do.
    pub consumer_host: Option<String>,
    /// The port for consumers, if not ours.
    pub consumer_port: Option<u16>,
    /// The database that the rotator logs in to for what concerns roles.
    pub admin_database: String,
    /// The rotator's login.
    pub user: String,
    /// The file with the rotator's password; empty: there is no rotator, and passwords there are only followed.
    pub password_file: PathBuf,
    /// TLS.
    pub tls: TlsSettings,
    /// The longest time until a connection is open and logged in.
    pub connect_timeout: Span,
    /// The longest time for one statement; the server ends it.
    pub statement_timeout: Span,
    /// The longest time that a sent statement may be on its way; the server ends a transaction that waits longer.
    pub transit: Span,
    /// The longest time for a whole call of the driver.
    pub call_timeout: Span,
    /// After which time a version that was never put into use stops working by itself.
    pub pending_life: Span,
}

/// A login role in PostgreSQL. Each version is a role of its own, `<prefix>_v<version>_<nonce>`.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Postgres")]
pub struct Account {
    /// The database that consumers connect to.
    #[schemars(length(min = 1, max = 63))]
    pub database: String,
    /// The NOLOGIN role that owns the objects; each version becomes its member.
    #[schemars(length(min = 1, max = 63))]
    pub owner_role: String,
    /// What the names of Rekey's login roles begin with. No other credential at this target may have it.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[a-z_][a-z0-9_]*$"))]
    pub prefix: String,
    /// The login that the application uses before the first rotation. It becomes version 1 once its password is handed
    /// in (`rekeyctl adopt`), and is ended by the same evidence as any other version. It is never dropped, only disabled.
    pub adopt: Option<Adopt>,
    /// The search path of every version's login. Left out: the database's own.
    #[schemars(default)]
    #[schemars(length(max = 16))]
    pub search_path: Vec<String>,
    /// SQL statements that must succeed with a new version before anybody gets it; each is rolled back; at most 32.
    #[schemars(default)]
    #[schemars(length(max = 32))]
    pub probes: Vec<String>,
}

/// The login that the application uses before the first rotation.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Adopt {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub login: String,
    /// Whether it is to become a member of the owner role. Left out: no.
    #[schemars(default)]
    pub member: bool,
}

/// A PostgreSQL server, checked, with the rotator's password and the authority in hand.
#[derive(Debug, Clone)]
pub struct Target {
    pub(super) route: Route,
    pub(super) consumer: Route,
    pub(super) admin_database: String,
    pub(super) user: String,
    pub(super) password: Arc<SecretBytes>,
    pub(super) tls: Option<Tls>,
    pub(super) consumer_tls: Option<Tls>,
    pub(super) consumer_binding: ChannelBinding,
    pub(super) timeouts: Timeouts,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    pub(crate) connect: Duration,
    pub(crate) statement: Duration,
    pub(crate) transit: Duration,
    pub(crate) call: Duration,
    pub(crate) pending_life: Duration,
}

impl TargetSettings {
    /// Everything that is wrong with these settings, without a look at any file.
    pub fn problems(&self) -> Vec<Problem> {
        let hosts = [("host", Some(self.host.as_str())), ("consumer_host", self.consumer_host.as_deref())];
        let consumer_port = self.consumer_port.unwrap_or(self.port);
        let mut problems = check_routes(&self.tls, hosts, [self.port, consumer_port]);
        check_name(&mut problems, "admin_database", &self.admin_database);
        if self.has_rotator() {
            check_name(&mut problems, "user", &self.user);
        }
        self.check_times(&mut problems);
        problems
    }

    /// Whether there is a login that may change others.
    pub(super) fn has_rotator(&self) -> bool {
        !self.password_file.as_os_str().is_empty()
    }

    /// The same server where nobody logs in but as consumers do.
    pub(super) fn without_rotator(&self) -> Self {
        Self { user: String::new(), password_file: PathBuf::new(), ..self.clone() }
    }

    /// The target, with the password and the authorities (PEM) that were read from the files named. Where there is no
    /// rotator the password is never used.
    pub fn with(&self, password: SecretBytes, ca_pem: Option<&[u8]>) -> Result<Target, Vec<Problem>> {
        let mut problems = self.problems();
        if self.has_rotator() && (password.size() == 0 || password.expose().contains(&0)) {
            problems.push(Problem::new("password_file", "holds no password, or one with a NUL byte"));
        }
        let tls = self.tls.ready(ca_pem, problems)?;
        Ok(Target {
            route: self.route(),
            consumer: self.consumer(),
            admin_database: self.admin_database.clone(),
            user: self.user.clone(),
            password: Arc::new(password),
            consumer_tls: tls.clone(),
            consumer_binding: ChannelBinding::Require,
            tls,
            timeouts: Timeouts {
                connect: self.connect_timeout.get(),
                statement: self.statement_timeout.get(),
                transit: self.transit.get(),
                call: self.call_timeout.get(),
                pending_life: self.pending_life.get(),
            },
        })
    }

    /// Where consumers reach the server itself.
    pub(super) fn consumer(&self) -> Route {
        self.route().of_consumers(self.consumer_host.as_ref(), self.consumer_port)
    }

    fn route(&self) -> Route {
        Route { host: self.host.clone(), port: self.port }
    }

    fn check_times(&self, problems: &mut Vec<Problem>) {
        let parts = [
            ("connect_timeout", self.connect_timeout),
            ("statement_timeout", self.statement_timeout),
            ("transit", self.transit),
        ];
        check_times(problems, &parts, self.call_timeout);
        let life = self.pending_life.get();
        if life < Duration::from_secs(1) || life > Duration::from_hours(30 * 24) {
            problems.push(Problem::new("pending_life", "is 1s to 30d"));
        }
    }
}

impl Target {
    /// The same server, which consumers reach by way of another.
    pub(super) fn by(self, way: Way) -> Self {
        let consumer = Route { host: way.host, port: way.port };
        Self { consumer, consumer_tls: way.tls, consumer_binding: ChannelBinding::Disable, ..self }
    }
}

impl Account {
    /// The longest prefix: a version and a nonce must still fit into a role's name.
    pub const LONGEST_PREFIX: usize = 32;

    /// Everything that is wrong with these settings.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        check_name(&mut problems, "database", &self.database);
        check_name(&mut problems, "owner_role", &self.owner_role);
        for (index, schema) in self.search_path.iter().enumerate() {
            check_name(&mut problems, &format!("search_path[{index}]"), schema);
        }
        let letter = |c: u8| c.is_ascii_lowercase() || c == b'_';
        let prefix = self.prefix.as_bytes();
        if !prefix.first().copied().is_some_and(letter)
            || !prefix.iter().all(|&c| letter(c) || c.is_ascii_digit())
            || prefix.len() > Self::LONGEST_PREFIX
            || self.prefix.starts_with("pg_")
        {
            let message =
                format!("is 1 to {} of a-z, 0-9 and _, and does not begin with pg_", Self::LONGEST_PREFIX);
            problems.push(Problem::new("prefix", message));
        }
        self.check_adopt(&mut problems);
        check_statements(&mut problems, &self.probes);
        problems
    }

    fn check_adopt(&self, problems: &mut Vec<Problem>) {
        let Some(adopt) = &self.adopt else { return };
        check_name(problems, "adopt.login", &adopt.login);
        if adopt.login == self.owner_role {
            problems
                .push(Problem::new("adopt.login", "is the owner role itself: the owner role has no login"));
        }
        if adopt.login.strip_prefix(&self.prefix).is_some_and(|rest| rest.starts_with("_v")) {
            let message = "looks like a login that Rekey made itself (<prefix>_v…): choose another prefix";
            problems.push(Problem::new("adopt.login", message));
        }
        if adopt.login.parse::<rekey_model::Handle>().is_err() {
            let message =
                "has a character that a name at a target cannot have: a space, a quote, a backslash";
            problems.push(Problem::new("adopt.login", message));
        }
    }
}

pub(super) fn check_name(problems: &mut Vec<Problem>, field: &str, name: &str) {
    if quote::identifier(name).is_err() {
        problems.push(Problem::new(field, format!("is 1 to {LONGEST_NAME} bytes without NUL")));
    }
}

#[cfg(test)]
mod tests;
