//! The file with `PgBouncer`'s users: held for one writer, replaced as a whole, and only our own lines in it.

use std::fs::{self, File, Metadata, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::fault::Fault;

/// The most bytes of an honest file.
const LONGEST: u64 = 8 << 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// Where the file is.
#[derive(Debug)]
pub(super) struct Userlist<'p> {
    path: &'p Path,
}

/// The file while nobody else of ours may change it.
#[derive(Debug)]
pub(super) struct Held {
    path: PathBuf,
    folder: PathBuf,
    /// Its lock goes when it is closed.
    _lock: File,
}

/// What the file was when it was read.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) text: Vec<u8>,
    seen: Metadata,
}

/// A new file beside the old one; removed when dropped.
#[derive(Debug)]
struct Beside(PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        // After the rename there is nothing left to remove.
        fs::remove_file(&self.0).ok();
    }
}

impl<'p> Userlist<'p> {
    pub(super) fn new(path: &'p Path) -> Self {
        Self { path }
    }

    /// Waits at most `limit` until no other call, of this controller or another one, changes files in the same folder.
    pub(super) async fn hold(&self, limit: Duration) -> Result<Held, Fault> {
        let folder = self.path.parent().unwrap_or(Path::new("/")).to_owned();
        let lock = File::open(&folder).map_err(|error| wrong(&folder, &error))?;
        let locked = timeout(limit, async {
            loop {
                match lock.try_lock() {
                    Ok(()) => return Ok(()),
                    Err(TryLockError::WouldBlock) => sleep(BETWEEN_TRIES).await,
                    Err(TryLockError::Error(error)) => return Err(wrong(&folder, &error)),
                }
            }
        });
        let busy = || Fault::Away(format!("{} is held by another call for {limit:?}", folder.display()));
        locked.await.unwrap_or_else(|_elapsed| Err(busy()))?;
        Ok(Held { path: self.path.to_owned(), folder, _lock: lock })
    }
}

impl Held {
    /// Reads the file: a plain one, of a size that an honest one has.
    pub(super) fn read(&self) -> Result<Before, Fault> {
        let said = |error: io::Error| wrong(&self.path, &error);
        let seen = fs::symlink_metadata(&self.path).map_err(said)?;
        if !seen.is_file() {
            return Err(Fault::no(format!("{} is no plain file", self.path.display())));
        }
        let file = File::open(&self.path).map_err(said)?;
        if !same(&seen, &file.metadata().map_err(said)?) {
            return Err(self.changed());
        }
        let mut text = Vec::new();
        file.take(LONGEST + 1).read_to_end(&mut text).map_err(said)?;
        if u64::try_from(text.len()).is_ok_and(|size| size > LONGEST) {
            return Err(Fault::no(format!("{} has more than {LONGEST} bytes", self.path.display())));
        }
        Ok(Before { text, seen })
    }

    /// Makes sure that the file can be replaced.
    pub(super) fn try_out(&self, before: &Before) -> Result<(), Fault> {
        self.beside(before, &before.text).map(drop)
    }

    /// Replaces the file, unless somebody changed it since it was read. Calls `replacing` just before.
    pub(super) fn replace(
        &self,
        before: &Before,
        text: &[u8],
        replacing: impl FnOnce(),
    ) -> Result<(), Fault> {
        let beside = self.beside(before, text)?;
        let now = self.read()?;
        if now.text != before.text || !same(&now.seen, &before.seen) {
            return Err(self.changed());
        }
        replacing();
        let done = fs::rename(&beside.0, &self.path).and_then(|()| File::open(&self.folder)?.sync_all());
        done.map_err(|error| wrong(&self.path, &error))
    }

    /// A new file with the owner and the mode of the old one, all of it on the disk.
    fn beside(&self, before: &Before, text: &[u8]) -> Result<Beside, Fault> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = self.folder.join(format!(".{name}.rekey"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(wrong(&path, &error)),
            Ok(()) | Err(_) => {}
        }
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut file = file.map_err(|error| wrong(&path, &error))?;
        let beside = Beside(path);
        let made = file.metadata().map_err(|error| wrong(&beside.0, &error))?;
        let (uid, gid) = (before.seen.uid(), before.seen.gid());
        if (made.uid(), made.gid()) != (uid, gid) {
            fchown(&file, Some(uid), Some(gid)).map_err(|error| {
                Fault::no(format!(
                    "{} belongs to user {uid} and group {gid}, which we may not give a file to ({error}): make us its owner, and a member of its group",
                    self.path.display()
                ))
            })?;
        }
        let written = file
            .write_all(text)
            .and_then(|()| file.set_permissions(Permissions::from_mode(before.seen.mode() & 0o7777)))
            .and_then(|()| file.sync_all());
        written.map_err(|error| wrong(&beside.0, &error))?;
        Ok(beside)
    }

    fn changed(&self) -> Fault {
        Fault::Away(format!("somebody else changed {} meanwhile", self.path.display()))
    }
}

/// `text` with one line for `user`, or with none; every other line stays byte for byte. Ours comes first: `PgBouncer` stops
/// reading at a line that it does not understand.
pub(super) fn with(text: &[u8], user: &str, line: Option<&str>) -> Vec<u8> {
    let mut after = line.unwrap_or_default().as_bytes().to_vec();
    for line in text.split_inclusive(|&byte| byte == b'\n').filter(|line| !names(line, user)) {
        after.extend_from_slice(line);
    }
    after
}

/// Whether there is a line for `user`.
pub(super) fn holds(text: &[u8], user: &str) -> bool {
    text.split(|&byte| byte == b'\n').any(|line| names(line, user))
}

/// Whether a line is about `user`: a name that needs no quoting inside its quotes.
fn names(line: &[u8], user: &str) -> bool {
    let rest = line.trim_ascii_start().strip_prefix(b"\"");
    rest.and_then(|rest| rest.strip_prefix(user.as_bytes()))
        .is_some_and(|rest| matches!(rest, [b'"', next, ..] if next.is_ascii_whitespace()))
}

fn same(one: &Metadata, two: &Metadata) -> bool {
    (one.dev(), one.ino()) == (two.dev(), two.ino())
}

/// What a failure at a file means: room and memory may come back, rights do not by themselves.
fn wrong(path: &Path, error: &io::Error) -> Fault {
    use io::ErrorKind as K;
    let passing =
        [K::StorageFull, K::QuotaExceeded, K::OutOfMemory, K::Interrupted, K::StaleNetworkFileHandle];
    let text = format!("{}: {error}", path.display());
    if passing.contains(&error.kind()) { Fault::Away(text) } else { Fault::No(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOREIGN: &[u8] = b"; by hand\r\n  \"admin\" \"x\"\n\n\"orders_v2_ab\" \"old\"\n\"orders_v2_a\" \"old\" ; ours\nbroken\xff\n\"last\" \"y\"";

    #[test]
    fn only_the_line_of_the_user_changes() {
        let without =
            b"; by hand\r\n  \"admin\" \"x\"\n\n\"orders_v2_ab\" \"old\"\nbroken\xff\n\"last\" \"y\"";
        assert_eq!(with(FOREIGN, "orders_v2_a", None), without);
        let line = "\"orders_v2_a\" \"new\"\n";
        let after = with(FOREIGN, "orders_v2_a", Some(line));
        assert_eq!(after, [line.as_bytes(), without].concat());
        assert_eq!(with(&after, "orders_v2_a", Some(line)), after, "twice is once");
        assert!(holds(&after, "orders_v2_a") && holds(&after, "admin") && !holds(&after, "orders_v2"));
        assert!(!holds(without, "orders_v2_a"));
    }
}
