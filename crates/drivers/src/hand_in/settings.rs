//! What a target and an account are, as they are written and as they were checked.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use hyper::header::{HOST, HeaderName};
use rekey_model::{Label, Span};
use schemars::JsonSchema;

use crate::Problem;
use crate::by_hand::{ByHand, unknown_word};
use crate::http::{Http, route};
use crate::target::{TlsSettings, check_endpoint, check_times};

/// A provider as the controller's own config describes it: `targets.NAME.hand-in`.
#[derive(Debug, Clone)]
pub struct TargetSettings {
    /// Where its API is, `https://api.clerk.com`; none: nothing there can be asked.
    pub address: Option<String>,
    /// TLS.
    pub tls: TlsSettings,
    /// The longest time until a connection is open and secured.
    pub connect_timeout: Span,
    /// The longest time for one request after that.
    pub request_timeout: Span,
    /// The longest time for a whole call of the driver.
    pub call_timeout: Span,
}

/// What a person makes at a provider. Each version is one more value that is handed in.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "HandIn")]
pub struct Account {
    /// What people call it there: versions are called `<name>_v<version>`.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"))]
    pub name: String,
    /// The page where a person makes a new one and deletes the old one. It is shown, never fetched.
    #[schemars(length(max = 200), regex(pattern = "^https://"))]
    pub page: String,
    /// What a person does there for a new version; `{name}` is what it is to be called.
    #[schemars(default, length(max = 16))]
    pub steps: Vec<String>,
    /// What a person does there about an old version; `{old}` is what that is called.
    #[schemars(default, length(max = 16))]
    pub delete: Vec<String>,
    /// Where somebody else's machine leaves the value that it rotates, by a name of the target's `follows`: nobody hands
    /// anything in then, and what is found there is proven and delivered. Left out: a person hands it in.
    #[schemars(with = "Option<String>", length(min = 1, max = 128))]
    pub follow: Option<Label>,
    /// A request that tells whether a value works. Left out: nobody is asked, and values are taken on a person's word.
    pub probe: Option<Probe>,
    /// How long before the due date people are told. Left out: 14d.
    #[schemars(with = "Option<String>")]
    pub notice: Option<Span>,
    /// How long a value works before the provider ends it. A rotation begins well before.
    #[schemars(with = "Option<String>")]
    pub life: Option<Span>,
}

/// A request that tells whether a value works.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "HandInProbe")]
pub struct Probe {
    /// What is asked for at the target's address: `/v1/me`. It changes nothing there.
    #[schemars(regex(pattern = "^/"))]
    pub get: String,
    /// The header that holds the value: `Authorization: Bearer {value}`.
    #[schemars(with = "String", regex(pattern = r"\{value\}"))]
    pub header: Header,
    /// The statuses that say that it works. Left out: 200.
    #[schemars(default, length(max = 16))]
    pub good: Vec<u16>,
    /// The statuses that say that it does not, or no longer. Left out: 401 and 403. Any other proves nothing.
    #[schemars(default, length(max = 16))]
    pub refused: Vec<u16>,
}

/// A header with a place for the value.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    pub(super) name: HeaderName,
    pub(super) before: String,
    pub(super) after: String,
}

/// A text that is no header with a place for the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is NAME: TEXT with `{{value}}` in the text once, such as `Authorization: Bearer {{value}}`")]
pub struct NotAHeader;

impl FromStr for Header {
    type Err = NotAHeader;

    fn from_str(text: &str) -> Result<Self, NotAHeader> {
        let (name, text) = text.split_once(':').ok_or(NotAHeader)?;
        let name: HeaderName = name.trim().parse().map_err(|_name| NotAHeader)?;
        let (before, after) = text.trim().split_once("{value}").ok_or(NotAHeader)?;
        let plain = |text: &str| text.bytes().all(|c| c == b' ' || c.is_ascii_graphic());
        if name == HOST || after.contains("{value}") || !plain(before) || !plain(after) {
            return Err(NotAHeader);
        }
        Ok(Self { name, before: before.to_owned(), after: after.to_owned() })
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{{value}}{}", self.name, self.before, self.after)
    }
}

/// The provider, checked, with the authority in hand.
#[derive(Debug, Clone)]
pub struct Target {
    pub(super) http: Option<Http>,
    pub(super) call: Duration,
}

impl Target {
    /// Whether there is somebody to ask.
    pub(super) fn has_address(&self) -> bool {
        self.http.is_some()
    }
}

impl TargetSettings {
    /// Everything that is wrong with these settings, without a look at any file.
    pub fn problems(&self) -> Vec<Problem> {
        let address = self.address.as_deref();
        let mut problems =
            address.map(|address| check_endpoint(&self.tls, "address", address)).unwrap_or_default();
        let parts = [("connect_timeout", self.connect_timeout), ("request_timeout", self.request_timeout)];
        check_times(&mut problems, &parts, self.call_timeout);
        problems
    }

    /// The target, with the authorities (PEM) that were read from the file named.
    pub fn with(&self, ca_pem: Option<&[u8]>) -> Result<Target, Vec<Problem>> {
        let problems = self.problems();
        if !problems.is_empty() {
            return Err(problems);
        }
        let http = match self.address.as_deref().and_then(route) {
            None => None,
            Some((scheme, host, port)) => {
                let tls = if scheme == "https" { self.tls.ready(ca_pem, problems)? } else { None };
                let (connect, request) = (self.connect_timeout.get(), self.request_timeout.get());
                Some(Http { host, port, tls, connect, request })
            }
        };
        Ok(Target { http, call: self.call_timeout.get() })
    }
}

impl Account {
    /// How long before the due date people are told, unless it is declared.
    const NOTICE: Duration = Duration::from_hours(14 * 24);
    /// The most steps, or statuses, of one kind.
    pub(super) const MOST: usize = 16;
    /// The longest page or path.
    const LONGEST: usize = 200;
    /// The longest that all steps of one kind are together: they are told in one message.
    const LONGEST_STEPS: usize = 400;

    /// What a person does.
    pub(super) fn by_hand(&self) -> ByHand {
        ByHand {
            name: self.name.clone(),
            page: self.page.clone(),
            steps: self.steps.clone(),
            delete: self.delete.clone(),
            notice: self.notice.map_or(Self::NOTICE, Span::get),
            proven: self.probe.is_some(),
        }
    }

    /// Everything that is wrong with these settings.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let good = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        let first = self.name.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
        if !first || self.name.len() > 64 || !self.name.bytes().all(good) {
            problems.push(Problem::new("name", "is 1 to 64 letters, digits, '.', '_' and '-'"));
        }
        let page = self.page.strip_prefix("https://");
        if !page.is_some_and(|it| !it.is_empty() && it.bytes().all(|c| c.is_ascii_graphic()))
            || self.page.len() > Self::LONGEST
        {
            problems.push(Problem::new("page", "is https://…, at most 200 characters, none of them a space"));
        }
        for (field, steps, word) in [("steps", &self.steps, "name"), ("delete", &self.delete, "old")] {
            for (index, step) in steps.iter().enumerate() {
                let message = if step.is_empty() || step.chars().any(char::is_control) {
                    Some("is one line with something in it".to_owned())
                } else {
                    unknown_word(step, word).then(|| format!("has no other words in braces than {{{word}}}"))
                };
                problems.extend(message.map(|it| Problem::new(format!("{field}[{index}]"), it)));
            }
            if steps.iter().map(String::len).sum::<usize>() > Self::LONGEST_STEPS {
                problems.push(Problem::new(field, "has at most 400 bytes in all: it is told in one message"));
            }
        }
        if self.life.is_some_and(|life| life.get() < Duration::from_mins(10)) {
            problems.push(Problem::new("life", "is at least 10m"));
        }
        let asks = [
            ("steps", !self.steps.is_empty()),
            ("notice", self.notice.is_some()),
            ("life", self.life.is_some()),
        ];
        for (field, _) in asks.into_iter().filter(|(_, said)| *said && self.follow.is_some()) {
            let message = "goes without `follow`: nobody is asked to make what somebody else's machine makes";
            problems.push(Problem::new(field, message));
        }
        problems.extend(self.probe.iter().flat_map(Probe::problems));
        problems
    }
}

impl Probe {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let plain = self.get.bytes().all(|c| c.is_ascii_graphic() && c != b'#');
        if !self.get.starts_with('/') || self.get.len() > Account::LONGEST || !plain {
            problems.push(Problem::new("probe.get", "is a path like /v1/me, without spaces"));
        }
        for (field, statuses) in [("probe.good", &self.good), ("probe.refused", &self.refused)] {
            if statuses.is_empty() || statuses.iter().any(|status| !(200..600).contains(status)) {
                problems.push(Problem::new(field, "names statuses, each 200 to 599"));
            }
        }
        if self.good.iter().any(|status| self.refused.contains(status)) {
            problems.push(Problem::new("probe.refused", "names a status that is in `good` too"));
        }
        problems
    }
}

#[cfg(test)]
mod tests;
