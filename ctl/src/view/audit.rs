//! `audit query`: what was done, by whom, and how it went.

use rekey_proto::admin as wire;
use serde::Serialize;

use crate::output::{Style, Tone, View};
use crate::table::columns;
use crate::text::{or_dash, printable, version};
use crate::time::At;

/// Audit records, the newest first.
#[derive(Debug, Serialize)]
pub struct Audit {
    records: Vec<Record>,
    next_before_seq: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Record {
    seq: u64,
    time: Option<At>,
    actor_kind: String,
    actor: String,
    authenticated_by: String,
    verb: String,
    credential: String,
    version: Option<u64>,
    rotation: String,
    holder: String,
    outcome: String,
    reason: String,
    request_id: String,
    hash: String,
}

impl From<wire::QueryAuditResponse> for Audit {
    fn from(wire: wire::QueryAuditResponse) -> Self {
        Self {
            records: wire.records.into_iter().map(Record::of).collect(),
            next_before_seq: (wire.next_before_seq != 0).then_some(wire.next_before_seq),
        }
    }
}

impl Record {
    fn of(wire: wire::AuditRecord) -> Self {
        Self {
            seq: wire.seq,
            time: At::said(wire.time_ms),
            actor_kind: wire.actor_kind,
            actor: wire.actor,
            authenticated_by: wire.authenticated_by,
            verb: wire.verb,
            credential: wire.credential,
            version: (wire.version != 0).then_some(wire.version),
            rotation: wire.rotation,
            holder: wire.holder,
            outcome: wire.outcome,
            reason: wire.reason,
            request_id: wire.request_id,
            hash: wire.hash,
        }
    }

    fn row(&self, style: Style) -> [String; 8] {
        let tone = if self.outcome == "done" { Tone::Good } else { Tone::Bad };
        [
            self.seq.to_string(),
            self.time.map_or_else(|| "-".to_owned(), |at| at.to_string()),
            format!("{} ({})", printable(&self.actor), printable(&self.authenticated_by)),
            printable(&self.verb),
            or_dash(&self.credential),
            version(self.version.unwrap_or(0)),
            style.paint(tone, &printable(&self.outcome)),
            or_dash(&self.reason),
        ]
    }
}

impl View for Audit {
    fn text(&self, style: Style) -> String {
        if self.records.is_empty() {
            return "No record fits.\n".to_owned();
        }
        let head = ["SEQ", "TIME", "ACTOR", "VERB", "CREDENTIAL", "VERSION", "OUTCOME", "REASON"];
        let mut text = columns(head, self.records.iter().map(|record| record.row(style)));
        if let Some(before) = self.next_before_seq {
            text += &format!("older ones: --before {before}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_not_painted_as_if_it_had_failed() {
        let painted = |outcome: &str| {
            let record = wire::AuditRecord { outcome: outcome.to_owned(), ..wire::AuditRecord::default() };
            Record::of(record).row(Style::Coloured)[6].clone()
        };
        assert_eq!(painted("done"), Style::Coloured.paint(Tone::Good, "done"));
        assert_eq!(painted("refused"), Style::Coloured.paint(Tone::Bad, "refused"));
    }
}
