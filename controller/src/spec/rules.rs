//! What the times of one spec must be to each other, so that a rotation can end before the next begins.

use std::time::Duration;

use rekey_model::Span;
use rekey_settings::Section;

use super::{After, Barrier, Canary, Deliver, Grace, Schedule};

/// No time in a spec is longer: sums of them stay far from every limit of arithmetic.
const LONGEST: Duration = Duration::from_hours(24 * 3660);

/// Checks the times of a grace against each other.
pub(super) fn grace(grace: &Grace, root: &Section<'_>) {
    let spans = [
        ("grace.max_reconnect", grace.max_reconnect),
        ("grace.floor", grace.floor),
        ("grace.quiet", grace.quiet),
        ("grace.deadline", grace.deadline),
    ];
    for (field, span) in spans {
        not_too_long(field, span, root);
    }
    if grace.quiet.get().is_zero() {
        root.problem(
            "grace.quiet",
            "is zero: one look at the target would be all the evidence that nobody uses the old version",
            "write a time above zero, such as `quiet: 15m`",
        );
    }
    if grace.floor < grace.max_reconnect {
        root.problem(
            "grace.floor",
            "is shorter than grace.max_reconnect: the old version could end under an application that may still use it",
            format!("write at least `floor: {}`", grace.max_reconnect),
        );
    }
    let least = sum(&[grace.floor, grace.quiet]);
    if grace.deadline <= least {
        root.problem(
            "grace.deadline",
            "is not longer than grace.floor and grace.quiet together: every grace would alarm",
            format!("write more than {least}, such as `deadline: {}`", sum(&[least, least])),
        );
    }
}

/// Checks how readers are made to wait. A sidecar answers within 5 s, come what may.
pub(super) fn barrier(barrier: &Barrier, root: &Section<'_>) {
    let bounds = Duration::from_millis(200)..=Duration::from_secs(4);
    if !bounds.contains(&barrier.wait.get()) {
        root.problem(
            "barrier.wait",
            "is not between 200ms and 4s",
            "write a time between, such as `wait: 2s`",
        );
    }
    if barrier.drain.get() > barrier.wait.get() / 4 {
        root.problem(
            "barrier.drain",
            "is more than a quarter of barrier.wait: readers would get nothing before the target has changed",
            format!("write at most {}", Span::new(barrier.wait.get() / 4)),
        );
    }
}

/// Checks that a rotation can end before the next one is due.
///
/// The margin is what may pass before the floor begins: one holder tries it (`canary.within`), holders move, applications
/// reconnect (`max_reconnect`). The jitter only makes a rotation later.
pub(super) fn schedule(
    schedule: Option<&Schedule>,
    (grace, canary): (&Grace, Option<&Canary>),
    root: &Section<'_>,
) {
    let Some(schedule) = schedule else { return };
    not_too_long("schedule.every", schedule.every, root);
    not_too_long("schedule.jitter", schedule.jitter, root);
    let tried = canary.map_or(Span::new(Duration::ZERO), |canary| canary.within);
    let least = sum(&[grace.floor, grace.quiet, grace.max_reconnect, tried]);
    if schedule.every <= least {
        root.problem(
            "schedule.every",
            "is too short: the next rotation would be due before the one before could end",
            if canary.is_some() {
                format!("write more than {least} (floor + quiet + max_reconnect + canary.within), or shorten those")
            } else {
                format!("write more than {least} (floor + quiet + max_reconnect), or shorten those")
            },
        );
    }
}

/// Checks how long ago the same class may have rotated elsewhere.
pub(super) fn after(after: Option<&After>, root: &Section<'_>) {
    let Some(after) = after else { return };
    not_too_long("after.within", after.within, root);
    if after.within.get().is_zero() {
        let remedy = "write how old such a rotation may be, such as `within: 7d`";
        root.problem("after.within", "is zero: no rotation is so young", remedy);
    }
}

/// Checks that nothing says when a credential is to be changed that somebody else changes: the value before is dead then,
/// and nothing may wait. What a class gives has no meaning and no harm.
pub(super) fn followed(root: &Section<'_>, taken: &[String]) {
    for key in ["schedule", "after", "pair", "group"] {
        let own = |field: &String| field.split('.').next() == Some(key);
        if root.has(key) && !taken.iter().any(own) {
            let why = "has no meaning here: it is changed by somebody else, and followed at once";
            root.problem(key, why, "take it out");
        }
    }
}

/// Checks that the canary gets the credential, and has time to try it.
pub(super) fn canary(canary: Option<&Canary>, deliver: Option<&Deliver>, root: &Section<'_>) {
    let Some(canary) = canary else { return };
    not_too_long("canary.within", canary.within, root);
    if canary.within.get().is_zero() {
        let remedy = "write how long it may take, such as `within: 10m`";
        root.problem("canary.within", "is zero: nothing would be tried", remedy);
    }
    let outside = canary.holder.as_ref().filter(|id| deliver.is_some_and(|deliver| !deliver.covers(id)));
    if outside.is_some() {
        let remedy =
            "name one that is in deliver.to, or leave it out: then the first live one by name is taken";
        root.problem("canary.holder", "is not in deliver.to: it does not get the credential at all", remedy);
    }
}

fn sum(spans: &[Span]) -> Span {
    Span::new(spans.iter().fold(Duration::ZERO, |sum, span| sum.saturating_add(span.get())))
}

fn not_too_long(field: &str, span: Span, root: &Section<'_>) {
    if span.get() > LONGEST {
        let remedy = format!("write at most {}", Span::new(LONGEST));
        root.problem(field, "is longer than ten years", remedy);
    }
}
