//! What the config asks of every declaration: required labels, environments, classes.

use std::collections::BTreeMap;

use rekey_model::{Label, Span};
use rekey_settings::Section;
use serde_json::{Map, Value};

use crate::policy::{Class, GIVEN, Policy};

/// Reads what stands at the top of the config.
pub(super) fn take(section: &Section<'_>) -> Policy {
    let labels =
        section.optional_section("required").map(|required| required.list("labels")).unwrap_or_default();
    let environments: Vec<Label> = section.list("environments");
    let classes = section.optional_section("classes").map(|it| classes(&it, &environments));
    Policy { labels, environments, classes: classes.unwrap_or_default() }
}

fn classes(section: &Section<'_>, known: &[Label]) -> BTreeMap<Label, Class> {
    let class = |it: &Section<'_>| {
        let own = it.optional_section("environments");
        let environments = own.map(|own| named(&own, |it| Some(given(it)))).unwrap_or_default();
        for name in environments.keys().filter(|name| !known.is_empty() && !known.contains(name)) {
            it.problem(
                "environments",
                format!("{name} is none of `environments`"),
                "add it there, or take it out here",
            );
        }
        Some(Class { usual: given(it), environments })
    };
    named(section, class)
}

/// Each section of `section` by its name.
fn named<T>(section: &Section<'_>, read: impl Fn(&Section<'_>) -> Option<T>) -> BTreeMap<Label, T> {
    let mut all = BTreeMap::new();
    for (name, inner) in section.named() {
        match name.parse::<Label>() {
            Ok(label) => all.extend(read(&inner).map(|one| (label, one))),
            Err(error) => section.problem(&name, error.to_string(), "choose another name"),
        }
    }
    all
}

/// Sections of a declaration, with what a class may give of them. Whether they fit a credential is seen with it.
fn given(section: &Section<'_>) -> Map<String, Value> {
    let mut given = Map::new();
    for (name, key, _) in GIVEN {
        let Some(inner) = section.optional_section(name) else { continue };
        let value = match key {
            "offline" => offline(&inner),
            // As it was written, so that it is shown like that.
            _time => inner.optional_like::<Span>(key, "30d").and_then(|_span| inner.optional(key)),
        };
        let into = given.entry(name).or_insert_with(|| Value::Object(Map::new()));
        if let (Some(value), Some(into)) = (value, into.as_object_mut()) {
            into.insert(key.to_owned(), value.into());
        }
    }
    given
}

fn offline(section: &Section<'_>) -> Option<String> {
    let word: String = section.optional("offline")?;
    if !["serve-until-expiry", "fail-closed"].contains(&word.as_str()) {
        section.problem("offline", "is neither serve-until-expiry nor fail-closed", "write one of them");
    }
    Some(word)
}
