//! A private Prometheus that looks at one port every second, by the rules that are shipped.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::guarded::Guarded;
use crate::http::Http;
use crate::process::{Launch, free_port, poll};
use crate::unprivileged;

/// How long it may take to start, on a machine that is busy.
const START: Duration = Duration::from_mins(1);

/// A private Prometheus that runs as long as this handle lives.
#[derive(Debug)]
pub struct Prometheus {
    // Ends before the folder goes.
    _server: Guarded,
    _folder: TempDir,
    http: Http,
}

/// An alert that is firing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Its name.
    pub name: String,
    /// The credential that it is about; empty where it is about none.
    pub credential: String,
}

impl Prometheus {
    /// Starts one that scrapes `port` as the job `rekey`, by `rules` (the text of a file of rules).
    pub fn try_start(port: u16, rules: &str) -> Result<Self> {
        let program = program()?;
        let folder = tempfile::Builder::new().prefix("rekey-prometheus-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: [rules.yml]
scrape_configs:
  - job_name: rekey
    static_configs: [{{ targets: [\"127.0.0.1:{port}\"] }}]
"
        );
        for (name, text) in [("prometheus.yml", config.as_str()), ("rules.yml", rules)] {
            fs::write(folder.path().join(name), text)?;
            chown(folder.path().join(name), unprivileged(), unprivileged())?;
        }
        chown(folder.path(), unprivileged(), unprivileged())?;
        // The port was free; should another have taken it meanwhile, another one is tried.
        for _ in 0..5 {
            let port = free_port()?;
            let process = Launch::new(&program, folder.path().join("log"))
                .folder(folder.path())
                .owner(unprivileged())
                .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .start()?;
            let mut server = Guarded::new(vec![process], folder.path())?;
            let http = Http::plain(port);
            let ready =
                || http.ask("GET", "/-/ready", &[], &Value::Null).is_ok_and(|answer| answer.status == 200);
            let up = poll(START, || ready() || server.has_ended());
            if up && !server.has_ended() {
                return Ok(Self { _server: server, _folder: folder, http });
            }
        }
        bail!("Prometheus did not start")
    }

    /// Its version.
    pub fn version(&self) -> Result<String> {
        let answer = self.http.ask("GET", "/api/v1/status/buildinfo", &[], &json!(null))?;
        let version = answer.body.pointer("/data/version").and_then(Value::as_str);
        version.map(str::to_owned).context("it does not say which it is")
    }

    /// What fires now.
    pub fn alerts(&self) -> Result<Vec<Alert>> {
        let answer = self.http.ask("GET", "/api/v1/alerts", &[], &Value::Null)?;
        ensure!(answer.status == 200, "asked for alerts: {answer:?}");
        let alerts = answer.body.pointer("/data/alerts").and_then(Value::as_array).cloned();
        let firing =
            alerts.into_iter().flatten().filter(|alert| alert.get("state") == Some(&json!("firing")));
        let label = |alert: &Value, name: &str| {
            alert.get("labels").and_then(|labels| labels.get(name)).and_then(Value::as_str).map(str::to_owned)
        };
        let made = firing.map(|alert| Alert {
            name: label(&alert, "alertname").unwrap_or_default(),
            credential: label(&alert, "credential").unwrap_or_default(),
        });
        Ok(made.collect())
    }
}

/// What to type where it is missing on this machine; none where it is there.
pub fn lacking() -> Option<String> {
    program().err().map(|error| error.to_string())
}

fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut programs = std::env::split_paths(&path).map(|folder| folder.join("prometheus"));
    programs
        .find(|program| program.is_file())
        .context("Prometheus is not installed: apt-get install -y --no-install-recommends prometheus")
}
