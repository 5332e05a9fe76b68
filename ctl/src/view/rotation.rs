//! A rotation: how far it is, what it waits for, how it ended; and what one would do.

use rekey_proto::admin as wire;
use serde::Serialize;

use super::credential::Holders;
use crate::output::{Style, Tone, View};
use crate::table::indented;
use crate::text::{count, printable, version};
use crate::time::{At, rough};

/// One rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rotation {
    /// Its id.
    pub id: String,
    /// The credential.
    pub credential: String,
    /// Its phase.
    pub phase: String,
    next: Option<u64>,
    old: Option<u64>,
    why: String,
    started: Option<At>,
    ended: Option<At>,
    waiting_for: Vec<String>,
    last_error: String,
    next_command: String,
    earliest_end: Option<At>,
    judgement: Option<Judgement>,
    canary: Option<Canary>,
}

/// How the uses of the version went that the canary has, or that holders move to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Judgement {
    good: u64,
    uses: u64,
    bar: String,
    least: u64,
}

/// The holder that has a version before all others, or had it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Canary {
    holder: String,
    uses: Option<u64>,
    until: Option<At>,
    passed: String,
}

impl Rotation {
    /// From the wire.
    pub fn of(wire: wire::RotationStatus) -> Self {
        Self {
            id: wire.id,
            credential: wire.credential,
            phase: wire.phase,
            next: (wire.next != 0).then_some(wire.next),
            old: (wire.old != 0).then_some(wire.old),
            why: wire.why,
            started: At::said(wire.started_ms),
            ended: At::said(wire.ended_ms),
            waiting_for: wire.waiting_for,
            last_error: wire.last_error,
            next_command: wire.next_command,
            earliest_end: At::said(wire.earliest_end_ms),
            judgement: wire.judgement.map(Judgement::of),
            canary: wire.canary.map(Canary::of),
        }
    }

    /// Whether it came to a good end.
    pub fn is_done(&self) -> bool {
        self.phase == "Done"
    }

    /// Whether it ended otherwise, or needs a person.
    pub fn has_failed(&self) -> bool {
        self.phase == "Abandoned" || self.phase == "Stuck"
    }

    /// The version that is being left.
    fn leaves(&self) -> Option<u64> {
        if self.phase == "Returning" { self.next } else { self.old }
    }

    /// From which version to which.
    pub fn way(&self) -> String {
        format!("{} -> {}", version(self.old.unwrap_or(0)), version(self.next.unwrap_or(0)))
    }

    /// As one row of a table.
    pub(super) fn row(&self, now: Option<At>) -> [String; 5] {
        let began = match (self.started, now) {
            (Some(at), Some(now)) => at.told_at(now),
            _ => "-".to_owned(),
        };
        let [old, next] = [self.old, self.next].map(|v| version(v.unwrap_or(0)));
        [began, printable(&self.phase), old, next, printable(&self.why)]
    }

    /// As lines of text.
    pub(super) fn lines(&self, now: Option<At>) -> String {
        let mut text =
            format!("{}  {}  because: {}\n", printable(&self.phase), self.way(), printable(&self.why));
        if let (Some(started), Some(now)) = (self.started, self.ended.or(now)) {
            text += &format!("took so far: {}\n", rough(started.ago(now)));
        }
        if let (Some(at), Some(old), Some(now)) = (self.earliest_end, self.leaves(), now) {
            text += &format!("{} may end {} at the earliest\n", version(old), at.told_at(now));
        }
        for what in &self.waiting_for {
            text += &format!("waits for: {}\n", printable(what));
        }
        if let Some(canary) = &self.canary {
            text += &canary.line(now);
        }
        if let Some(Judgement { good, uses, bar, least }) = &self.judgement {
            let bar = printable(bar);
            text += &format!("good uses: {good} of {uses}; {bar} are asked for, of at least {least}\n");
        }
        if !self.last_error.is_empty() {
            text += &format!("last error: {}\n", printable(&self.last_error));
        }
        if !self.next_command.is_empty() {
            text += &format!("next: {}\n", printable(&self.next_command));
        }
        text
    }
}

impl Canary {
    fn of(wire: wire::CanaryStatus) -> Self {
        let wire::CanaryStatus { holder, uses, until_ms, passed } = wire;
        Self { holder, uses: (uses != 0).then_some(uses), until: At::said(until_ms), passed }
    }

    /// As one line of text.
    fn line(&self, now: Option<At>) -> String {
        let (holder, passed) = (printable(&self.holder), printable(&self.passed));
        match (self.holder.is_empty(), self.passed.is_empty()) {
            (true, _) => format!("canary: none; {passed}\n"),
            (false, false) => format!("canary: {holder}; {passed}\n"),
            (false, true) => {
                let uses = self.uses.map(|uses| format!(" for {}", count(uses, "use", "uses")));
                let until = self.until.zip(now).map(|(at, now)| format!(", until {}", at.told_at(now)));
                format!(
                    "canary: {holder} has it first{}{}\n",
                    uses.unwrap_or_default(),
                    until.unwrap_or_default()
                )
            }
        }
    }
}

impl Judgement {
    fn of(wire: wire::JudgementStatus) -> Self {
        let wire::JudgementStatus { good, uses, bar, least } = wire;
        Self { good, uses, bar, least }
    }
}

/// A rotation that a command began or found.
#[derive(Debug, Serialize)]
pub struct Begun {
    /// The rotation.
    pub rotation: Rotation,
    /// The last that was heard of its holders, if it was followed.
    #[serde(flatten)]
    pub progress: Option<Progress>,
}

impl View for Begun {
    fn text(&self, style: Style) -> String {
        let rotation = &self.rotation;
        let tone = match (rotation.is_done(), rotation.has_failed()) {
            (true, _) => Tone::Good,
            (_, true) => Tone::Bad,
            (false, false) => Tone::Busy,
        };
        let phase = style.paint(tone, &printable(&rotation.phase));
        let name = printable(&rotation.credential);
        let mut text =
            format!("{name}  {}  {phase}  (rotation {})\n", rotation.way(), printable(&rotation.id));
        if let Some(ms) = self.progress.as_ref().and_then(|progress| progress.propagation_ms) {
            text += &format!("  every holder had moved after {ms} ms\n");
        }
        if !rotation.is_done() {
            let lines = rotation.lines(None);
            text += &indented(lines.split_once('\n').map_or("", |(_, rest)| rest));
        }
        text
    }
}

/// How far a rotation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// The rotation.
    #[serde(skip)]
    pub rotation: Rotation,
    /// Who has moved.
    pub holders: Holders,
    waiting_holders: Vec<String>,
    old_sessions: Option<u64>,
    /// Milliseconds until all had moved, if they have.
    pub propagation_ms: Option<u64>,
}

impl Progress {
    /// From the wire; none if it says nothing of a rotation.
    pub fn of(wire: wire::RotationProgress) -> Option<Self> {
        Some(Self {
            holders: Holders::of(wire.holders.as_ref()),
            rotation: Rotation::of(wire.rotation?),
            waiting_holders: wire.waiting_holders,
            old_sessions: wire.old_sessions,
            propagation_ms: wire.propagation_ms,
        })
    }

    /// Whether every holder has moved to the new version.
    pub fn has_moved(&self) -> bool {
        self.propagation_ms.is_some()
    }

    /// One line for a log or for the foot of a terminal.
    pub fn line(&self) -> String {
        let Holders { counting, acknowledged, .. } = self.holders;
        let mut parts = vec![
            format!("{} {}", printable(&self.rotation.credential), self.rotation.way()),
            printable(&self.rotation.phase),
            format!("holders {acknowledged} of {counting}"),
        ];
        if !self.waiting_holders.is_empty() {
            let names: Vec<String> =
                self.waiting_holders.iter().take(5).map(|name| printable(name)).collect();
            let more = self.waiting_holders.len().saturating_sub(names.len());
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            parts.push(format!("waiting for {}{more}", names.join(", ")));
        }
        if let Some(sessions) = self.old_sessions {
            parts.push(format!("{} left on the old version", count(sessions, "session", "sessions")));
        }
        if let Some(first) = self.rotation.waiting_for.first().filter(|_| self.waiting_holders.is_empty()) {
            parts.push(format!("waits for: {}", printable(first)));
        }
        if !self.rotation.last_error.is_empty() {
            parts.push(format!("last error: {}", printable(&self.rotation.last_error)));
        }
        parts.join(" | ")
    }
}

/// What a rotation would do.
#[derive(Debug, Serialize)]
pub struct Plan {
    steps: Vec<String>,
    obstacles: Vec<String>,
    warnings: Vec<String>,
    holders: Holders,
}

impl From<wire::PlanRotateResponse> for Plan {
    fn from(wire: wire::PlanRotateResponse) -> Self {
        Self {
            holders: Holders::of(wire.holders.as_ref()),
            steps: wire.steps,
            obstacles: wire.obstacles,
            warnings: wire.warnings,
        }
    }
}

impl View for Plan {
    fn text(&self, style: Style) -> String {
        let mut text = String::new();
        for (i, step) in self.steps.iter().enumerate() {
            text += &format!("{:>2}. {}\n", i + 1, printable(step));
        }
        let Holders { counting, live, .. } = self.holders;
        text += &format!("holders: {counting} counted, {live} connected\n");
        let said = [("in the way", Tone::Bad, &self.obstacles), ("mind", Tone::Busy, &self.warnings)];
        for (word, tone, lines) in said {
            for line in lines {
                text += &format!("{}: {}\n", style.paint(tone, word), printable(line));
            }
        }
        if self.obstacles.is_empty() && self.warnings.is_empty() {
            text += &format!("{}\n", style.paint(Tone::Good, "nothing stands in the way"));
        }
        text
    }
}
