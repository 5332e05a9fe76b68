//! From a credential's spec to the driver that changes it.
//!
//! A driver is built anew for each use: the rotator's password is read from its file then, so that it can be rotated by
//! whoever owns it without a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use rekey_drivers::Driver;
use rekey_drivers::postgres::{Account, Adopt, Owner, Postgres};
use rekey_settings::{read_secret_file, read_text};

use crate::config::TargetConfig;
use crate::spec::{DriverSpec, Label, PostgresSpec, Spec};
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
    targets: Arc<BTreeMap<Label, TargetConfig>>,
    installation: InstallationId,
}

impl Targets {
    /// The targets of a config, for the store `installation`.
    pub fn new(targets: BTreeMap<Label, TargetConfig>, installation: InstallationId) -> Self {
        Self { targets: Arc::new(targets), installation }
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &Label> {
        self.targets.keys()
    }

    /// Each target's name, and the driver it is for.
    pub fn kinds(&self) -> BTreeMap<String, &'static str> {
        let kind = |target: &TargetConfig| match target {
            TargetConfig::Postgres(_) => "postgres",
        };
        self.targets.iter().map(|(name, target)| (name.to_string(), kind(target))).collect()
    }

    /// The driver for the credential that `spec` declares.
    pub fn driver(&self, spec: &Spec) -> Result<Arc<dyn Driver>, TargetError> {
        let name = spec.driver.target();
        let target = self.targets.get(name).ok_or_else(|| {
            let known = self.targets.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            TargetError::Unknown(name.to_string(), known)
        })?;
        match (target, &spec.driver) {
            (TargetConfig::Postgres(settings), DriverSpec::Postgres(postgres)) => {
                let file = |reason: String| TargetError::File { target: name.to_string(), reason };
                let password = read_secret_file(&settings.password_file).map_err(file)?;
                let authority = settings.tls.ca_file.as_deref().map(|path| {
                    read_text(path).map_err(|error| file(format!("{}: {error}", path.display())))
                });
                let authority = authority.transpose()?;
                let target = settings.with(password, authority.as_deref().map(str::as_bytes));
                let owner =
                    Owner { installation: self.installation.to_string(), credential: spec.name.clone() };
                target
                    .and_then(|target| Postgres::new(target, account(postgres), owner))
                    .map(|driver| Arc::new(driver) as Arc<dyn Driver>)
                    .map_err(|problems| TargetError::Settings {
                        target: name.to_string(),
                        problems: problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
                    })
            }
        }
    }
}

fn account(spec: &PostgresSpec) -> Account {
    Account {
        database: spec.database.as_str().to_owned(),
        owner_role: spec.owner_role.as_str().to_owned(),
        prefix: spec.prefix.as_str().to_owned(),
        adopt: spec
            .adopt
            .as_ref()
            .map(|adopt| Adopt { login: adopt.login.as_str().to_owned(), member: adopt.member }),
        search_path: Vec::new(),
        probes: spec.probes.iter().map(|probe| probe.as_str().to_owned()).collect(),
    }
}
