//! What a receiver is told of one record of the audit: for programs, and in one sentence for people.

use std::time::{Duration, UNIX_EPOCH};

use rekey_model::Moment;
use rekey_runtime::random;
use serde_json::{Value, json};

use crate::audit::Record;

/// One thing that is told. The same record makes the same event, however often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// The same for each try: a receiver that has it already may drop it.
    pub(super) id: String,
    kind: String,
    time_ms: i64,
    data: Value,
    sentence: String,
}

impl Event {
    pub(super) fn of(record: &Record) -> Self {
        // A place can come again after a restore, with another record in it: the hash cannot.
        let hash = hex::encode(record.hash.get(..8).unwrap_or_default());
        let mut data = json!({
            "seq": record.seq,
            "installation": record.installation,
            "actor_kind": record.actor_kind,
            "actor": record.actor,
            "credential": record.credential,
            "version": record.version,
            "rotation": record.rotation,
            "holder": record.holder,
            "outcome": record.outcome,
            "reason": record.reason,
            "text": sentence(record),
        });
        if let (Some((alarm, _)), Some(map)) = (alarm(record), data.as_object_mut()) {
            map.insert("alarm".to_owned(), alarm.into());
        }
        Self {
            id: format!("msg_{}_{hash}", record.seq),
            kind: format!("rekey.{}", record.verb),
            time_ms: record.time_ms,
            data,
            sentence: sentence(record),
        }
    }

    /// That somebody tries whether it works.
    pub(super) fn test(now: Moment) -> Self {
        let sentence = "Rekey: this is a test of the webhook. Nothing happened.".to_owned();
        Self {
            id: format!("msg_test_{}", random::nonce(16)),
            kind: "rekey.test".to_owned(),
            time_ms: now.wall_ms,
            data: json!({ "text": sentence }),
            sentence,
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({ "id": self.id, "type": self.kind, "timestamp": moment_text(self.time_ms), "data": self.data })
    }

    /// Slack reads `<`, `>` and `&` as marks: nobody's words may become a link or call everybody.
    pub(super) fn slack(&self) -> Value {
        let text = self.sentence.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        json!({ "text": text })
    }
}

/// A moment as RFC 3339.
fn moment_text(ms: i64) -> String {
    // Within four digits of a year, as far as the text reaches.
    let ms = u64::try_from(ms).unwrap_or(0).min(253_402_300_799_999);
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

/// The name of the alarm that a record tells of, and its words.
fn alarm(record: &Record) -> Option<(&str, &str)> {
    record.verb.starts_with("alarm-").then(|| record.reason.split_once(": ").unwrap_or((&record.reason, "")))
}

/// What happened, in one sentence that somebody understands who was asleep a minute ago.
fn sentence(record: &Record) -> String {
    let what = record.credential.as_deref().unwrap_or("the controller");
    let version = record.version.map_or_else(|| "a version".to_owned(), |version| format!("v{version}"));
    let (who, why) = (&record.actor, &record.reason);
    let because = if why.is_empty() { String::new() } else { format!(" ({why})") };
    if let Some((kind, words)) = alarm(record) {
        return match record.verb.as_str() {
            "alarm-begin" => format!("ALARM {what}: {words} [{kind}]"),
            _ended => format!("Over: {what} no longer has the alarm {kind}."),
        };
    }
    if record.outcome == "refused" {
        return format!("{who} was not allowed or able to {} {what}{because}.", record.verb);
    }
    match (record.verb.as_str(), why.as_str()) {
        ("apply", _) => format!("{who} declared {what}{because}."),
        ("rotate", _) => format!("A rotation of {what} begins{because}."),
        ("choose", _) => format!("{what}: {version} was chosen and is being made."),
        ("promote", "Returning") => format!("{what} goes back to {version}: the new version did not do."),
        ("promote", _) => format!("{what} has a new current version, {version}; its users move to it now."),
        ("phase", "Canary") => format!("One sidecar has {version} of {what} before all others."),
        ("phase", "Done") => {
            format!("The rotation of {what} is done: {version} is current and the old one has ended.")
        }
        ("phase", "Abandoned") => {
            format!("The rotation of {what} was given up; what was current before still is.")
        }
        ("phase", _) if record.outcome == "failed" => {
            format!("{what}: a step of the rotation failed{because}.")
        }
        ("phase", _) => format!("{what}: the rotation is at {why}."),
        ("end", _) if record.outcome == "failed" => {
            format!("{what}: the target will not end {version}{because}.")
        }
        ("end", _) => format!("{what}: {version} is no longer needed and is being ended."),
        ("ended", _) => format!("{what}: {version} has ended at the target{because}."),
        ("revoke", _) => format!("{who} REVOKED {what}{because}."),
        ("rollback", _) => format!("{who} sends the users of {what} back to the version before{because}."),
        ("nack", _) => format!("{who} could not use the new version of {what}{because}."),
        ("hold", _) => format!("{who} stopped everything automatic about {what}{because}."),
        ("release", _) => format!("{who} lets {what} rotate by itself again."),
        ("hand-in", _) => format!("{who} handed in {version} of {what}{because}."),
        ("record", _) => format!("{who} wrote down what was done to {what}{because}."),
        ("lock", _) => format!("A sidecar was locked{because}."),
        (verb, _) => format!("{who}: {verb}, {what}{because}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(verb: &str, outcome: &str, reason: &str) -> Record {
        Record {
            seq: 7,
            time_ms: 1_700_000_000_000,
            installation: "i".to_owned(),
            actor_kind: "admin".to_owned(),
            actor: "alice".to_owned(),
            authenticated: "mtls".to_owned(),
            verb: verb.to_owned(),
            credential: Some("orders/db".to_owned()),
            version: Some(3),
            rotation: None,
            holder: None,
            outcome: outcome.to_owned(),
            request: None,
            reason: reason.to_owned(),
            prev: [0; 32],
            hash: [0xab; 32],
        }
    }

    #[test]
    fn one_sentence_says_what_happened() {
        for (verb, outcome, reason, said) in [
            (
                "promote",
                "done",
                "Rolling",
                "orders/db has a new current version, v3; its users move to it now.",
            ),
            ("revoke", "done", "INC-42", "alice REVOKED orders/db (INC-42)."),
            ("end", "failed", "refused: locked", "orders/db: the target will not end v3 (refused: locked)."),
            (
                "rotate",
                "refused",
                "lacks the role operator",
                "alice was not allowed or able to rotate orders/db (lacks the role operator).",
            ),
            (
                "alarm-begin",
                "done",
                "stuck: v3 cannot be ended; next: rekeyctl retry orders/db",
                "ALARM orders/db: v3 cannot be ended; next: rekeyctl retry orders/db [stuck]",
            ),
            ("alarm-end", "done", "stuck: ", "Over: orders/db no longer has the alarm stuck."),
        ] {
            assert_eq!(sentence(&record(verb, outcome, reason)), said);
        }
    }

    #[test]
    fn a_program_is_told_everything_and_the_id_is_the_records_own() {
        let event = Event::of(&record("alarm-begin", "done", "stuck: v3 cannot be ended"));
        let json = event.json();
        assert_eq!(
            (&json["id"], &json["type"]),
            (&"msg_7_abababababababab".into(), &"rekey.alarm-begin".into())
        );
        assert_eq!(json["timestamp"], "2023-11-14T22:13:20.000Z");
        assert_eq!((&json["data"]["seq"], &json["data"]["alarm"]), (&7.into(), &"stuck".into()));
        let other = Record { hash: [1; 32], ..record("alarm-begin", "done", "stuck: v3 cannot be ended") };
        assert_ne!(Event::of(&other).id, event.id, "another record in the same place, after a restore");
        assert_ne!(
            Event::test(rekey_runtime::Clock::manual().now()).id,
            Event::test(rekey_runtime::Clock::manual().now()).id
        );
    }

    #[test]
    fn nobodys_words_become_a_mark_in_slack() {
        let text = Event::of(&record("hold", "done", "<!channel> & <https://x|y>")).slack()["text"].clone();
        assert_eq!(
            text,
            "alice stopped everything automatic about orders/db (&lt;!channel&gt; &amp; &lt;https://x|y&gt;)."
        );
    }
}
