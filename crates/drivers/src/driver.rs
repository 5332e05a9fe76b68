//! What every driver can do, and how it says what happened.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{FieldName, Fields, Handle, SecretBytes, Version};

/// What a driver call comes to.
pub type DriverFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, DriverError>> + Send + 'a>>;

/// The cause of a failure; its text holds no secret.
pub type Source = Box<dyn Error + Send + Sync>;

/// A kind of target whose credential can be replaced while it is in use.
///
/// Every verb may be repeated: twice is once. No call outlives the deadline that the driver states for it at the
/// target, so that after [`Driver::settle`] no earlier call can land any more.
///
/// Some verbs have a default that may be right: each says what it does. A driver that stands before others (several targets for one credential, a wrapper) passes on every verb, these
/// included: `check` of several is what all of them lack together, and so it is with what a survey finds shut or strange.
pub trait Driver: Send + Sync + fmt::Debug {
    /// Looks as the rotator whether everything is there that rotations of this account need, and changes nothing. What
    /// is missing is named all at once, each with what mends it; an empty list: nothing is. `Unavailable`: nobody could
    /// be asked, or the target takes no change now (a standby, read-only), and that may pass by itself. The default,
    /// for targets where the rotator needs no right that can be looked at, finds nothing missing.
    fn check(&self) -> DriverFuture<'_, Vec<Lack>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Makes the intended version valid beside the current one, with the expiry of a version that is not in use yet.
    /// If it exists already under our name, sets the secret again. A login that the account adopts keeps its secret:
    /// it is made sure that the secret is right, and only then that it can be watched and ended.
    fn install<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Installed>;

    /// What consumers are to get of the intended version, told without a call. Where a new value kills the old one and is
    /// known before the target is changed, they have it beforehand; where somebody else made it, it can be asked about
    /// before anybody has it. None: every other kind, or a value that the target would not take.
    fn fields(&self, _intent: &Intent) -> Option<Fields> {
        None
    }

    /// Looks whether the intended version is there; how an unknown answer of [`Driver::install`] is resolved. Where the
    /// target makes the secret: what there is of an intent whose answer was never had ([`Found::Strangers`]); `Refused`,
    /// with names and what to do, where ours cannot be told from somebody else's.
    fn find<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Found>;

    /// Logs in afresh with `fields` over the consumer's route, runs the declared probes, and compares privileges with
    /// those of `old`. `Refused` says which of the three failed.
    fn probe<'a>(&'a self, fields: &'a Fields, old: Option<&'a Handle>) -> DriverFuture<'a, Proof>;

    /// Only logs in afresh with `fields` over the consumer's route: asked where a value that takes one at a time was
    /// changed and [`Driver::probe`] did not succeed. The default, for everything else, probes.
    fn log_in<'a>(&'a self, fields: &'a Fields) -> DriverFuture<'a, ()> {
        Box::pin(async move { self.probe(fields, None).await.map(drop) })
    }

    /// Who is on `handle` at the target now, as far as the target can tell.
    fn usage<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, Usage>;

    /// Sets when the target stops accepting `handle` by itself, and reads it back.
    fn set_expiry<'a>(&'a self, handle: &'a Handle, expiry: Expiry) -> DriverFuture<'a, ()>;

    /// Makes `handle` useless: new logins are refused, and then `sessions` says what becomes of those that are there.
    /// It is done when none was seen twice in a row; [`Cut::sessions_left`] says how many are waited for. Absent is
    /// success. Where the target does not tell which value a session came in with, `Leave` waits for none, and `End` ends
    /// those of the whole account.
    fn revoke<'a>(&'a self, handle: &'a Handle, sessions: Sessions) -> DriverFuture<'a, Cut>;

    /// Removes what is left of a revoked `handle`. Absent is success. An adopted login is left, disabled.
    fn clean_up<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, ()>;

    /// Every version of this credential that the target has, by our marker, and the adopted login if it is there: asked
    /// after a restore, when the store no longer knows, and before a secret is made that the target makes. Where objects
    /// carry no marker, all of the account.
    fn list(&self) -> DriverFuture<'_, Listed> {
        Box::pin(async { Ok(Listed::CannotTell) })
    }

    /// Everything that may come in at the target by this credential's account, whoever made it: looked at now and then,
    /// so that what somebody else removed, shut or added is noticed. Changes nothing and ends nothing. The default tells
    /// what [`Driver::list`] does, which sees no strangers but those under our own marker.
    fn survey(&self) -> DriverFuture<'_, Survey> {
        Box::pin(async move { Ok(Survey::from(self.list().await?)) })
    }

    /// How long after a call was given up it may still take effect at the target, at the most.
    fn settle(&self) -> Duration;
}

/// Something at a target that rotations need and that is missing: a right of the rotator, its login, a role, a database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {remedy}")]
pub struct Lack {
    /// What is missing, and where.
    pub what: String,
    /// What mends it: the exact statement, where there is one.
    pub remedy: String,
}

impl Lack {
    /// `what` is missing, and `remedy` mends it.
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// A version that is to be made: durable before the target is touched (I9).
#[derive(Debug, Clone)]
pub struct Intent {
    /// The version.
    pub version: Version,
    /// What it is to be called at the target; chosen once, never reused (I15). Where the target makes the secret and its
    /// name: our marker, the same at every repetition, and its token where it takes one.
    pub handle: Handle,
    /// The secret that we chose; none where the target makes it.
    pub secret: Option<Arc<SecretBytes>>,
    /// What the target listed before the first call for this version: nothing of that is ours to end.
    pub baseline: Vec<Handle>,
    /// What the target calls all other versions of the credential that it has answered with.
    pub known: Vec<Handle>,
}

impl Intent {
    /// One whose secret we chose.
    pub fn chosen(version: Version, handle: Handle, secret: Arc<SecretBytes>) -> Self {
        Self { version, handle, secret: Some(secret), baseline: Vec::new(), known: Vec::new() }
    }

    /// Whether `handle` can be what a call for this version made without anybody having its secret: it came after the
    /// first call, and is no version that is known.
    pub fn may_have_made(&self, handle: &Handle) -> bool {
        !self.baseline.contains(handle) && !self.known.contains(handle)
    }
}

/// A version that the target now accepts.
#[derive(Debug)]
pub struct Installed {
    /// What consumers are to get.
    pub fields: Fields,
    /// What it is called at the target.
    pub handle: Handle,
}

/// What consumers get, of each field's name and value; what is wrong with it, if anything is.
pub(crate) fn given<T: Into<SecretBytes>>(
    values: impl IntoIterator<Item = (&'static str, T)>,
) -> Result<Fields, String> {
    let named = |(name, value): (&str, T)| {
        let field = name.parse::<FieldName>().map_err(|error| format!("{name}: {error}"))?;
        Ok((field, value.into()))
    };
    let fields: Result<BTreeMap<_, _>, String> = values.into_iter().map(named).collect();
    Fields::new(fields?).map_err(|error| error.to_string())
}

/// What is found under the name of an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// What we made.
    Present,
    /// Something that we did not make.
    Foreign,
    /// What calls for this intent made that nobody has the secret of, by our marker, or as all that came since in an
    /// account that is declared ours alone. It is to be ended, and the call not repeated.
    Strangers(Vec<Handle>),
}

/// What a successful probe has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Declared probes that were run.
    pub probes: usize,
}

/// Which versions of a credential a target has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// These, all of them.
    Versions(Vec<ListedVersion>),
    /// This kind of target cannot tell.
    CannotTell,
}

/// What may come in at a target by one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Survey {
    /// This, all of it.
    Seen(Vec<Sighting>),
    /// This kind of target cannot tell.
    CannotTell,
}

/// One value of an account, or one login of it, as it is seen at a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// What it is called there: the handle, where it is one of ours.
    pub name: String,
    /// Why it is not let in everywhere; none: it is.
    pub shut: Option<String>,
}

impl From<Listed> for Survey {
    fn from(listed: Listed) -> Self {
        let Listed::Versions(versions) = listed else { return Self::CannotTell };
        let seen = |version: ListedVersion| Sighting {
            name: version.handle.to_string(),
            shut: (!version.accepted).then(|| "it may not log in".to_owned()),
        };
        Self::Seen(versions.into_iter().map(seen).collect())
    }
}

/// One version that a target has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVersion {
    /// The version that it was made for; none where objects carry no marker of ours.
    pub version: Option<Version>,
    /// What it is called.
    pub handle: Handle,
    /// Whether the target lets it log in.
    pub accepted: bool,
    /// Whether it is the login that the credential adopts.
    pub adopted: bool,
}

/// When a target stops accepting a version by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Soon: the version is not in use yet, and a forgotten attempt is to die by itself.
    Soon,
    /// Never: it is in use or may be.
    Never,
}

/// Who uses a version at the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Usage {
    /// These sessions, all of them.
    Sessions(Vec<Session>),
    /// These sessions of the account: which of its values each came in with, the target does not tell. A session that is
    /// older than the last change of a holder may be on the old value; each tells its age.
    OfAccount(Vec<Session>),
    /// How long ago it was used last, by the target's clock; none: never, as far as the target has noted. What is used
    /// without a session shows itself like this.
    LastUsed(Option<Age>),
    /// This kind of target cannot tell.
    CannotTell,
}

/// One session at a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The target's own number for it, where it has one.
    pub id: Option<u64>,
    /// Where it comes from, as the target tells.
    pub client: String,
    /// What it calls itself.
    pub application: String,
    /// When it began, in milliseconds since 1970 UTC by the target's clock; for display.
    pub since_ms: i64,
    /// How old it is, by the target's clock; none where the target does not tell.
    pub age: Option<Age>,
}

/// How long a session has lasted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// At least so long.
    pub least: Duration,
    /// And by less than this longer.
    pub step: Duration,
}

impl Age {
    /// Whether the session may have begun `span` ago or before.
    pub fn reaches(self, span: Duration) -> bool {
        self.least.saturating_add(self.step) >= span
    }
}

/// What becomes of the sessions of a version that is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sessions {
    /// They are ended.
    End,
    /// They are left alone, and are waited for: nobody is to be cut in peace.
    Leave,
}

/// A version that the target refuses. It has no session, but those that were to be left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cut {
    /// Sessions that were ended by this call.
    pub sessions_ended: u32,
    /// Sessions that were left alone.
    pub sessions_left: u32,
}

/// The target asked to be left alone for a while: the source of an [`DriverError::Unavailable`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Later {
    /// For how long, as it says.
    pub after: Duration,
    /// In what words.
    pub why: String,
}

impl DriverError {
    /// How long the target asked to be left alone, if it did.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable(source) => source.downcast_ref::<Later>().map(|later| later.after),
            Self::Refused(_) | Self::Unknown(_) => None,
        }
    }
}

/// Why a driver call did not succeed, in terms of what may have happened. Its text never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The target could not be reached, or asked to wait; nothing happened.
    #[error("the target is not available")]
    Unavailable(#[source] Source),
    /// The target, or a check, said no; nothing happened.
    #[error("refused")]
    Refused(#[source] Source),
    /// It may have happened: the answer was lost.
    #[error("the answer was lost")]
    Unknown(#[source] Source),
}
