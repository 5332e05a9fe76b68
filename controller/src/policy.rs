//! What the controller's config asks of every declaration: its labels, its environment, and classes, by which many
//! credentials have the same times.
//!
//! A credential takes from its class what it does not say itself. What it took is stored beside what it said
//! ([`TAKEN`]), so that a stored declaration reads without the config, and stays as it is when its class goes.

use std::collections::BTreeMap;

use rekey_model::Label;
use rekey_settings::nearest;
use serde_json::{Map, Value};

use crate::alarms::Notice;
use crate::audit::{Actor, Entry, Outcome, Verb};
use crate::spec::{Problem, Spec, TAKEN};
use crate::store::{CredentialRow, Store, StoreError};

/// What the config asks of every declaration. The default asks for nothing.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The labels that every credential must have.
    pub labels: Vec<Label>,
    /// The environments that there are; empty: any.
    pub environments: Vec<Label>,
    /// What credentials may take from a class, by its name.
    pub classes: BTreeMap<Label, Class>,
}

/// What a class gives: sections of a declaration.
#[derive(Debug, Clone, Default)]
pub struct Class {
    /// Everywhere.
    pub usual: Map<String, Value>,
    /// In these environments, before what is usual.
    pub environments: BTreeMap<Label, Map<String, Value>>,
}

/// What a class may give: section, key, and the key that says what this one means. Whoever says that one itself does
/// not take this one.
pub const GIVEN: [(&str, &str, Option<&str>); 8] = [
    ("schedule", "every", None),
    ("schedule", "jitter", Some("every")),
    ("grace", "max_reconnect", None),
    ("grace", "floor", None),
    ("grace", "quiet", None),
    ("grace", "deadline", None),
    ("deliver", "offline", None),
    ("deliver", "offline_for", Some("offline")),
];

impl Class {
    /// What it gives to a declaration that says `said`.
    fn gives(&self, said: &Value) -> Map<String, Value> {
        let here = said.get("environment").and_then(Value::as_str);
        let here = here.and_then(|here| self.environments.iter().find(|(name, _)| name.as_str() == here));
        let says = |section: &str, key: &str| {
            said.get(section).and_then(|it| it.get(key)).is_some_and(|it| !it.is_null())
        };
        let mut given: Map<String, Value> = Map::new();
        for (section, key, of) in GIVEN {
            let value = |from: &Map<String, Value>| from.get(section)?.get(key).cloned();
            let value = here.and_then(|(_, here)| value(here)).or_else(|| value(&self.usual));
            if says(section, key) || of.is_some_and(|of| says(section, of)) {
                continue;
            }
            if let (Some(value), Some(into)) = (value, sub(&mut given, section)) {
                into.insert(key.to_owned(), value);
            }
        }
        given
    }
}

/// The section `name` of `map`, made if it is not there; none if something else is.
fn sub<'a>(map: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    map.entry(name).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

impl Policy {
    /// Has a declaration take from its class what it does not say. A class that there is not is a problem, and leaves
    /// the declaration as it is.
    pub fn complete(&self, declared: &mut Value) -> Result<(), Problem> {
        let Some(name) = declared.get("class").and_then(Value::as_str) else { return Ok(()) };
        let class = self.classes.iter().find(|(class, _)| class.as_str() == name).map(|(_, class)| class);
        let given = class.ok_or_else(|| self.no_class(name))?.gives(declared);
        if let Some(map) = declared.as_object_mut() {
            map.insert(TAKEN.to_owned(), Value::Object(given));
        }
        Ok(())
    }

    fn no_class(&self, name: &str) -> Problem {
        let names: Vec<&str> = self.classes.keys().map(Label::as_str).collect();
        let list = format!("name one of: {}", names.join(", "));
        let remedy = match (nearest(name, &names), names.is_empty()) {
            (Some(meant), _) => format!("did you mean `{meant}`? {list}"),
            (None, false) => list,
            (None, true) => "add it to `classes` in the controller's config first".to_owned(),
        };
        Problem::new("class", "the controller's config has no such class", remedy)
    }

    /// What a declaration lacks that the config asks for: all of it at once.
    pub fn unmet(&self, spec: &Spec) -> Vec<Problem> {
        let missing = self.labels.iter().filter(|label| !spec.labels.contains_key(label));
        let mut unmet: Vec<Problem> = missing
            .map(|label| {
                let remedy = format!("add `{label}: …` to labels: the controller's config requires it");
                Problem::new(format!("labels.{label}"), "is missing", remedy)
            })
            .collect();
        if !self.environments.is_empty() && !self.environments.contains(&spec.environment) {
            let names: Vec<&str> = self.environments.iter().map(Label::as_str).collect();
            let remedy = format!("write one of: {}", names.join(", "));
            unmet.push(Problem::new("environment", "is none that the controller's config has", remedy));
        }
        unmet
    }

    /// What needs attention about a stored declaration: it was fine when it was declared, and the config has changed.
    pub fn notices(&self, stored: &Value) -> Vec<Notice> {
        let Ok(spec) = Spec::parse(stored) else { return Vec::new() };
        let next_command = "rekeyctl apply -f FILE".to_owned();
        let mut notices = Vec::new();
        let unmet = self.unmet(&spec);
        if !unmet.is_empty() {
            let what: Vec<String> = unmet.iter().map(|it| format!("{} {}", it.field, it.message)).collect();
            let message = format!("the declaration lacks what the config requires: {}", what.join("; "));
            let next_command = next_command.clone();
            notices.push(Notice { kind: "policy_unmet", message, next_command });
        }
        if let Some(why) = self.stale(stored) {
            let message = format!("{why}; what it took before stays as it is");
            notices.push(Notice { kind: "class_stale", message, next_command });
        }
        notices
    }

    /// Why a stored declaration does not have what its class gives now.
    fn stale(&self, stored: &Value) -> Option<String> {
        let class = stored.get("class").and_then(Value::as_str)?;
        let mut anew = stored.clone();
        if self.complete(&mut anew).is_err() {
            return Some(format!("its class {class} is no longer in the controller's config"));
        }
        if anew == *stored {
            return None;
        }
        let problems = Spec::parse(&anew).err().unwrap_or_default();
        let why = problems.first().map_or_else(
            || "it is taken at the next start".to_owned(),
            |problem| format!("{} {}", problem.field, problem.message),
        );
        Some(format!("it cannot take what its class {class} gives now: {why}"))
    }

    /// Gives every stored credential what its class gives now, in one commit, and has the audit say so. What would not
    /// read with it, and what names a class that has gone, stays as it is and alarms ([`Policy::notices`]).
    pub async fn take_effect(&self, store: &Store) -> Result<(), StoreError> {
        let mut tx = store.begin().await?;
        for row in tx.load_all().await? {
            let mut spec = row.spec.clone();
            let fits = self.complete(&mut spec).is_ok() && spec != row.spec && Spec::parse(&spec).is_ok();
            if !fits {
                continue;
            }
            let fields = crate::admin::differing(&row.spec, &spec).join(", ");
            let entry = Entry::new(Actor::controller(), Verb::Apply, Outcome::Done).about(&row.name);
            tx.audit(&entry.because(format!("its class changed in the config: {fields}"))).await?;
            tracing::info!(credential = %row.name, %fields, "its class changed in the config");
            tx.save(&mut CredentialRow { spec, ..row }).await?;
        }
        tx.commit().await
    }
}

#[cfg(test)]
mod tests;
