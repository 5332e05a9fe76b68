//! A private OpenBao: in memory, initialised and unsealed, with `AppRole` and a key-value store.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::certificates::Authority;
use crate::guarded::Guarded;
use crate::http::{Answer, Http};
use crate::process::{Launch, Process, free_port, poll};
use crate::unprivileged;

/// Names the program: what `tests/parts/openbao.sh` prints.
const PROGRAM: &str = "REKEY_BAO";

/// A private OpenBao that runs as long as this handle lives. It listens twice on loopback: with TLS and without.
#[derive(Debug)]
pub struct OpenBao {
    // Ends before the folder goes.
    server: Guarded,
    folder: TempDir,
    plain: u16,
    tls: u16,
    authority: Authority,
    root: String,
    key: String,
}

impl OpenBao {
    /// Starts an OpenBao. Panics with the reason, and with the line that builds it where there is none.
    pub fn start() -> Self {
        Self::try_start().unwrap_or_else(|error| panic!("no OpenBao for this test: {error:#}"))
    }

    /// Starts an OpenBao.
    pub fn try_start() -> Result<Self> {
        let program = program()?;
        let folder = tempfile::Builder::new().prefix("rekey-openbao-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
        chown(folder.path(), unprivileged(), unprivileged())?;
        let authority = Authority::new("OpenBao test authority")?;
        let leaf = authority.leaf(&["localhost", "127.0.0.1"])?;
        write(folder.path(), "server.crt", &leaf.certificate)?;
        write(folder.path(), "server.key", &leaf.key)?;
        // A port that was free may be taken meanwhile; then another does as well.
        let mut tries = 5;
        let (server, plain, tls) = loop {
            tries -= 1;
            let (plain, tls) = (free_port()?, free_port()?);
            match launch(&program, folder.path(), plain, tls) {
                Ok(process) => break (Guarded::new(vec![process], folder.path())?, plain, tls),
                Err(error) if tries == 0 => return Err(error),
                Err(_) => {}
            }
        };
        let mut bao = Self { server, folder, plain, tls, authority, root: String::new(), key: String::new() };
        bao.initialise()?;
        Ok(bao)
    }

    fn initialise(&mut self) -> Result<()> {
        let shares = json!({ "secret_shares": 1, "secret_threshold": 1 });
        let made = self.ask_as("", "PUT", "sys/init", &shares)?;
        self.root = text(&made.body, "/root_token").context("not initialised")?;
        self.key = text(&made.body, "/keys_base64/0").context("not initialised")?;
        self.unseal()?;
        self.ask("POST", "sys/mounts/secret", json!({ "type": "kv", "options": { "version": "2" } }));
        // It is made ready behind the answer, and refuses to be written to until then.
        let writable = || {
            let asked = self.ask_as(&self.root, "POST", "secret/data/ready", &json!({ "data": {} }));
            asked.is_ok_and(|answer| answer.status < 300)
        };
        ensure!(poll(Duration::from_mins(1), writable), "OpenBao's secrets cannot be written to");
        self.ask("POST", "sys/auth/approle", json!({ "type": "approle" }));
        Ok(())
    }

    /// The port that speaks plain HTTP.
    pub fn port(&self) -> u16 {
        self.plain
    }

    /// The port that speaks TLS, for `localhost` and 127.0.0.1.
    pub fn tls_port(&self) -> u16 {
        self.tls
    }

    /// The authority that signed the server's certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// The folder of its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process id, alone.
    pub fn ids(&self) -> Vec<u32> {
        self.server.ids()
    }

    /// Ends the server as it ends when the test process is killed.
    pub fn as_if_killed(&mut self) {
        self.server.as_if_killed();
    }

    /// The root token.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// A request as root; what was answered without an error. Panics at an error.
    #[expect(clippy::needless_pass_by_value, reason = "reads best at the many places that call it")]
    pub fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let answer =
            self.ask_as(&self.root, method, path, &body).unwrap_or_else(|error| panic!("{path}: {error:#}"));
        assert!(answer.status < 300, "{method} {path}: {answer:?}");
        answer.body
    }

    /// A request with this token.
    pub fn ask_as(&self, token: &str, method: &str, path: &str, body: &Value) -> Result<Answer> {
        ask_at(self.plain, token, method, path, body)
    }

    /// A token with these policies, which lives as long as this server.
    pub fn token(&self, policies: &[&str]) -> String {
        let made = self.ask("POST", "auth/token/create", json!({ "policies": policies, "no_parent": true }));
        text(&made, "/auth/client_token").unwrap_or_else(|| panic!("no token: {made}"))
    }

    /// Writes a policy.
    pub fn policy(&self, name: &str, text: &str) {
        self.ask("PUT", &format!("sys/policies/acl/{name}"), json!({ "policy": text }));
    }

    /// Seals it: it answers nobody until it is unsealed.
    pub fn seal(&self) {
        self.ask("PUT", "sys/seal", Value::Null);
    }

    /// Unseals it and waits until it is active.
    pub fn unseal(&self) -> Result<()> {
        self.ask_as("", "PUT", "sys/unseal", &json!({ "key": self.key }))?;
        let active =
            || matches!(self.ask_as("", "GET", "sys/health", &Value::Null), Ok(it) if it.status == 200);
        ensure!(poll(Duration::from_mins(1), active), "OpenBao is not active after it was unsealed");
        Ok(())
    }
}

/// A request to an OpenBao that speaks plain HTTP at this port of loopback.
pub fn ask_at(port: u16, token: &str, method: &str, path: &str, body: &Value) -> Result<Answer> {
    Http::plain(port).ask(method, &format!("/v1/{path}"), &[("X-Vault-Token", token)], body)
}

fn text(body: &Value, at: &str) -> Option<String> {
    body.pointer(at)?.as_str().map(str::to_owned)
}

/// What to type where it is missing on this machine; none where it is there.
pub fn lacking() -> Option<String> {
    program().err().map(|error| error.to_string())
}

fn program() -> Result<PathBuf> {
    let path = std::env::var_os(PROGRAM).map(PathBuf::from).filter(|path| path.is_file());
    path.context("there is no OpenBao: export REKEY_BAO=$(tests/parts/openbao.sh)")
}

fn launch(program: &Path, folder: &Path, plain: u16, tls: u16) -> Result<Process> {
    let path = |name: &str| folder.join(name).display().to_string();
    let config = json!({
        "storage": { "inmem": {} },
        "listener": [
            { "tcp": { "address": format!("127.0.0.1:{plain}"), "tls_disable": true } },
            { "tcp": { "address": format!("127.0.0.1:{tls}"),
                       "tls_cert_file": path("server.crt"), "tls_key_file": path("server.key") } },
        ],
        "api_addr": format!("https://127.0.0.1:{tls}"),
    });
    write(folder, "server.json", &config.to_string())?;
    let process = Launch::new(program, folder.join("log"))
        .folder(folder)
        .owner(unprivileged())
        .env("HOME", folder)
        .args(["server", "-config=server.json"])
        .start();
    let mut process = process?;
    let answers =
        || ask_at(plain, "", "GET", "sys/health", &Value::Null).is_ok_and(|answer| answer.status == 501);
    let up = poll(Duration::from_mins(1), || answers() || process.ended().is_some());
    ensure!(up && process.ended().is_none(), "OpenBao did not start; its log ends:\n{}", process.log_end());
    Ok(process)
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(chown(&path, unprivileged(), unprivileged())?)
}
