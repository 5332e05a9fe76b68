//! Reads one section of a spec field by field, so that one wrong field does not hide the next.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::nearest::nearest;
use super::problem::Problem;

/// A short text for people: 1 to 128 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label(String);

impl Label {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a text here has 1 to 128 characters, without control characters and without space at its ends")]
pub struct NoLabel;

impl FromStr for Label {
    type Err = NoLabel;
    fn from_str(text: &str) -> Result<Self, NoLabel> {
        let fits = (1..=128).contains(&text.chars().count())
            && !text.chars().any(char::is_control)
            && text.trim() == text;
        if fits { Ok(Self(text.to_owned())) } else { Err(NoLabel) }
    }
}

/// One section of a spec, and where it stands. Remembers which keys were asked for: all others are unknown.
pub(super) struct Section<'a> {
    path: String,
    map: &'a Map<String, Value>,
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The whole spec.
    pub(super) fn root(json: &'a Value, problems: &mut Vec<Problem>) -> Option<Self> {
        Self::at(String::new(), json, problems)
    }

    fn at(path: String, value: &'a Value, problems: &mut Vec<Problem>) -> Option<Self> {
        if let Value::Object(map) = value {
            return Some(Self { path, map, asked: Vec::new() });
        }
        problems.push(Problem::new(path, wrong_kind(value, "a section"), "write it as `key: value` lines"));
        None
    }

    /// The path of `key` in the whole spec.
    pub(super) fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value of `key`, if it is there and not null.
    fn value(&mut self, key: &'static str) -> Option<&'a Value> {
        self.asked.push(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// A text that must be there; `example` says how it may look.
    pub(super) fn required<T: FromStr>(
        &mut self,
        key: &'static str,
        example: &str,
        problems: &mut Vec<Problem>,
    ) -> Option<T>
    where
        T::Err: fmt::Display,
    {
        let Some(value) = self.value(key) else {
            problems.push(missing(self.path(key), key, example));
            return None;
        };
        text(self.path(key), value, example, problems)
    }

    /// A text that may be left out.
    pub(super) fn optional<T: FromStr>(
        &mut self,
        key: &'static str,
        example: &str,
        problems: &mut Vec<Problem>,
    ) -> Option<T>
    where
        T::Err: fmt::Display,
    {
        let value = self.value(key)?;
        text(self.path(key), value, example, problems)
    }

    /// `true` or `false`; left out: `false`.
    pub(super) fn flag(&mut self, key: &'static str, problems: &mut Vec<Problem>) -> bool {
        match self.value(key) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => {
                problems.push(Problem::new(
                    self.path(key),
                    wrong_kind(other, "true or false"),
                    format!("write `{key}: true` or `{key}: false`"),
                ));
                false
            }
        }
    }

    /// A list of at most `most` texts; left out: empty.
    pub(super) fn texts<T: FromStr>(
        &mut self,
        (key, most): (&'static str, usize),
        example: &str,
        problems: &mut Vec<Problem>,
    ) -> Vec<T>
    where
        T::Err: fmt::Display,
    {
        let path = self.path(key);
        let list = match self.value(key) {
            None => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(other) => {
                let remedy = format!("write `{key}: [ {example} ]`");
                problems.push(Problem::new(path, wrong_kind(other, "a list"), remedy));
                return Vec::new();
            }
        };
        if list.len() > most {
            problems.push(too_many(path, list.len(), most));
            return Vec::new();
        }
        let mut item = |(i, value)| text(format!("{path}[{i}]"), value, example, problems);
        list.iter().enumerate().filter_map(&mut item).collect()
    }

    /// A map of at most `most` texts; left out: empty.
    pub(super) fn labels(
        &mut self,
        (key, most): (&'static str, usize),
        problems: &mut Vec<Problem>,
    ) -> BTreeMap<Label, Label> {
        let Some(section) = self.section(key, problems) else { return BTreeMap::new() };
        if section.map.len() > most {
            problems.push(too_many(section.path, section.map.len(), most));
            return BTreeMap::new();
        }
        let mut labels = BTreeMap::new();
        for (name, value) in section.map {
            let path = format!("{}.{}", section.path, printable(name));
            let key = name.parse::<Label>().map_err(|error| {
                problems.push(Problem::new(&path, error.to_string(), "give the label a short, plain name"));
            });
            if let (Ok(key), Some(value)) = (key, text(path, value, "gold", problems)) {
                labels.insert(key, value);
            }
        }
        labels
    }

    /// A section that may be left out.
    pub(super) fn section(&mut self, key: &'static str, problems: &mut Vec<Problem>) -> Option<Self> {
        let path = self.path(key);
        self.value(key).and_then(|value| Self::at(path, value, problems))
    }

    /// A section that must be there.
    pub(super) fn required_section(
        &mut self,
        key: &'static str,
        example: &str,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        if self.map.get(key).is_none_or(Value::is_null) {
            self.asked.push(key);
            problems.push(missing(self.path(key), key, example));
            return None;
        }
        self.section(key, problems)
    }

    /// Names the keys that nobody asked for.
    pub(super) fn end(self, problems: &mut Vec<Problem>) {
        for key in self.map.keys().filter(|key| !self.asked.contains(&key.as_str())) {
            let shown = printable(key);
            let remedy = nearest(key, &self.asked).map_or_else(
                || format!("take it out; known here: {}", self.asked.join(", ")),
                |meant| format!("did you mean `{meant}`?"),
            );
            problems.push(Problem::new(self.path(&shown), format!("`{shown}` is not known here"), remedy));
        }
    }
}

/// A key as it may be shown: somebody else wrote it.
fn printable(key: &str) -> String {
    key.chars().take(64).flat_map(char::escape_default).collect()
}

fn missing(path: String, key: &str, example: &str) -> Problem {
    Problem::new(path, "is missing", format!("add `{key}: {example}`"))
}

fn too_many(path: String, count: usize, most: usize) -> Problem {
    Problem::new(path, format!("has {count} entries"), format!("leave at most {most}"))
}

fn wrong_kind(value: &Value, wanted: &str) -> String {
    let found = match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a section",
    };
    format!("must be {wanted}, and is {found}")
}

fn text<T: FromStr>(path: String, value: &Value, example: &str, problems: &mut Vec<Problem>) -> Option<T>
where
    T::Err: fmt::Display,
{
    let Value::String(text) = value else {
        let remedy = format!("write it like \"{example}\", in quotes");
        problems.push(Problem::new(path, wrong_kind(value, "a text"), remedy));
        return None;
    };
    text.parse()
        .map_err(|error: T::Err| {
            problems.push(Problem::new(path, error.to_string(), format!("write it like `{example}`")));
        })
        .ok()
}
