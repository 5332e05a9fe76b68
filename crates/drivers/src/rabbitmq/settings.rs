//! What a target and an account are, as they are written and as they were checked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{SecretBytes, Span};
use schemars::JsonSchema;

use crate::Problem;
use crate::http::{Http, route};
use crate::target::{TlsSettings, check_address, check_routes, check_secret, check_times};

/// Once for each broker, by an administrator, after `rabbitmqctl add_user rekey` with the rotator's password.
pub const RIGHTS: &str = "rabbitmqctl set_user_tags rekey administrator";

/// A RabbitMQ as the controller's own config describes it: `targets.NAME.rabbitmq`.
#[derive(Debug, Clone)]
pub struct TargetSettings {
    /// Where the management plugin listens: `https://rabbit.internal:15671`.
    pub address: String,
    /// Where consumers reach the broker, if not at the host of the address.
    pub consumer_host: Option<String>,
    /// The port for consumers; 5671 with TLS and 5672 without, if none.
    pub consumer_port: Option<u16>,
    /// The rotator's user.
    pub user: String,
    /// The file with the rotator's password.
    pub password_file: PathBuf,
    /// TLS, to the management plugin and to the broker.
    pub tls: TlsSettings,
    /// The longest time until a connection is open.
    pub connect_timeout: Span,
    /// The longest time for one request, and for one login of a probe.
    pub request_timeout: Span,
    /// How long a request that was given up may still be under way to the broker.
    pub transit: Span,
    /// The longest time for a whole call of the driver.
    pub call_timeout: Span,
}

/// Users of RabbitMQ. Each version is a user of its own, all with these tags and permissions.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Rabbitmq")]
pub struct Account {
    /// What the users' names begin with: `orders` gives `orders_v3_k2f9qd`.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_.-]+$"))]
    pub prefix: String,
    /// The user that the application logs in as before the first rotation. It becomes version 1 once its password is handed
    /// in (`rekeyctl adopt`); in the end it is left, with no password.
    pub adopt: Option<Adopt>,
    /// Tags that each user gets, such as `monitoring`. Not `administrator`, and none that begins with `rekey`.
    #[schemars(default, length(max = 8))]
    pub tags: Vec<String>,
    /// What each user may do, one entry for each virtual host.
    #[schemars(length(min = 1, max = 32))]
    pub permissions: Vec<Permission>,
}

/// The user that the application logs in as before the first rotation.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "RabbitmqAdopt")]
pub struct Adopt {
    /// Its name.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_.-]+$"))]
    pub login: String,
}

/// What a user may do at one virtual host: three regular expressions of the broker, as `rabbitmqctl set_permissions` takes
/// them. Left out: nothing.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "RabbitmqPermission")]
pub struct Permission {
    /// The virtual host. It exists, and is yours.
    #[schemars(length(min = 1, max = 255))]
    pub vhost: String,
    /// What it may declare and delete.
    #[schemars(default, length(max = 512))]
    pub configure: String,
    /// Where it may publish.
    #[schemars(default, length(max = 512))]
    pub write: String,
    /// What it may consume.
    #[schemars(default, length(max = 512))]
    pub read: String,
}

/// A RabbitMQ, checked, with the rotator's password and the authority in hand.
#[derive(Debug, Clone)]
pub struct Target {
    pub(super) http: Http,
    /// Where consumers log in.
    pub(super) consumer: Http,
    pub(super) user: String,
    pub(super) password: Arc<SecretBytes>,
    pub(super) transit: Duration,
    pub(super) call: Duration,
}

impl TargetSettings {
    /// Everything that is wrong with these settings, without a look at any file.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::from_iter(check_address(&self.tls, "address", &self.address));
        let hosts = [("address", None), ("consumer_host", self.consumer_host.as_deref())];
        let ports = [route(&self.address).map_or(1, |(.., port)| port), self.consumer_port.unwrap_or(1)];
        problems.extend(check_routes(&self.tls, hosts, ports));
        if !is_name(&self.user) {
            problems.push(Problem::new("user", NOT_A_NAME));
        }
        let limits = [
            ("connect_timeout", self.connect_timeout),
            ("request_timeout", self.request_timeout),
            ("transit", self.transit),
        ];
        check_times(&mut problems, &limits, self.call_timeout);
        problems
    }

    /// The target, with the password and the authorities (PEM) that were read from the files named.
    pub fn with(&self, password: SecretBytes, ca_pem: Option<&[u8]>) -> Result<Target, Vec<Problem>> {
        let mut problems = self.problems();
        check_secret(&mut problems, "password_file", &password);
        let tls = self.tls.ready(ca_pem, problems)?;
        let (_, host, port) = route(&self.address).unwrap_or_default();
        let (connect, request) = (self.connect_timeout.get(), self.request_timeout.get());
        let usual = if tls.is_some() { 5671 } else { 5672 };
        let consumer = Http {
            host: self.consumer_host.clone().unwrap_or_else(|| host.clone()),
            port: self.consumer_port.unwrap_or(usual),
            tls: tls.clone(),
            connect,
            request,
        };
        Ok(Target {
            http: Http { host, port, tls, connect, request },
            consumer,
            user: self.user.clone(),
            password: Arc::new(password),
            transit: self.transit.get(),
            call: self.call_timeout.get(),
        })
    }
}

impl Account {
    /// The most virtual hosts.
    pub const MOST_VHOSTS: usize = 32;
    /// The most tags.
    pub const MOST_TAGS: usize = 8;
    /// The most bytes of a permission's expression.
    pub const LONGEST_EXPRESSION: usize = 512;

    /// Everything that is wrong with these settings.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !is_name(&self.prefix) {
            problems.push(Problem::new("prefix", NOT_A_NAME));
        }
        if let Some(Adopt { login }) = &self.adopt {
            if !is_name(login) {
                problems.push(Problem::new("adopt.login", NOT_A_NAME));
            } else if login.starts_with(&format!("{}_v", self.prefix)) {
                problems
                    .push(Problem::new("adopt.login", "is called as a version is: choose another prefix"));
            }
        }
        if self.tags.len() > Self::MOST_TAGS {
            problems.push(Problem::new("tags", format!("are at most {}", Self::MOST_TAGS)));
        }
        for (index, tag) in self.tags.iter().enumerate() {
            let field = format!("tags[{index}]");
            if tag == "administrator" || tag.starts_with("rekey") {
                problems.push(Problem::new(field, "is not for an application"));
            } else if !is_name(tag) {
                problems.push(Problem::new(field, NOT_A_NAME));
            }
        }
        self.check_permissions(&mut problems);
        problems
    }

    fn check_permissions(&self, problems: &mut Vec<Problem>) {
        if !(1..=Self::MOST_VHOSTS).contains(&self.permissions.len()) {
            let message = format!("are 1 to {}, each with its vhost", Self::MOST_VHOSTS);
            problems.push(Problem::new("permissions", message));
        }
        for (index, permission) in self.permissions.iter().enumerate() {
            let Permission { vhost, configure, write, read } = permission;
            let field = |name: &str| format!("permissions[{index}].{name}");
            if !(1..=255).contains(&vhost.len()) || vhost.chars().any(char::is_control) {
                problems.push(Problem::new(field("vhost"), "is 1 to 255 bytes"));
            }
            if self.permissions.iter().take(index).any(|other| other.vhost == *vhost) {
                problems.push(Problem::new(field("vhost"), "is named twice"));
            }
            for (name, expression) in [("configure", configure), ("write", write), ("read", read)] {
                if expression.len() > Self::LONGEST_EXPRESSION || expression.chars().any(char::is_control) {
                    let message =
                        format!("is a regular expression of at most {} bytes", Self::LONGEST_EXPRESSION);
                    problems.push(Problem::new(field(name), message));
                }
            }
        }
    }
}

const NOT_A_NAME: &str = "is 1 to 128 letters, digits, '-', '_' or '.'";

fn is_name(name: &str) -> bool {
    let good = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    // Dots alone are taken out of a path before it is sent.
    (1..=128).contains(&name.len()) && name.bytes().all(good) && !name.bytes().all(|c| c == b'.')
}

#[cfg(test)]
mod tests;
