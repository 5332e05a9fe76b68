//! The controller's config: one YAML file, read once and strictly, with every problem told.
//!
//! It names the targets, their addresses and the rotator's logins; a credential's spec can only name a target. Relative
//! paths are below the folder of the file.

mod policy;
mod targets;
mod webhooks;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rekey_drivers::Target;
use rekey_model::{Label, Span, TrustDomain};
use rekey_settings::{Document, Problem, Problems, Section, read_text};

use crate::policy::Policy;
use crate::store::{PostgresStore, StoreConfig, StoreTls};
use crate::webhook::Webhook;

/// The settings of one controller, checked.
#[derive(Debug)]
pub struct Config {
    /// The first part of all SPIFFE ids.
    pub trust_domain: TrustDomain,
    /// Where the store is.
    pub store: StoreConfig,
    /// The key-encrypting key; losing it loses every secret in the store.
    pub kek_file: PathBuf,
    /// Where `init` writes what sidecars and operators trust the controller by.
    pub ca_file: PathBuf,
    /// Where sidecars connect.
    pub fleet: FleetConfig,
    /// Where operators connect.
    pub admin: AdminConfig,
    /// Where figures and health are served: loopback only.
    pub http: Option<SocketAddr>,
    /// How long a sidecar's leaf is good.
    pub leaf_life: Duration,
    /// How long after its leaf has expired a sidecar may come back without a token.
    pub rejoin_window: Duration,
    /// How long a sidecar counts as live after it was heard.
    pub lease: Duration,
    /// How often a current version is tried at the latest.
    pub verify: Duration,
    /// What every declaration must have, and what it may take from a class.
    pub policy: Policy,
    /// Who is told what happens.
    pub webhooks: Vec<Webhook>,
    /// The databases and services where credentials are made, by name.
    pub targets: BTreeMap<Label, Target>,
}

/// Where sidecars connect.
#[derive(Debug, Clone)]
pub struct FleetConfig {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The host names and addresses in the controller's certificate, for both listeners.
    pub names: Vec<String>,
}

/// Where operators connect.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// What operators elsewhere write for it; the first name of the certificate if not said.
    pub address: Option<String>,
    /// The local socket, for the controller's own user and root.
    pub socket: PathBuf,
}

/// Shortest and longest life of a leaf.
const LEAF_LIFE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_hours(24));
/// Shortest and longest lease.
const LEASE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_hours(1));
/// Shortest and longest time between two tries of a current version.
const VERIFY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(24));
/// Shortest and longest time in which an expired leaf can be replaced.
const REJOIN: (Duration, Duration) = (Duration::ZERO, Duration::from_hours(90 * 24));

impl Config {
    /// Reads the file, or says everything that is wrong with it.
    pub fn read(file: &Path) -> Result<Self, Problems> {
        let shown = file.display().to_string();
        let text = read_text(file).map_err(|error| unreadable(&shown, &error))?;
        let whole = std::path::absolute(file).map_err(|error| unreadable(&shown, &error))?;
        let folder = whole.parent().unwrap_or(Path::new("/"));
        Document::parse(&shown, &text)?.read(|section| Self::take(section, folder))
    }

    fn take(section: &Section<'_>, folder: &Path) -> Option<Self> {
        let path =
            |section: &Section<'_>, key: &str| section.required::<PathBuf>(key).map(|p| folder.join(p));
        let domain = section.section("installation").and_then(|s| s.required("trust_domain"));
        let store = section.section("store").and_then(|s| store(&s, folder));
        let kek_file = path(section, "kek_file");
        let ca_file = path(section, "ca_file");
        let fleet = section.section("fleet").and_then(|s| fleet(&s));
        let admin = section.section("admin").and_then(|s| admin(&s, folder));
        let http = section.optional_section("http").and_then(|s| loopback(&s));
        let identity = section.optional_section("identity");
        let of_identity = |key, default, bounds| match &identity {
            Some(section) => within(section, key, default, bounds),
            None => default,
        };
        let leaf_life = of_identity("leaf_life", Duration::from_hours(1), LEAF_LIFE);
        let rejoin_window = of_identity("rejoin_window", Duration::from_hours(7 * 24), REJOIN);
        let lease = within(section, "lease", Duration::from_secs(30), LEASE);
        let verify = within(section, "verify", crate::executor::VERIFY, VERIFY);
        let policy = policy::take(section);
        let webhooks = webhooks::take(section, folder);
        let targets =
            section.optional_section("targets").map(|s| targets::take(&s, folder)).unwrap_or_default();
        Some(Self {
            trust_domain: domain?,
            store: store?,
            kek_file: kek_file?,
            ca_file: ca_file?,
            fleet: fleet?,
            admin: admin?,
            http,
            leaf_life,
            rejoin_window,
            lease,
            verify,
            policy,
            webhooks,
            targets,
        })
    }
}

fn unreadable(file: &str, error: &std::io::Error) -> Problems {
    let remedy = "name a file that this user may read".to_owned();
    Problem { file: file.to_owned(), line: 0, field: String::new(), message: error.to_string(), remedy }
        .into()
}

fn fleet(section: &Section<'_>) -> Option<FleetConfig> {
    let names = section.list::<String>("names");
    if names.is_empty() {
        section.problem(
            "names",
            "is missing",
            "list the host names and addresses by which sidecars reach the controller",
        );
    }
    Some(FleetConfig { listen: section.required("listen")?, names })
}

fn admin(section: &Section<'_>, folder: &Path) -> Option<AdminConfig> {
    let listen = section.required("listen");
    let address = section.optional("address");
    let socket = section.required::<PathBuf>("socket").map(|p| folder.join(p));
    Some(AdminConfig { listen: listen?, address, socket: socket? })
}

fn loopback(section: &Section<'_>) -> Option<SocketAddr> {
    let listen: SocketAddr = section.required("listen")?;
    if !listen.ip().is_loopback() {
        let remedy = "write 127.0.0.1:PORT, and let a collector on this machine carry the figures";
        section.problem("listen", "is not on loopback, and this listener knows no caller", remedy);
    }
    Some(listen)
}

fn store(section: &Section<'_>, folder: &Path) -> Option<StoreConfig> {
    match section.one_of(&["sqlite", "postgres"])? {
        "sqlite" => section.required::<PathBuf>("sqlite").map(|path| StoreConfig::Sqlite(folder.join(path))),
        _postgres => postgres_store(&section.section("postgres")?, folder).map(StoreConfig::Postgres),
    }
}

fn postgres_store(section: &Section<'_>, folder: &Path) -> Option<PostgresStore> {
    let host: Option<String> = section.required("host");
    let port = section.or("port", 5432);
    let database = section.required("database");
    let user = section.required("user");
    let password = match section.optional::<PathBuf>("password_file") {
        Some(file) => Some(targets::secret(section, "password_file", &folder.join(file))?),
        None => None,
    };
    let tls = match section.optional::<PathBuf>("ca_file") {
        Some(file) => StoreTls::VerifyFull { ca_file: folder.join(file) },
        None => StoreTls::Disable,
    };
    let mirror = section.optional::<PathBuf>("mirror_file").map(|file| folder.join(file));
    Some(PostgresStore {
        host: host?,
        port,
        database: database?,
        user: user?,
        password: password.map(std::sync::Arc::new),
        tls,
        mirror,
    })
}

/// The length of time `key`, with a problem if it lies outside of `bounds`.
fn within(section: &Section<'_>, key: &str, default: Duration, bounds: (Duration, Duration)) -> Duration {
    let length = section.or(key, Span::new(default)).get();
    if length < bounds.0 || length > bounds.1 {
        let remedy = format!("write something from {} to {}", Span::new(bounds.0), Span::new(bounds.1));
        section.problem(key, "is out of bounds", remedy);
    }
    length
}

#[cfg(test)]
mod tests;
