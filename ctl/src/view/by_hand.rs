//! What a person does for a credential that only a person can make.

use rekey_proto::admin as wire;
use serde::Serialize;

use super::credential::told;
use crate::text::{printable, version};
use crate::time::At;

/// What a person does, and is asked to do now.
#[derive(Debug, Serialize)]
pub(super) struct ByHand {
    page: String,
    next_handle: Option<String>,
    asked: bool,
    due: Option<At>,
    steps: Vec<String>,
    to_delete: Vec<ToDelete>,
}

/// A version that a person is to delete where it was made.
#[derive(Debug, Serialize)]
struct ToDelete {
    version: u64,
    handle: String,
    steps: Vec<String>,
}

impl ByHand {
    pub(super) fn of(wire: wire::ByHandStatus) -> Self {
        let to_delete = wire.to_delete.into_iter().map(|it| ToDelete {
            version: it.version,
            handle: it.handle,
            steps: it.steps,
        });
        Self {
            page: wire.page,
            next_handle: (!wire.next_handle.is_empty()).then_some(wire.next_handle),
            asked: wire.asked,
            due: At::said(wire.due_ms),
            steps: wire.steps,
            to_delete: to_delete.collect(),
        }
    }

    /// The same for people.
    pub(super) fn lines(&self, now: Option<At>) -> String {
        let mut text = format!("  made by hand at {}\n", printable(&self.page));
        if let Some(next) = &self.next_handle {
            let when = match (self.asked, self.due) {
                (true, Some(_)) => format!("asked for now, due {}", told(self.due, now)),
                (true, None) => "asked for now".to_owned(),
                (false, Some(_)) => format!("due {}", told(self.due, now)),
                (false, None) => "whenever somebody likes".to_owned(),
            };
            text += &format!("  next by hand: {}, {when}\n", printable(next));
            text += &numbered(&self.steps);
        }
        for old in &self.to_delete {
            text += &format!("  to delete by hand: {} ({})\n", printable(&old.handle), version(old.version));
            text += &numbered(&old.steps);
        }
        text
    }
}

fn numbered(steps: &[String]) -> String {
    let lines = steps.iter().zip(1..).map(|(step, number)| format!("    {number}. {}\n", printable(step)));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_what_to_do() {
        let by_hand = ByHand::of(wire::ByHandStatus {
            page: "https://console.example".to_owned(),
            next_handle: "aos-clerk_v3".to_owned(),
            asked: true,
            due_ms: 0,
            steps: vec!["Add a key".to_owned(), "Hand it in".to_owned()],
            to_delete: vec![wire::ToDelete {
                version: 1,
                handle: "aos-clerk_v1".to_owned(),
                steps: vec!["Delete aos-clerk_v1".to_owned()],
            }],
        });
        let expected = "  made by hand at https://console.example
  next by hand: aos-clerk_v3, asked for now
    1. Add a key
    2. Hand it in
  to delete by hand: aos-clerk_v1 (v1)
    1. Delete aos-clerk_v1
";
        assert_eq!(by_hand.lines(None), expected);
    }
}
