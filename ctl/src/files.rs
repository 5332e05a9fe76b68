//! Files that only their owner may read, written whole or not at all; and secrets read from files and pipes.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rekey_model::SecretBytes;

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};

/// The most bytes of a file that is read here.
pub(crate) const MOST_BYTES: u64 = 1 << 20;

/// Makes `folder` with mode 0700 if it is not there.
pub(crate) fn make_folder(folder: &Path) -> Outcome<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| Failure::local(format!("cannot make {}", folder.display()), &error))
}

/// Puts `bytes` into `path` with mode 0600. Whoever reads sees what was there before, or all of it.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Outcome<()> {
    let wrote = || -> io::Result<()> {
        let beside = path.with_extension(format!("new-{}", std::process::id()));
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    wrote().map_err(|error| Failure::local(format!("cannot write {}", path.display()), &error))
}

/// Reads all of `path`, or of what is piped in for `-`.
pub(crate) fn read(path: &Path) -> Outcome<Vec<u8>> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if path == Path::new("-") {
            io::stdin().lock().take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
        } else {
            fs::File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    };
    let bytes = read().map_err(|error| {
        let exit = if error.kind() == io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
        Failure { exit, ..Failure::local(format!("cannot read {}", path.display()), &error) }
    })?;
    if u64::try_from(bytes.len()).is_ok_and(|size| size <= MOST_BYTES) {
        Ok(bytes)
    } else {
        let message = format!("{} is larger than 1 MiB", path.display());
        Err(Failure::new(Exit::Invalid, message, "split it"))
    }
}

/// Reads a secret from `path` (`-`: from what is piped in). One line end at its end does not count.
pub(crate) fn read_secret(path: &Path) -> Outcome<SecretBytes> {
    let mut bytes = read(path)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    Ok(SecretBytes::new(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_private_is_private_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a/b");
        make_folder(&place).unwrap();
        let path = place.join("key.pem");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
    }

    #[test]
    fn one_line_end_is_no_part_of_a_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for (stored, meant) in [("pw\n", "pw"), ("pw\r\n", "pw"), ("pw\n\n", "pw\n"), (" pw ", " pw ")] {
            fs::write(&path, stored).unwrap();
            assert_eq!(read_secret(&path).unwrap().expose(), meant.as_bytes());
        }
        assert_eq!(read(&folder.path().join("none")).unwrap_err().exit, Exit::NotFound);
    }
}
