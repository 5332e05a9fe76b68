//! One document of a file of settings: read by a typed reader, or handed on as JSON.

use serde_json::{Map, Number, Value};

use super::reader::{Gathering, Section};
use super::tree::{Entry, Kind, Node, parse};
use super::{Problem, Problems};

/// One YAML document and the file it is from.
#[derive(Debug, Clone)]
pub struct Document {
    file: String,
    root: Node,
}

impl Document {
    /// Reads a file that holds exactly one document, which is a map. `file` is only its name in problems.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let mut documents = Self::parse_all(file, text)?.into_iter();
        match (documents.next(), documents.next()) {
            (Some(document), None) => Ok(document),
            (Some(_), Some(second)) => {
                Err(second.whole("there is a second document", "keep one document in this file").into())
            }
            (None, _) => Err(Problem {
                file: file.to_owned(),
                line: 0,
                field: String::new(),
                message: "the file is empty".to_owned(),
                remedy: String::new(),
            }
            .into()),
        }
    }

    /// Reads every document of a file, each a map; empty ones are left out.
    pub fn parse_all(file: &str, text: &str) -> Result<Vec<Self>, Problems> {
        let documents = parse(file, text)?.into_iter().filter(|root| !root.is_null());
        let documents: Vec<Self> = documents.map(|root| Self { file: file.to_owned(), root }).collect();
        let wrong: Vec<Problem> = documents
            .iter()
            .filter(|document| !matches!(document.root.kind, Kind::Map(_)))
            .map(|document| document.whole("this is not a map", "write `key: value` lines"))
            .collect();
        if wrong.is_empty() { Ok(documents) } else { Err(Problems(wrong)) }
    }

    /// A document that came as JSON: it has no lines, and its file is `name`.
    pub fn of_json(name: &str, json: &Value) -> Result<Self, Problems> {
        let document = Self { file: name.to_owned(), root: node(json) };
        match document.root.kind {
            Kind::Map(_) => Ok(document),
            Kind::Scalar { .. } | Kind::List(_) => {
                Err(document.whole("this is not a map", "write `key: value` lines").into())
            }
        }
    }

    /// Lets `read` take the settings it knows, and tells everything that is wrong: what `read` met, and every key that
    /// it did not ask for. `read` returns none when something it needs is missing.
    pub fn read<T>(&self, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Result<T, Problems> {
        let gathering = Gathering::new(&self.file);
        let value = read(&Section::root(&gathering, &self.root));
        gathering.finish(&self.root, value)
    }

    /// The whole document as JSON: plain `true`, `null` and whole numbers are those, everything else is text.
    pub fn value(&self) -> Value {
        value(&self.root)
    }

    /// The name of the file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line where the document begins.
    pub fn line(&self) -> usize {
        self.root.line
    }

    /// The line of a field such as `grace.floor` or `callers[2].uid`, or of the nearest one around it that exists.
    pub fn line_of(&self, field: &str) -> usize {
        let (mut node, mut line) = (&self.root, self.root.line);
        for step in steps(field) {
            let found = match (step, &node.kind) {
                (Step::Key(key), _) => node.entry(key).map(|entry| (&entry.node, entry.line)),
                (Step::Index(index), Kind::List(items)) => items.get(index).map(|item| (item, item.line)),
                (Step::Index(_), Kind::Scalar { .. } | Kind::Map(_)) => None,
            };
            let Some(found) = found else { break };
            (node, line) = found;
        }
        line
    }

    /// A problem with a field of this document, found by somebody else.
    pub fn problem(&self, field: &str, message: &str, remedy: &str) -> Problem {
        Problem {
            file: self.file.clone(),
            line: self.line_of(field),
            field: field.to_owned(),
            message: message.to_owned(),
            remedy: remedy.to_owned(),
        }
    }

    fn whole(&self, message: &str, remedy: &str) -> Problem {
        self.problem("", message, remedy)
    }
}

enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// `a.b[2].c` as steps.
fn steps(field: &str) -> impl Iterator<Item = Step<'_>> {
    field.split('.').filter(|part| !part.is_empty()).flat_map(|part| {
        let (key, indexes) = part.split_once('[').unwrap_or((part, ""));
        let key = (!key.is_empty()).then_some(Step::Key(key));
        let indexes = indexes.split(['[', ']']).filter_map(|index| index.parse().ok()).map(Step::Index);
        key.into_iter().chain(indexes)
    })
}

fn value(node: &Node) -> Value {
    match &node.kind {
        Kind::Scalar { text, plain: true } if node.is_null() || text.is_empty() => Value::Null,
        Kind::Scalar { text, plain: true } => plain(text),
        Kind::Scalar { text, plain: false } => Value::String(text.clone()),
        Kind::List(items) => Value::Array(items.iter().map(value).collect()),
        Kind::Map(entries) => Value::Object(entries.iter().map(pair).collect::<Map<_, _>>()),
    }
}

fn node(json: &Value) -> Node {
    let plain = |text: String| Kind::Scalar { text, plain: true };
    let kind = match json {
        Value::Null => plain(String::new()),
        Value::Bool(truth) => plain(truth.to_string()),
        Value::Number(number) => plain(number.to_string()),
        Value::String(text) => Kind::Scalar { text: text.clone(), plain: false },
        Value::Array(items) => Kind::List(items.iter().map(node).collect()),
        Value::Object(map) => {
            let entry =
                |(key, json): (&String, &Value)| Entry { key: key.clone(), line: 0, node: node(json) };
            Kind::Map(map.iter().map(entry).collect())
        }
    };
    Node { line: 0, kind }
}

fn pair(entry: &Entry) -> (String, Value) {
    (entry.key.clone(), value(&entry.node))
}

fn plain(text: &str) -> Value {
    match text {
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

/// A whole number in JSON's own notation; `1.10`, `0o17`, `+5` and `007` stay text, so that nothing changes silently.
fn number(text: &str) -> Option<Number> {
    let first = text.bytes().next()?;
    let looks = (first.is_ascii_digit() || first == b'-') && text.bytes().skip(1).all(|c| c.is_ascii_digit());
    let number: Number = if looks { serde_json::from_str(text).ok()? } else { return None };
    (number.to_string() == text).then_some(number)
}
