//! What an application gets: one version of a credential, and how fresh it is.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rekey_model::{CredentialName, Fields, Generation, SecretBytes, Stage, Version};

/// One version of a credential, whole: every field belongs to this version.
///
/// There is no `Clone` and `Debug` shows no value; keep one with [`crate::Loaded::keep`].
#[derive(Debug)]
pub struct Credential {
    pub(crate) name: CredentialName,
    pub(crate) version: Version,
    pub(crate) stage: Stage,
    pub(crate) generation: Generation,
    pub(crate) fields: Fields,
    pub(crate) previous: Vec<PreviousVersion>,
    pub(crate) not_after: Option<SystemTime>,
    pub(crate) one_at_a_time: bool,
    pub(crate) unsettled: bool,
    pub(crate) next: Option<Arc<Self>>,
}

/// An earlier version that the target still accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreviousVersion {
    /// The version.
    pub version: Version,
    /// How long it is accepted at least, by the host's clock, for display.
    pub accept_until: Option<SystemTime>,
}

/// How fresh what a handle holds is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// How long ago the sidecar, or its controller, last vouched for it. A connected sidecar vouches, unless it said
    /// that it is stale itself.
    pub age: Duration,
    /// Whether a newer version may exist that could not be heard of: the sidecar is out of reach, or it said so of
    /// itself when it last spoke, which it does as soon as that changes.
    pub stale: bool,
    /// Whether the sidecar is connected now.
    pub connected: bool,
}

/// A field that is not as the application expects it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// There is no such field.
    #[error("credential {credential} {version} has no field `{field}`; it has {has}")]
    Missing {
        /// The credential.
        credential: CredentialName,
        /// Its version.
        version: Version,
        /// What was asked for.
        field: String,
        /// The names that there are.
        has: String,
    },
    /// The field is not text.
    #[error("field `{field}` of credential {credential} {version} is not UTF-8 text; read it with `field`")]
    NotText {
        /// The credential.
        credential: CredentialName,
        /// Its version.
        version: Version,
        /// What was asked for.
        field: String,
    },
}

impl Credential {
    /// Whether `other` is the same value, told again: what a sidecar numbers alike does not differ in its fields.
    pub(crate) fn same_value(&self, other: &Self) -> bool {
        (self.version, self.generation, self.unsettled) == (other.version, other.generation, other.unsettled)
    }

    /// Its name.
    pub fn name(&self) -> &CredentialName {
        &self.name
    }

    /// The version that all its fields belong to.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The stage of this version.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The sidecar's number for the snapshot that this version was first part of.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The bytes of one field.
    pub fn field(&self, name: &str) -> Option<&SecretBytes> {
        self.fields.get(name)
    }

    /// One field as text. The error names the fields that there are.
    pub fn text(&self, name: &str) -> Result<&str, FieldError> {
        let Some(value) = self.field(name) else {
            let has: Vec<_> = self.field_names().collect();
            return Err(FieldError::Missing {
                credential: self.name.clone(),
                version: self.version,
                field: name.to_owned(),
                has: if has.is_empty() { "none".to_owned() } else { has.join(", ") },
            });
        };
        // The source of this error is left out on purpose: it would tell where in the secret the first wrong byte is.
        std::str::from_utf8(value.expose()).ok().ok_or_else(|| FieldError::NotText {
            credential: self.name.clone(),
            version: self.version,
            field: name.to_owned(),
        })
    }

    /// The names of its fields, in order.
    pub fn field_names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_str())
    }

    /// Earlier versions that the target still accepts.
    pub fn previous(&self) -> &[PreviousVersion] {
        &self.previous
    }

    /// Whether the target takes one version at a time: the one before died when this one came.
    pub fn one_at_a_time(&self) -> bool {
        self.one_at_a_time
    }

    /// Whether the target is being changed to another value and nobody can say which of the two it takes now. When it
    /// refuses this one, try [`Credential::next`].
    pub fn unsettled(&self) -> bool {
        self.unsettled
    }

    /// What to try when the target refuses an unsettled version; none where it is not known yet.
    pub fn next(&self) -> Option<&Arc<Self>> {
        self.next.as_ref()
    }

    /// When the target stops accepting this version by itself; none: never. By the host's clock, for display.
    pub fn not_after(&self) -> Option<SystemTime> {
        self.not_after
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}
