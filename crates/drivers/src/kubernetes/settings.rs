//! What a target and an account are, as they are written and as they were checked.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{SecretBytes, Span};
use schemars::JsonSchema;
use serde_json::{Value, json};

use super::{CACHED, rights};
use crate::Problem;
use crate::http::{Http, route};
use crate::target::{MOST_PROBES, TlsSettings, check_address, check_secret, check_times};

/// A cluster as the controller's own config describes it: `targets.NAME.kubernetes-token`.
#[derive(Debug, Clone)]
pub struct TargetSettings {
    /// Where the API server is: `https://10.0.0.1:6443`.
    pub server: String,
    /// Where consumers reach it, if elsewhere.
    pub consumer_server: Option<String>,
    /// The file with the rotator's token.
    pub token_file: PathBuf,
    /// TLS.
    pub tls: TlsSettings,
    /// The longest time until a connection is open.
    pub connect_timeout: Span,
    /// The longest time for one request.
    pub request_timeout: Span,
    /// The longest time for a whole call of the driver.
    pub call_timeout: Span,
    /// The API server's own limit for a request, its `--request-timeout`.
    pub server_timeout: Span,
}

/// A service account. Each version is one more token of it.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "KubernetesToken")]
pub struct Account {
    /// Its namespace.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub namespace: String,
    /// The service account. It exists, and its rights are yours: Rekey asks for tokens only.
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub service_account: String,
    /// Whom tokens are for; the API server if empty.
    #[schemars(default, length(max = 8))]
    pub audiences: Vec<String>,
    /// How long a token lives, 10 minutes at the least. A rotation begins well before.
    #[schemars(with = "String")]
    pub life: Span,
    /// What a token must be allowed to do before anybody gets it: `get configmaps/settings`, `list deployments.apps`.
    #[schemars(default, with = "Vec<String>", length(max = 32))]
    pub probes: Vec<Probe>,
}

/// Something that a token must be allowed to do in the namespace: `VERB RESOURCE[.GROUP][/NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    verb: String,
    resource: String,
    group: String,
    name: String,
}

/// A text that is no probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is VERB RESOURCE[.GROUP][/NAME], such as `get configmaps/settings`")]
pub struct NotAProbe;

impl FromStr for Probe {
    type Err = NotAProbe;

    fn from_str(text: &str) -> Result<Self, NotAProbe> {
        let (verb, what) = text.split_once(' ').ok_or(NotAProbe)?;
        let (what, name) = what.split_once('/').map_or((what, ""), |(what, name)| (what, name));
        let (resource, group) = what.split_once('.').unwrap_or((what, ""));
        let optional = |text: &str| text.is_empty() || is_subdomain(text, 253);
        if text.ends_with('/')
            || !is_label(verb)
            || !is_label(resource)
            || !optional(group)
            || !optional(name)
        {
            return Err(NotAProbe);
        }
        let [verb, resource, group, name] = [verb, resource, group, name].map(str::to_owned);
        Ok(Self { verb, resource, group, name })
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, resource, group, name } = self;
        write!(f, "{verb} {resource}")?;
        if !group.is_empty() {
            write!(f, ".{group}")?;
        }
        if name.is_empty() { Ok(()) } else { write!(f, "/{name}") }
    }
}

impl Probe {
    /// The question whether the asker may do this.
    pub(super) fn review(&self, namespace: &str) -> Value {
        let Self { verb, resource, group, name } = self;
        rights::review(&json!({
            "verb": verb, "resource": resource, "group": group, "name": name, "namespace": namespace
        }))
    }
}

/// A cluster, checked, with the rotator's token and the authority in hand.
#[derive(Debug, Clone)]
pub struct Target {
    pub(super) http: Http,
    pub(super) consumer: Http,
    pub(super) consumer_server: String,
    pub(super) token: Arc<SecretBytes>,
    pub(super) call: Duration,
    pub(super) server: Duration,
}

impl TargetSettings {
    /// Everything that is wrong with these settings, without a look at any file.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.tls.problems();
        problems.extend(check_address(&self.tls, "server", &self.server));
        let consumer = self.consumer_server.as_ref();
        problems.extend(consumer.and_then(|server| check_address(&self.tls, "consumer_server", server)));
        let parts = [("connect_timeout", self.connect_timeout), ("request_timeout", self.request_timeout)];
        check_times(&mut problems, &parts, self.call_timeout);
        if self.call_timeout.get() < CACHED + Duration::from_secs(1) {
            problems.push(Problem::new(
                "call_timeout",
                "is at least 12s: a token is accepted so long after its end",
            ));
        }
        if self.server_timeout.get() > Duration::from_hours(1) {
            problems.push(Problem::new("server_timeout", "is at most 1h"));
        }
        problems
    }

    /// The target, with the rotator's token and the authorities (PEM) that were read from the files named.
    pub fn with(&self, token: SecretBytes, ca_pem: Option<&[u8]>) -> Result<Target, Vec<Problem>> {
        let mut problems = self.problems();
        check_secret(&mut problems, "token_file", &token);
        let tls = self.tls.ready(ca_pem, problems)?;
        let consumer_server = self.consumer_server.as_ref().unwrap_or(&self.server);
        let http = |server: &str| {
            let (_, host, port) = route(server).unwrap_or_default();
            let (connect, request) = (self.connect_timeout.get(), self.request_timeout.get());
            Http { host, port, tls: tls.clone(), connect, request }
        };
        Ok(Target {
            http: http(&self.server),
            consumer: http(consumer_server),
            consumer_server: consumer_server.trim_end_matches('/').to_owned(),
            token: Arc::new(token),
            call: self.call_timeout.get(),
            server: self.server_timeout.get(),
        })
    }
}

impl Account {
    /// The most audiences.
    pub const MOST_AUDIENCES: usize = 8;

    /// Everything that is wrong with these settings.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !is_label(&self.namespace) {
            problems.push(Problem::new("namespace", "is 1 to 63 of a-z, 0-9 and '-'"));
        }
        if !is_subdomain(&self.service_account, 200) {
            problems.push(Problem::new("service_account", "is 1 to 200 of a-z, 0-9, '-' and '.'"));
        }
        if self.audiences.len() > Self::MOST_AUDIENCES {
            problems.push(Problem::new("audiences", format!("are at most {}", Self::MOST_AUDIENCES)));
        }
        for (index, audience) in self.audiences.iter().enumerate() {
            if audience.is_empty() || audience.len() > 253 || !audience.bytes().all(|c| c.is_ascii_graphic())
            {
                let message = "is 1 to 253 printable characters without spaces";
                problems.push(Problem::new(format!("audiences[{index}]"), message));
            }
        }
        if !(Duration::from_mins(10)..=Duration::from_hours(24 * 365)).contains(&self.life.get()) {
            problems.push(Problem::new("life", "is 10m to 365d: no API server grants less than 10 minutes"));
        }
        if self.probes.len() > MOST_PROBES {
            problems.push(Problem::new("probes", format!("are at most {MOST_PROBES}")));
        }
        problems
    }

    /// What the API server calls it.
    pub(super) fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.service_account)
    }
}

fn is_label(text: &str) -> bool {
    is_subdomain(text, 63) && !text.contains('.')
}

fn is_subdomain(text: &str, longest: usize) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let word = |word: &str| {
        let ends = [word.bytes().next(), word.bytes().last()];
        ends.iter().all(|end| end.is_some_and(plain)) && word.bytes().all(|c| plain(c) || c == b'-')
    };
    text.len() <= longest && text.split('.').all(word)
}

#[cfg(test)]
mod tests;
