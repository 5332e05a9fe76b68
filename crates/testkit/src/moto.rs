//! A private moto: AWS as a double that checks signatures, rights and the number of keys.
//!
//! Three things that moto does not do are added (`moto/server.py`): rights on one user are told from rights on all,
//! inactive keys are refused, as AWS refuses them, and a new key may be unknown for a while. It runs as the caller, whose Python may lie where nobody else can read.

mod sdk;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::guarded::Guarded;
use crate::http::Http;
use crate::process::{Launch, free_port, poll};
pub use sdk::Sdk;

/// Names the Python that has moto: what `tests/parts/moto.sh` prints. Without it the cache is looked into.
const PYTHON: &str = "REKEY_MOTO_PYTHON";
/// Where it is in the cache.
const CACHED: &str = "rekey/moto-5.2.5";

/// A private moto that runs as long as this handle lives.
#[derive(Debug)]
pub struct Moto {
    // Ends before the folder goes.
    server: Guarded,
    folder: TempDir,
    port: u16,
    admin: Http,
}

/// An access key as an administrator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Its id.
    pub id: String,
    /// Its secret, which only a double shows.
    pub secret: String,
    /// Whether it is active.
    pub active: bool,
}

impl Moto {
    /// Starts a moto. Panics with the reason, and with the line that installs it where there is none.
    pub fn start() -> Self {
        Self::try_start().unwrap_or_else(|error| panic!("no moto for this test: {error:#}"))
    }

    /// Starts a moto.
    pub fn try_start() -> Result<Self> {
        let python = python()?;
        let folder = tempfile::Builder::new().prefix("rekey-moto-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
        let script = folder.path().join("server.py");
        fs::write(&script, include_str!("moto/server.py"))?;
        let log = folder.path().join("log");
        // Both ports were free; should another have taken one meanwhile, another pair is tried.
        for _ in 0..5 {
            let (port, admin) = (free_port()?, free_port()?);
            let process = Launch::new(&python, &log)
                .arg(&script)
                .args([port.to_string(), admin.to_string()])
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .env("HOME", folder.path())
                .folder(folder.path())
                .start()?;
            let mut server = Guarded::new(vec![process], folder.path())?;
            let ready = || fs::read_to_string(&log).unwrap_or_default().contains("ready");
            poll(Duration::from_mins(1), || ready() || server.has_ended());
            if ready() && !server.has_ended() {
                return Ok(Self { server, folder, port, admin: Http::plain(admin) });
            }
            drop(server);
        }
        bail!("moto did not start; its log says:\n{}", fs::read_to_string(&log).unwrap_or_default())
    }

    /// Where AWS is, all of it, on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The end of its log, for an error.
    pub fn log_end(&self) -> String {
        self.server.log_end()
    }

    /// Makes a user, with this policy (JSON) if one is given.
    pub fn user(&self, name: &str, policy: Option<&str>) {
        let what = json!({ "user": name });
        let what = policy.map_or(what, |policy| json!({ "user": name, "policy": policy }));
        self.administer("/user", &what);
    }

    /// Makes an access key by hand.
    pub fn create_key(&self, user: &str) -> AccessKey {
        AccessKey::read(&self.administer("/create", &json!({ "user": user })))
    }

    /// Deletes an access key by hand.
    pub fn delete_key(&self, user: &str, id: &str) {
        self.administer("/delete", &json!({ "user": user, "id": id }));
    }

    /// All access keys of a user.
    pub fn keys(&self, user: &str) -> Vec<AccessKey> {
        let keys = self.administer("/keys", &json!({ "user": user }));
        keys.as_array().into_iter().flatten().map(AccessKey::read).collect()
    }

    /// From now on a key of this user is not known for so long after it was made.
    pub fn hide_new_keys(&self, user: &str, seconds: u32) {
        self.administer("/hide", &json!({ "user": user, "seconds": seconds }));
    }

    fn administer(&self, path: &str, what: &Value) -> Value {
        let asked = self.admin.ask("POST", path, &[], what).and_then(|answer| {
            ensure!(answer.status == 200, "status {}", answer.status);
            Ok(answer.body)
        });
        asked.unwrap_or_else(|error| panic!("{path} {what}: {error:#}\n{}", self.log_end()))
    }
}

impl AccessKey {
    fn read(shown: &Value) -> Self {
        let text = |name: &str| shown.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self { id: text("id"), secret: text("secret"), active: text("status") == "Active" }
    }
}

/// What to type where it is missing on this machine; none where it is there.
pub fn lacking() -> Option<String> {
    python().err().map(|error| error.to_string())
}

/// The Python that has moto and boto3.
pub fn python() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os(PYTHON) {
        return Ok(given.into());
    }
    let home = if rustix::process::geteuid().is_root() {
        PathBuf::from("/var/cache")
    } else {
        PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache")
    };
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or(home, PathBuf::from);
    let place = cache.join(CACHED);
    ensure!(place.join("complete").exists(), "moto is not installed: run tests/parts/moto.sh");
    Ok(place.join("bin/python"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_by_hand_and_two_are_the_most() {
        let moto = Moto::start();
        moto.user("orders", None);
        let key = moto.create_key("orders");
        assert!(key.active && key.id.starts_with("AKIA") && key.secret.len() == 40);
        let other = moto.create_key("orders");
        assert_eq!(moto.keys("orders"), [key.clone(), other.clone()]);
        moto.delete_key("orders", &key.id);
        assert_eq!(moto.keys("orders"), [other]);
        let folder = moto.folder().to_owned();
        drop(moto);
        assert!(!folder.exists());
    }
}
