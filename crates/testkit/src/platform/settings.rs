//! The config files that a user would write for a controller and its sidecars.

use std::path::Path;

use crate::unprivileged;

/// What a controller's config says beside what every one says.
#[derive(Debug, Clone)]
pub struct Setup {
    /// How long a sidecar counts as live after it was heard.
    pub lease: String,
    /// How long a sidecar's leaf is good.
    pub leaf_life: String,
    /// How much every part logs.
    pub log_level: String,
    /// More sections, whole: `classes:`, `webhooks:`, `required:` …
    pub sections: String,
    /// The entries of `targets:`, indented by two.
    pub targets: String,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            lease: "5s".into(),
            leaf_life: "1h".into(),
            log_level: "info".into(),
            sections: String::new(),
            targets: String::new(),
        }
    }
}

pub(super) fn controller(setup: &Setup, fleet_port: u16) -> String {
    let Setup { lease, leaf_life, sections, targets, .. } = setup;
    let targets = if targets.is_empty() { String::new() } else { format!("targets:\n{targets}") };
    format!(
        "installation:
  trust_domain: rekey.local
store:
  sqlite: rekey.db
kek_file: kek
ca_file: ca.pem
fleet:
  listen: 127.0.0.1:{fleet_port}
  names: [localhost]
admin:
  listen: 127.0.0.1:0
  socket: admin.sock
http:
  listen: 127.0.0.1:0
identity:
  leaf_life: {leaf_life}
  rejoin_window: 7d
lease: {lease}
{sections}{targets}"
    )
}

/// The config of the sidecar `name`, whose callers may read `may_read`.
pub(super) fn sidecar(name: &str, may_read: &str, fleet_port: u16, folder: &Path) -> String {
    let me = rustix::process::geteuid().as_raw();
    let caller = |uid: u32| format!("  - uid: {uid}\n    may_read: [\"{may_read}\"]\n");
    format!(
        "controller:
  address: 127.0.0.1:{fleet_port}
  server_name: localhost
  ca_file: ca.pem
identity:
  state_dir: {name}-state
  join_token_file: {name}.token
socket:
  path: {folder}/{name}-socket/rekey.sock
callers:
{parts}{tests}",
        folder = folder.display(),
        parts = caller(unprivileged().unwrap_or(me)),
        tests = if unprivileged().is_some() { caller(me) } else { String::new() },
    )
}
