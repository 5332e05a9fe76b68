//! Which fields a spec has, section by section.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use rekey_drivers::{Account, Strategy};
use rekey_model::{FieldName, Grant, Label, Span};
use rekey_rotation::Missing;
use rekey_settings::Section;

use super::{After, Barrier, Deliver, Grace, Offline, Schedule, Spec, Taken, canary, judge, rules};
use crate::template::Template;

/// The most sidecars or groups of sidecars that one credential goes to.
pub(super) const MOST_GRANTS: usize = 256;
/// The most fields that are made of others.
const MOST_FIELDS: usize = 16;
/// When a rotation that waits for its holders alarms, where no grace says it.
const OVERDUE: Duration = Duration::from_mins(10);
/// The most labels of one credential.
pub(super) const MOST_LABELS: usize = 32;

/// Reads a whole spec, of which `taken` is from its class. What is wrong is noted with the section.
pub(super) fn spec(root: &Section<'_>, taken: Vec<String>) -> Option<Spec> {
    let name = root.required_like("credential", "orders/db");
    let owner = root.required_like("owner", "team-orders");
    let environment = root.required_like("environment", "production");
    let class: Option<Label> = root.optional_like("class", "databases");
    let labels = root.optional_section("labels").map(|labels| read_labels(&labels)).unwrap_or_default();
    let group = root.optional_like("group", "orders-database");
    let pair = root.optional_like("pair", "orders-database");
    let driver = rekey_drivers::account(root);
    let schedule = root.optional_section("schedule").and_then(|schedule| read_schedule(&schedule));
    let after = after(root, environment.as_ref());
    let followed = driver.as_ref().is_some_and(Account::is_followed);
    let schedule = schedule.filter(|_| !followed);
    if followed {
        rules::followed(root, &taken);
    }
    let (grace, barrier) = ending(root, driver.as_ref().map(|driver| driver.facts().strategy), &taken);
    let judge = judge::read(root);
    let canary = canary::read(root, driver.as_ref());
    let deliver = deliver(root);
    let fields =
        root.optional_section("fields").map(|it| read_fields(&it, driver.as_ref())).unwrap_or_default();
    if let Some(grace) = &grace {
        rules::schedule(schedule.as_ref(), (grace, canary.as_ref()), root);
    }
    rules::after(after.as_ref(), root);
    rules::canary(canary.as_ref(), deliver.as_ref(), root);
    Some(Spec {
        name: name?,
        owner: owner?,
        environment: environment?,
        taken: class.map(|class| Taken { class, fields: taken }),
        labels,
        group,
        pair,
        driver: driver?,
        schedule,
        after,
        grace: grace?,
        barrier,
        judge,
        canary,
        deliver: deliver?,
        fields,
    })
}

fn read_labels(section: &Section<'_>) -> BTreeMap<Label, Label> {
    let pairs = section.pairs::<Label>("gold");
    if pairs.len() > MOST_LABELS {
        let remedy = format!("leave at most {MOST_LABELS}");
        section.problem("", format!("has {} entries", pairs.len()), remedy);
    }
    let mut labels = BTreeMap::new();
    for (key, value) in pairs {
        match key.parse() {
            Ok(label) => {
                labels.insert(label, value);
            }
            Err(error) => {
                let error: rekey_model::NoLabel = error;
                section.problem(&key, error.to_string(), "give the label a short, plain name");
            }
        }
    }
    labels
}

/// Fields that are made of what the driver gives.
fn read_fields(section: &Section<'_>, driver: Option<&Account>) -> BTreeMap<FieldName, Template> {
    let given = driver.map(Account::fields).unwrap_or_default();
    let pairs = section.pairs::<Template>("postgres://{username|url}:{password|url}@{host}");
    if pairs.len() > MOST_FIELDS {
        let remedy = format!("leave at most {MOST_FIELDS}");
        section.problem("", format!("has {} entries", pairs.len()), remedy);
    }
    let mut fields = BTreeMap::new();
    for (key, template) in pairs {
        let unknown = template.made_of().find(|of| driver.is_some() && !given.contains(&of.as_str()));
        if unknown.is_some() {
            let remedy = format!("it can be made of: {}", given.join(", "));
            section.problem(&key, "is made of a field that there is not", remedy);
        }
        match key.parse::<FieldName>() {
            Ok(name) if name.as_str() == crate::fields::CHOSEN => {
                section.problem(&key, "is a name that Rekey keeps for itself", "choose another name");
            }
            Ok(name) if given.contains(&name.as_str()) => {
                section.problem(&key, "is given by the driver itself", "choose another name");
            }
            Ok(name) => {
                fields.insert(name, template);
            }
            Err(error) => section.problem(&key, error.to_string(), "choose another name"),
        }
    }
    fields
}

fn read_schedule(section: &Section<'_>) -> Option<Schedule> {
    let every = section.required_like("every", "30d");
    let jitter = section.optional_like("jitter", "2d");
    Some(Schedule { every: every?, jitter: jitter.unwrap_or(Span::new(Duration::ZERO)) })
}

/// Where the same class must have rotated well before. That is found by its class, and not in its own environment, where
/// it would wait for itself.
fn after(root: &Section<'_>, own: Option<&Label>) -> Option<After> {
    let section = root.optional_section("after")?;
    let environment: Option<Label> = section.required_like("environment", "staging");
    let within = section.required_like("within", "7d");
    if !root.has("class") {
        let remedy = "add `class:`, the same as the credentials have that rotate before it";
        section.problem("", "needs a class: by that it is found who has rotated before", remedy);
    }
    if environment.is_some() && environment.as_ref() == own {
        let remedy = "name the environment that comes before it, such as `environment: staging`";
        section.problem("environment", "is its own: it would wait for itself", remedy);
    }
    Some(After { environment: environment?, within: within? })
}

fn grace(root: &Section<'_>) -> Option<Grace> {
    let example = "{ max_reconnect: 30m, floor: 1h, quiet: 15m, deadline: 48h }";
    let section = root.section_like("grace", example)?;
    let max_reconnect = section.required_like("max_reconnect", "30m");
    let floor = section.required_like("floor", "1h");
    let quiet = section.required_like("quiet", "15m");
    let deadline = section.required_like("deadline", "48h");
    Some(Grace { max_reconnect: max_reconnect?, floor: floor?, quiet: quiet?, deadline: deadline? })
}

/// How the version before ends, or how readers wait where the new value kills it.
fn ending(
    root: &Section<'_>,
    strategy: Option<Strategy>,
    taken: &[String],
) -> (Option<Grace>, Option<Barrier>) {
    match strategy {
        Some(Strategy::Single) => {
            let remedy = "take it out; `barrier:` says how readers wait for the cut";
            let barrier = barrier(root);
            rules::barrier(&barrier, root);
            (Some(no_grace(root, remedy, taken)), Some(barrier))
        }
        Some(Strategy::Follow) => {
            no_barrier(root, "the value is changed by somebody else, who waits for no reader", "take it out");
            (Some(no_grace(root, "take it out", taken)), None)
        }
        Some(Strategy::DualAccount | Strategy::DualSecret | Strategy::HandIn) | None => {
            let remedy = "take it out; `grace:` says how the old version ends";
            no_barrier(root, "both versions are valid for a while", remedy);
            let grace = grace(root);
            if let Some(grace) = &grace {
                rules::grace(grace, root);
            }
            (grace, None)
        }
    }
}

/// The old value dies with the new one, so there is nothing to wait for. What a class gives has no meaning and no harm.
fn no_grace(root: &Section<'_>, remedy: &str, taken: &[String]) -> Grace {
    let said = root.optional_section("grace").map(|section| {
        ["max_reconnect", "floor", "quiet", "deadline"].map(|key| section.optional_like::<Span>(key, "1h"))
    });
    if said.is_some() && !taken.iter().any(|field| field.starts_with("grace.")) {
        root.problem("grace", "has no meaning here: the new value kills the old one at once", remedy);
    }
    let zero = Span::new(Duration::ZERO);
    Grace { max_reconnect: zero, floor: zero, quiet: zero, deadline: Span::new(OVERDUE) }
}

fn no_barrier(root: &Section<'_>, why: &str, remedy: &str) {
    let said = root
        .optional_section("barrier")
        .map(|section| ["wait", "drain", "missing"].map(|key| section.optional_like::<String>(key, "2s")));
    if said.is_some() {
        root.problem("barrier", format!("has no meaning here: {why}"), remedy);
    }
}

fn barrier(root: &Section<'_>) -> Barrier {
    let (wait, drain) = (Span::new(Duration::from_secs(2)), Span::new(Duration::from_millis(200)));
    let Some(section) = root.optional_section("barrier") else {
        return Barrier { wait, drain, missing: Missing::Hold };
    };
    let missing = match section.optional_like::<String>("missing", "hold").as_deref() {
        None | Some("hold") => Missing::Hold,
        Some("go-on") => Missing::GoOn,
        Some(_) => {
            section.problem(
                "missing",
                "is neither hold nor go-on",
                "write `missing: hold` or `missing: go-on`",
            );
            Missing::Hold
        }
    };
    Barrier { wait: section.or("wait", wait), drain: section.or("drain", drain), missing }
}

/// The words for [`Offline`].
enum OfflineWord {
    ServeUntilExpiry,
    FailClosed,
}

impl FromStr for OfflineWord {
    type Err = &'static str;
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "serve-until-expiry" => Ok(Self::ServeUntilExpiry),
            "fail-closed" => Ok(Self::FailClosed),
            _ => Err("is neither serve-until-expiry nor fail-closed"),
        }
    }
}

fn deliver(root: &Section<'_>) -> Option<Deliver> {
    let example = "{ to: [ \"spiffe://…/sidecar/orders/*\" ], offline: serve-until-expiry }";
    let section = root.section_like("deliver", example)?;
    let grant = "\"spiffe://rekey.local/sidecar/orders/*\"";
    let to: Vec<Grant> = section.list_like("to", MOST_GRANTS, grant);
    let word = section.required_like("offline", "serve-until-expiry");
    let bound = section.optional_like("offline_for", "24h");
    let offline = match (word?, bound) {
        (OfflineWord::ServeUntilExpiry, bound) => Offline::ServeUntilExpiry { bound },
        (OfflineWord::FailClosed, None) => Offline::FailClosed,
        (OfflineWord::FailClosed, Some(_)) => {
            section.problem(
                "offline_for",
                "has no meaning with `offline: fail-closed`, which stops with the lease",
                "take it out, or write `offline: serve-until-expiry`",
            );
            Offline::FailClosed
        }
    };
    Some(Deliver { to, offline })
}
