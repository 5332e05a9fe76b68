//! Reads the audit, newest first.

use rekey_proto::admin as wire;

use super::caller::Caller;
use super::refusal::Refusal;
use super::{Admin, show};
use crate::audit::Record;

/// How many records an answer has when nobody says.
const USUAL: u32 = 50;
/// The most.
const MOST: u32 = 1000;
/// How many records are read at a time while looking for those that fit, and how often.
const PAGE: u32 = 1000;
const PAGES: u32 = 20;

impl Admin {
    pub(super) async fn tell_audit(
        &self,
        _caller: &Caller,
        asked: wire::QueryAuditRequest,
    ) -> Result<wire::QueryAuditResponse, Refusal> {
        let credential = match asked.credential.as_str() {
            "" => None,
            name => Some(show::named(name)?),
        };
        let limit = if asked.limit == 0 { USUAL } else { asked.limit.min(MOST) };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let fits = |record: &Record| {
            (asked.verb.is_empty() || record.verb == asked.verb)
                && (asked.actor.is_empty() || record.actor == asked.actor)
        };
        let mut before = (asked.before_seq != 0).then_some(asked.before_seq);
        let mut records = Vec::new();
        for _page in 0..PAGES {
            let found = self.0.store.audit(credential.as_ref(), before, PAGE).await?;
            let whole = u32::try_from(found.len()).is_ok_and(|count| count == PAGE);
            before = found.last().map(|record| record.seq);
            records.extend(found.into_iter().filter(fits));
            if records.len() > limit {
                records.truncate(limit);
                before = records.last().map(|record| record.seq);
                break;
            }
            if !whole {
                before = None;
                break;
            }
        }
        let next_before_seq = before.unwrap_or(0);
        Ok(wire::QueryAuditResponse { records: records.into_iter().map(shown).collect(), next_before_seq })
    }
}

fn shown(record: Record) -> wire::AuditRecord {
    wire::AuditRecord {
        seq: record.seq,
        time_ms: record.time_ms,
        actor_kind: record.actor_kind,
        actor: record.actor,
        authenticated_by: record.authenticated,
        verb: record.verb,
        credential: record.credential.unwrap_or_default(),
        version: record.version.unwrap_or(0),
        rotation: record.rotation.unwrap_or_default(),
        holder: record.holder.unwrap_or_default(),
        outcome: record.outcome,
        reason: record.reason,
        request_id: record.request.unwrap_or_default(),
        hash: hex::encode(record.hash),
    }
}
