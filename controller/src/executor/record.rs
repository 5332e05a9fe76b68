//! What the audit says of a commit: who did what, and every phase that followed.

use rekey_model::{CredentialName, InstanceId, RotationId, Version};
use rekey_rotation::{Event, Ledger, Phase, Rotation};

use crate::audit::{Actor, ActorKind, Entry, Outcome, Verb};

/// The records of the commit that led from `before` to `after`.
pub(super) fn entries(
    name: &CredentialName,
    event: &Event,
    actor: &Actor,
    (before, after): (&Ledger, &Ledger),
) -> Vec<Entry> {
    let mut entries: Vec<Entry> = of_event(event, actor, after).into_iter().collect();
    let phase = after.rotation.as_ref().filter(|now| before.rotation.as_ref().map(at) != Some(at(now)));
    entries.extend(phase.map(|rotation| of_phase(rotation, after)));
    for entry in &mut entries {
        entry.credential = Some(name.clone());
        // One that was closed before has nothing to do with it.
        entry.rotation = after.open_rotation().or(before.open_rotation()).map(|rotation| rotation.id);
    }
    entries
}

fn at(rotation: &Rotation) -> (RotationId, Phase, Option<InstanceId>) {
    (rotation.id, rotation.phase, rotation.canary.as_ref().and_then(|canary| canary.holder))
}

/// The record of what was asked for or answered; none for what is only a look.
fn of_event(event: &Event, actor: &Actor, after: &Ledger) -> Option<Entry> {
    let next = after.rotation.as_ref().and_then(|rotation| rotation.next);
    let (verb, version, reason) = match event {
        Event::Look | Event::Resumed => return None,
        Event::Adopt { handle, version } => {
            (Verb::Adopt, Some(version.unwrap_or(Version::FIRST)), handle.to_string())
        }
        Event::Begin { why, .. } => (Verb::Rotate, None, why.to_string()),
        Event::Choose { version, handle, .. } if !is_own(actor) => {
            (Verb::HandIn, Some(*version), handle.to_string())
        }
        Event::Choose { version, handle, .. } => (Verb::Choose, Some(*version), handle.to_string()),
        Event::Installed { .. } | Event::Probed { .. } | Event::Lifted { .. } => {
            (Verb::Phase, next, event.name().to_owned())
        }
        Event::LetIn { version, why, .. } => (Verb::Phase, Some(*version), why.clone()),
        Event::Untouched { version, why, .. } => (Verb::Phase, Some(*version), format!("not reached: {why}")),
        Event::Lost { version, why, .. } => (Verb::Phase, Some(*version), format!("answer lost: {why}")),
        Event::Refused { version, why, .. } => (Verb::Phase, Some(*version), format!("refused: {why}")),
        Event::Failed { why, .. } => (Verb::Nack, next, why.clone()),
        Event::Overtaken => {
            (Verb::Phase, next, "it was changed again, before everybody had moved".to_owned())
        }
        Event::Rollback { reason } => (Verb::Rollback, next, reason.clone()),
        Event::NoHolders { reason } => (Verb::NoHolders, next, reason.clone()),
        Event::Ended { version, .. } if !is_own(actor) => {
            (Verb::HandIn, Some(*version), "it was deleted where it was made".to_owned())
        }
        Event::Ended { version, sessions, .. } => {
            (Verb::Ended, Some(*version), format!("{sessions} sessions ended"))
        }
        Event::CleanedUp { version } => (Verb::Ended, Some(*version), "cleaned up".to_owned()),
        Event::EndingRefused { version, why } => (Verb::End, Some(*version), format!("refused: {why}")),
        Event::Hold { reason, .. } => (Verb::Hold, None, reason.clone()),
        Event::Release => (Verb::Release, None, String::new()),
        Event::Retry => (Verb::Retry, None, String::new()),
        Event::Revoke { version, reason, .. } => (Verb::Revoke, *version, reason.clone()),
        Event::Reconciled { .. } => {
            (Verb::Reconcile, after.current, "the restored store is taken up".to_owned())
        }
        Event::Heard => {
            (Verb::Reconcile, after.current, "a sidecar told of a lost life of the store".to_owned())
        }
        Event::Listed { .. } => (Verb::Reconcile, after.current, "the target told what it has".to_owned()),
        Event::Checked { .. } => {
            (Verb::Apply, None, "its target was checked: it has all that rotations need".to_owned())
        }
        Event::Delete { .. } => (Verb::Delete, None, String::new()),
    };
    let refused = matches!(event, Event::Refused { .. } | Event::EndingRefused { .. } | Event::Lost { .. });
    let outcome = if refused { Outcome::Failed } else { Outcome::Done };
    let mut entry = Entry::new(actor.clone(), verb, outcome).because(reason);
    entry.version = version;
    if let Event::Begin { why: rekey_rotation::Why::Asked { request, .. }, .. } = event {
        entry.request = (!request.is_empty()).then(|| request.clone());
    }
    Some(entry)
}

/// Whether the controller does it by itself.
fn is_own(actor: &Actor) -> bool {
    actor.kind == ActorKind::Controller
}

/// The record of the phase that the rotation came to.
fn of_phase(rotation: &Rotation, after: &Ledger) -> Entry {
    let (verb, version) = match rotation.phase {
        Phase::Rolling => (Verb::Promote, rotation.next),
        Phase::Returning => (Verb::Promote, after.current),
        Phase::Retiring => (Verb::End, rotation.old),
        Phase::Undoing => (Verb::End, rotation.next),
        Phase::Planned
        | Phase::Chosen
        | Phase::Staged
        | Phase::Barrier
        | Phase::CutOver
        | Phase::Installed
        | Phase::Proven
        | Phase::Canary
        | Phase::Grace
        | Phase::StuckRetiring
        | Phase::StuckUndoing
        | Phase::Done
        | Phase::Abandoned => (Verb::Phase, rotation.next),
    };
    let mut entry = Entry::new(Actor::controller(), verb, Outcome::Done).because(rotation.phase.to_string());
    entry.version = version;
    let canary = rotation.canary.as_ref().filter(|_| rotation.phase == Phase::Canary);
    entry.holder = canary.and_then(|canary| canary.holder);
    entry
}
