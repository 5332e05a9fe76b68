//! What `apply`, `hold`, `delete` and other short commands did.

use rekey_proto::admin as wire;
use serde::Serialize;
use serde_json::Value;

use crate::output::{Style, Tone, View};
use crate::text::printable;

/// What `apply` did, or would do.
#[derive(Debug, Serialize)]
pub struct Applied {
    dry_run: bool,
    credentials: Vec<AppliedOne>,
}

#[derive(Debug, Serialize)]
struct AppliedOne {
    name: String,
    change: Change,
    differences: Vec<Difference>,
    next_step: String,
    checked: bool,
    unchecked: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    Created,
    Updated,
    Unchanged,
}

#[derive(Debug, Serialize)]
struct Difference {
    field: String,
    before: Option<Value>,
    after: Option<Value>,
}

impl Applied {
    /// From the wire.
    pub fn of(wire: wire::ApplyResponse, dry_run: bool) -> Self {
        Self { dry_run, credentials: wire.credentials.into_iter().map(AppliedOne::of).collect() }
    }
}

impl AppliedOne {
    fn of(wire: wire::AppliedCredential) -> Self {
        use wire::applied_credential::Change as Wire;
        let change = match wire.change() {
            Wire::Created => Change::Created,
            Wire::Updated => Change::Updated,
            Wire::Unchanged | Wire::Unspecified => Change::Unchanged,
        };
        let value = |json: &str| serde_json::from_str(json).ok();
        let differences = wire
            .differences
            .iter()
            .map(|d| Difference { field: d.field.clone(), before: value(&d.before), after: value(&d.after) })
            .collect();
        let unchecked = Some(wire.unchecked).filter(|why| !why.is_empty());
        let (name, next_step, checked) = (wire.name, wire.next_step, wire.checked);
        Self { name, change, differences, next_step, checked, unchecked }
    }

    fn text(&self, dry_run: bool, style: Style) -> String {
        let (tone, word) = match (self.change, dry_run) {
            (Change::Created, false) => (Tone::Good, "created"),
            (Change::Created, true) => (Tone::Good, "would be created"),
            (Change::Updated, false) => (Tone::Busy, "updated"),
            (Change::Updated, true) => (Tone::Busy, "would be updated"),
            (Change::Unchanged, _) => (Tone::Faint, "unchanged"),
        };
        let mut text = format!("{}: {}\n", printable(&self.name), style.paint(tone, word));
        if self.change == Change::Updated {
            for d in &self.differences {
                let shown = |value: &Option<Value>| {
                    value.as_ref().map_or_else(|| "nothing".to_owned(), |v| printable(&v.to_string()))
                };
                text += &format!("  {}: {} -> {}\n", printable(&d.field), shown(&d.before), shown(&d.after));
            }
        }
        if self.checked {
            text += "  its target was asked: it has all that rotations need\n";
        }
        if let Some(why) = &self.unchecked {
            let what =
                style.paint(Tone::Bad, "unchecked, and no rotation begins before its target was asked");
            text += &format!("  {what}: {}\n", printable(why));
        }
        if !self.next_step.is_empty() {
            text += &format!("  next: {}\n", printable(&self.next_step));
        }
        text
    }
}

impl View for Applied {
    fn text(&self, style: Style) -> String {
        let mut text: String = self.credentials.iter().map(|one| one.text(self.dry_run, style)).collect();
        if self.dry_run {
            text += "Nothing was changed.\n";
        }
        text
    }
}

/// A short answer: what was done, and with what.
#[derive(Debug, Serialize)]
pub struct Done {
    /// What was done, one word.
    done: &'static str,
    /// With what.
    subject: String,
    /// What else there is to say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl Done {
    /// Says that `done` was done with `subject`.
    pub fn new(done: &'static str, subject: impl Into<String>) -> Self {
        Self { done, subject: subject.into(), notes: Vec::new() }
    }

    /// The same with more to say.
    #[must_use]
    pub fn noting(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

impl View for Done {
    fn text(&self, _style: Style) -> String {
        let mut text = format!("{}: {}\n", printable(&self.subject), self.done);
        for note in &self.notes {
            text += &format!("  {}\n", printable(note));
        }
        text
    }
}
