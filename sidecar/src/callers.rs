//! Who may read what on this host: the kernel says who calls, the config says what they may have.
//!
//! The controller decides what this sidecar gets; this only narrows it, per local caller.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rekey_model::CredentialName;
use tokio::sync::watch;

/// What the kernel says of the process at the other end of a local connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its user, as of connecting.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// Its process id; `None`: it is in a PID namespace that cannot be seen from here.
    pub pid: Option<u32>,
}

/// The rules. What no rule allows is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callers {
    rules: Vec<Rule>,
}

/// The rules in force, and the word that others are. Replaced when the config is reloaded.
#[derive(Debug)]
pub struct InForce {
    now: ArcSwap<Callers>,
    replaced: watch::Sender<()>,
}

/// One line of `callers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whom it is about.
    pub who: Who,
    /// Whether it asks for a process that can be seen from here.
    pub require_pid: bool,
    /// What they may read.
    pub may_read: Vec<Pattern>,
}

/// Whom a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Processes of a user.
    User(u32),
    /// Processes with a primary group.
    Group(u32),
}

/// Which credentials a rule is about: `orders/db`, `orders/*` or `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// Every credential that this sidecar holds.
    All,
    /// One credential.
    Exact(CredentialName),
    /// All below this name, however deep, and not the name itself.
    Below(CredentialName),
}

/// A text that is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write a credential name, a name with /* at its end, or \"*\"")]
pub struct PatternError;

/// The uid that stands for every user that has no number here (unmapped user namespaces, NFS): proves nothing.
const OVERFLOW: u32 = 65534;

impl Callers {
    /// These rules; none: nobody may read anything.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// The user `uid` may read everything: what holds when the config says nothing.
    pub fn only(uid: u32) -> Self {
        Self::new(vec![Rule { who: Who::User(uid), require_pid: false, may_read: vec![Pattern::All] }])
    }

    /// Whether `process` may read the credential called `name`.
    pub fn may_read(&self, process: Option<&Process>, name: &str) -> bool {
        let Some(process) = process.filter(|process| process.uid != OVERFLOW) else { return false };
        self.rules.iter().any(|rule| rule.is_about(process) && rule.may_read.iter().any(|p| p.covers(name)))
    }
}

impl InForce {
    /// These, for now.
    pub fn new(callers: Callers) -> Self {
        Self { now: ArcSwap::from_pointee(callers), replaced: watch::Sender::new(()) }
    }

    /// Puts `callers` in force: for the next read, and for everybody who watches a credential already.
    pub fn replace(&self, callers: Callers) {
        self.now.store(Arc::new(callers));
        self.replaced.send_replace(());
    }

    /// Whether `process` may read the credential called `name` now.
    pub fn may_read(&self, process: Option<&Process>, name: &str) -> bool {
        self.now.load().may_read(process, name)
    }

    /// Tells when other rules are in force. Carries no data: it means *look again*.
    pub fn replacements(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }
}

impl Rule {
    fn is_about(&self, process: &Process) -> bool {
        let who = match self.who {
            Who::User(uid) => process.uid == uid,
            Who::Group(gid) => process.gid == gid,
        };
        who && (process.pid.is_some() || !self.require_pid)
    }
}

impl Pattern {
    fn covers(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Exact(exact) => exact.as_str() == name,
            Self::Below(above) => {
                name.strip_prefix(above.as_str()).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
            }
        }
    }
}

impl std::str::FromStr for Pattern {
    type Err = PatternError;
    fn from_str(text: &str) -> Result<Self, PatternError> {
        let name = |text: &str| text.parse().map_err(|_name| PatternError);
        match text.strip_suffix("/*") {
            _ if text == "*" => Ok(Self::All),
            Some(above) => name(above).map(Self::Below),
            None => name(text).map(Self::Exact),
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Exact(name) => name.fmt(f),
            Self::Below(above) => write!(f, "{above}/*"),
        }
    }
}

/// Whether `uid` is one that a rule cannot be about.
pub fn is_nobodys(uid: u32) -> bool {
    uid == OVERFLOW
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(who: Who, patterns: &[&str]) -> Rule {
        let may_read = patterns.iter().map(|p| p.parse().unwrap()).collect();
        Rule { who, require_pid: false, may_read }
    }

    fn process(uid: u32, gid: u32) -> Process {
        Process { uid, gid, pid: Some(7) }
    }

    #[test]
    fn the_matrix_of_callers() {
        let callers = Callers::new(vec![
            rule(Who::User(1000), &["orders/db"]),
            rule(Who::Group(50), &["shared/*"]),
            rule(Who::User(0), &[]),
        ]);
        let rows = [
            (Some(process(1000, 1000)), "orders/db", true),
            (Some(process(1000, 1000)), "orders/db2", false),
            (Some(process(1000, 1000)), "shared/a", false),
            (Some(process(1001, 1000)), "orders/db", false),
            (Some(process(1001, 50)), "shared/a/b", true),
            (Some(process(1001, 50)), "shared", false),
            (Some(process(1001, 50)), "shared/", false),
            (Some(process(1001, 50)), "shared2/a", false),
            (Some(process(1000, 50)), "shared/a", true),
            (Some(process(0, 0)), "orders/db", false),
            (None, "orders/db", false),
        ];
        for (caller, name, allowed) in rows {
            assert_eq!(callers.may_read(caller.as_ref(), name), allowed, "{caller:?} {name}");
        }
    }

    #[test]
    fn the_uid_of_nobody_proves_nothing_even_if_a_rule_names_it() {
        assert!(!Callers::only(OVERFLOW).may_read(Some(&process(OVERFLOW, 1)), "a"));
        assert!(Callers::only(5).may_read(Some(&process(5, 1)), "a"));
    }

    #[test]
    fn a_rule_may_ask_for_a_process_that_can_be_seen() {
        let mut strict = rule(Who::User(5), &["*"]);
        strict.require_pid = true;
        let hidden = Process { uid: 5, gid: 5, pid: None };
        assert!(!Callers::new(vec![strict]).may_read(Some(&hidden), "a"));
        assert!(Callers::only(5).may_read(Some(&hidden), "a"));
    }

    #[test]
    fn patterns_read_as_they_are_written() {
        for text in ["*", "orders/db", "orders/*", "a/b/*"] {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), text);
        }
        for bad in ["", "/*", "**", "orders*", "*/db", "Orders/*", "orders/*/x"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad} was taken");
        }
    }
}
