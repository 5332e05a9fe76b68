//! What a target and an account are, as they are written and as they were checked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{SecretBytes, Span};
use schemars::JsonSchema;

use super::link;
use crate::Problem;
use crate::target::{TlsSettings, check_address, check_secret, check_times};

/// An OpenBao as the controller's own config describes it: `targets.NAME.vault-approle`.
#[derive(Debug, Clone)]
pub struct TargetSettings {
    /// Where it is: `https://bao.internal:8200`.
    pub address: String,
    /// Where consumers reach it, if elsewhere.
    pub consumer_address: Option<String>,
    /// Where `AppRole` is enabled, below `auth/`.
    pub mount: String,
    /// How the rotator logs in.
    pub login: Login,
    /// The file with the rotator's token, or with its secret-id.
    pub secret_file: PathBuf,
    /// TLS.
    pub tls: TlsSettings,
    /// The longest time until a connection is open.
    pub connect_timeout: Span,
    /// The longest time for one request.
    pub request_timeout: Span,
    /// The longest time for a whole call of the driver.
    pub call_timeout: Span,
    /// OpenBao's own limit for a request, `max_request_duration` of its listener.
    pub max_request_duration: Span,
}

/// How the rotator logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// With a token.
    Token,
    /// With an `AppRole` of its own: a token is issued for each call, and revoked after it.
    AppRole {
        /// Where that `AppRole` is enabled, below `auth/`.
        mount: String,
        /// Its role id.
        role_id: String,
    },
}

/// A role of `AppRole`. Each version is one more secret-id of it.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "AppRole")]
pub struct Account {
    /// The role. It exists, and its policies are yours: Rekey makes and destroys secret-ids only.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_.-]+$"))]
    pub role: String,
    /// How long a secret-id lives; the role's `secret_id_ttl` if none. A rotation begins well before.
    #[schemars(with = "Option<String>")]
    pub ttl: Option<Span>,
    /// How often a secret-id may log in; as often as it likes if none. The probe's own login is added.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub num_uses: Option<u32>,
    /// From where a secret-id may log in; from everywhere if empty. The controller is among them, or no probe succeeds.
    #[schemars(default, length(max = 32))]
    pub cidrs: Vec<String>,
    /// What becomes of the tokens that were issued for a secret-id.
    #[schemars(default)]
    pub tokens: Tokens,
    /// Policies that a token must have before anybody gets the new secret-id.
    #[schemars(default, length(max = 32))]
    pub policies: Vec<String>,
    /// Paths that a token must be able to read before anybody gets the new secret-id, such as `secret/data/orders`.
    #[schemars(default, length(max = 32))]
    pub probes: Vec<String>,
}

/// What becomes of the tokens that were issued for a secret-id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema)]
#[schemars(rename = "AppRoleTokens", rename_all = "lowercase")]
pub enum Tokens {
    /// They are seen by their accessors, waited for in peace, and revoked in an emergency. The default.
    #[default]
    Watch,
    /// They are left alone, and live as long as their own life is.
    Leave,
}

/// An OpenBao, checked, with the rotator's secret and the authority in hand.
#[derive(Debug, Clone)]
pub struct Target {
    pub(super) address: String,
    pub(super) consumer: String,
    pub(super) mount: String,
    pub(super) login: Login,
    pub(super) secret: Arc<SecretBytes>,
    pub(super) http: reqwest::Client,
    pub(super) timeouts: Timeouts,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    pub(super) connect: Duration,
    pub(super) request: Duration,
    pub(super) call: Duration,
    pub(super) server: Duration,
}

impl TargetSettings {
    /// Everything that is wrong with these settings, without a look at any file.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.tls.problems();
        if self.tls.server_name.is_some() {
            problems.push(Problem::new(
                "tls.server_name",
                "is not for this driver: it is the host of the address",
            ));
        }
        problems.extend(check_address(&self.tls, "address", &self.address));
        let consumer = self.consumer_address.as_ref();
        problems.extend(consumer.and_then(|address| check_address(&self.tls, "consumer_address", address)));
        if !is_path(&self.mount) {
            problems.push(Problem::new("mount", NOT_A_PATH));
        }
        if let Login::AppRole { mount, role_id } = &self.login {
            if !is_path(mount) {
                problems.push(Problem::new("login.mount", NOT_A_PATH));
            }
            if role_id.is_empty() || role_id.len() > 256 {
                problems.push(Problem::new("login.role_id", "is what `auth/MOUNT/role/ROLE/role-id` shows"));
            }
        }
        let parts = [("connect_timeout", self.connect_timeout), ("request_timeout", self.request_timeout)];
        check_times(&mut problems, &parts, self.call_timeout);
        if self.max_request_duration.get() > Duration::from_hours(1) {
            problems.push(Problem::new("max_request_duration", "is at most 1h"));
        }
        problems
    }

    /// The target, with the rotator's secret and the authorities (PEM) that were read from the files named.
    pub fn with(&self, secret: SecretBytes, ca_pem: Option<&[u8]>) -> Result<Target, Vec<Problem>> {
        let mut problems = self.problems();
        check_secret(&mut problems, self.secret_field(), &secret);
        let tls = self.tls.ready(ca_pem, problems)?;
        let timeouts = Timeouts {
            connect: self.connect_timeout.get(),
            request: self.request_timeout.get(),
            call: self.call_timeout.get(),
            server: self.max_request_duration.get(),
        };
        let http = link::http(tls.as_ref(), timeouts).map_err(|why| vec![Problem::new("tls", why)])?;
        let bare = |address: &str| address.trim_end_matches('/').to_owned();
        Ok(Target {
            address: bare(&self.address),
            consumer: bare(self.consumer_address.as_ref().unwrap_or(&self.address)),
            mount: self.mount.clone(),
            login: self.login.clone(),
            secret: Arc::new(secret),
            http,
            timeouts,
        })
    }

    /// The field that names the rotator's secret.
    pub(super) fn secret_field(&self) -> &'static str {
        match self.login {
            Login::Token => "token_file",
            Login::AppRole { .. } => "login.secret_id_file",
        }
    }
}

impl Account {
    /// The most probes, policies and networks that an account may have.
    pub const MOST: usize = 32;

    /// Everything that is wrong with these settings.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !is_word(&self.role) || self.role.len() > 128 {
            problems.push(Problem::new("role", "is 1 to 128 letters, digits, '-', '_' or '.'"));
        }
        if let Some(ttl) = self.ttl
            && !(Duration::from_mins(1)..=Duration::from_hours(24 * 3650)).contains(&ttl.get())
        {
            problems.push(Problem::new("ttl", "is 1m to 3650d"));
        }
        if self.num_uses.is_some_and(|uses| !(1..=1_000_000).contains(&uses)) {
            problems.push(Problem::new("num_uses", "is 1 to 1000000; leave it out for no limit"));
        }
        let lists = [("cidrs", &self.cidrs), ("policies", &self.policies), ("probes", &self.probes)];
        for (field, list) in lists {
            if list.len() > Self::MOST {
                problems.push(Problem::new(field, format!("are at most {}", Self::MOST)));
            }
        }
        for (index, cidr) in self.cidrs.iter().enumerate() {
            if cidr.is_empty() || !cidr.bytes().all(|c| c.is_ascii_hexdigit() || b".:/".contains(&c)) {
                problems.push(Problem::new(format!("cidrs[{index}]"), "is a network such as 10.0.0.0/8"));
            }
        }
        for (index, path) in self.probes.iter().enumerate() {
            if !is_path(path) {
                problems.push(Problem::new(format!("probes[{index}]"), NOT_A_PATH));
            }
        }
        problems
    }
}

const NOT_A_PATH: &str = "is a path: words of letters, digits, '-', '_' and '.', with '/' between them";

fn is_word(text: &str) -> bool {
    let good = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    !text.is_empty() && text.bytes().all(good) && !text.bytes().all(|c| c == b'.')
}

fn is_path(text: &str) -> bool {
    text.len() <= 512 && text.split('/').all(is_word)
}

#[cfg(test)]
mod tests;
