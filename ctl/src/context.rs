//! Contexts: the controllers that a person works with and how to reach them, in `~/.config/rekey/contexts.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::files;

/// All contexts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The one that is used when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// By name.
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

/// One controller and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// `unix:/path` or `host:port`.
    pub controller: String,
    /// What proves who is who; none for a Unix socket, where the kernel does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
}

/// Files that prove who is who.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// What to trust the controller by.
    pub ca_file: PathBuf,
    /// The operator's certificate and its chain.
    pub cert_file: PathBuf,
    /// The operator's key.
    pub key_file: PathBuf,
    /// The name in the controller's certificate; none: the host of the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// The folder of the contexts and of the keys that `admin add` makes.
pub fn folder() -> Outcome<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config"))).map_or_else(
        || {
            let message = "neither HOME nor XDG_CONFIG_HOME is set, so there is no place for contexts";
            Err(Failure::new(Exit::Failed, message, "name the controller with --controller unix:/path"))
        },
        |config| Ok(config.join("rekey")),
    )
}

impl Contexts {
    /// Reads the contexts of `folder`; none there yet is none.
    pub fn load(folder: &Path) -> Outcome<Self> {
        let path = folder.join("contexts.json");
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            read => {
                read.map_err(|error| Failure::local(format!("cannot read {}", path.display()), &error))?
            }
        };
        serde_json::from_str(&text).map_err(|error| {
            let message = format!("{}:{}: {error}", path.display(), error.line());
            Failure::new(Exit::Invalid, message, "mend the file, or move it away and add the contexts again")
        })
    }

    /// Writes the contexts, so that readers see the old ones or the new ones.
    pub fn save(&self, folder: &Path) -> Outcome<()> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|error| Failure::local("cannot write the contexts", &error))?;
        text.push(b'\n');
        files::make_folder(folder)?;
        files::write_private(&folder.join("contexts.json"), &text)
    }

    /// The context `name`.
    pub fn named(&self, name: &str) -> Outcome<&Context> {
        self.contexts.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let remedy = if known.is_empty() {
                "add one with `rekeyctl context add`".to_owned()
            } else {
                format!("known are: {}", known.join(", "))
            };
            Failure::new(Exit::NotFound, format!("there is no context `{name}`"), remedy)
        })
    }
}

/// Whether `name` can be the name of a context: it becomes a folder's name too.
pub fn check_name(name: &str) -> Outcome<()> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let good = (1..=64).contains(&name.len()) && name.chars().all(fits) && !name.starts_with('.');
    if good {
        return Ok(());
    }
    let message =
        "a name here has 1 to 64 characters of a-z, 0-9, '-', '_' and '.', and does not begin with '.'";
    Err(Failure::new(Exit::Usage, message, "choose another name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("rekey");
        assert_eq!(Contexts::load(&place).unwrap(), Contexts::default());
        let here = Context { controller: "unix:/run/admin.sock".to_owned(), identity: None };
        let mut contexts = Contexts { current: Some("here".to_owned()), contexts: BTreeMap::new() };
        contexts.contexts.insert("here".to_owned(), here);
        contexts.save(&place).unwrap();
        assert_eq!(Contexts::load(&place).unwrap(), contexts);
        assert_eq!(contexts.named("there").unwrap_err().exit, Exit::NotFound);
    }

    #[test]
    fn a_broken_file_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("contexts.json"), "{\n \"curent\": \"x\"\n}").unwrap();
        let failure = Contexts::load(folder.path()).unwrap_err();
        assert!(failure.message.contains("contexts.json:2"), "{failure:?}");
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        for bad in ["", "..", ".x", "a/b", "A", "a b", &"a".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad:?} was taken");
        }
        assert!(check_name("prod-1.eu").is_ok());
    }
}
