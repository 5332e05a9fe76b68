//! Calls that make something and whose outcome is not recorded: what could not be committed, or was given up, may have
//! happened. In memory only, because every life of the controller begins with the same doubt.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rekey_model::{CredentialName, Version};

/// For each credential the version whose making is under way or was not recorded; none: whichever is chosen.
#[derive(Debug, Default)]
pub(super) struct Unsure(Mutex<HashMap<CredentialName, Option<Version>>>);

impl Unsure {
    fn lock(&self) -> MutexGuard<'_, HashMap<CredentialName, Option<Version>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call that makes `version` begins: until its outcome is recorded nobody can say what came of it.
    pub(super) fn begin(&self, name: &CredentialName, version: Version) {
        self.lock().insert(name.clone(), Some(version));
    }

    /// What the life before left could not be looked at.
    pub(super) fn of_any(&self, name: &CredentialName) {
        self.lock().insert(name.clone(), None);
    }

    /// Whether an earlier call may have made `version` without that being recorded.
    pub(super) fn of(&self, name: &CredentialName, version: Version) -> bool {
        self.lock().get(name).is_some_and(|of| of.is_none_or(|of| of == version))
    }

    /// The outcome is recorded, or surely nothing happened.
    pub(super) fn forget(&self, name: &CredentialName) {
        self.lock().remove(name);
    }
}
