//! What a `PgBouncer` is, as it is written and as it was checked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{SecretBytes, Span};

use crate::Problem;
use crate::follower::Way;
use crate::postgres::settings::Timeouts;
use crate::target::{Route, Tls, TlsSettings, check_routes, check_times};

/// A `PgBouncer` as the controller's own config describes it: `targets.NAME.pgbouncer`.
#[derive(Debug, Clone)]
pub struct TargetSettings {
    /// Where we reach its console: a DNS name, an address, or the folder of a Unix socket (begins with `/`).
    pub host: String,
    /// The port.
    pub port: u16,
    /// Where consumers reach it, if not as we do.
    pub consumer_host: Option<String>,
    /// The port for consumers, if not ours.
    pub consumer_port: Option<u16>,
    /// A login that its `admin_users` names.
    pub user: String,
    /// The file with that login's password.
    pub password_file: PathBuf,
    /// The file that its `auth_file` names, as the controller reaches it; none where it asks the server (`auth_query`).
    pub userlist: Option<PathBuf>,
    /// TLS.
    pub tls: TlsSettings,
    /// The longest time until a connection is open and logged in.
    pub connect_timeout: Span,
    /// The longest time for one command, and for other writers of the file.
    pub command_timeout: Span,
    /// The longest time for a whole call.
    pub call_timeout: Span,
}

/// A `PgBouncer`, checked, with its administrator's password and the authority in hand.
#[derive(Debug, Clone)]
pub struct Target {
    pub(super) route: Route,
    consumer: Route,
    pub(super) user: String,
    pub(super) password: Arc<SecretBytes>,
    pub(super) userlist: Option<PathBuf>,
    pub(super) tls: Option<Tls>,
    pub(super) timeouts: Timeouts,
}

impl Target {
    /// How consumers come to the server by way of it.
    pub(crate) fn way(&self) -> Way {
        let Route { host, port } = self.consumer.clone();
        Way { host, port, tls: self.tls.clone() }
    }
}

impl TargetSettings {
    /// Everything that is wrong with these settings, without a look at any file.
    pub fn problems(&self) -> Vec<Problem> {
        let hosts = [("host", Some(self.host.as_str())), ("consumer_host", self.consumer_host.as_deref())];
        let consumer_port = self.consumer_port.unwrap_or(self.port);
        let mut problems = check_routes(&self.tls, hosts, [self.port, consumer_port]);
        if self.user.is_empty() || self.user.len() > 63 || self.user.contains('\0') {
            problems.push(Problem::new("user", "is 1 to 63 bytes without NUL"));
        }
        if self.userlist.as_ref().is_some_and(|path| path.file_name().is_none()) {
            problems.push(Problem::new("userlist", "is the path of a file"));
        }
        let parts = [("connect_timeout", self.connect_timeout), ("command_timeout", self.command_timeout)];
        check_times(&mut problems, &parts, self.call_timeout);
        problems
    }

    /// The target, with the password and the authorities (PEM) that were read from the files named.
    pub fn with(&self, password: SecretBytes, ca_pem: Option<&[u8]>) -> Result<Target, Vec<Problem>> {
        let mut problems = self.problems();
        if password.size() == 0 || password.expose().contains(&0) {
            problems.push(Problem::new("password_file", "holds no password, or one with a NUL byte"));
        }
        let tls = self.tls.ready(ca_pem, problems)?;
        let route = Route { host: self.host.clone(), port: self.port };
        Ok(Target {
            consumer: route.of_consumers(self.consumer_host.as_ref(), self.consumer_port),
            route,
            user: self.user.clone(),
            password: Arc::new(password),
            userlist: self.userlist.clone(),
            tls,
            timeouts: Timeouts {
                connect: self.connect_timeout.get(),
                statement: self.command_timeout.get(),
                transit: Duration::ZERO,
                call: self.call_timeout.get(),
                pending_life: Duration::ZERO,
            },
        })
    }
}
