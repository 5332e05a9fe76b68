//! How a kind of target plugs in: what it reads from settings, what everybody may know of an account, and the driver
//! that it makes of both.

mod also;
mod hidden;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{CredentialName, Handle, Label, SecretBytes, Version};
use rekey_settings::Section;

use crate::by_hand::ByHand;
use crate::follower::{FOLLOWERS, FollowerKind, Following, Way};
use crate::table::{Class, Kind, Strategy, kind, names};
use crate::together::Together;
use crate::{Driver, Place, Problem};

pub use also::Also;
pub(crate) use hidden::{AnyPlug, Hidden, Settings};

/// The most targets beside the first one.
pub const MOST_BESIDE: usize = 8;
/// Letters of a nonce, where there is room.
const NONCE: usize = 10;

/// What one driver brings along. Everything about its settings is known here and nowhere else.
pub trait Plug: Send + Sync + 'static {
    /// A target as the controller's config describes it, `targets.NAME.<driver>`.
    type Target: Send + Sync + 'static;
    /// An account as a credential's spec describes it, `<driver>:` without `target`.
    type Account: schemars::JsonSchema + Send + Sync + 'static;

    /// Reads a target; relative paths are below `folder`. Everything wrong is noted with the section.
    fn target(section: &Section<'_>, folder: &Path) -> Option<Self::Target>;

    /// Reads an account. Everything wrong is noted with the section.
    fn account(section: &Section<'_>) -> Option<Self::Account>;

    /// What everybody may know of an account at the target called `target`.
    fn facts(account: &Self::Account, target: &Label) -> Facts;

    /// What a version is to be called at the target, where that follows from its secret; none: the stem with version and
    /// nonce.
    fn handle(_account: &Self::Account, _version: Version, _secret: &SecretBytes) -> Option<String> {
        None
    }

    /// How long a version works at the target, which ends it then by itself; none: until it is revoked.
    fn life(_account: &Self::Account) -> Option<Duration> {
        None
    }

    /// How many values an account takes at the most, those too that are refused and not removed; none: as many as are ever
    /// needed.
    fn slots(_account: &Self::Account) -> Option<u32> {
        None
    }

    /// What a person does, where only a person can make a version.
    fn by_hand(_account: &Self::Account) -> Option<ByHand> {
        None
    }

    /// Where somebody else's machine leaves the value, if the account follows one.
    fn place(_target: &Self::Target, _account: &Self::Account) -> Option<Result<Place, BuildError>> {
        None
    }

    /// Whether `handle` can be what this version is called at the target: what a peer claims is not believed otherwise.
    fn may_be_called(account: &Self::Account, target: &Label, version: Version, handle: &Handle) -> bool {
        let made = format!("{}_{version}_", Self::facts(account, target).names.stem);
        handle.as_str().starts_with(&made)
    }

    /// The driver. Files that the target names are read now, so that they can be changed without a restart.
    fn driver(
        target: &Self::Target,
        account: &Self::Account,
        owner: Owner,
    ) -> Result<Arc<dyn Driver>, BuildError>;

    /// The driver where consumers come to the target by `way`; none where there is no other way to it.
    fn driver_by(
        _target: &Self::Target,
        _account: &Self::Account,
        _owner: Owner,
        _way: Way,
    ) -> Option<Result<Arc<dyn Driver>, BuildError>> {
        None
    }

    /// Where consumers reach the target itself, if that is one place.
    fn route(_target: &Self::Target) -> Option<(String, u16)> {
        None
    }
}

/// Whose accounts these are: what our markers at a target say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// This installation of Rekey.
    pub installation: String,
    /// The credential.
    pub credential: CredentialName,
}

/// What everybody may know of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What overlap it allows.
    pub strategy: Strategy,
    /// How its versions are called at the target.
    pub names: Names,
    /// The names of the fields that consumers get.
    pub fields: &'static [&'static str],
    /// The login that the application has today and that becomes version 1, if one is declared.
    pub adopt: Option<Handle>,
    /// What no other credential at this target may claim.
    pub claims: Vec<Claim>,
    /// Fields that cannot change while a version lives, with their values: versions would be looked for elsewhere.
    pub fixed: Vec<(&'static str, String)>,
    /// What a rotation does at the target, for people.
    pub plan: Plan,
}

/// How versions are called at a target: `<stem>_v<version>_<nonce>`, within `longest` bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// What the names begin with.
    pub stem: String,
    /// The longest name that the target takes whole.
    pub longest: usize,
}

/// Something at a target that belongs to one credential alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The field that makes it, below the driver's section: `prefix`.
    pub field: &'static str,
    /// What is claimed.
    pub what: Claimed,
    /// What to say of another that has it: "makes logins with this prefix".
    pub taken: &'static str,
    /// What to do then.
    pub remedy: &'static str,
}

/// What is claimed at a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// One name.
    Name(String),
    /// Every name that versions of this stem may get.
    Stem(String),
}

/// What a rotation does at the target, in words: `{next}` and `{old}` stand for the versions' names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How the new version is made.
    pub make: String,
    /// How it is proven.
    pub prove: String,
    /// How the old one ends.
    pub end: String,
}

/// Why there is no driver for an account at a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildError {
    /// A file that the target names cannot be read; why, without what is in it.
    File(String),
    /// The settings of target and account do not go together.
    Mismatch(Vec<Problem>),
    /// Another target that the account names is not there.
    NoTarget(String),
    /// It is another target that the account names.
    At(String, Box<BuildError>),
    /// Target and account are of different kinds.
    OtherKind {
        /// The target's driver.
        target: &'static str,
        /// The account's.
        account: &'static str,
    },
}

/// A target of any kind, read from the controller's config.
#[derive(Clone)]
pub struct Target {
    kind: TargetKind,
    settings: Arc<Settings>,
}

/// What a target is for.
#[derive(Clone, Copy)]
enum TargetKind {
    /// A driver makes versions there.
    First(&'static Kind),
    /// It follows another.
    Follower(&'static FollowerKind),
}

/// An account of any kind, read from a credential's spec.
#[derive(Clone)]
pub struct Account {
    kind: &'static Kind,
    target: Label,
    facts: Facts,
    settings: Arc<Settings>,
    also: Vec<Also>,
}

impl Owner {
    /// Everything that is wrong with it.
    pub fn problems(&self) -> Vec<Problem> {
        let good = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.' | b':');
        let bytes = self.installation.as_bytes();
        if bytes.is_empty() || bytes.len() > 64 || !bytes.iter().copied().all(good) {
            return vec![Problem::new("installation", "is 1 to 64 letters, digits, '-', '_', '.' or ':'")];
        }
        Vec::new()
    }
}

impl Claim {
    /// What a credential claims each version of which is a login of its own: how their names begin, and the one that is
    /// adopted.
    pub(crate) fn of_logins(prefix: &str, adopted: Option<&str>) -> Vec<Self> {
        let prefix = Self {
            field: "prefix",
            what: Claimed::Stem(prefix.to_owned()),
            taken: "makes logins with this prefix at this target",
            remedy: "choose a prefix that no other credential at this target has",
        };
        let adopted = adopted.map(|login| Self {
            field: "adopt.login",
            what: Claimed::Name(login.to_owned()),
            taken: "has adopted this login",
            remedy: "adopt a login in one credential only, and deliver that one to all who need it",
        });
        [prefix].into_iter().chain(adopted).collect()
    }
}

impl Claimed {
    /// Whether one thing would belong to both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let begins = |long: &str, short: &str| long == short || long.starts_with(&format!("{short}_v"));
        match (self, other) {
            (Self::Name(one), Self::Name(two)) => one == two,
            (Self::Stem(one), Self::Stem(two)) => begins(one, two) || begins(two, one),
            (Self::Name(name), Self::Stem(stem)) | (Self::Stem(stem), Self::Name(name)) => {
                name.strip_prefix(stem.as_str()).is_some_and(|rest| rest.starts_with("_v"))
            }
        }
    }
}

impl Target {
    pub(crate) fn read(section: &Section<'_>, folder: &Path) -> Option<Self> {
        let names: Vec<&str> = names().into_iter().chain(FOLLOWERS.iter().map(|kind| kind.name)).collect();
        let name = section.one_of(&names)?;
        let inner = section.section(name)?;
        let first = || {
            let kind = kind(name)?;
            Some(Self { kind: TargetKind::First(kind), settings: kind.plug.target(&inner, folder)? })
        };
        let Some(kind) = FOLLOWERS.iter().find(|kind| kind.name == name) else { return first() };
        Some(Self { kind: TargetKind::Follower(kind), settings: (kind.read)(&inner, folder)? })
    }

    /// What it is for, by name.
    pub fn kind(&self) -> &'static str {
        match self.kind {
            TargetKind::First(kind) => kind.name,
            TargetKind::Follower(kind) => kind.name,
        }
    }

    /// The driver for an account at this target and at those beside it, which `others` finds by name.
    pub fn driver<'t>(
        &self,
        account: &Account,
        owner: &Owner,
        others: impl Fn(&Label) -> Option<&'t Self>,
    ) -> Result<Arc<dyn Driver>, BuildError> {
        let other = || BuildError::OtherKind { target: self.kind(), account: account.kind.name };
        let TargetKind::First(kind) = self.kind else { return Err(other()) };
        let (target, settings) = (self.settings.as_ref(), account.settings.as_ref());
        let itself = kind.plug.driver(target, settings, owner.clone()).unwrap_or_else(|| Err(other()))?;
        if account.also.is_empty() {
            return Ok(itself);
        }
        let (mut ways, mut followers) = (Vec::new(), Vec::new());
        for also in &account.also {
            let (follower, way) = also.follower(others(&also.target), &account.facts.names.stem)?;
            let by = kind.plug.driver_by(target, settings, owner.clone(), way);
            ways.push((also.target.to_string(), by.unwrap_or_else(|| Err(other()))?));
            followers.push((also.target.clone(), follower));
        }
        let unpooled = account.also.iter().any(|also| also.unpooled);
        let direct = if unpooled { kind.plug.route(target) } else { None };
        ways.extend(unpooled.then(|| (account.target.to_string(), itself)));
        let together =
            Together::new(ways, followers, account.facts.adopt.clone(), direct).ok_or_else(other)?;
        Ok(Arc::new(together))
    }

    /// Where somebody else's machine leaves the value of an account at this target; none where it follows nobody.
    pub fn place(&self, account: &Account) -> Result<Option<Place>, BuildError> {
        let (TargetKind::First(kind), settings) = (self.kind, self.settings.as_ref()) else {
            return Ok(None);
        };
        kind.plug.place(settings, account.settings.as_ref()).transpose()
    }

    /// The follower that it is, for logins of this stem, and how consumers come by way of it.
    fn follower(&self, as_kind: &FollowerKind, stem: &str) -> Result<Following, BuildError> {
        let other = || BuildError::OtherKind { target: self.kind(), account: as_kind.name };
        match self.kind {
            TargetKind::Follower(kind) if kind.name == as_kind.name => {
                (kind.build)(self.settings.as_ref(), stem).unwrap_or_else(|| Err(other()))
            }
            TargetKind::Follower(_) | TargetKind::First(_) => Err(other()),
        }
    }
}

impl Account {
    /// Reads the section of its driver, the target's name included.
    pub(crate) fn read(kind: &'static Kind, section: &Section<'_>) -> Option<Self> {
        let target = section.required_like("target", "orders-pg");
        let settings = kind.plug.account(section);
        let (target, settings) = (target?, settings?);
        let facts = kind.plug.facts(settings.as_ref(), &target)?;
        Some(Self { kind, target, facts, settings, also: Vec::new() })
    }

    /// Reads the section of its driver in a whole spec, and the targets beside it.
    pub(crate) fn declared(root: &Section<'_>) -> Option<Self> {
        let name = root.one_of(&names())?;
        let kind = kind(name)?;
        let section = root.section(name);
        let also = root.sections("also");
        let mut account = Self::read(kind, &section?)?;
        if also.len() > MOST_BESIDE {
            let remedy = format!("leave at most {MOST_BESIDE}");
            root.problem("also", format!("has {} entries", also.len()), remedy);
        }
        let also: Option<Vec<Also>> =
            also.iter().map(|section| Also::read(section, kind, &account.facts)).collect();
        account.also = also?;
        also::check(&account.also, account.facts.strategy, root);
        for Also { target, .. } in &account.also {
            let Plan { make, prove, end } = &account.facts.plan;
            account.facts.plan = Plan {
                make: format!("{make}, and at {target}"),
                prove: format!("{prove}, through {target}"),
                end: format!("{end}, and gone from {target}"),
            };
        }
        Some(account)
    }

    /// The targets beside the first one.
    pub fn also(&self) -> &[Also] {
        &self.also
    }

    /// The names of the fields that consumers get.
    pub fn fields(&self) -> Vec<&'static str> {
        let direct: &[&str] =
            if self.also.iter().any(|also| also.unpooled) { &["direct_host", "direct_port"] } else { &[] };
        self.facts.fields.iter().chain(direct).copied().collect()
    }

    /// The driver's row.
    pub fn kind(&self) -> &'static Kind {
        self.kind
    }

    /// The target, as the controller's config names it.
    pub fn target(&self) -> &Label {
        &self.target
    }

    /// The login that the application has today, if it is declared.
    pub fn adopt(&self) -> Option<&Handle> {
        self.facts.adopt.as_ref()
    }

    /// What a version is to be called at the target: `<stem>_v<version>_<nonce>`, or what follows from its secret. `nonce`
    /// gives that many random letters. There is no secret where the target makes it.
    pub fn handle(
        &self,
        version: Version,
        secret: Option<&SecretBytes>,
        nonce: impl Fn(usize) -> String,
    ) -> String {
        let stem = format!("{}_{version}_", self.facts.names.stem);
        let room = self.facts.names.longest.saturating_sub(stem.len()).min(NONCE);
        let own = secret.and_then(|secret| self.kind.plug.handle(self.settings.as_ref(), version, secret));
        own.unwrap_or_else(|| format!("{stem}{}", nonce(room)))
    }

    /// How long a version works at the target, which ends it then by itself; none: until it is revoked.
    pub fn life(&self) -> Option<Duration> {
        self.kind.plug.life(self.settings.as_ref())
    }

    /// How many values it takes at the most, those too that are refused and not removed; none: as many as are ever needed.
    pub fn slots(&self) -> Option<u32> {
        self.kind.plug.slots(self.settings.as_ref())
    }

    /// What a person does, where only a person can make a version.
    pub fn by_hand(&self) -> Option<ByHand> {
        self.kind.plug.by_hand(self.settings.as_ref())
    }

    /// Whether `handle` can be what this version, or the login that is adopted, is called at the target.
    pub fn may_be_called(&self, version: Version, handle: &Handle) -> bool {
        if !matches!(self.kind.class, Class::A | Class::H) {
            // The target calls it what it likes.
            return true;
        }
        let own = self.kind.plug.may_be_called(self.settings.as_ref(), &self.target, version, handle);
        own || self.facts.adopt.as_ref() == Some(handle)
    }

    /// Whether somebody else's machine rotates it.
    pub fn is_followed(&self) -> bool {
        self.facts.strategy == Strategy::Follow
    }

    /// What everybody may know of it.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("kind", &self.kind()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, target, facts, settings: _, also } = self;
        f.debug_struct("Account")
            .field("kind", &kind.name)
            .field("target", target)
            .field("facts", facts)
            .field("also", also)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_credentials_may_not_both_have_is_found() {
        let stem = |text: &str| Claimed::Stem(text.to_owned());
        let name = |text: &str| Claimed::Name(text.to_owned());
        for (one, two, overlap) in [
            (stem("orders"), stem("orders"), true),
            (stem("orders"), stem("orders_v1"), true),
            (stem("orders"), stem("orders_app"), false),
            (stem("orders"), name("orders_v3_x"), true),
            (stem("orders"), name("orders"), false),
            (name("orders"), name("orders"), true),
            (name("orders"), name("order"), false),
        ] {
            assert_eq!(one.overlaps(&two), overlap, "{one:?} {two:?}");
            assert_eq!(two.overlaps(&one), overlap, "{two:?} {one:?}");
        }
    }
}
