//! YAML text as a tree with lines. Anchors, aliases, tags, merge keys and duplicate keys are refused, and so is what is
//! too large or too deep.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::{Problem, Problems};

/// The largest text that is read.
pub(super) const MOST_BYTES: usize = 1 << 20;
/// The deepest nesting that is read.
const MOST_DEPTH: usize = 32;

/// One value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Clone)]
pub(super) enum Kind {
    /// A scalar; `plain` ones may mean null, a number or a truth.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a map with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) node: Node,
}

/// Shows the shape only: a scalar may be a secret.
impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Scalar { .. } => f.write_str("…"),
            Self::List(items) => f.debug_list().entries(items).finish(),
            Self::Map(entries) => f.debug_map().entries(entries.iter().map(|e| (&e.key, &e.node))).finish(),
        }
    }
}

impl Node {
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The entry with this key, if this is a map that has it.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|entry| entry.key == key),
            Kind::Scalar { .. } | Kind::List(_) => None,
        }
    }
}

/// The dotted path of `key` in the section at `path`.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// What is being built: a list, or a map whose next event may be a key.
enum Open {
    List { line: usize, items: Vec<Node> },
    Map { line: usize, entries: Vec<Entry>, key: Option<(String, usize)> },
}

/// Reads every document of `text`. Stops at the first thing that is no settings at all; duplicate keys are gathered.
pub(super) fn parse(file: &str, text: &str) -> Result<Vec<Node>, Problems> {
    let mut builder = Builder { file, stack: Vec::new(), documents: Vec::new(), problems: Vec::new() };
    if text.len() > MOST_BYTES {
        return Err(builder
            .at(0, "the file is larger than 1 MiB", "settings are small: is this the right file?")
            .into());
    }
    let mut parser = Parser::new_from_str(text);
    while let Some(next) = parser.next_event() {
        let step = match next {
            Ok((event, span)) => builder.take(event, span),
            // What the scanner says is not repeated: it may quote the text.
            Err(error) => Err(builder.at(
                error.marker().line(),
                "this is not YAML",
                "look for wrong indentation, tabs, or an unclosed quote here or just above",
            )),
        };
        if let Err(problem) = step {
            builder.problems.push(problem);
            break;
        }
    }
    if builder.problems.is_empty() { Ok(builder.documents) } else { Err(Problems(builder.problems)) }
}

struct Builder<'a> {
    file: &'a str,
    stack: Vec<Open>,
    documents: Vec<Node>,
    problems: Vec<Problem>,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let line = span.start.line();
        match event {
            Event::Alias(_) => Err(self.at(line, "an alias (*) stands here", "write the value out")),
            Event::Scalar(_, _, anchor, ref tag) if anchor > 0 || tag.is_some() => Err(self.decorated(line)),
            Event::SequenceStart(anchor, ref tag) | Event::MappingStart(anchor, ref tag)
                if anchor > 0 || tag.is_some() =>
            {
                Err(self.decorated(line))
            }
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain;
                self.value(Node { line, kind: Kind::Scalar { text: text.into_owned(), plain } })
            }
            Event::SequenceStart(..) => self.open(Open::List { line, items: Vec::new() }, line),
            Event::MappingStart(..) => self.open(Open::Map { line, entries: Vec::new(), key: None }, line),
            Event::SequenceEnd | Event::MappingEnd => match self.stack.pop() {
                Some(Open::List { line, items }) => self.value(Node { line, kind: Kind::List(items) }),
                Some(Open::Map { line, entries, .. }) => self.value(Node { line, kind: Kind::Map(entries) }),
                None => Ok(()),
            },
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn open(&mut self, open: Open, line: usize) -> Result<(), Problem> {
        if self.stack.len() >= MOST_DEPTH {
            return Err(self.at(
                line,
                "the nesting is too deep",
                "no setting is nested deeper than a few levels",
            ));
        }
        if let Some(Open::Map { key: None, .. }) = self.stack.last() {
            return Err(self.at(line, "a key must be a word, not a list or a map", ""));
        }
        self.stack.push(open);
        Ok(())
    }

    fn value(&mut self, node: Node) -> Result<(), Problem> {
        let line = node.line;
        match self.stack.last_mut() {
            None => self.documents.push(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => {
                if let Some((key, line)) = key.take() {
                    entries.push(Entry { key, line, node });
                } else if let Kind::Scalar { text, .. } = node.kind {
                    let first = entries.iter().find(|entry| entry.key == text).map(|entry| entry.line);
                    *key = Some((text.clone(), line));
                    self.check_key(&text, line, first)?;
                }
            }
        }
        Ok(())
    }

    fn check_key(&mut self, key: &str, line: usize, first: Option<usize>) -> Result<(), Problem> {
        if key == "<<" {
            return Err(self.at(line, "a merge key (<<) stands here", "write the values out"));
        }
        if let Some(first) = first {
            let mut problem =
                self.at(line, &format!("the key stands twice, first in line {first}"), "keep one of them");
            problem.field = self.path(key);
            self.problems.push(problem);
        }
        Ok(())
    }

    /// The dotted path of a key in the map that is being built.
    fn path(&self, key: &str) -> String {
        let outer = self.stack.len().saturating_sub(1);
        let mut path = String::new();
        for open in self.stack.iter().take(outer) {
            match open {
                Open::Map { key: Some((key, _)), .. } => path = join(&path, key),
                Open::List { items, .. } => path = format!("{path}[{}]", items.len()),
                Open::Map { key: None, .. } => {}
            }
        }
        join(&path, key)
    }

    fn decorated(&self, line: usize) -> Problem {
        self.at(
            line,
            "an anchor (&) or a tag (!) stands here",
            "write the value out; put quotes around it if it begins so",
        )
    }

    fn at(&self, line: usize, message: &str, remedy: &str) -> Problem {
        Problem {
            file: self.file.to_owned(),
            line,
            field: String::new(),
            message: message.to_owned(),
            remedy: remedy.to_owned(),
        }
    }
}
