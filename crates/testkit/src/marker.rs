//! Looks for a secret wherever it must not be: in every file below a folder, in the forms in which one leaks.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The forms in which a leaked secret might stand somewhere.
pub fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex = |upper: bool| {
        secret.iter().map(|b| if upper { format!("{b:02X}") } else { format!("{b:02x}") }).collect::<String>()
    };
    let list = secret.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let utf16 = secret.iter().flat_map(|b| [*b, 0]).collect();
    let reversed = secret.iter().rev().copied().collect();
    let mut forms = vec![secret.to_vec(), hex(false).into(), hex(true).into(), list.into(), utf16, reversed];
    forms.extend(
        (0..3).flat_map(|before| [STANDARD_NO_PAD, URL_SAFE_NO_PAD].map(|as_| inner(&as_, secret, before))),
    );
    forms.sort();
    forms.dedup();
    forms
}

/// What base64 makes of a secret with so many bytes before it, but for the characters that hold bits of others too.
fn inner(encoding: &base64::engine::GeneralPurpose, secret: &[u8], before: usize) -> Vec<u8> {
    let whole = encoding.encode([&vec![0; before], secret].concat());
    let (begin, end) = ((before * 8).div_ceil(6), (before + secret.len()) * 8 / 6);
    whole.as_bytes().get(begin..end).unwrap_or_default().to_vec()
}

/// The files below `folder` that hold `secret` in any form. One that goes while it is looked at holds nothing; one that
/// cannot be read is an error.
pub fn found_in(folder: &Path, secret: &[u8]) -> Result<Vec<String>> {
    ensure!(secret.len() >= 8, "a secret of {} bytes is too short to be searched for", secret.len());
    let forms = forms(secret);
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("look into {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file()
                && let Some(bytes) = read(&path)?
                && forms.iter().any(|form| holds(&bytes, form))
            {
                found.push(path.display().to_string());
            }
        }
    }
    Ok(found)
}

/// What is in a file; none if it has gone.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Whether `bytes` have `form` in them. Most files are text, and text is searched many times faster.
fn holds(bytes: &[u8], form: &[u8]) -> bool {
    match (std::str::from_utf8(bytes), std::str::from_utf8(form)) {
        (Ok(text), Ok(form)) => text.contains(form),
        _some_binary => bytes.windows(form.len()).any(|window| window == form),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_form_in_text_and_in_what_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("below");
        fs::create_dir(&below).unwrap();
        let secret = b"a-secret-of-some-length";
        for form in forms(secret) {
            for around in [b"text".as_slice(), b"\xff\x00"] {
                fs::write(below.join("file"), [around, &form, around].concat()).unwrap();
                assert_eq!(found_in(folder.path(), secret).unwrap().len(), 1, "{form:?}");
            }
        }
        for before in 0..3 {
            let text = STANDARD_NO_PAD.encode([&b"xyz"[..before], secret, b"more"].concat());
            fs::write(below.join("file"), format!("{{\"value\":\"{text}\"}}")).unwrap();
            assert_eq!(found_in(folder.path(), secret).unwrap().len(), 1, "{text}");
        }
        fs::write(below.join("file"), "a-secret-of-some-lengt").unwrap();
        assert!(found_in(folder.path(), secret).unwrap().is_empty());
        found_in(folder.path(), b"short").unwrap_err();
    }
}
