//! Where somebody else's machine leaves the value that it rotates: a file that is the value, or one key of a `.env` file.
//!
//! A value is taken only if all readers of such a file would take the same: what is written in a way that shells, compose
//! files and libraries read differently is refused, and so is a key that stands there twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekey_model::{Label, SecretBytes};
use rekey_settings::{Section, Written, read_left_secret};

use crate::{BuildError, Problem};

/// The longest value, in bytes.
const LONGEST: usize = 4096;

/// Where a value is left, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    file: PathBuf,
    key: Option<String>,
    /// Who rotates it, and whom to ask for another.
    pub by: String,
}

/// What stands at a place.
#[derive(Debug, Clone)]
pub struct Left {
    /// The value.
    pub value: Arc<SecretBytes>,
    /// The file that it stands in, as it was written last.
    pub written: Written,
}

impl Left {
    /// Whether it is the same, and nobody has written there in between.
    pub fn stands(&self, since: &Self) -> bool {
        self.written == since.written && self.value.same_as(&since.value)
    }
}

/// The places of a target, by the names that accounts follow them by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Places(BTreeMap<Label, Place>);

impl Place {
    /// The place where `by` leaves a value: `file`, or its `key` where that is a file of variables.
    pub fn new(file: PathBuf, key: Option<String>, by: String) -> Self {
        Self { file, key, by }
    }

    /// The place, for people.
    pub fn shown(&self) -> String {
        let file = self.file.display();
        self.key.as_ref().map_or_else(|| file.to_string(), |key| format!("{key} in {file}"))
    }

    /// What is there now, or why there is nothing: what, where and what to do, nothing of what is in the file.
    pub fn read(&self) -> Result<Left, String> {
        let (whole, written) = read_left_secret(&self.file)?;
        let value = match &self.key {
            None => whole,
            Some(key) => value_of(key, whole.expose()).map_err(|why| format!("{}: {why}", self.shown()))?,
        };
        if value.size() > LONGEST {
            return Err(format!("{} has more than {LONGEST} bytes: is this the right file?", self.shown()));
        }
        Ok(Left { value: Arc::new(value), written })
    }
}

impl Places {
    /// Reads `follows` of a target's section; relative paths are below `folder`. No file is opened: it may come later.
    pub(crate) fn read(section: &Section<'_>, folder: &Path) -> Self {
        let mut places = BTreeMap::new();
        let named = section.optional_section("follows").map(|section| (section.named(), section));
        for (name, one) in named.iter().flat_map(|(named, _)| named) {
            let file = one.required_like::<PathBuf>("file", "/run/secrets/orders-db");
            let key = one.optional_like::<String>("key", "DB_PASSWORD");
            let by = one.required_like::<String>("by", "the database team");
            if key.as_deref().is_some_and(|key| !is_name(key)) {
                one.problem(
                    "key",
                    "is letters, digits and '_', no digit first",
                    "write it as it stands in the file",
                );
            }
            let plain = |by: &String| !by.is_empty() && by.len() <= 200 && !by.chars().any(char::is_control);
            if by.as_ref().is_some_and(|by| !plain(by)) {
                one.problem("by", "is one line of at most 200 bytes", "say whom to ask for another value");
            }
            match (name.parse::<Label>(), file.zip(by)) {
                (Ok(name), Some((file, by))) => {
                    places.insert(name, Place::new(folder.join(file), key, by));
                }
                (Ok(_), None) => {}
                (Err(error), _) => one.problem("", error.to_string(), "choose another name"),
            }
        }
        Self(places)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The place that an account follows by `name`.
    pub(crate) fn find(&self, name: &Label) -> Result<&Place, BuildError> {
        let known = || self.0.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let problem =
            || Problem::new("follow", format!("the target has no `follows.{name}`; it has: {}", known()));
        self.0.get(name).ok_or_else(|| BuildError::Mismatch(vec![problem()]))
    }
}

fn is_name(key: &str) -> bool {
    let first = key.bytes().next().is_some_and(|c| c.is_ascii_alphabetic() || c == b'_');
    first && key.len() <= 128 && key.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

/// The value of `key` in a file of variables.
fn value_of(key: &str, text: &[u8]) -> Result<SecretBytes, &'static str> {
    let mut found = None;
    for line in text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        let exported =
            line.strip_prefix(b"export").filter(|rest| rest.first().is_some_and(u8::is_ascii_whitespace));
        let line = exported.map_or(line, <[u8]>::trim_ascii);
        let Some(rest) = line.strip_prefix(key.as_bytes()) else { continue };
        let Some(value) = rest.trim_ascii_start().strip_prefix(b"=") else { continue };
        if found.replace(value.trim_ascii()).is_some() {
            return Err("it stands there twice: leave one");
        }
    }
    bare(found.ok_or("it is not there")?).map(|value| SecretBytes::new(value.to_vec()))
}

/// A value without its quotes.
fn bare(value: &[u8]) -> Result<&[u8], &'static str> {
    const QUOTES: [u8; 2] = *b"'\"";
    let (quote, inner) = match value {
        [first, inner @ .., last] if QUOTES.contains(first) && first == last => (Some(*first), inner),
        _ => (None, value),
    };
    let plain = |byte: &u8| match quote {
        Some(b'\'') => !b"'\\".contains(byte),
        Some(_) => !b"\"\\$`".contains(byte),
        None => byte.is_ascii_graphic() && !b"'\"\\$`#;&|<>()~*?".contains(byte),
    };
    if inner.is_empty() {
        return Err("it is empty");
    }
    if !inner.iter().all(plain) {
        return Err(
            "readers of such files take its value differently: write it in single quotes, or in a file of its own",
        );
    }
    Ok(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_what_is_not_theirs_is_not_read() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("kek"), "marker-9f2").unwrap();
        std::fs::set_permissions(at("kek"), std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::create_dir(at("shared")).unwrap();
        symlink(at("kek"), at("shared/token")).unwrap();
        let place = |file: &str| Place::new(at(file), None, "the script".to_owned());
        let why = place("shared/token").read().map(|_| ()).unwrap_err();
        assert!(why.contains("leads out of its folder") && !why.contains("9f2"), "{why}");
        assert!(place("kek").read().is_ok());
    }

    fn read(text: &str) -> Result<String, &'static str> {
        let value = value_of("TOKEN", text.as_bytes())?;
        Ok(String::from_utf8(value.expose().to_vec()).unwrap())
    }

    #[test]
    fn a_key_of_a_file_of_variables_is_read_as_all_readers_read_it() {
        for (text, value) in [
            ("TOKEN=one", "one"),
            ("# TOKEN=no\nA=b\r\nexport TOKEN = one \r\nTOKEN_2=no\n", "one"),
            ("TOKEN='o n#e$'", "o n#e$"),
            ("export\tTOKEN=one\nexportTOKEN=no", "one"),
            ("TOKEN=\"o n#e\"", "o n#e"),
            ("TOKEN=a=b==", "a=b=="),
        ] {
            assert_eq!(read(text).as_deref(), Ok(value), "{text:?}");
        }
    }

    #[test]
    fn what_readers_take_differently_is_refused_and_not_told() {
        for text in [
            "",
            "OTHER=x",
            "TOKEN=",
            "TOKEN=''",
            "TOKEN=a b",
            "TOKEN=a#b",
            "TOKEN=a;b",
            "TOKEN=~/b",
            "TOKEN=old\nexport\tTOKEN=new",
            "TOKEN=$HOME",
            "TOKEN='a",
            "TOKEN=a'b'",
            "TOKEN=\"a\\n\"",
            "TOKEN=\"$a\"",
            "TOKEN='a'b'",
            "TOKEN=one\nTOKEN=two",
            "TOKEN=one\nexport TOKEN=one",
        ] {
            let why = read(text).unwrap_err();
            assert!(!why.contains("one") || why.contains("leave one"), "{text:?}: {why}");
        }
    }
}
