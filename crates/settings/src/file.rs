//! Reading files that settings name: text with a limit, and secrets that nobody else may read, our own or left by others.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rekey_model::SecretBytes;
use rustix::fs::{Mode, OFlags};

use super::tree::MOST_BYTES;

/// The largest secret that is read from a file.
const MOST_SECRET: usize = 64 << 10;

/// Reads a file of settings, at most 1 MiB of UTF-8. Anything but a regular file is refused, and never waited for.
pub fn read_text(path: &Path) -> io::Result<String> {
    let (file, meta) = open(path)?;
    if !meta.is_file() {
        return Err(io::Error::other("this is not a file"));
    }
    let mut text = String::new();
    let limit = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX);
    file.take(limit + 1).read_to_string(&mut text)?;
    if text.len() > MOST_BYTES { Err(io::Error::other("the file is larger than 1 MiB")) } else { Ok(text) }
}

/// Refuses a secret's file that others may read or write, or that somebody else owns; says what to do. A file of root's
/// may be readable by one of our groups: that is how a mounted Kubernetes secret or a systemd credential is given to us.
pub fn check_secret_file(path: &Path) -> Result<(), String> {
    let meta =
        std::fs::metadata(path).map_err(|error| format!("cannot look at {}: {error}", path.display()))?;
    check(path, &meta)
}

/// Reads a secret from a file that nobody else may use (see [`check_secret_file`]), without a newline at its end. What
/// was read is wiped, the secret itself when it is dropped.
pub fn read_secret_file(path: &Path) -> Result<SecretBytes, String> {
    let (file, meta) = open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    read(path, file, &meta)
}

fn read(path: &Path, file: File, meta: &Metadata) -> Result<SecretBytes, String> {
    check(path, meta)?;
    let mut buffer = zeroize::Zeroizing::new(vec![0; MOST_SECRET + 1]);
    let size = fill(file, &mut buffer).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if size > MOST_SECRET {
        return Err(format!("{} is larger than 64 KiB: is this the right file?", path.display()));
    }
    let read = buffer.get(..size).unwrap_or_default();
    let bare = read.strip_suffix(b"\n").map_or(read, |line| line.strip_suffix(b"\r").unwrap_or(line));
    if bare.is_empty() {
        return Err(format!("{} is empty", path.display()));
    }
    Ok(SecretBytes::new(bare.to_vec()))
}

/// The same for a file that somebody else writes, who must not be able to show us another file than theirs: links are
/// followed no further than its own folder, whatever that is reached by. A mounted Kubernetes secret is linked so.
pub fn read_left_secret(path: &Path) -> Result<(SecretBytes, Written), String> {
    let (file, meta) = open_below(path)?;
    Ok((read(path, file, &meta)?, Written::of(&meta)))
}

/// Which file it was, as it was written last: two that are the same were one file, that nobody wrote to in between. Its
/// times are of the machine that has it, and are only compared with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Written {
    fn of(meta: &Metadata) -> Self {
        Self {
            file: (meta.dev(), meta.ino()),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// Opens `path` in its folder, and asks the kernel what was opened: that cannot be changed any more, as a path can while it
/// is compared.
fn open_below(path: &Path) -> Result<(File, Metadata), String> {
    let cannot = |error: io::Error| format!("cannot read {}: {error}", path.display());
    let name = path.file_name().ok_or_else(|| format!("{} is not a file", path.display()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let folder = folder.map_err(|error| cannot(error.into()))?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&folder, name, flags, Mode::empty());
    let file = File::from(file.map_err(|error| cannot(error.into()))?);
    let (below, there) = (opened(&folder).map_err(cannot)?, opened(&file).map_err(cannot)?);
    if !there.starts_with(&below) {
        return Err(format!(
            "{} leads out of its folder, to {}: have it written in the folder, or name that file itself",
            path.display(),
            there.display()
        ));
    }
    let meta = file.metadata().map_err(cannot)?;
    Ok((file, meta))
}

/// The path of what is open, without any link.
fn opened(file: &impl AsRawFd) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Opens `path` to look at what it is before anything is read. Without `NONBLOCK` a FIFO that nobody writes to would hold
/// the opener for ever; for a regular file it means nothing.
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let meta = file.metadata()?;
    Ok((file, meta))
}

fn check(path: &Path, meta: &Metadata) -> Result<(), String> {
    let name = path.display();
    if !meta.is_file() {
        return Err(format!("{name} is not a file"));
    }
    let us = Us::now();
    if meta.uid() != us.user && meta.uid() != 0 {
        return Err(format!("{name} belongs to another user: `chown` it to the one that runs this"));
    }
    if meta.mode() & 0o077 & !us.borrowed(meta.uid(), meta.gid()) != 0 {
        return Err(format!("others may use {name}: `chmod 600 {name}`"));
    }
    Ok(())
}

/// Who runs this.
struct Us {
    user: u32,
    groups: Vec<u32>,
}

impl Us {
    fn now() -> Self {
        let own = rustix::process::getegid();
        // Without the list the rule is only stricter.
        let others = rustix::process::getgroups().unwrap_or_default();
        let groups = others.into_iter().chain([own]).map(rustix::process::Gid::as_raw).collect();
        Self { user: rustix::process::geteuid().as_raw(), groups }
    }

    /// The bits beyond the owner's that a file of `owner` and `group` may have. Root gives a file to us, who are not
    /// root, by a group of ours (Kubernetes' `fsGroup`), or in an access list whose mask stands in the place of the bits
    /// of root's own group (systemd's `LoadCredential=`).
    fn borrowed(&self, owner: u32, group: u32) -> u32 {
        let given = owner == 0 && self.user != 0 && (group == 0 || self.groups.contains(&group));
        if given { 0o040 } else { 0 }
    }
}

/// Reads until the end or until the buffer is full.
fn fill(mut file: File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut size = 0;
    while let Some(rest) = buffer.get_mut(size..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            read => size += read,
        }
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_group_of_ours_may_read_and_only_what_root_gave_to_it() {
        let us = Us { user: 65532, groups: vec![20000, 20001] };
        for (owner, group, bits) in [
            (0, 20000, 0o040),
            (0, 20001, 0o040),
            (0, 0, 0o040),
            (0, 20002, 0),
            (65532, 20000, 0),
            (1000, 20000, 0),
        ] {
            assert_eq!(us.borrowed(owner, group), bits, "owner {owner}, group {group}");
        }
        let root = Us { user: 0, groups: vec![0] };
        assert_eq!(root.borrowed(0, 0), 0, "root needs no group to read");
    }
}
