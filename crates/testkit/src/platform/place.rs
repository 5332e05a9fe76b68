//! Files and folders that the parts can reach, whoever they run as, and nobody else.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::unprivileged;

/// Writes a file that only the parts may read.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    if let Some(id) = unprivileged() {
        std::os::unix::fs::chown(path, Some(id), Some(id))?;
    }
    Ok(())
}

/// A folder for a system: ours alone, below `parent`, empty.
pub fn folder(parent: &Path, name: &str) -> Result<PathBuf> {
    let folder = parent.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    if let Some(id) = unprivileged() {
        std::os::unix::fs::chown(&folder, Some(id), Some(id))?;
        if folder.ancestors().skip(1).any(|above| above != Path::new("") && !open_to_all(above)) {
            bail!(
                "{} cannot be reached by the user that the parts run as; choose another folder",
                folder.display()
            );
        }
    }
    Ok(folder)
}

fn open_to_all(folder: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(folder).is_ok_and(|m| m.permissions().mode() & 0o001 != 0)
}
