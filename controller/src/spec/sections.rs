//! Which fields a spec has, section by section.

use std::collections::BTreeMap;
use std::str::FromStr;

use rekey_drivers::Account;
use rekey_model::{FieldName, Grant, Label, Span};
use rekey_settings::Section;

use super::{Deliver, Grace, Offline, Schedule, Spec, Taken, rules};
use crate::template::Template;

/// The most sidecars or groups of sidecars that one credential goes to.
pub(super) const MOST_GRANTS: usize = 256;
/// The most fields that are made of others.
const MOST_FIELDS: usize = 16;
/// The most labels of one credential.
pub(super) const MOST_LABELS: usize = 32;

/// Reads a whole spec, of which `taken` is from its class. What is wrong is noted with the section.
pub(super) fn spec(root: &Section<'_>, taken: Vec<String>) -> Option<Spec> {
    let name = root.required_like("credential", "orders/db");
    let owner = root.required_like("owner", "team-orders");
    let environment = root.required_like("environment", "production");
    let class: Option<Label> = root.optional_like("class", "databases");
    let labels = root.optional_section("labels").map(|labels| read_labels(&labels)).unwrap_or_default();
    let driver = rekey_drivers::account(root);
    let schedule = root.optional_section("schedule").and_then(|schedule| read_schedule(&schedule));
    let grace = grace(root);
    let deliver = deliver(root);
    let fields =
        root.optional_section("fields").map(|it| read_fields(&it, driver.as_ref())).unwrap_or_default();
    if let Some(grace) = &grace {
        rules::grace(grace, root);
        rules::schedule(schedule.as_ref(), grace, root);
    }
    Some(Spec {
        name: name?,
        owner: owner?,
        environment: environment?,
        taken: class.map(|class| Taken { class, fields: taken }),
        labels,
        driver: driver?,
        schedule,
        grace: grace?,
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
    Some(Schedule { every: every?, jitter: jitter.unwrap_or(Span::new(std::time::Duration::ZERO)) })
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
