//! Looks for a secret wherever it must not be: in every file below a folder, in the forms in which one leaks.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The forms in which a leaked secret might stand somewhere.
pub fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex = |upper: bool| {
        secret.iter().map(|b| if upper { format!("{b:02X}") } else { format!("{b:02x}") }).collect::<String>()
    };
    let list = secret.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let utf16 = secret.iter().flat_map(|b| [*b, 0]).collect();
    let reversed = secret.iter().rev().copied().collect();
    vec![secret.to_vec(), hex(false).into(), hex(true).into(), list.into(), utf16, reversed]
}

/// The files below `folder` that hold `secret` in any form. One that goes while it is looked at holds nothing.
pub fn found_in(folder: &Path, secret: &[u8]) -> Result<Vec<String>> {
    ensure!(secret.len() >= 8, "a secret of {} bytes is too short to be searched for", secret.len());
    let forms = forms(secret);
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("look into {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = fs::read(&path)
                && forms.iter().any(|form| holds(&bytes, form))
            {
                found.push(path.display().to_string());
            }
        }
    }
    Ok(found)
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
        fs::write(below.join("file"), "a-secret-of-some-lengt").unwrap();
        assert!(found_in(folder.path(), secret).unwrap().is_empty());
        found_in(folder.path(), b"short").unwrap_err();
    }
}
