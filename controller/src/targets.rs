//! From a credential's spec to the driver that changes it.
//!
//! A driver is built anew for each use: the rotator's password is read from its file then, so that it can be rotated by
//! whoever owns it without a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use rekey_drivers::{BuildError, Driver, Owner, Place, Target};
use rekey_model::Label;

use crate::spec::Spec;
use crate::store::InstallationId;

/// Why there is no driver for a credential.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The config names no such target.
    #[error("the controller's config has no target {0}; it has: {1}")]
    Unknown(String, String),
    /// The file with the rotator's password or the authority cannot be read.
    #[error("target {target}: {reason}")]
    File {
        /// Which target.
        target: String,
        /// Why, without what is in the file.
        reason: String,
    },
    /// The settings of target and credential do not go together.
    #[error("target {target}: {problems}")]
    Settings {
        /// Which target.
        target: String,
        /// Everything that is wrong.
        problems: String,
    },
}

/// The targets that this controller can change. Clones are the same.
#[derive(Debug, Clone)]
pub struct Targets {
    targets: Arc<BTreeMap<Label, Target>>,
    installation: InstallationId,
}

impl Targets {
    /// The targets of a config, for the store `installation`.
    pub fn new(targets: BTreeMap<Label, Target>, installation: InstallationId) -> Self {
        Self { targets: Arc::new(targets), installation }
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &Label> {
        self.targets.keys()
    }

    /// Each target's name, and the driver it is for.
    pub fn kinds(&self) -> BTreeMap<String, &'static str> {
        self.targets.iter().map(|(name, target)| (name.to_string(), target.kind())).collect()
    }

    /// The driver for the credential that `spec` declares.
    pub fn driver(&self, spec: &Spec) -> Result<Arc<dyn Driver>, TargetError> {
        let (name, target) = self.target(spec)?;
        let owner = Owner { installation: self.installation.to_string(), credential: spec.name.clone() };
        let target_name = name.to_string();
        let driver = target.driver(&spec.driver, &owner, |label| self.targets.get(label));
        driver.map_err(|error| self.told(target_name, error))
    }

    /// Where somebody else's machine leaves the values of the credential that `spec` declares; none: it follows nobody.
    pub fn place(&self, spec: &Spec) -> Result<Option<Place>, TargetError> {
        let (name, target) = self.target(spec)?;
        target.place(&spec.driver).map_err(|error| self.told(name.to_string(), error))
    }

    fn target<'s>(&self, spec: &'s Spec) -> Result<(&'s Label, &Target), TargetError> {
        let name = spec.driver.target();
        let target = self.targets.get(name).ok_or_else(|| self.unknown(name.to_string()))?;
        Ok((name, target))
    }

    fn told(&self, target: String, error: BuildError) -> TargetError {
        match error {
            BuildError::File(reason) => TargetError::File { target, reason },
            BuildError::NoTarget(name) => self.unknown(name),
            BuildError::At(there, error) => self.told(there, *error),
            BuildError::Mismatch(problems) => TargetError::Settings {
                target,
                problems: problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            },
            BuildError::OtherKind { target: of, account } => TargetError::Settings {
                target,
                problems: format!("it is for {of}, and the credential is for {account}"),
            },
        }
    }

    fn unknown(&self, name: String) -> TargetError {
        let known = self.targets.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        TargetError::Unknown(name, known)
    }
}
