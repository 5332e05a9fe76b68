//! The settings of the files that a sidecar keeps for programs which can read nothing but a file.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use rekey_model::{CredentialName, FieldName, NameError};
use rekey_settings::Section;

/// A sidecar keeps no more.
const MOST_FILES: usize = 64;
/// And no file has more values.
const MOST_VALUES: usize = 256;

/// One file, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSpec {
    /// Where it is.
    pub path: PathBuf,
    /// Its permissions: 0400, 0440, 0600 or 0640.
    pub mode: u32,
    /// Its group; `None`: the one that this sidecar runs as.
    pub gid: Option<u32>,
    /// What it says.
    pub content: FileContent,
}

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// The bytes of one value, and nothing else.
    Value(FieldOf),
    /// `NAME=value` lines.
    Env(Vec<(String, FieldOf)>),
}

impl FileContent {
    /// The values in it.
    pub fn values(&self) -> impl Iterator<Item = &FieldOf> {
        let (one, lines) = match self {
            Self::Value(value) => (Some(value), [].as_slice()),
            Self::Env(lines) => (None, lines.as_slice()),
        };
        one.into_iter().chain(lines.iter().map(|(_, value)| value))
    }
}

/// A field of a credential, written `orders/db#password`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldOf {
    /// The credential.
    pub credential: CredentialName,
    /// Its field.
    pub field: FieldName,
}

impl FromStr for FieldOf {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (credential, field) =
            text.split_once('#').ok_or("write the credential and its field, as in orders/db#password")?;
        let wrong = |error: NameError| error.to_string();
        Ok(Self { credential: credential.parse().map_err(wrong)?, field: field.parse().map_err(wrong)? })
    }
}

/// What `files` says.
pub(super) fn files(root: &Section<'_>, folder: &Path) -> Vec<FileSpec> {
    let sections = root.sections("files");
    if sections.len() > MOST_FILES {
        root.problem(
            "files",
            format!("has {} entries", sections.len()),
            format!("leave at most {MOST_FILES}"),
        );
        return Vec::new();
    }
    let mut files: Vec<FileSpec> = Vec::new();
    for section in &sections {
        let Some(file) = file(section, folder) else { continue };
        if files.iter().any(|other| other.path == file.path) {
            section.problem("path", "is the path of another file, too", "give each file a path of its own");
        }
        files.push(file);
    }
    files
}

fn file(section: &Section<'_>, folder: &Path) -> Option<FileSpec> {
    let path = section.required::<PathBuf>("path").map(|path| folder.join(path));
    let mode = section.or("mode", FileMode(0o600)).0;
    let gid = section.optional("gid");
    if gid.is_some() && mode & 0o040 == 0 {
        section.problem("gid", "the group may not read it by this mode", "set `mode: 0640` too");
    }
    let content = match section.one_of(&["value", "env"])? {
        "value" => FileContent::Value(section.required("value")?),
        _env => FileContent::Env(lines(&section.section("env")?)),
    };
    let path = path?;
    if path.file_name().is_none() {
        section.problem("path", "is no name of a file", "write the whole path of the file");
    }
    Some(FileSpec { path, mode, gid, content })
}

fn lines(section: &Section<'_>) -> Vec<(String, FieldOf)> {
    let lines: Vec<(String, FieldOf)> = section.pairs("orders/db#password");
    if lines.is_empty() || lines.len() > MOST_VALUES {
        let remedy = format!("name 1 to {MOST_VALUES}, as in `DB_PASSWORD: orders/db#password`");
        section.problem("", format!("has {} values", lines.len()), remedy);
    }
    for (name, _) in &lines {
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !starts || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            section.problem(name, "is no name of a variable", "use letters, digits and _");
        }
    }
    lines
}

/// The permission bits of a file with secrets.
struct FileMode(u32);

impl FromStr for FileMode {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bits = u32::from_str_radix(text.trim_start_matches("0o"), 8).ok();
        let fits = bits.filter(|bits| [0o400, 0o440, 0o600, 0o640].contains(bits));
        fits.map(Self).ok_or("write 0400, 0440, 0600 or 0640")
    }
}
