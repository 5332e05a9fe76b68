//! The key of an installation (KEK): 32 bytes in a file that only the controller's user may read.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::hmac;
use rekey_model::SecretBytes;
use zeroize::Zeroizing;

const BYTES: usize = 32;

/// Names a KEK without telling it: 64 bits of an HMAC under it, as hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KekId(String);

impl KekId {
    /// As it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that names no KEK.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a KEK's id has 16 hexadecimal digits")]
pub struct NotAKekId;

impl FromStr for KekId {
    type Err = NotAKekId;
    fn from_str(text: &str) -> Result<Self, NotAKekId> {
        let good = text.len() == 16 && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
        if good { Ok(Self(text.to_owned())) } else { Err(NotAKekId) }
    }
}

/// Why there is no KEK to work with. Names the file, never what is in it.
#[derive(Debug, thiserror::Error)]
pub enum KekError {
    /// It could not be read or written.
    #[error("the KEK file {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others may read it.
    #[error(
        "the KEK file {path} has mode {mode:o}: it must be readable by its owner alone, run `chmod 600` on it"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is no regular file of 32 bytes.
    #[error("the KEK file {0} is not a regular file of exactly 32 bytes")]
    Shape(PathBuf),
    /// There is one already; nothing was changed.
    #[error("there is already a KEK at {0}: nothing was changed. What it sealed opens with no other")]
    Present(PathBuf),
}

fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> KekError {
    let path = path.to_owned();
    move |source| KekError::File { path, source }
}

/// The key that wraps every data key of an installation.
#[derive(Debug)]
pub struct Kek {
    id: KekId,
    key: SecretBytes,
}

impl Kek {
    /// Makes a new KEK in a new file that only this user may read, durable before it returns. Never overwrites one.
    pub fn create(path: &Path) -> Result<Self, KekError> {
        let mut bytes = Zeroizing::new([0_u8; BYTES]);
        rekey_runtime::random::fill(bytes.as_mut_slice());
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut file = made.map_err(|source| {
            let there = source.kind() == std::io::ErrorKind::AlreadyExists;
            let path = path.to_owned();
            if there { KekError::Present(path) } else { KekError::File { path, source } }
        })?;
        file.write_all(bytes.as_slice()).and_then(|()| file.sync_all()).map_err(file_error(path))?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(file_error(folder))?;
        Ok(Self::of(SecretBytes::new(bytes.to_vec())))
    }

    /// Reads it. Refuses a file that others may read, or that is not 32 bytes.
    pub fn read(path: &Path) -> Result<Self, KekError> {
        // Looked at before it is opened: a FIFO in its place would hang the start.
        if !std::fs::metadata(path).map_err(file_error(path))?.is_file() {
            return Err(KekError::Shape(path.to_owned()));
        }
        let mut file = File::open(path).map_err(file_error(path))?;
        let meta = file.metadata().map_err(file_error(path))?;
        if !meta.is_file() || meta.len() != BYTES as u64 {
            return Err(KekError::Shape(path.to_owned()));
        }
        if meta.mode() & 0o177 != 0 {
            return Err(KekError::Open { path: path.to_owned(), mode: meta.mode() & 0o7777 });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES + 1));
        (&mut file).take(BYTES as u64 + 1).read_to_end(&mut bytes).map_err(file_error(path))?;
        if bytes.len() != BYTES {
            return Err(KekError::Shape(path.to_owned()));
        }
        Ok(Self::of(SecretBytes::new(bytes.to_vec())))
    }

    fn of(key: SecretBytes) -> Self {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.expose()), b"rekey/v1 kek id");
        let id = hex::encode(tag.as_ref().iter().take(8).copied().collect::<Vec<u8>>());
        Self { id: KekId(id), key }
    }

    /// Which KEK this is.
    pub fn id(&self) -> &KekId {
        &self.id
    }

    pub(super) fn key(&self) -> &[u8] {
        self.key.expose()
    }
}
