//! A small file beside the database that says how far the store was: an older database shows by it.
//!
//! Written after each commit, in place and without waiting for the disk: after a power cut it may be behind the
//! database, which says nothing; it is ahead only of a database that was put back.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rekey_model::Incarnation;

use super::OpenError;
use super::meta::{InstallationId, LifeId, Meta};

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) installation: InstallationId,
    pub(super) incarnation: Incarnation,
    pub(super) life: LifeId,
    pub(super) epoch: u64,
    pub(super) commits: u64,
}

/// What the file says of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing speaks against it.
    Level,
    /// The store was further once, or nobody can tell: there is no file, or it does not read.
    Older {
        /// The highest incarnation that is known of.
        incarnation: Incarnation,
        /// The highest epoch that is known of.
        epoch: u64,
    },
}

impl Mark {
    pub(super) fn of(meta: &Meta) -> Self {
        Self {
            installation: meta.installation,
            incarnation: meta.incarnation,
            life: meta.life,
            epoch: meta.epoch,
            commits: meta.commits,
        }
    }

    /// All of the same length, so that writing one over another never changes the file's size.
    fn line(&self) -> String {
        format!(
            "rekey 1 {} {:020} {} {:020} {:020}\n",
            self.installation, self.incarnation.0, self.life, self.epoch, self.commits
        )
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        if (words.next()?, words.next()?) != ("rekey", "1") {
            return None;
        }
        Some(Self {
            installation: words.next()?.parse().ok()?,
            incarnation: Incarnation(words.next()?.parse().ok()?),
            life: words.next()?.parse().ok()?,
            epoch: words.next()?.parse().ok()?,
            commits: words.next()?.parse().ok()?,
        })
    }

    /// Whether a database that is at `meta` was further once, when this is what its file says.
    fn judge(self, meta: &Meta) -> Verdict {
        let same_life = self.life == meta.life && self.incarnation == meta.incarnation;
        if self.incarnation < meta.incarnation || (same_life && self.commits <= meta.commits) {
            return Verdict::Level;
        }
        Verdict::Older {
            incarnation: self.incarnation.max(meta.incarnation),
            epoch: self.epoch.max(meta.epoch),
        }
    }
}

/// The file.
#[derive(Debug)]
pub(super) struct Mirror {
    path: PathBuf,
    /// The file and the commits that it has; never goes back.
    file: Mutex<(File, u64)>,
}

impl Mirror {
    /// What the file at `path` says of the database at `meta`. Changes nothing.
    pub(super) fn judge(path: &Path, meta: &Meta) -> Result<Verdict, OpenError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => String::new(),
            Err(source) => return Err(OpenError::File { path: path.to_owned(), source }),
        };
        match Mark::read(&text) {
            Some(mark) if mark.installation != meta.installation => {
                Err(OpenError::OtherInstallation(path.to_owned()))
            }
            Some(mark) => Ok(mark.judge(meta)),
            // Made a moment ago, and stopped before the file was written.
            None if meta.commits <= 1 => Ok(Verdict::Level),
            None => Ok(Verdict::Older { incarnation: meta.incarnation, epoch: meta.epoch }),
        }
    }

    /// The highest incarnation and epoch that a file left at `path` knows of.
    pub(super) fn seen(path: &Path) -> Option<(Incarnation, u64)> {
        let mark = Mark::read(&std::fs::read_to_string(path).ok()?)?;
        Some((mark.incarnation, mark.epoch))
    }

    /// Writes the file anew, durably: the database is at `meta`.
    pub(super) fn create(path: &Path, meta: &Meta) -> Result<Self, OpenError> {
        let failed = || OpenError::file(path);
        let fresh = path.with_extension("commits.new");
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(Mark::of(meta).line().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&fresh, path)?;
            sync_folder(path)?;
            Ok(file)
        };
        let file = write().map_err(failed())?;
        Ok(Self { path: path.to_owned(), file: Mutex::new((file, meta.commits)) })
    }

    /// Notes a commit. A file that cannot be written is warned of: the commit has happened all the same.
    pub(super) fn record(&self, meta: &Meta) {
        let mut held = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if meta.commits <= held.1 {
            return;
        }
        match held.0.write_all_at(Mark::of(meta).line().as_bytes(), 0) {
            Ok(()) => held.1 = meta.commits,
            Err(error) => self.warn(&error),
        }
    }

    fn warn(&self, error: &std::io::Error) {
        tracing::warn!(path = %self.path.display(), %error, "the file that tells an older store was not written");
    }

    /// Waits until the file is on the disk.
    pub(super) fn sync(&self) {
        let held = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Err(error) = held.0.sync_data() {
            self.warn(&error);
        }
    }
}

/// Makes what was renamed or made in the folder of `path` durable.
pub(crate) fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
