//! `status`, `show`: credentials, their versions, rotations and alarms.

use rekey_proto::admin as wire;
use serde::Serialize;
use serde_json::Value;

use super::by_hand::ByHand;
use super::reconciling::Reconciling;
use super::rotation::Rotation;
use crate::output::{Style, Tone, View};
use crate::table::{columns, indented};
use crate::text::{or_dash, printable, version};
use crate::time::At;

/// The state of credentials.
#[derive(Debug, Serialize)]
pub struct Status {
    now: Option<At>,
    alarms: Vec<Alarm>,
    credentials: Vec<Credential>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reconciling: Option<Reconciling>,
    #[serde(skip)]
    in_full: bool,
}

#[derive(Debug, Serialize)]
struct Credential {
    name: String,
    owner: String,
    environment: String,
    class: Option<String>,
    /// What it took from its class.
    from_class: Value,
    target: String,
    current: Option<u64>,
    order: u64,
    versions: Vec<Version>,
    rotation: Option<Rotation>,
    next_rotation: Option<At>,
    holders: Holders,
    held: Option<Held>,
    alarms: Vec<Alarm>,
    history: Vec<Rotation>,
    by_hand: Option<ByHand>,
}

#[derive(Debug, Serialize)]
struct Version {
    version: u64,
    stage: String,
    handle: String,
    created: Option<At>,
    promoted: Option<At>,
    ended: Option<At>,
    sessions: Option<u64>,
    expires: Option<At>,
}

/// How many holders there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Holders {
    /// Those whose acknowledgement is waited for.
    pub counting: u32,
    /// Of these, those that are connected.
    pub live: u32,
    /// Of those that count, those that have the latest.
    pub acknowledged: u32,
}

impl Holders {
    /// From the wire; absent means none.
    pub fn of(wire: Option<&wire::HolderCount>) -> Self {
        wire.map_or_else(Self::default, |count| Self {
            counting: count.counting,
            live: count.live,
            acknowledged: count.acknowledged,
        })
    }
}

#[derive(Debug, Serialize)]
struct Held {
    reason: String,
    by: String,
    since: Option<At>,
}

/// Something that needs attention.
#[derive(Debug, Serialize)]
pub(super) struct Alarm {
    kind: String,
    message: String,
    next_command: String,
}

impl From<wire::Alarm> for Alarm {
    fn from(alarm: wire::Alarm) -> Self {
        Self { kind: alarm.kind, message: alarm.message, next_command: alarm.next_command }
    }
}

impl Status {
    /// What the controller said; `in_full` when one credential was asked for.
    pub fn of(wire: wire::StatusResponse, in_full: bool) -> Self {
        Self {
            now: At::said(wire.now_ms),
            alarms: wire.alarms.into_iter().map(Alarm::from).collect(),
            credentials: wire.credentials.into_iter().map(Credential::of).collect(),
            reconciling: wire.reconciling.map(|waits| Reconciling::of(Some(waits))),
            in_full,
        }
    }
}

impl Credential {
    fn of(wire: wire::CredentialStatus) -> Self {
        let holders = Holders::of(wire.holders.as_ref());
        let (class, from_class) = taken(&wire);
        Self {
            name: wire.name,
            owner: wire.owner,
            environment: wire.environment,
            class,
            from_class,
            target: wire.target,
            current: (wire.current != 0).then_some(wire.current),
            order: wire.order,
            versions: wire.versions.into_iter().map(Version::of).collect(),
            rotation: wire.rotation.map(Rotation::of),
            next_rotation: At::said(wire.next_rotation_ms),
            holders,
            held: wire.held.map(|held| Held {
                reason: held.reason,
                by: held.by,
                since: At::said(held.since_ms),
            }),
            alarms: wire.alarms.into_iter().map(Alarm::from).collect(),
            history: wire.history.into_iter().map(Rotation::of).collect(),
            by_hand: wire.by_hand.map(ByHand::of),
        }
    }

    /// What goes on, in one or two words.
    fn state(&self, style: Style) -> String {
        match (&self.rotation, &self.held, self.current) {
            (Some(rotation), None, _) => style.paint(Tone::Busy, &printable(&rotation.phase)),
            (Some(rotation), Some(_), _) => {
                style.paint(Tone::Bad, &format!("{}, held", printable(&rotation.phase)))
            }
            (None, Some(_), _) => style.paint(Tone::Bad, "held"),
            (None, None, Some(_)) => style.paint(Tone::Good, "steady"),
            (None, None, None) => style.paint(Tone::Bad, "no version"),
        }
    }

    fn age(&self, now: Option<At>) -> String {
        let promoted =
            self.versions.iter().find(|v| Some(v.version) == self.current).and_then(|v| v.promoted);
        told(promoted, now)
    }
}

impl Version {
    fn of(wire: wire::VersionStatus) -> Self {
        Self {
            version: wire.version,
            stage: wire.stage,
            handle: wire.handle,
            created: At::said(wire.created_ms),
            promoted: At::said(wire.promoted_ms),
            ended: At::said(wire.ended_ms),
            sessions: wire.sessions,
            expires: At::said(wire.expires_ms),
        }
    }
}

/// A moment as seen from `now`; `-` if there is none.
pub(super) fn told(at: Option<At>, now: Option<At>) -> String {
    match (at, now) {
        (Some(at), Some(now)) => at.told_at(now),
        (Some(at), None) => at.to_string(),
        (None, _) => "-".to_owned(),
    }
}

impl View for Status {
    fn text(&self, style: Style) -> String {
        let mut text = alarms(&self.alarms, "", style);
        if self.in_full {
            text.extend(self.credentials.iter().map(|credential| full(credential, self.now, style)));
            return text;
        }
        if self.credentials.is_empty() {
            return text + "No credential is declared yet: `rekeyctl apply -f FILE` declares one.\n";
        }
        let rows = self.credentials.iter().map(|c| {
            let Holders { counting, acknowledged, .. } = c.holders;
            [
                printable(&c.name),
                version(c.current.unwrap_or(0)),
                c.state(style),
                c.age(self.now),
                told(c.next_rotation, self.now),
                format!("{acknowledged}/{counting}"),
                match c.alarms.len() {
                    0 => "-".to_owned(),
                    n => style.paint(Tone::Bad, &n.to_string()),
                },
                printable(&c.owner),
            ]
        });
        let head = ["NAME", "CURRENT", "STATE", "PROMOTED", "NEXT ROTATION", "HOLDERS", "ALARMS", "OWNER"];
        text += &columns(head, rows);
        for credential in &self.credentials {
            text += &alarms(&credential.alarms, &format!("{}: ", printable(&credential.name)), style);
        }
        text
    }
}

fn alarms(alarms: &[Alarm], whose: &str, style: Style) -> String {
    let mut text = String::new();
    for alarm in alarms {
        let word = style.paint(Tone::Bad, "ALARM");
        text += &format!("{word} {whose}{} [{}]\n", printable(&alarm.message), printable(&alarm.kind));
        if !alarm.next_command.is_empty() {
            text += &format!("      next: {}\n", printable(&alarm.next_command));
        }
    }
    text
}

/// One credential with everything about it.
fn full(credential: &Credential, now: Option<At>, style: Style) -> String {
    let name = style.paint(Tone::Strong, &printable(&credential.name));
    let mut text = format!(
        "{name}  {}  ({}, {}, {})\n",
        credential.state(style),
        printable(&credential.target),
        printable(&credential.environment),
        printable(&credential.owner),
    );
    let Holders { counting, live, acknowledged } = credential.holders;
    text += &format!("  holders: {counting} counted, {live} connected, {acknowledged} have the latest\n");
    if let Some(class) = &credential.class {
        text += &format!("  class {}: {}\n", printable(class), said(&credential.from_class));
    }
    if credential.next_rotation.is_some() {
        text += &format!("  next rotation: {}\n", told(credential.next_rotation, now));
    }
    if let Some(held) = &credential.held {
        let since = told(held.since, now);
        text += &format!("  held by {} {since}: {}\n", printable(&held.by), printable(&held.reason));
    }
    if let Some(by_hand) = &credential.by_hand {
        text += &by_hand.lines(now);
    }
    text += &indented(&alarms(&credential.alarms, "", style));
    text.push('\n');
    text += &indented(&versions(&credential.versions, now));
    if let Some(rotation) = &credential.rotation {
        text += &format!("\n  open rotation {}\n{}", printable(&rotation.id), indented(&rotation.lines(now)));
    }
    if !credential.history.is_empty() {
        text += "\n  past rotations\n";
        text += &indented(&columns(
            ["BEGAN", "PHASE", "FROM", "TO", "WHY"],
            credential.history.iter().map(|past| past.row(now)),
        ));
    }
    text
}

fn versions(versions: &[Version], now: Option<At>) -> String {
    let rows = versions.iter().map(|v| {
        [
            version(v.version),
            printable(&v.stage),
            or_dash(&v.handle),
            told(v.promoted, now),
            told(v.ended, now),
            v.sessions.map_or_else(|| "-".to_owned(), |sessions| sessions.to_string()),
            told(v.expires, now),
        ]
    });
    columns(["VERSION", "STAGE", "NAME AT TARGET", "PROMOTED", "ENDED", "SESSIONS", "EXPIRES"], rows)
}

/// The class of a credential, and what it took from it; null: it names none.
fn taken(wire: &wire::CredentialStatus) -> (Option<String>, Value) {
    let spec: Value = serde_json::from_str(&wire.spec_json).unwrap_or_default();
    let class = spec.get("class").and_then(Value::as_str).map(str::to_owned);
    (class, serde_json::from_str(&wire.from_class_json).unwrap_or_default())
}

/// What a class gave, in one line.
fn said(from_class: &Value) -> String {
    let mut said = Vec::new();
    for (section, values) in from_class.as_object().into_iter().flatten() {
        for (key, value) in values.as_object().into_iter().flatten() {
            said.push(format!("{section}.{key} {}", value.as_str().unwrap_or("?")));
        }
    }
    if said.is_empty() {
        "gives nothing".to_owned()
    } else {
        printable(&format!("gives {}", said.join(", ")))
    }
}

/// How a credential is declared.
#[derive(Debug, Serialize)]
pub struct Declared {
    name: String,
    spec: Value,
    class: Option<String>,
    from_class: Value,
}

impl Declared {
    /// The declaration of the first credential in `wire`.
    pub fn of(wire: wire::StatusResponse) -> Option<Self> {
        let credential = wire.credentials.into_iter().next()?;
        let spec = serde_json::from_str(&credential.spec_json).unwrap_or(Value::Null);
        let (class, from_class) = taken(&credential);
        Some(Self { name: credential.name, spec, class, from_class })
    }
}

impl View for Declared {
    fn text(&self, _style: Style) -> String {
        let own = crate::yaml::document(&self.spec);
        let Some(class) = &self.class else { return own };
        // As a comment, so that the whole can be applied again.
        let taken = crate::yaml::document(&self.from_class);
        let taken: Vec<String> = taken.lines().map(|line| format!("# {line}")).collect();
        format!("{own}# from class {}:\n{}\n", printable(class), taken.join("\n"))
    }
}
