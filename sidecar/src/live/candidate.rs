//! What a source says about one credential, and the check that it must pass before it can be published.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rekey_model::{
    CredentialName, FieldName, Fields, FieldsError, Handle, Incarnation, NameError, Order, SecretBytes,
    Version,
};

/// No reader waits longer, whatever the source says: its call has to be answered within 5 s.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// The place of a change among all changes of one credential: a later life of the store first, then its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mark {
    /// The store's life.
    pub incarnation: Incarnation,
    /// The order within it.
    pub order: Order,
}

/// How a credential may be served while the source is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offline {
    /// Until the target ends it, or this long without word from the source; `None`: without end.
    UntilExpiry(Option<Duration>),
    /// Only while the lease lasts.
    FailClosed,
}

/// The whole state of one credential as a source gave it: not to be used before [`Candidate::check`].
#[derive(Debug)]
pub struct Candidate {
    /// The credential.
    pub name: CredentialName,
    /// Its place among the changes of this credential.
    pub mark: Mark,
    /// What to serve.
    pub offer: Offer,
    /// Versions never to be served again. Obeyed even when the offer is refused.
    pub fenced: BTreeSet<Version>,
    /// Whether a replacement for what was fenced is on its way.
    pub replacement_owed: bool,
}

/// What a source says is to be served.
#[derive(Debug)]
pub enum Offer {
    /// This version.
    Current(OfferedVersion),
    /// Nothing for now.
    Nothing,
    /// Nothing any more: the grant was taken away.
    Withdrawn,
}

/// A version as it was offered; any part of it may be wrong.
#[derive(Debug)]
pub struct OfferedVersion {
    /// The version's number.
    pub version: u64,
    /// What it is called at the target.
    pub handle: String,
    /// The values by name.
    pub fields: Vec<(String, SecretBytes)>,
    /// How long the target accepts it from now; `None`: without end.
    pub expires_in: Option<Duration>,
    /// Versions still accepted at the target, and for how long from now.
    pub previous: Vec<(u64, Duration)>,
    /// How it may be served while the source is silent; `None`: in a way that this sidecar does not know.
    pub offline: Option<Offline>,
    /// Whether the target takes one version at a time.
    pub one_at_a_time: bool,
    /// What comes after it, where the target takes one value at a time.
    pub next: Option<OfferedNext>,
    /// How long from now readers are to wait because the target is about to be changed; `None`: they are not.
    pub readers_wait: Option<Duration>,
}

/// A version that comes after the one that is served; any part of it may be wrong.
#[derive(Debug)]
pub struct OfferedNext {
    /// The version's number.
    pub version: u64,
    /// The values by name.
    pub fields: Vec<(String, SecretBytes)>,
}

/// A candidate that may be published.
#[derive(Debug)]
pub struct Checked {
    pub(super) name: CredentialName,
    pub(super) mark: Mark,
    pub(super) content: CheckedContent,
}

#[derive(Debug)]
pub(super) enum CheckedContent {
    Current(CheckedVersion),
    Nothing { replacement_owed: bool },
    Withdrawn,
}

#[derive(Debug)]
pub(super) struct CheckedVersion {
    pub(super) version: Version,
    pub(super) handle: Handle,
    pub(super) fields: Fields,
    pub(super) expires_in: Option<Duration>,
    pub(super) previous: Vec<(Version, Duration)>,
    pub(super) offline: Offline,
    pub(super) one_at_a_time: bool,
    pub(super) next: Option<CheckedNext>,
    pub(super) readers_wait: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct CheckedNext {
    pub(super) version: Version,
    pub(super) fields: Fields,
}

/// A candidate that is not published: the last good value stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} at order {} is refused: {defect}", mark.order)]
pub struct Refusal {
    /// The credential.
    pub name: CredentialName,
    /// What was refused.
    pub mark: Mark,
    /// Why.
    pub defect: Defect,
}

/// What is wrong with a candidate. Names a field, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// Versions count from 1.
    #[error("a version counts from 1, and what comes after it is another one")]
    Version,
    /// It was revoked in an emergency before.
    #[error("{0} was fenced and is never served again")]
    Fenced(Version),
    /// The name at the target is outside the grammar.
    #[error("its name at the target is wrong: {0}")]
    Handle(NameError),
    /// A field's name is outside the grammar.
    #[error("the name of a field is wrong: {0}")]
    FieldName(NameError),
    /// Two fields have one name.
    #[error("field {0} comes twice")]
    FieldTwice(FieldName),
    /// A field has no bytes.
    #[error("field {0} is empty")]
    FieldEmpty(FieldName),
    /// There is nothing in it.
    #[error("it has no fields")]
    NoFields,
    /// Too many fields, or too many bytes.
    #[error("{0}")]
    Size(FieldsError),
    /// The target refuses it already.
    #[error("the target no longer accepts it")]
    Expired,
    /// This sidecar is full.
    #[error("this sidecar holds {0} credentials, which is the most")]
    TooManyCredentials(usize),
    /// The serving policy is unknown to this sidecar.
    #[error("its offline policy is not known to this sidecar")]
    Offline,
}

impl Candidate {
    /// Lets pass what may be published, given the versions `fenced` so far (its own included by the caller).
    pub fn check(self, fenced: &BTreeSet<Version>) -> Result<Checked, Refusal> {
        let Self { name, mark, offer, replacement_owed, .. } = self;
        let content = match offer {
            Offer::Withdrawn => CheckedContent::Withdrawn,
            Offer::Nothing => CheckedContent::Nothing { replacement_owed },
            Offer::Current(offered) => match offered.check(fenced) {
                Ok(version) => CheckedContent::Current(version),
                Err(defect) => return Err(Refusal { name, mark, defect }),
            },
        };
        Ok(Checked { name, mark, content })
    }
}

impl OfferedVersion {
    fn check(self, fenced: &BTreeSet<Version>) -> Result<CheckedVersion, Defect> {
        let version = Version::new(self.version).ok_or(Defect::Version)?;
        if fenced.contains(&version) {
            return Err(Defect::Fenced(version));
        }
        if self.expires_in == Some(Duration::ZERO) {
            return Err(Defect::Expired);
        }
        let previous = self.previous.into_iter().filter_map(|(number, accept_for)| {
            Version::new(number).filter(|v| *v != version && !fenced.contains(v)).map(|v| (v, accept_for))
        });
        Ok(CheckedVersion {
            version,
            handle: self.handle.parse().map_err(Defect::Handle)?,
            fields: check_fields(self.fields)?,
            expires_in: self.expires_in,
            previous: previous.collect(),
            offline: self.offline.ok_or(Defect::Offline)?,
            one_at_a_time: self.one_at_a_time,
            next: self.next.map(|next| next.check(version, fenced)).transpose()?,
            readers_wait: self.readers_wait.map(|wait| wait.min(LONGEST_WAIT)),
        })
    }
}

impl OfferedNext {
    fn check(self, current: Version, fenced: &BTreeSet<Version>) -> Result<CheckedNext, Defect> {
        let version = Version::new(self.version).filter(|v| *v != current).ok_or(Defect::Version)?;
        if fenced.contains(&version) {
            return Err(Defect::Fenced(version));
        }
        Ok(CheckedNext { version, fields: check_fields(self.fields)? })
    }
}

fn check_fields(offered: Vec<(String, SecretBytes)>) -> Result<Fields, Defect> {
    let mut fields = BTreeMap::new();
    for (name, value) in offered {
        let name: FieldName = name.parse().map_err(Defect::FieldName)?;
        if value.size() == 0 {
            return Err(Defect::FieldEmpty(name));
        }
        if fields.insert(name.clone(), value).is_some() {
            return Err(Defect::FieldTwice(name));
        }
    }
    if fields.is_empty() {
        return Err(Defect::NoFields);
    }
    Fields::new(fields).map_err(Defect::Size)
}
