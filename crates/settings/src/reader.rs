//! The typed reader: takes what it knows from a section, and gathers what is wrong instead of stopping.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

use super::tree::{Entry, Kind, Node, join};
use super::{Problem, Problems, nearest};

/// What stands for a value where no example was given.
const ANY: &str = "..";

/// What was asked and what was wrong, while a document is read.
#[derive(Debug)]
pub(super) struct Gathering {
    file: String,
    problems: RefCell<Vec<Problem>>,
    /// The keys asked for, by the path of their section.
    asked: RefCell<BTreeMap<String, BTreeSet<String>>>,
}

/// A map of settings that is being read.
///
/// Every method that finds something wrong notes it and goes on; the caller needs only `?` on what it cannot do
/// without.
#[derive(Debug, Clone)]
pub struct Section<'a> {
    gathering: &'a Gathering,
    path: String,
    node: &'a Node,
}

impl Gathering {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), problems: RefCell::default(), asked: RefCell::default() }
    }

    /// Adds the keys that nobody asked for, and decides.
    pub(super) fn finish<T>(self, root: &Node, value: Option<T>) -> Result<T, Problems> {
        self.unknown(root, "");
        let mut problems = self.problems.into_inner();
        problems.sort_by(|a, b| (a.line, &a.field).cmp(&(b.line, &b.field)));
        problems.dedup();
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            None if problems.is_empty() => Err(Problem {
                file: self.file,
                line: 0,
                field: String::new(),
                message: "the settings cannot be used".to_owned(),
                remedy: String::new(),
            }
            .into()),
            Some(_) | None => Err(Problems(problems)),
        }
    }

    fn ask(&self, path: &str, key: &str) {
        self.asked.borrow_mut().entry(path.to_owned()).or_default().insert(key.to_owned());
    }

    fn push(&self, line: usize, field: String, message: String, remedy: String) {
        let (file, field) = (self.file.clone(), printable(field));
        self.problems.borrow_mut().push(Problem { file, line, field, message, remedy });
    }

    /// Notes every key that was not asked for, in each map of which any key was.
    fn unknown(&self, node: &Node, path: &str) {
        match &node.kind {
            Kind::Map(entries) => {
                let asked = self.asked.borrow().get(path).cloned();
                for entry in entries {
                    let field = join(path, &entry.key);
                    match &asked {
                        Some(known) if !known.contains(&entry.key) => self.unknown_key(entry, field, known),
                        Some(_) | None => self.unknown(&entry.node, &field),
                    }
                }
            }
            Kind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.unknown(item, &format!("{path}[{index}]"));
                }
            }
            Kind::Scalar { .. } => {}
        }
    }

    fn unknown_key(&self, entry: &Entry, field: String, known: &BTreeSet<String>) {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let remedy = nearest(&entry.key, &known).map_or_else(
            || format!("known here: {}", known.join(", ")),
            |meant| format!("did you mean `{meant}`?"),
        );
        self.push(entry.line, field, "there is no such setting".to_owned(), remedy);
    }
}

impl<'a> Section<'a> {
    pub(super) fn root(gathering: &'a Gathering, node: &'a Node) -> Self {
        gathering.asked.borrow_mut().entry(String::new()).or_default();
        Self { gathering, path: String::new(), node }
    }

    /// The value of `key`; none, with a problem, if it is missing or does not read as a `T`. The words of `T`'s error
    /// are told, so they must not repeat the value.
    pub fn required<T: FromStr<Err: Display>>(&self, key: &str) -> Option<T> {
        self.required_like(key, ANY)
    }

    /// The same; `example` says how it may look.
    pub fn required_like<T: FromStr<Err: Display>>(&self, key: &str, example: &str) -> Option<T> {
        match self.find(key) {
            Some(entry) => self.scalar(&entry.node, join(&self.path, key), example),
            None => self.missing(key, example),
        }
    }

    /// The value of `key`; none if it is missing, none with a problem if it does not read as a `T`.
    pub fn optional<T: FromStr<Err: Display>>(&self, key: &str) -> Option<T> {
        self.optional_like(key, ANY)
    }

    /// The same; `example` says how it may look.
    pub fn optional_like<T: FromStr<Err: Display>>(&self, key: &str, example: &str) -> Option<T> {
        self.find(key).and_then(|entry| self.scalar(&entry.node, join(&self.path, key), example))
    }

    /// Whether `key` is `true`; missing: `false`. Anything else is a problem.
    pub fn flag(&self, key: &str) -> bool {
        let word: Option<String> = self.optional(key);
        match word.as_deref() {
            None | Some("false" | "False" | "FALSE") => false,
            Some("true" | "True" | "TRUE") => true,
            Some(_) => {
                let remedy = format!("write `{key}: true` or `{key}: false`");
                self.problem(key, "is neither true nor false", remedy);
                false
            }
        }
    }

    /// The value of `key`, or `default` if it is missing.
    pub fn or<T: FromStr<Err: Display>>(&self, key: &str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// The values of the list `key`; empty if it is missing. Those that do not read are left out, with a problem each.
    pub fn list<T: FromStr<Err: Display>>(&self, key: &str) -> Vec<T> {
        self.list_like(key, usize::MAX, ANY)
    }

    /// The same, with at most `most` entries; `example` says how one may look.
    pub fn list_like<T: FromStr<Err: Display>>(&self, key: &str, most: usize, example: &str) -> Vec<T> {
        let items = self.items(key);
        if items.len() > most {
            self.problem(key, format!("has {} entries", items.len()), format!("leave at most {most}"));
            return Vec::new();
        }
        items.into_iter().filter_map(|(item, path)| self.scalar(item, path, example)).collect()
    }

    /// The section `key`; none, with a problem, if it is missing or not a map.
    pub fn section(&self, key: &str) -> Option<Self> {
        self.section_like(key, ANY)
    }

    /// The same; `example` says how it may look.
    pub fn section_like(&self, key: &str, example: &str) -> Option<Self> {
        match self.find(key) {
            Some(entry) => self.inner(&entry.node, join(&self.path, key)),
            None => self.missing(key, example),
        }
    }

    /// The section `key`; none if it is missing, none with a problem if it is not a map.
    pub fn optional_section(&self, key: &str) -> Option<Self> {
        self.find(key).and_then(|entry| self.inner(&entry.node, join(&self.path, key)))
    }

    /// The sections of the list `key`; empty if it is missing.
    pub fn sections(&self, key: &str) -> Vec<Self> {
        self.items(key).into_iter().filter_map(|(item, path)| self.inner(item, path)).collect()
    }

    /// Each key of this section with the section below it: for maps whose keys are names that the user chose.
    pub fn named(&self) -> Vec<(String, Self)> {
        let mut named = Vec::new();
        for entry in self.entries() {
            self.gathering.ask(&self.path, &entry.key);
            if let Some(section) = self.inner(&entry.node, join(&self.path, &entry.key)) {
                named.push((entry.key.clone(), section));
            }
        }
        named
    }

    /// Each key of this section with the value below it: for maps of names to words. `example` says how a value may look.
    pub fn pairs<T: FromStr<Err: Display>>(&self, example: &str) -> Vec<(String, T)> {
        let mut pairs = Vec::new();
        for entry in self.entries() {
            self.gathering.ask(&self.path, &entry.key);
            if let Some(value) = self.scalar(&entry.node, join(&self.path, &entry.key), example) {
                pairs.push((entry.key.clone(), value));
            }
        }
        pairs
    }

    /// The one of `keys` that is there; none, with a problem, if there is not exactly one.
    pub fn one_of<'k>(&self, keys: &[&'k str]) -> Option<&'k str> {
        let there: Vec<&'k str> = keys.iter().copied().filter(|key| self.find(key).is_some()).collect();
        match there.as_slice() {
            [one] => Some(one),
            [] => {
                let field = self.path.clone();
                let message = format!("one of these must be set: {}", keys.join(", "));
                let remedy = "add the one that fits".to_owned();
                self.gathering.push(self.node.line, field, message, remedy);
                None
            }
            many => {
                let message = format!("only one of these may be set: {}", many.join(", "));
                self.gathering.push(
                    self.node.line,
                    self.path.clone(),
                    message,
                    "remove the others".to_owned(),
                );
                None
            }
        }
    }

    /// Whether `key` is there and not null.
    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Notes that something is wrong with `key`, or with the section as a whole if it is empty.
    pub fn problem(&self, key: &str, message: impl Into<String>, remedy: impl Into<String>) {
        let line = self.node.entry(key).map_or(self.node.line, |entry| entry.line);
        let field = if key.is_empty() { self.path.clone() } else { join(&self.path, key) };
        self.gathering.push(line, field, message.into(), remedy.into());
    }

    /// The dotted path of this section.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn find(&self, key: &str) -> Option<&'a Entry> {
        self.gathering.ask(&self.path, key);
        self.node.entry(key).filter(|entry| !entry.node.is_null())
    }

    fn entries(&self) -> &'a [Entry] {
        match &self.node.kind {
            Kind::Map(entries) => entries,
            Kind::Scalar { .. } | Kind::List(_) => &[],
        }
    }

    fn items(&self, key: &str) -> Vec<(&'a Node, String)> {
        let Some(entry) = self.find(key) else { return Vec::new() };
        let path = join(&self.path, key);
        match &entry.node.kind {
            Kind::List(items) => {
                items.iter().enumerate().map(|(index, item)| (item, format!("{path}[{index}]"))).collect()
            }
            Kind::Scalar { .. } | Kind::Map(_) => {
                let remedy = format!("write `{key}: [ .. ]`, or one `- ..` a line");
                self.gathering.push(entry.line, path, "this must be a list".to_owned(), remedy);
                Vec::new()
            }
        }
    }

    fn inner(&self, node: &'a Node, path: String) -> Option<Self> {
        if matches!(node.kind, Kind::Map(_)) {
            self.gathering.asked.borrow_mut().entry(path.clone()).or_default();
            return Some(Self { gathering: self.gathering, path, node });
        }
        let message = "this must have settings of its own".to_owned();
        self.gathering.push(node.line, path, message, "write them below it, indented".to_owned());
        None
    }

    fn scalar<T: FromStr<Err: Display>>(&self, node: &Node, path: String, example: &str) -> Option<T> {
        let remedy = if example == ANY { String::new() } else { format!("write it like `{example}`") };
        let Kind::Scalar { text, .. } = &node.kind else {
            let message = "this must be a single value".to_owned();
            self.gathering.push(node.line, path, message, remedy);
            return None;
        };
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.gathering.push(node.line, path, error.to_string(), remedy);
                None
            }
        }
    }

    fn missing<T>(&self, key: &str, example: &str) -> Option<T> {
        let remedy = format!("add `{key}: {example}`");
        self.gathering.push(self.node.line, join(&self.path, key), "is missing".to_owned(), remedy);
        None
    }
}

/// A field as it may be shown: somebody else wrote its keys.
fn printable(field: String) -> String {
    if field.chars().any(char::is_control) { field.escape_default().to_string() } else { field }
}
