//! What several answers show of a credential: rotations, versions, holders, alarms.

use rekey_model::{CredentialName, Moment, Version};
use rekey_proto::admin as wire;
use rekey_rotation::{Ledger, Phase, Rotation};

use super::refusal::{Refusal, next_step, shown};
use crate::alarms::{Notice, typed};
use crate::executor::Report;

/// How many final versions are shown.
const FINAL_SHOWN: usize = 5;

/// The name that a request gives.
pub(super) fn named(text: &str) -> Result<CredentialName, Refusal> {
    text.parse().map_err(|_name| Refusal::no_credential(text))
}

/// The reason that a request gives; `needed` where there must be one.
pub(super) fn reason(text: &str, needed: bool) -> Result<String, Refusal> {
    if needed && text.trim().is_empty() {
        return Err(Refusal::invalid("reason", "say why: --reason"));
    }
    if text.len() > crate::audit::REASON_MOST {
        let most = crate::audit::REASON_MOST;
        return Err(Refusal::invalid("reason", format!("has more than {most} bytes: write less")));
    }
    Ok(text.to_owned())
}

pub(super) fn ms(moment: Option<Moment>) -> i64 {
    moment.map_or(0, |moment| moment.wall_ms)
}

pub(super) fn number(version: Option<Version>) -> u64 {
    version.map_or(0, Version::get)
}

/// A rotation of `name`; with a report, if it is the open one, also what it waits for.
pub(super) fn rotation(
    name: &CredentialName,
    rotation: &Rotation,
    report: Option<&Report>,
) -> wire::RotationStatus {
    let open =
        report.filter(|report| report.ledger.open_rotation().is_some_and(|open| open.id == rotation.id));
    let trouble = open.and_then(|report| report.troubles.first().cloned());
    wire::RotationStatus {
        id: rotation.id.to_string(),
        credential: name.to_string(),
        phase: rotation.phase.to_string(),
        next: number(rotation.next),
        old: number(rotation.old),
        why: rotation.why.to_string(),
        started_ms: rotation.started.wall_ms,
        ended_ms: ms(rotation.ended),
        waiting_for: open.map(|report| report.waiting_for.clone()).unwrap_or_default(),
        last_error: rotation.last_error.clone().or(trouble).unwrap_or_default(),
        next_command: open.map(|report| next_command(name, rotation, report)).unwrap_or_default(),
        earliest_end_ms: open.and_then(|report| report.earliest_end_ms).unwrap_or(0),
        judgement: open.and_then(judgement),
        canary: rotation.canary.as_ref().map(|it| canary(it, open)),
    }
}

/// Who has the version before all others, or had it.
fn canary(canary: &rekey_rotation::Canary, open: Option<&Report>) -> wire::CanaryStatus {
    let declared = open.and_then(|report| report.spec.canary.as_ref());
    wire::CanaryStatus {
        holder: canary.name.clone(),
        uses: declared.map_or(0, |declared| declared.uses),
        until_ms: open.and_then(|report| report.canary_until_ms).unwrap_or(0),
        passed: canary.passed.clone().unwrap_or_default(),
    }
}

/// How the uses of the version went that the canary has, or that holders move to.
fn judgement(report: &Report) -> Option<wire::JudgementStatus> {
    let (judged, judge) = (report.judged?, report.spec.judge);
    let tries = report.spec.canary.as_ref().filter(|_| report.canary_until_ms.is_some());
    Some(wire::JudgementStatus {
        good: judged.good,
        uses: judged.of,
        bar: judge.good.to_string(),
        least: tries.map_or(judge.least, |canary| canary.uses),
    })
}

fn next_command(name: &CredentialName, rotation: &Rotation, report: &Report) -> String {
    let stuck = matches!(rotation.phase, Phase::StuckRetiring | Phase::StuckUndoing);
    let first = report.alarms.iter().find_map(|alarm| alarm.next_command);
    match (&report.ledger.held, stuck, first) {
        (Some(_), ..) => format!("rekeyctl release {name}"),
        (None, true, _) => format!("rekeyctl retry {name}"),
        (None, false, Some(command)) => typed(name, command),
        (None, false, None) => String::new(),
    }
}

/// Who holds it, in numbers.
pub(super) fn count(report: &Report) -> wire::HolderCount {
    let of = |which: fn(&&crate::executor::Holding) -> bool| {
        u32::try_from(report.holders.iter().filter(which).count()).unwrap_or(u32::MAX)
    };
    wire::HolderCount {
        counting: of(|holder| holder.counts),
        live: of(|holder| holder.counts && holder.live),
        acknowledged: of(|holder| holder.counts && holder.acknowledged),
    }
}

/// Every version that is not final, and the latest final ones.
pub(super) fn versions(report: &Report) -> Vec<wire::VersionStatus> {
    let ledger = &report.ledger;
    let last_final = ledger.versions.iter().rev().filter(|(_, it)| it.stage.is_final()).map(|(v, _)| *v);
    let last_final: Vec<Version> = last_final.take(FINAL_SHOWN).collect();
    let shown = ledger.versions.iter().filter(|(v, it)| !it.stage.is_final() || last_final.contains(v));
    shown
        .map(|(version, it)| wire::VersionStatus {
            version: version.get(),
            stage: it.stage.to_string(),
            handle: it.handle.to_string(),
            created_ms: it.created.wall_ms,
            promoted_ms: ms(it.promoted),
            ended_ms: ms(it.ended),
            sessions: report.sessions.filter(|(of, _)| of == version).map(|(_, sessions)| sessions.into()),
            expires_ms: report.spec.driver.life().map_or(0, |life| it.created.wall_ms_after(life)),
        })
        .collect()
}

/// The brake, if it is on.
pub(super) fn hold(ledger: &Ledger) -> Option<wire::HoldStatus> {
    ledger.held.as_ref().map(|held| wire::HoldStatus {
        reason: held.reason.clone(),
        by: held.by.clone(),
        since_ms: held.since.wall_ms,
    })
}

/// What needs attention, as it is told.
pub(super) fn alarms(notices: Vec<Notice>) -> Vec<wire::Alarm> {
    let told = |it: Notice| wire::Alarm {
        kind: it.kind.to_owned(),
        message: it.message,
        next_command: it.next_command,
    };
    notices.into_iter().map(told).collect()
}

/// What stands in the way of a rotation, in one sentence.
pub(super) fn obstacle(report: &Report) -> Option<String> {
    let why = report.obstacle.as_ref()?;
    Some(format!("{why}; {}", next_step(&report.spec.name, why)))
}

/// A refusal for a thing that `text` does not name.
pub(super) fn not_found(what: &'static str, text: &str, remedy: &'static str) -> Refusal {
    Refusal::NotFound { what, name: shown(text), remedy }
}
