//! Placing a Unix socket so that it is never seen with the wrong owner or mode, and never taken from a living process.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::is_abstract;

/// Who may connect to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnixMode {
    /// The permission bits, such as `0o600` or `0o660`.
    pub mode: u32,
    /// The group that owns it; our own if none.
    pub gid: Option<u32>,
}

impl UnixMode {
    /// For our own user only.
    pub const PRIVATE: Self = Self { mode: 0o600, gid: None };
}

/// Why a socket could not be placed.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The path begins with `@` or NUL, or is empty: such a socket has no owner and no mode.
    #[error("{0:?} names an abstract socket: give the path of a file")]
    Abstract(PathBuf),
    /// The path does not name a file in a directory.
    #[error("{0:?} is not the path of a socket: it has no directory or no name")]
    NoName(PathBuf),
    /// Everybody may rename files in the directory, so the socket could be replaced.
    #[error("directory {0:?} may be written by other users: choose one of your own (mode 0700 or 0750)")]
    OpenDirectory(PathBuf),
    /// Another process holds the lock.
    #[error("{0:?} is in use by another process")]
    InUse(PathBuf),
    /// There is a file in the way that is not a socket.
    #[error("{0:?} exists and is not a socket: remove it, or choose another path")]
    NotASocket(PathBuf),
    /// The operating system would not.
    #[error("cannot {doing} {path:?}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A listening socket at its place.
#[derive(Debug)]
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode, so that we remove no socket but our own.
    identity: Option<(u64, u64)>,
    /// Held as long as we live; the kernel lets go of it when we die.
    _lock: File,
}

impl Socket {
    /// Binds at `path` as [`super::Listener::unix`] says.
    pub(super) fn place(path: &Path, mode: UnixMode) -> Result<Self, SocketError> {
        let (directory, name) = parts(path)?;
        make_directory(directory, mode)?;
        let lock = lock(&directory.join(format!(".{name}.lock")), path)?;
        refuse_other_files(path)?;
        let private = directory.join(format!(".{name}.{}", crate::random::nonce(8)));
        DirBuilder::new().mode(0o700).create(&private).map_err(failed("make", &private))?;
        let bound = bind_inside(&private, path, mode);
        fs::remove_dir_all(&private).map_err(failed("remove", &private))?;
        let listener = bound?;
        let identity = identity(path);
        Ok(Self { listener, path: path.to_owned(), identity, _lock: lock })
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// The directory and the name; refuses what is no path of a file.
fn parts(path: &Path) -> Result<(&Path, String), SocketError> {
    if is_abstract(path) {
        return Err(SocketError::Abstract(path.to_owned()));
    }
    let name = path.file_name().and_then(|name| name.to_str());
    match (path.parent(), name) {
        (Some(directory), Some(name)) if !directory.as_os_str().is_empty() => {
            Ok((directory, name.to_owned()))
        }
        _ => Err(SocketError::NoName(path.to_owned())),
    }
}

/// Makes the directory, ours alone (or ours and the group's), if it is missing; refuses one in which others may rename.
fn make_directory(directory: &Path, mode: UnixMode) -> Result<(), SocketError> {
    let is_new = match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(source) => return Err(SocketError::Io { doing: "make", path: directory.to_owned(), source }),
    };
    if is_new && let Some(gid) = mode.gid {
        std::os::unix::fs::chown(directory, None, Some(gid))
            .map_err(failed("change the group of", directory))?;
        fs::set_permissions(directory, Permissions::from_mode(0o750))
            .map_err(failed("set the mode of", directory))?;
    }
    let meta = fs::metadata(directory).map_err(failed("look at", directory))?;
    if !meta.is_dir() {
        return Err(SocketError::NoName(directory.to_owned()));
    }
    let ours = meta.uid() == rustix::process::geteuid().as_raw() || meta.uid() == 0;
    if !ours || meta.mode() & 0o022 != 0 {
        return Err(SocketError::OpenDirectory(directory.to_owned()));
    }
    Ok(())
}

/// Takes the lock for as long as the file is open.
fn lock(file: &Path, socket: &Path) -> Result<File, SocketError> {
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(file);
    let held = open.map_err(failed("open", file))?;
    match held.try_lock() {
        Ok(()) => Ok(held),
        Err(fs::TryLockError::WouldBlock) => Err(SocketError::InUse(socket.to_owned())),
        Err(fs::TryLockError::Error(source)) => {
            Err(SocketError::Io { doing: "lock", path: file.to_owned(), source })
        }
    }
}

/// A stale socket is replaced by the rename; anything else is somebody's file.
fn refuse_other_files(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() && answers(path) => Err(SocketError::InUse(path.to_owned())),
        Ok(meta) if meta.file_type().is_socket() => Ok(()),
        Ok(_) => Err(SocketError::NotASocket(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(SocketError::Io { doing: "look at", path: path.to_owned(), source }),
    }
}

/// Whether somebody listens there, one who takes no lock included. Never waits.
fn answers(path: &Path) -> bool {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let Ok(probe) = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None) else { return false };
    let Ok(address) = SocketAddrUnix::new(path) else { return false };
    match connect(&probe, &address) {
        Ok(()) => true,
        // Somebody listens, and is busy.
        Err(error) => error == rustix::io::Errno::AGAIN,
    }
}

fn bind_inside(private: &Path, path: &Path, mode: UnixMode) -> Result<UnixListener, SocketError> {
    let hidden = private.join("s");
    let listener = UnixListener::bind(&hidden).map_err(failed("bind", path))?;
    std::os::unix::fs::chown(&hidden, None, mode.gid).map_err(failed("change the group of", path))?;
    fs::set_permissions(&hidden, Permissions::from_mode(mode.mode & 0o777))
        .map_err(failed("set the mode of", path))?;
    fs::rename(&hidden, path).map_err(failed("put in place", path))?;
    Ok(listener)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SocketError {
    move |source| SocketError::Io { doing, path: path.to_owned(), source }
}
