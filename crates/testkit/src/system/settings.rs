//! The files that a user would write: the controller's and the sidecars' config, and the credential's declaration.

use std::path::Path;

use super::Database;
use crate::unprivileged;

/// The credential that the system rotates.
pub const CREDENTIAL: &str = "orders/db";

/// How fast the system goes: real ones take hours where tests take a moment.
#[derive(Debug, Clone)]
pub struct Pace {
    /// The longest time that the service goes on with what it has.
    pub max_reconnect: String,
    /// The least length of a grace.
    pub floor: String,
    /// How long no session may be seen.
    pub quiet: String,
    /// When a grace is overdue.
    pub deadline: String,
    /// How long a sidecar may serve alone.
    pub offline_for: String,
    /// How long a sidecar counts as live after it was heard.
    pub lease: String,
    /// How long a sidecar's leaf is good.
    pub leaf_life: String,
    /// SQL that the new version must be able to run.
    pub probes: Vec<String>,
    /// An address on loopback that is told everything that happens, in sentences.
    pub webhook: Option<String>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            max_reconnect: "300ms".into(),
            floor: "400ms".into(),
            quiet: "300ms".into(),
            deadline: "2m".into(),
            offline_for: "10m".into(),
            lease: "5s".into(),
            leaf_life: "1h".into(),
            probes: vec!["SELECT count(*) FROM orders".into()],
            webhook: None,
        }
    }
}

pub(super) fn controller(database: &Database, fleet_port: u16, pace: &Pace) -> String {
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
{webhooks}targets:
  orders-pg:
    postgres:
      host: {host}
      port: {port}
      user: rekey_rotator
      password_file: rotator-password
      admin_database: postgres
",
        webhooks = pace.webhook.as_ref().map_or_else(String::new, |url| {
            format!("webhooks:\n  - {{ name: ops, url: \"{url}\", format: slack }}\n")
        }),
        leaf_life = pace.leaf_life,
        lease = pace.lease,
        host = database.host().display(),
        port = database.port(),
    )
}

pub(super) fn sidecar(name: &str, fleet_port: u16, folder: &Path) -> String {
    let me = rustix::process::geteuid().as_raw();
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
  - uid: {parts}
    may_read: [\"orders/*\"]
{tests}",
        folder = folder.display(),
        parts = unprivileged().unwrap_or(me),
        tests = if unprivileged().is_some() {
            format!("  - uid: {me}\n    may_read: [\"orders/*\"]\n")
        } else {
            String::new()
        },
    )
}

pub(super) fn credential(pace: &Pace) -> String {
    let probes = pace.probes.iter().fold(String::new(), |list, probe| list + &format!("    - {probe:?}\n"));
    format!(
        "credential: {CREDENTIAL}
owner: team-orders
environment: demo
postgres:
  target: orders-pg
  database: orders
  owner_role: orders_owner
  prefix: orders_app
  adopt: {{ login: orders_legacy, member: true }}
  probes:
{probes}grace:
  max_reconnect: {max_reconnect}
  floor: {floor}
  quiet: {quiet}
  deadline: {deadline}
deliver:
  to: [\"spiffe://rekey.local/sidecar/orders/*\"]
  offline: serve-until-expiry
  offline_for: {offline_for}
",
        max_reconnect = pace.max_reconnect,
        floor = pace.floor,
        quiet = pace.quiet,
        deadline = pace.deadline,
        offline_for = pace.offline_for,
    )
}
