//! A target that must know a version beside the one that makes it, such as a pooler before a database; and the table of
//! their kinds.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{Handle, SecretBytes};
use rekey_settings::Section;

use crate::plug::Settings;
use crate::target::Tls;
use crate::{BuildError, DriverFuture, Session};

/// What stands before a target, checks logins by itself and passes them on.
///
/// Every verb may be repeated: twice is once. It touches only what is called as versions of this credential are.
pub trait Follower: Send + Sync + fmt::Debug {
    /// Whether it could take a version now: everything that can be refused is asked, and nobody's login is changed.
    fn ready(&self) -> DriverFuture<'_, ()>;

    /// Lets `handle` in with `secret`, beside all others. If it is there already, sets the secret again.
    fn install<'a>(&'a self, handle: &'a Handle, secret: &'a SecretBytes) -> DriverFuture<'a, ()>;

    /// Whether it lets `handle` in.
    fn has<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, bool>;

    /// Who comes as `handle` by way of it now.
    fn seen<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, Through>;

    /// Refuses new logins of `handle`, where it decides that itself; who is there goes on. Absent is success.
    fn remove<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, ()>;

    /// Closes what it still holds as `handle` at servers behind it, after the first target has cut its own sessions.
    /// Refuses with a word about what is left, if anything is.
    fn let_go<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, ()>;

    /// How long after a call was given up it may still take effect, at the most.
    fn settle(&self) -> Duration;
}

/// Who comes to the first target by way of a follower.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Through {
    /// Those that are logged in at the follower.
    pub clients: Vec<Client>,
    /// The sessions that it holds for them at servers behind it, by the servers' own numbers.
    pub held: Vec<u64>,
}

/// One that is logged in at a follower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// What is known of it.
    pub session: Session,
    /// Whether it has a session at a server just now.
    pub served: bool,
}

/// How consumers reach a target by way of a follower.
#[derive(Debug, Clone)]
pub struct Way {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Option<Tls>,
}

/// A follower, and how consumers come to it.
pub(crate) type Following = (Arc<dyn Follower>, Way);

/// One kind of follower.
pub struct FollowerKind {
    /// Its name: the key in a spec's `also` and in the controller's targets.
    pub name: &'static str,
    /// The driver of the targets that it can stand before.
    pub before: &'static str,
    /// Reads a target from the controller's config. Everything wrong is noted with the section.
    pub(crate) read: fn(&Section<'_>, &Path) -> Option<Arc<Settings>>,
    /// The follower for logins of this stem; none if the settings are of another kind.
    pub(crate) build: fn(&Settings, &str) -> Option<Result<Following, BuildError>>,
}

/// All kinds of followers.
pub static FOLLOWERS: &[FollowerKind] = &[FollowerKind {
    name: crate::pgbouncer::NAME,
    before: crate::postgres::NAME,
    read: crate::pgbouncer::read,
    build: crate::pgbouncer::build,
}];

impl fmt::Debug for FollowerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
