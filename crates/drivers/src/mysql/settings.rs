//! What a target and an account are, as they are written and as they were checked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{Handle, SecretBytes, Span};
use schemars::JsonSchema;

use super::sql::LONGEST_NAME;
use crate::Problem;
use crate::target::{Route, Tls, TlsSettings, check_routes, check_secret, check_statements, check_times};

/// A MariaDB server as the controller's own config describes it: `targets.NAME.mysql`.
#[derive(Debug, Clone)]
pub struct TargetSettings {
    /// A DNS name, an address, or the path of a Unix socket (begins with `/`).
    pub host: String,
    /// The port.
    pub port: u16,
    /// Where consumers reach the server, if not as we do.
    pub consumer_host: Option<String>,
    /// The port for consumers, if not ours.
    pub consumer_port: Option<u16>,
    /// The rotator's account.
    pub user: String,
    /// The file with the rotator's password.
    pub password_file: PathBuf,
    /// TLS.
    pub tls: TlsSettings,
    /// The longest time until a connection is open and logged in.
    pub connect_timeout: Span,
    /// The longest time for one statement; the server ends it.
    pub statement_timeout: Span,
    /// The longest time that a sent statement may be on its way; the server ends a session that hears nothing for so long.
    pub transit: Span,
    /// The longest time for a whole call of the driver.
    pub call_timeout: Span,
}

/// A login in MariaDB. Each version is an account of its own, `<prefix>_v<version>_<nonce>`.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Mysql")]
pub struct Account {
    /// The database that consumers connect to.
    #[schemars(length(min = 1, max = 64))]
    pub database: String,
    /// The role that holds the privileges; each version is granted it, and it is its default.
    #[schemars(length(min = 1, max = 32))]
    pub role: String,
    /// What the names of Rekey's accounts begin with. No other credential at this target may have it.
    #[schemars(length(min = 1, max = 14), regex(pattern = r"^[a-z_][a-z0-9_]*$"))]
    pub prefix: String,
    /// Where logins may come from, as in `user@'from'`. Left out: from anywhere, `%`.
    #[schemars(default = "anywhere")]
    #[schemars(length(min = 1, max = 255))]
    pub from: String,
    /// The login that the application uses before the first rotation. It becomes version 1 once its password is handed
    /// in (`rekeyctl adopt`), and is ended by the same evidence as any other version. It is never dropped, only locked.
    pub adopt: Option<Adopt>,
    /// SQL statements that must succeed with a new version before anybody gets it, in a read-only transaction; at most 32.
    #[schemars(default)]
    #[schemars(length(max = 32))]
    pub probes: Vec<String>,
}

/// The login that the application uses before the first rotation.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "MysqlAdopt")]
pub struct Adopt {
    /// Its name.
    #[schemars(length(min = 1, max = 80))]
    pub login: String,
    /// Where it may come from, as in `user@'from'`. Left out: from anywhere, `%`.
    #[schemars(default = "anywhere")]
    #[schemars(length(min = 1, max = 255))]
    pub from: String,
}

/// One user in MariaDB that takes two passwords at once: for an application that can have no other name.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "MysqlUser")]
pub struct UserAccount {
    /// The database that consumers connect to.
    #[schemars(length(min = 1, max = 64))]
    pub database: String,
    /// The user. It exists, and its grants are yours: Rekey adds and removes passwords only. No other credential at this
    /// target may have it.
    #[schemars(length(min = 1, max = 80))]
    pub user: String,
    /// Where it may come from, as in `user@'from'`. Left out: from anywhere, `%`.
    #[schemars(default = "anywhere")]
    #[schemars(length(min = 1, max = 255))]
    pub from: String,
    /// The password that the application uses before the first rotation. It becomes version 1 once it is handed in
    /// (`rekeyctl adopt`), and is taken away by the same evidence as any other version.
    pub adopt: Option<AdoptPassword>,
    /// SQL statements that must succeed with a new version before anybody gets it, in a read-only transaction; at most 32.
    #[schemars(default)]
    #[schemars(length(max = 32))]
    pub probes: Vec<String>,
}

/// The password that the application uses before the first rotation.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "MysqlAdoptPassword")]
pub struct AdoptPassword {
    /// Its hash, as `SHOW CREATE USER` shows it.
    #[schemars(regex(pattern = r"^\*[0-9A-F]{40}$"))]
    pub hash: String,
}

/// Where logins may come from when nothing else is said.
pub(super) fn anywhere() -> String {
    "%".to_owned()
}

/// A MariaDB server, checked, with the rotator's password and the authority in hand.
#[derive(Debug, Clone)]
pub struct Target {
    pub(super) route: Route,
    pub(super) consumer: Route,
    pub(super) user: String,
    pub(super) password: Arc<SecretBytes>,
    pub(super) tls: Option<Tls>,
    pub(super) timeouts: Timeouts,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    pub(super) connect: Duration,
    pub(super) statement: Duration,
    pub(super) transit: Duration,
    pub(super) call: Duration,
}

impl Timeouts {
    /// The server counts whole seconds.
    pub(super) fn transit_seconds(self) -> u64 {
        self.transit.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
    }
}

impl TargetSettings {
    /// Everything that is wrong with these settings, without a look at any file.
    pub fn problems(&self) -> Vec<Problem> {
        let hosts = [("host", Some(self.host.as_str())), ("consumer_host", self.consumer_host.as_deref())];
        let consumer_port = self.consumer_port.unwrap_or(self.port);
        let mut problems = check_routes(&self.tls, hosts, [self.port, consumer_port]);
        check_name(&mut problems, "user", &self.user, 80);
        self.check_times(&mut problems);
        problems
    }

    /// The target, with the password and the authorities (PEM) that were read from the files named.
    pub fn with(&self, password: SecretBytes, ca_pem: Option<&[u8]>) -> Result<Target, Vec<Problem>> {
        let mut problems = self.problems();
        check_secret(&mut problems, "password_file", &password);
        let tls = self.tls.ready(ca_pem, problems)?;
        let route = Route { host: self.host.clone(), port: self.port };
        Ok(Target {
            consumer: route.of_consumers(self.consumer_host.as_ref(), self.consumer_port),
            route,
            user: self.user.clone(),
            password: Arc::new(password),
            tls,
            timeouts: Timeouts {
                connect: self.connect_timeout.get(),
                statement: self.statement_timeout.get(),
                transit: self.transit.get(),
                call: self.call_timeout.get(),
            },
        })
    }

    fn check_times(&self, problems: &mut Vec<Problem>) {
        let parts = [
            ("connect_timeout", self.connect_timeout),
            ("statement_timeout", self.statement_timeout),
            ("transit", self.transit),
        ];
        check_times(problems, &parts, self.call_timeout);
    }
}

impl Account {
    /// The longest prefix: five digits of a version and ten letters of a nonce must still fit into an account's name.
    pub const LONGEST_PREFIX: usize = 14;

    /// Everything that is wrong with these settings.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        check_name(&mut problems, "database", &self.database, 64);
        check_name(&mut problems, "role", &self.role, LONGEST_NAME);
        check_from(&mut problems, "from", &self.from);
        let letter = |c: u8| c.is_ascii_lowercase() || c == b'_';
        let prefix = self.prefix.as_bytes();
        if !prefix.first().copied().is_some_and(letter)
            || !prefix.iter().all(|&c| letter(c) || c.is_ascii_digit())
            || prefix.len() > Self::LONGEST_PREFIX
        {
            let message = format!("is 1 to {} of a-z, 0-9 and _", Self::LONGEST_PREFIX);
            problems.push(Problem::new("prefix", message));
        }
        self.check_adopt(&mut problems);
        check_statements(&mut problems, &self.probes);
        problems
    }

    fn check_adopt(&self, problems: &mut Vec<Problem>) {
        let Some(adopt) = &self.adopt else { return };
        check_name(problems, "adopt.login", &adopt.login, 80);
        check_from(problems, "adopt.from", &adopt.from);
        if adopt.login.strip_prefix(&self.prefix).is_some_and(|rest| rest.starts_with("_v")) {
            let message = "looks like a login that Rekey made itself (<prefix>_v…): choose another prefix";
            problems.push(Problem::new("adopt.login", message));
        }
        if adopt.login.parse::<Handle>().is_err() {
            problems.push(Problem::new("adopt.login", NOT_A_HANDLE));
        }
    }
}

impl UserAccount {
    /// Everything that is wrong with these settings.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        check_name(&mut problems, "database", &self.database, 64);
        check_name(&mut problems, "user", &self.user, 80);
        if self.user.parse::<Handle>().is_err() || self.user.contains('#') {
            problems.push(Problem::new("user", format!("{NOT_A_HANDLE}, a #")));
        }
        check_from(&mut problems, "from", &self.from);
        let hex = |text: &str| text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'A'..=b'F'));
        if let Some(AdoptPassword { hash }) = &self.adopt
            && !hash.strip_prefix('*').is_some_and(|rest| rest.len() == 40 && hex(rest))
        {
            let message = "is a * and 40 letters of 0-9 and A-F, as `SHOW CREATE USER` shows them";
            problems.push(Problem::new("adopt.hash", message));
        }
        check_statements(&mut problems, &self.probes);
        problems
    }
}

const NOT_A_HANDLE: &str =
    "has a character that a name at a target cannot have: a space, a quote, a backslash";

fn check_name(problems: &mut Vec<Problem>, field: &str, name: &str, longest: usize) {
    if name.is_empty() || name.len() > longest || name.chars().any(char::is_control) {
        problems.push(Problem::new(field, format!("is 1 to {longest} bytes without control characters")));
    }
}

fn check_from(problems: &mut Vec<Problem>, field: &str, from: &str) {
    let good = |c: u8| c.is_ascii_alphanumeric() || b".%_:/-".contains(&c);
    if from.is_empty() || from.len() > 255 || !from.bytes().all(good) {
        problems.push(Problem::new(field, "is a host as in user@'host', such as % or 10.1.%"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account {
            database: "orders".into(),
            role: "orders_app".into(),
            prefix: "orders".into(),
            from: "%".into(),
            adopt: None,
            probes: vec!["SELECT count(*) FROM orders".into()],
        }
    }

    fn wrong(change: impl FnOnce(&mut Account)) -> Vec<String> {
        let mut account = account();
        change(&mut account);
        account.problems().into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn good_settings_have_no_problem() {
        assert_eq!(account().problems(), []);
    }

    #[test]
    fn what_is_wrong_with_an_account_is_named() {
        assert_eq!(wrong(|a| a.prefix = "a".repeat(15)), ["prefix"]);
        assert_eq!(wrong(|a| a.prefix = "Orders".into()), ["prefix"]);
        assert_eq!(wrong(|a| a.from = "%' OR".into()), ["from"]);
        assert_eq!(wrong(|a| a.role = "r".repeat(33)), ["role"]);
        assert_eq!(wrong(|a| a.probes.push("  ".into())), ["probes[1]"]);
        let adopt = |login: &str| Some(Adopt { login: login.into(), from: "%".into() });
        assert_eq!(wrong(|a| a.adopt = adopt("orders_v1_x")), ["adopt.login"]);
        assert!(wrong(|a| a.adopt = adopt("orders_legacy")).is_empty());
    }

    #[test]
    fn what_is_wrong_with_a_user_is_named() {
        let wrong = |change: fn(&mut UserAccount)| -> Vec<String> {
            let Account { database, from, probes, .. } = account();
            let mut user = UserAccount { database, user: "orders".into(), from, adopt: None, probes };
            change(&mut user);
            user.problems().into_iter().map(|problem| problem.field).collect()
        };
        assert!(wrong(|_| {}).is_empty());
        assert_eq!(wrong(|u| u.user = "a#b".into()), ["user"]);
        assert_eq!(wrong(|u| u.user = "a b".into()), ["user"]);
        assert_eq!(wrong(|u| u.from = "%' OR".into()), ["from"]);
        assert_eq!(wrong(|u| u.adopt = Some(AdoptPassword { hash: "d821".into() })), ["adopt.hash"]);
        assert!(
            wrong(|u| u.adopt = Some(AdoptPassword { hash: format!("*{}", "0A".repeat(20)) })).is_empty()
        );
    }

    #[test]
    fn the_longest_prefix_leaves_room_for_a_whole_nonce() {
        assert!(Account::LONGEST_PREFIX + "_v99999_".len() + 10 <= LONGEST_NAME);
    }

    #[test]
    fn transit_is_rounded_up_to_what_the_server_counts() {
        let with = |ms| Timeouts {
            connect: Duration::ZERO,
            statement: Duration::ZERO,
            transit: Duration::from_millis(ms),
            call: Duration::ZERO,
        };
        assert_eq!([10, 1000, 1001].map(|ms| with(ms).transit_seconds()), [1, 1, 2]);
    }
}
