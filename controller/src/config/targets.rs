//! The targets of a config: how the controller reaches each, and with which login.

use std::collections::BTreeMap;
use std::path::Path;

use rekey_drivers::Target;
use rekey_model::{Label, SecretBytes};
use rekey_settings::{Section, read_secret_file};

/// Reads all targets.
pub(super) fn take(section: &Section<'_>, folder: &Path) -> BTreeMap<Label, Target> {
    let mut targets = BTreeMap::new();
    for (name, target) in section.named() {
        match name.parse::<Label>() {
            Ok(label) => targets.extend(rekey_drivers::target(&target, folder).map(|one| (label, one))),
            Err(error) => section.problem(&name, error.to_string(), "choose another name"),
        }
    }
    targets
}

/// The secret in a file that only we may read; a problem with `key` if there is none.
pub(super) fn secret(section: &Section<'_>, key: &str, file: &Path) -> Option<SecretBytes> {
    match read_secret_file(file) {
        Ok(secret) => Some(secret),
        Err(reason) => {
            section.problem(key, reason, "");
            None
        }
    }
}
