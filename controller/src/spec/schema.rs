//! The published shape of a spec: `docs/credential.schema.json`, for editors and for people.
//!
//! These types only describe; [`super::Spec::parse`] reads. A test keeps the two level.

use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

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
    /// A class of the controller's config: what is not said in `schedule`, `grace` and `deliver` is taken from it.
    #[schemars(length(min = 1, max = 128))]
    pub class: Option<String>,
    /// What you want to find it by; at most 32.
    #[schemars(extend("maxProperties" = super::sections::MOST_LABELS))]
    pub labels: Option<BTreeMap<String, String>>,
    /// A word of yours: all credentials that have it change as one: together, or not at all. Left out: it changes by itself.
    #[schemars(length(min = 1, max = 128))]
    pub group: Option<String>,
    /// A word of yours: of all credentials that have it only one rotates at a time, its grace included, also when somebody
    /// asks. Left out: it waits for nobody.
    #[schemars(length(min = 1, max = 128))]
    pub pair: Option<String>,
    /// When it is rotated without being asked. Left out: only by hand.
    pub schedule: Option<Schedule>,
    /// Where the same class must have rotated well before a rotation begins. Left out: nowhere.
    pub after: Option<After>,
    /// How the version before is ended. Needed where two versions can be valid at once, refused elsewhere.
    pub grace: Option<Grace>,
    /// How readers wait while the target is changed, where it takes one value at a time. Left out: 2 s, and the cut waits
    /// for a sidecar that does not confirm.
    pub barrier: Option<Barrier>,
    /// How well a new version must do. Left out: 99.9 % of at least 1000 uses are to be good.
    pub judge: Option<Judge>,
    /// Which sidecar has a new version before all others, and how long. Left out: all get it at once. Not where the target
    /// takes one value at a time, and not in a group.
    pub canary: Option<Canary>,
    /// Who gets it.
    pub deliver: Option<Deliver>,
    /// Fields made of those that the driver gives, such as
    /// `database_url: "postgres://{username|url}:{password|url}@{host}:{port}/{database|url}"`; `|url`, `|shell` and
    /// `|json` make a value safe there, `{{` is a brace. They change with the next version.
    #[schemars(extend("maxProperties" = 16))]
    pub fields: Option<BTreeMap<String, String>>,
}

/// When a credential is rotated without being asked.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Schedule {
    /// How old a version gets; longer than `grace.floor`, `grace.quiet` and `grace.max_reconnect` together.
    pub every: Option<Span>,
    /// By how much a rotation may come later, drawn at random. Left out: not at all.
    pub jitter: Option<Span>,
}

/// Where the same class must have rotated well before a rotation begins. It binds the schedule and whoever asks; not the
/// first version, and not the replacement of a revoked one.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct After {
    /// The environment, which is not its own.
    #[schemars(length(min = 1, max = 128))]
    pub environment: String,
    /// How long ago that rotation may have ended at the most, such as `7d`.
    pub within: Span,
}

/// How the version before is ended: when everybody has moved, nobody is seen on it, and the floor has passed.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Grace {
    /// How long an application may keep using a connection it has, at the most. You declare it.
    pub max_reconnect: Option<Span>,
    /// The least time that both versions are valid; at least `max_reconnect`.
    pub floor: Option<Span>,
    /// How long nobody may have been seen on the old version; above zero.
    pub quiet: Option<Span>,
    /// When an unfinished grace alarms; longer than `floor` and `quiet` together. Nothing is ended by it.
    pub deadline: Option<Span>,
}

/// How readers wait while the only value that the target takes is changed.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Barrier {
    /// How long they wait at the most, 200ms to 4s; then they get the old value, marked as unsettled, and the new one
    /// beside it. Left out: 2s.
    pub wait: Option<Span>,
    /// How long whoever read just before the barrier has to log in, at most a quarter of `wait`. Left out: 200ms.
    pub drain: Option<Span>,
    /// What follows when a sidecar does not confirm that its readers wait. Left out: hold.
    pub missing: Option<Missing>,
}

/// What follows when a sidecar does not confirm that its readers wait.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum Missing {
    /// The target is not changed; it is tried again later, and alarms.
    Hold,
    /// The target is changed: that sidecar's readers meet a dead value until it is back.
    GoOn,
}

/// How well the uses of a new version must go, by what processes report: if they do not, everybody goes back by itself.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Judge {
    /// The share of uses that must be good, with at most three decimals; `0%` judges nothing. Left out: 99.9%.
    #[schemars(regex(pattern = r"^[0-9]{1,3}(\.[0-9]{1,3})?%$"), extend("examples" = ["99.9%", "100%"]))]
    pub good: Option<String>,
    /// Of how many uses, at the least: fewer are not judged. With few, one refusal may miss the share. Left out: 1000.
    #[schemars(range(min = 1))]
    pub least: Option<u64>,
}

/// How one sidecar tries a new version before all others get it. When enough of its uses were good, all get it; when too few
/// were, it goes back by itself, and the others never had it. Not for the replacement of a revoked version.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Canary {
    /// The sidecar, by SPIFFE id; it must be in `deliver.to`. Left out, or not connected: the first connected one by name.
    #[schemars(extend("examples" = ["spiffe://rekey.local/sidecar/orders/a"]))]
    pub holder: Option<String>,
    /// How many uses behind it are judged, by `judge.good`.
    #[schemars(range(min = 1))]
    pub uses: u64,
    /// How long it waits for so many. Then fewer are enough if none of them was refused; one that was sends it back.
    pub within: Span,
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
    pub offline: Option<Offline>,
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

/// The schema as it is published: one section beside the common ones is called like a driver.
pub fn schema() -> Value {
    let mut generator = SchemaGenerator::default();
    let kinds = rekey_drivers::ALL.iter();
    let accounts: Vec<(&str, Value)> =
        kinds.map(|kind| (kind.name, kind.schema(&mut generator).to_value())).collect();
    let mut schema = generator.into_root_schema_for::<Credential>().to_value();
    let choices: Vec<Value> = accounts.iter().map(|(name, _)| json!({ "required": [name] })).collect();
    for (name, account) in accounts {
        add_target(&mut schema, &account);
        set(schema.get_mut("properties"), name, account);
    }
    set(schema.get_mut("properties"), "also", also());
    set(Some(&mut schema), "oneOf", choices.into());
    set(Some(&mut schema), "if", json!({ "required": ["class"] }));
    set(Some(&mut schema), "then", json!({}));
    set(Some(&mut schema), "else", without_class());
    set(Some(&mut schema), "$id", "https://example.invalid/rekey/credential.schema.json".into());
    schema
}

/// What must be said where no class gives it.
fn without_class() -> Value {
    let needed = |keys: &[&str]| json!({ "required": keys });
    json!({
        "required": ["deliver"],
        "properties": {
            "schedule": needed(&["every"]),
            "grace": needed(&["max_reconnect", "floor", "quiet", "deadline"]),
            "deliver": needed(&["offline"]),
        },
    })
}

/// The targets beside the first one, each in a section that is called like its kind.
fn also() -> Value {
    let one = json!({
        "type": "object", "additionalProperties": false, "required": ["target"],
        "properties": {
            "target": a_target(),
            "unpooled": {
                "description": "Whether consumers may go to the first target itself too: they get `direct_host` and \
                    `direct_port`, and that way is proven as well. Left out: no.",
                "type": "boolean",
            },
        },
    });
    let kinds = rekey_drivers::FOLLOWERS.iter().map(|kind| (kind.name.to_owned(), one.clone()));
    json!({
        "description": "Targets that must know each version too, such as a pooler before the database.",
        "type": "array", "maxItems": rekey_drivers::MOST_BESIDE,
        "items": {
            "type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
            "properties": Value::Object(kinds.collect()),
        },
    })
}

fn a_target() -> Value {
    json!({
        "description": "A target that the controller's config names.",
        "type": "string", "minLength": 1, "maxLength": 128,
    })
}

/// Every account, of whichever shape, has a target beside what its driver knows.
fn add_target(schema: &mut Value, account: &Value) {
    for shape in account.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
        add_target(schema, shape);
    }
    let place = account.get("$ref").and_then(Value::as_str).and_then(|place| place.strip_prefix('#'));
    let Some(section) = place.and_then(|place| schema.pointer_mut(place)) else { return };
    if section.get("anyOf").is_some() {
        let shapes = section.clone();
        return add_target(schema, &shapes);
    }
    set(section.get_mut("properties"), "target", a_target());
    if let Some(required) = section.get_mut("required").and_then(Value::as_array_mut) {
        required.insert(0, "target".into());
    }
}

fn set(section: Option<&mut Value>, key: &str, value: Value) {
    if let Some(map) = section.and_then(Value::as_object_mut) {
        map.insert(key.to_owned(), value);
    }
}
