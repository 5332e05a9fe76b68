//! Which fields a spec has, section by section.

use std::str::FromStr;

use rekey_model::{Grant, Span};
use serde_json::Value;

use super::problem::Problem;
use super::reader::Section;
use super::{Deliver, DriverSpec, Grace, Offline, Schedule, Spec, postgres, rules};

/// The most sidecars or groups of sidecars that one credential goes to.
pub(super) const MOST_GRANTS: usize = 256;
/// The most labels of one credential.
pub(super) const MOST_LABELS: usize = 32;

/// Reads a whole spec. With a problem in it, what comes back is not to be used.
pub(super) fn spec(json: &Value, problems: &mut Vec<Problem>) -> Option<Spec> {
    let mut root = Section::root(json, problems)?;
    let name = root.required("credential", "orders/db", problems);
    let owner = root.required("owner", "team-orders", problems);
    let environment = root.required("environment", "production", problems);
    let labels = root.labels(("labels", MOST_LABELS), problems);
    let driver = driver(&mut root, problems);
    let schedule = schedule(&mut root, problems);
    let grace = grace(&mut root, problems);
    let deliver = deliver(&mut root, problems);
    root.end(problems);
    if let Some(grace) = &grace {
        rules::grace(grace, problems);
        rules::schedule(schedule.as_ref(), grace, problems);
    }
    Some(Spec {
        name: name?,
        owner: owner?,
        environment: environment?,
        labels,
        driver: driver?,
        schedule,
        grace: grace?,
        deliver: deliver?,
    })
}

/// The one driver of a credential. A second driver makes this a choice of exactly one key.
fn driver(root: &mut Section<'_>, problems: &mut Vec<Problem>) -> Option<DriverSpec> {
    let example = "{ target: …, database: …, owner_role: …, prefix: … }";
    let section = root.required_section("postgres", example, problems)?;
    postgres::read(section, problems).map(DriverSpec::Postgres)
}

fn schedule(root: &mut Section<'_>, problems: &mut Vec<Problem>) -> Option<Schedule> {
    let mut section = root.section("schedule", problems)?;
    let every = section.required("every", "30d", problems);
    let jitter = section.optional("jitter", "2d", problems);
    section.end(problems);
    Some(Schedule { every: every?, jitter: jitter.unwrap_or(Span::new(std::time::Duration::ZERO)) })
}

fn grace(root: &mut Section<'_>, problems: &mut Vec<Problem>) -> Option<Grace> {
    let example = "{ max_reconnect: 30m, floor: 1h, quiet: 15m, deadline: 48h }";
    let mut section = root.required_section("grace", example, problems)?;
    let max_reconnect = section.required("max_reconnect", "30m", problems);
    let floor = section.required("floor", "1h", problems);
    let quiet = section.required("quiet", "15m", problems);
    let deadline = section.required("deadline", "48h", problems);
    section.end(problems);
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

fn deliver(root: &mut Section<'_>, problems: &mut Vec<Problem>) -> Option<Deliver> {
    let example = "{ to: [ \"spiffe://…/sidecar/orders/*\" ], offline: serve-until-expiry }";
    let mut section = root.required_section("deliver", example, problems)?;
    let grant = "\"spiffe://rekey.local/sidecar/orders/*\"";
    let to: Vec<Grant> = section.texts(("to", MOST_GRANTS), grant, problems);
    let word = section.required("offline", "serve-until-expiry", problems);
    let bound = section.optional("offline_for", "24h", problems);
    let field = section.path("offline_for");
    section.end(problems);
    let offline = match (word?, bound) {
        (OfflineWord::ServeUntilExpiry, bound) => Offline::ServeUntilExpiry { bound },
        (OfflineWord::FailClosed, None) => Offline::FailClosed,
        (OfflineWord::FailClosed, Some(_)) => {
            problems.push(Problem::new(
                field,
                "has no meaning with `offline: fail-closed`, which stops with the lease",
                "take it out, or write `offline: serve-until-expiry`",
            ));
            Offline::FailClosed
        }
    };
    Some(Deliver { to, offline })
}
