//! The published shape of a spec: `docs/credential.schema.json`, for editors and for people.
//!
//! These types only describe; [`super::Spec::parse`] reads. A test keeps the two level.

use std::collections::BTreeMap;

use schemars::JsonSchema;

/// A credential that Rekey rotates: one YAML document.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields, title = "Rekey credential")]
pub struct Credential {
    /// Its name, such as `orders/db`: segments of a-z, 0-9, '-', '_' and '.' separated by '/'.
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$")
    )]
    pub credential: String,
    /// Who answers for it.
    #[schemars(length(min = 1, max = 128))]
    pub owner: String,
    /// Where it belongs, such as `production`.
    #[schemars(length(min = 1, max = 128))]
    pub environment: String,
    /// What you want to find it by; at most 32.
    #[schemars(extend("maxProperties" = super::sections::MOST_LABELS))]
    pub labels: Option<BTreeMap<String, String>>,
    /// A login role in PostgreSQL.
    pub postgres: Postgres,
    /// When it is rotated without being asked. Left out: only by hand.
    pub schedule: Option<Schedule>,
    /// How the version before is ended.
    pub grace: Grace,
    /// Who gets it.
    pub deliver: Deliver,
}

/// A login role in PostgreSQL. Each version is a role of its own, `<prefix>_v<version>_<nonce>`.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Postgres {
    /// A target that the controller's config names.
    #[schemars(length(min = 1, max = 128))]
    pub target: String,
    /// The database that consumers connect to.
    #[schemars(length(min = 1, max = 63))]
    pub database: String,
    /// The NOLOGIN role that owns the objects; each version becomes its member.
    #[schemars(length(min = 1, max = 63))]
    pub owner_role: String,
    /// What the names of Rekey's login roles begin with. No other credential at this target may have it.
    #[schemars(length(min = 1, max = 36), regex(pattern = r"^[a-z][a-z0-9_]*$"))]
    pub prefix: String,
    /// The login that the application uses before the first rotation. It becomes version 1 once its password is handed
    /// in (`rekeyctl adopt`), and is ended by the same evidence as any other version.
    pub adopt: Option<Adopt>,
    /// SQL statements that must succeed with a new version before anybody gets it; at most 16.
    #[schemars(length(max = 16))]
    pub probes: Option<Vec<String>>,
}

/// The login that the application uses before the first rotation.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Adopt {
    /// Its name at the target.
    #[schemars(length(min = 1, max = 63))]
    pub login: String,
    /// Whether it is to become a member of the owner role. Left out: no.
    pub member: Option<bool>,
}

/// When a credential is rotated without being asked.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Schedule {
    /// How old a version gets; longer than `grace.floor`, `grace.quiet` and `grace.max_reconnect` together.
    pub every: Span,
    /// By how much a rotation may come later, drawn at random. Left out: not at all.
    pub jitter: Option<Span>,
}

/// How the version before is ended: when everybody has moved, nobody is seen on it, and the floor has passed.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Grace {
    /// How long an application may keep using a connection it has, at the most. You declare it.
    pub max_reconnect: Span,
    /// The least time that both versions are valid; at least `max_reconnect`.
    pub floor: Span,
    /// How long nobody may have been seen on the old version; above zero.
    pub quiet: Span,
    /// When an unfinished grace alarms; longer than `floor` and `quiet` together. Nothing is ended by it.
    pub deadline: Span,
}

/// Who gets a credential.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Deliver {
    /// Sidecars by SPIFFE id, exact or ending in `/*`. Left out: nobody.
    #[schemars(length(max = 256))]
    pub to: Option<Vec<Grant>>,
    /// What a sidecar does while the controller is away: serve until the version ends (or `offline_for` has passed), or
    /// stop when its lease has ended.
    pub offline: Offline,
    /// How long a sidecar may serve it alone. Left out: without end, and only a person may discount a silent one.
    pub offline_for: Option<Span>,
}

/// What a sidecar does while the controller is away.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum Offline {
    /// Serves until the version ends, or `offline_for` has passed.
    ServeUntilExpiry,
    /// Stops when its lease has ended.
    FailClosed,
}

/// A length of time, such as `300ms`, `15m`, `1h 30m` or `30d`.
#[derive(Debug, JsonSchema)]
pub struct Span(
    #[schemars(regex(pattern = r"^[0-9]"), extend("examples" = ["300ms", "15m", "30d"]))] pub String,
);

/// A SPIFFE id of a sidecar, or all below a path.
#[derive(Debug, JsonSchema)]
pub struct Grant(
    #[schemars(regex(pattern = r"^spiffe://[a-z0-9._-]+/sidecar/"))]
    pub String,
);

/// The schema as it is published.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Credential);
    schema.insert("$id".to_owned(), "https://example.invalid/rekey/credential.schema.json".into());
    schema.to_value()
}
