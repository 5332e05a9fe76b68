//! Where a file is: taken at the start, replaced by a rename, removed whole.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::config::files::FileSpec;

/// Why a file cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The folder is not there, or no folder.
    #[error("{0} is no folder that we can enter: make it, on a tmpfs")]
    Folder(PathBuf, #[source] io::Error),
    /// Somebody else may put files there.
    #[error("others may write to {0}: chmod go-w it, and let it belong to uid {1} or root")]
    Open(PathBuf, u32),
    /// Something that we did not write is there.
    #[error("{0} is there and was not written by us: move it away")]
    NotOurs(PathBuf),
    /// The disk does not do what it is told.
    #[error("{0} cannot be {1}: {2}")]
    Disk(PathBuf, &'static str, io::Error),
}

/// Checks the folder and what is there, and removes what an earlier life of this sidecar has left.
pub(super) fn take(spec: &FileSpec) -> Result<(), PlaceError> {
    let folder = folder(spec);
    let meta = fs::metadata(folder).map_err(|error| PlaceError::Folder(folder.to_owned(), error))?;
    let own = rustix::process::geteuid().as_raw();
    if !meta.is_dir() {
        let error = io::Error::from(io::ErrorKind::NotADirectory);
        return Err(PlaceError::Folder(folder.to_owned(), error));
    }
    if meta.mode() & 0o022 != 0 || (meta.uid() != own && meta.uid() != 0) {
        return Err(PlaceError::Open(folder.to_owned(), own));
    }
    if is_there(&claim(spec)).map_err(|error| PlaceError::Disk(claim(spec), "looked at", error))? {
        return remove(spec);
    }
    match is_there(&spec.path) {
        Ok(false) => Ok(()),
        Ok(true) => Err(PlaceError::NotOurs(spec.path.clone())),
        Err(error) => Err(PlaceError::Disk(spec.path.clone(), "looked at", error)),
    }
}

fn is_there(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
        Ok(_) => Ok(true),
    }
}

/// Puts `text` in the place of what was there: a reader, and a crash, finds either of them, whole.
pub(super) fn replace(spec: &FileSpec, text: &[u8]) -> Result<(), PlaceError> {
    let beside = beside(spec, "new");
    let claimed = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(claim(spec));
    let written = claimed.and_then(|_claim| sync(spec)).and_then(|()| write(&beside, spec, text));
    let written = written.and_then(|()| fs::rename(&beside, &spec.path));
    written.and_then(|()| sync(spec)).map_err(|error| {
        // What is half written is of no use to anybody.
        fs::remove_file(&beside).ok();
        PlaceError::Disk(spec.path.clone(), "written", error)
    })
}

fn write(beside: &Path, spec: &FileSpec, text: &[u8]) -> io::Result<()> {
    gone(beside)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    if spec.gid.is_some() {
        fchown(&file, None, spec.gid)?;
    }
    file.write_all(text)?;
    file.set_permissions(Permissions::from_mode(spec.mode))?;
    file.sync_all()
}

/// Removes the file, and what a crash has left beside it. Twice is once.
pub(super) fn remove(spec: &FileSpec) -> Result<(), PlaceError> {
    let removed = gone(&beside(spec, "new")).and_then(|()| gone(&spec.path)).and_then(|()| sync(spec));
    let removed = removed.and_then(|()| gone(&claim(spec)));
    removed.map_err(|error| PlaceError::Disk(spec.path.clone(), "removed", error))
}

fn gone(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync(spec: &FileSpec) -> io::Result<()> {
    File::open(folder(spec))?.sync_all()
}

fn folder(spec: &FileSpec) -> &Path {
    spec.path.parent().unwrap_or(Path::new("/"))
}

/// The file whose being there says that what is in the place is ours: there before it, and gone after it.
fn claim(spec: &FileSpec) -> PathBuf {
    beside(spec, "kept")
}

fn beside(spec: &FileSpec, what: &str) -> PathBuf {
    let name = spec.path.file_name().unwrap_or_default().to_string_lossy();
    folder(spec).join(format!(".{name}.rekey-{what}"))
}
