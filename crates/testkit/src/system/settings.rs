//! What a user would write for this system: its part of the controller's config, and the credential's declaration.

use super::Database;
use crate::platform::Setup;

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

impl Pace {
    /// A grace that no machine is slow enough to miss; declare another one to have it end.
    #[must_use]
    pub fn with_long_grace(self) -> Self {
        Self { floor: "10m".into(), deadline: "1h".into(), ..self }
    }
}

/// What the controller of this system is told: the database, and who hears what happens.
pub(super) fn controller(database: &Database, pace: &Pace, level: &str) -> Setup {
    let webhook = |url: &String| format!("webhooks:\n  - {{ name: ops, url: \"{url}\", format: slack }}\n");
    Setup {
        lease: pace.lease.clone(),
        leaf_life: pace.leaf_life.clone(),
        log_level: level.to_owned(),
        sections: pace.webhook.as_ref().map_or_else(String::new, webhook),
        targets: format!(
            "  orders-pg:
    postgres:
      host: {host}
      port: {port}
      user: rekey_rotator
      password_file: rotator-password
      admin_database: postgres
",
            host = database.host().display(),
            port = database.port(),
        ),
    }
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
