//! The state directory: one file with key and leaf, replaced as a whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rekey_model::{BootId, Moment};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::Leaf;
use super::leaf::LeafKey;

/// The name of the file.
const FILE: &str = "identity.pem";
/// The most bytes that it may have.
const MOST: u64 = 64 * 1024;

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be made or looked at.
    #[error("use {0} as state directory")]
    Directory(PathBuf, #[source] io::Error),
    /// Others may enter it.
    #[error("{0} is open to others: chmod 700 it, and let it belong to uid {1}")]
    Open(PathBuf, u32),
    /// A file cannot be read.
    #[error("read {0}")]
    Read(PathBuf, #[source] io::Error),
    /// The identity in it is broken.
    #[error("{0} holds no identity that can be read: move it away and join again with a new token")]
    Broken(PathBuf),
    /// The identity cannot be written.
    #[error("write {0}")]
    Write(PathBuf, #[source] io::Error),
}

/// A directory that belongs to this sidecar alone.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// The directory at `path`, made with mode 0700 if it is missing; refused if others may enter.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |error| StateError::Directory(path.to_owned(), error);
        if !path.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        }
        let meta = fs::metadata(path).map_err(failed)?;
        let own = rustix::process::geteuid().as_raw();
        if !meta.is_dir() || meta.mode() & 0o077 != 0 || meta.uid() != own {
            return Err(StateError::Open(path.to_owned(), own));
        }
        Ok(Self { path: path.to_owned() })
    }

    /// The identity in it, if there is one.
    pub fn load(&self) -> Result<Option<Leaf>, StateError> {
        let path = self.path.join(FILE);
        match read(&path) {
            Ok(text) => parse(&text).map(Some).ok_or(StateError::Broken(path)),
            Err(StateError::Read(_, error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts `leaf` in the place of what was there: after a crash either of them is there, whole.
    pub fn save(&self, leaf: &Leaf) -> Result<(), StateError> {
        let (path, new) = (self.path.join(FILE), self.path.join("identity.pem.new"));
        self.replace(&path, &new, &print(leaf)).map_err(|error| StateError::Write(path, error))
    }

    fn replace(&self, path: &Path, new: &Path, text: &[u8]) -> io::Result<()> {
        match fs::remove_file(new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(new, path)?;
        File::open(&self.path)?.sync_all()
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, StateError> {
    let failed = |error| StateError::Read(path.to_owned(), error);
    let file = File::open(path).map_err(failed)?;
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(MOST).unwrap_or(0) + 1));
    file.take(MOST + 1).read_to_end(&mut text).map_err(failed)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MOST {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "too large")));
    }
    Ok(text)
}

/// The head as `name value` lines, then the chain and the key in PEM.
fn print(leaf: &Leaf) -> Zeroizing<Vec<u8>> {
    let head = format!(
        "rekey-identity 1\ninstance {}\nspiffe-id {}\nsince {} {} {}\nlives {}\n\n",
        leaf.instance,
        leaf.spiffe_id,
        leaf.since.wall_ms,
        leaf.since.boot.0,
        leaf.since.boot_ms,
        leaf.lives.as_millis(),
    );
    let chain: String = leaf.chain.iter().map(|der| pem("CERTIFICATE", der).to_string()).collect();
    let key = pem("PRIVATE KEY", leaf.key.pkcs8().expose());
    // Of the right size from the start, so that no copy of the key is left behind.
    let mut text = Zeroizing::new(Vec::with_capacity(head.len() + chain.len() + key.len()));
    for part in [&head, &chain, key.as_str()] {
        text.extend_from_slice(part.as_bytes());
    }
    text
}

fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(BASE64_STANDARD.encode(der));
    let mut text = Zeroizing::new(String::with_capacity(encoded.len() * 2 + 100));
    for part in ["-----BEGIN ", label, "-----\n"] {
        text.push_str(part);
    }
    for line in encoded.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    for part in ["-----END ", label, "-----\n"] {
        text.push_str(part);
    }
    text
}

fn parse(text: &[u8]) -> Option<Leaf> {
    let head = text.windows(2).position(|two| two == b"\n\n").and_then(|end| text.get(..end))?;
    let mut rows = std::str::from_utf8(head).ok()?.lines();
    let mut line = |name: &str| rows.next()?.strip_prefix(name)?.strip_prefix(' ');
    if line("rekey-identity")? != "1" {
        return None;
    }
    let instance = line("instance")?.parse().ok()?;
    let spiffe_id = line("spiffe-id")?.parse().ok()?;
    let mut since = line("since")?.split(' ');
    let wall_ms = since.next()?.parse().ok()?;
    let boot = BootId(since.next()?.parse().ok()?);
    let since = Moment { wall_ms, boot, boot_ms: since.next()?.parse().ok()? };
    let lives = Duration::from_millis(line("lives")?.parse().ok()?);
    let chain = CertificateDer::pem_slice_iter(text).map(|der| der.map(|der| der.to_vec()));
    let chain: Vec<Vec<u8>> = chain.collect::<Result<_, _>>().ok()?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(text).ok()?;
    let key = LeafKey::of(key.secret_pkcs8_der().to_vec());
    key.pair().ok()?;
    (!chain.is_empty()).then_some(Leaf { chain, instance, spiffe_id, since, lives, key })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn leaf() -> Leaf {
        Leaf {
            chain: vec![vec![1; 300], vec![2; 65]],
            instance: "000000000000000000000000000000aa".parse().unwrap(),
            spiffe_id: "spiffe://rekey.local/sidecar/orders".parse().unwrap(),
            since: Moment { wall_ms: -5, boot: BootId(7), boot_ms: 12 },
            lives: Duration::from_millis(3_600_001),
            key: LeafKey::generate().unwrap(),
        }
    }

    #[test]
    fn an_identity_reads_as_it_was_written_and_only_its_owner_may() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        assert!(state.load().unwrap().is_none());
        let leaf = leaf();
        state.save(&self::leaf()).unwrap();
        state.save(&leaf).unwrap();
        let read = state.load().unwrap().unwrap();
        assert_eq!(print(&read), print(&leaf));
        assert!(read.key.pkcs8().same_as(leaf.key.pkcs8()));
        let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("state"), mode("state/identity.pem")), (0o700, 0o600));
        assert_eq!(fs::read_dir(dir.path().join("state")).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_that_others_may_enter_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(StateDir::open(dir.path()), Err(StateError::Open(..))));
    }

    #[test]
    fn a_broken_identity_is_not_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("s")).unwrap();
        let whole = print(&leaf());
        for cut in [0, 1, 20, 150, whole.len() / 2, whole.len() - 40] {
            fs::write(dir.path().join("s").join(FILE), whole.get(..cut).unwrap()).unwrap();
            assert!(matches!(state.load(), Err(StateError::Broken(_))), "cut at {cut}");
        }
    }
}
