//! What a person is asked to do for a credential that only a person can make: make the next version, delete an old one.

use std::time::{Duration, UNIX_EPOCH};

use rekey_drivers::{ByHand, Place};
use rekey_model::{Handle, Version, millis};
use rekey_rotation::{AlarmKind, Cause, EndingState, Phase};

use super::Notice;
use crate::executor::Report;

/// A version that somebody is asked to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The version.
    pub version: Version,
    /// Until when, in milliseconds since 1970 UTC; none: now.
    pub due_ms: Option<i64>,
    /// Whether it is asked for now, and not only some day.
    pub now: bool,
}

/// The version that somebody makes next; none while one is on its way, or where nobody is asked.
pub fn asked(report: &Report, by_hand: &ByHand) -> Option<Asked> {
    let ledger = &report.ledger;
    let waits = match ledger.open_rotation() {
        Some(open) => open.phase == Phase::Planned,
        None => ledger.owed || ledger.current.is_none(),
    };
    if ledger.deleted.is_some() || ledger.open_rotation().is_some() && !waits {
        return None;
    }
    let due_ms = report.next_rotation_ms.filter(|_| !ledger.owed);
    let soon = due_ms.is_some_and(|due| due.saturating_sub_unsigned(millis(by_hand.notice)) <= report.now_ms);
    Some(Asked { version: ledger.next_version(), due_ms, now: waits || soon })
}

/// The versions that somebody is to delete, with what they are called.
pub fn to_delete(report: &Report) -> Vec<(Version, Handle)> {
    let endings = report.ledger.endings.iter().filter(|(_, it)| it.state != EndingState::Ended);
    let named = endings.filter_map(|(version, _)| {
        report.ledger.version(*version).map(|record| (*version, record.handle.clone()))
    });
    named.collect()
}

/// What a person does about an old version that is called `old`, in one sentence.
pub fn deletion(by_hand: &ByHand, old: &str) -> String {
    format!("delete {old} at {}{}", by_hand.page, numbered(&by_hand.delete(old)))
}

/// What needs a person now.
pub(super) fn notices(report: &Report) -> Vec<Notice> {
    if let Some(place) = &report.place {
        return to_cut(report, place);
    }
    let Some(by_hand) = report.spec.driver.by_hand() else { return Vec::new() };
    let name = &report.spec.name;
    let asked = asked(report, &by_hand).filter(|asked| asked.now).map(|asked| {
        let (called, until) = (by_hand.called(asked.version), until(&asked, report));
        let steps = numbered(&by_hand.steps(asked.version));
        Notice {
            kind: "hand_in_due",
            message: format!("{called} is to be made by somebody {until}, at {}{steps}", by_hand.page),
            next_command: format!("rekeyctl hand-in {name}"),
        }
    });
    let left = to_delete(report).into_iter().map(|(version, handle)| {
        let todo = deletion(&by_hand, handle.as_str());
        Notice {
            kind: "delete_by_hand",
            message: format!("{version} still works and is no longer needed: {todo}"),
            next_command: format!("rekeyctl hand-in {name} --deleted {version}"),
        }
    });
    asked.into_iter().chain(left).collect()
}

/// What was revoked and only whoever rotates it can end.
fn to_cut(report: &Report, place: &Place) -> Vec<Notice> {
    let name = &report.spec.name;
    let notice = |(version, _)| Notice {
        kind: "delete_by_hand",
        message: format!("{version} was revoked and may still work: {}", to_ask(place)),
        next_command: format!("rekeyctl hand-in {name} --deleted {version}"),
    };
    let endings = &report.ledger.endings;
    let hit = |version: &Version| endings.get(version).is_some_and(|it| it.cause == Cause::Emergency);
    to_delete(report).into_iter().filter(|(version, _)| hit(version)).map(notice).collect()
}

/// Whom to ask for another value of what somebody else's machine rotates, and what becomes of it.
pub fn to_ask(place: &Place) -> String {
    format!(
        "only whoever rotates it can end it: ask {}; another value at {} is taken by itself",
        place.by,
        place.shown()
    )
}

/// What is typed in place of `command`: nothing rotates by itself where a person makes the versions.
pub(super) fn instead<'c>(report: &Report, command: &'c str) -> &'c str {
    match command {
        "rotate NAME" if report.place.is_some() => "verify NAME",
        "rotate NAME" if report.spec.driver.by_hand().is_some() => "hand-in NAME",
        other => other,
    }
}

/// What more is to be known of an alarm about what somebody else's machine rotates.
pub(super) fn where_to_look(report: &Report, kind: AlarmKind) -> String {
    let place = report.place.as_ref().filter(|_| kind == AlarmKind::CurrentFails);
    place.map_or_else(String::new, |place| {
        format!("; it is followed, and {} has nothing else that works: ask {}", place.shown(), place.by)
    })
}

/// Until when, in words: with the day, in UTC.
fn until(asked: &Asked, report: &Report) -> String {
    let Some(due) = asked.due_ms else {
        let why = if report.ledger.owed { ": what was in use was revoked" } else { "" };
        return format!("now{why}");
    };
    let word = if due > report.now_ms { "until" } else { "since" };
    let moment = UNIX_EPOCH + Duration::from_millis(u64::try_from(due).unwrap_or(0).min(253_402_300_799_999));
    let text = humantime::format_rfc3339_seconds(moment).to_string();
    format!("{word} {}", text.chars().take(10).collect::<String>())
}

/// Steps in one line, after what came before them.
fn numbered(steps: &[String]) -> String {
    let numbered = steps.iter().zip(1..).map(|(step, number)| format!("; {number}. {step}"));
    numbered.collect()
}
