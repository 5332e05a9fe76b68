//! Emergency: one commit, then a stream of what has been reached, and the receipt as its last message.
//!
//! It asks for no approval, holds for no brake, and the same again joins the first.

use std::time::Duration;

use futures_util::stream;
use rekey_model::{CredentialName, Version};
use rekey_proto::admin as wire;
use rekey_rotation::{Emergency, EmergencyId, Event};
use rekey_runtime::random;
use tonic::Status;

use super::caller::Caller;
use super::refusal::Refusal;
use super::service::Streaming;
use super::watch::Looking;
use super::{Admin, show};
use crate::alarms;
use crate::executor::Report;

/// How long a revocation is followed before the receipt says what is left to do.
const LIFE: Duration = Duration::from_mins(1);

struct Following {
    looking: Looking,
    id: EmergencyId,
    last: Option<wire::RevokeProgress>,
    over: bool,
}

impl Admin {
    pub(super) async fn cut(
        &self,
        caller: &Caller,
        asked: wire::RevokeRequest,
    ) -> Result<Streaming<wire::RevokeProgress>, Refusal> {
        let name = show::named(&asked.name)?;
        let version = Version::new(asked.version);
        let asked_as = request(&asked.request_id)?;
        let event = Event::Revoke {
            id: asked_as,
            version,
            reason: show::reason(&asked.reason, true)?,
            by: caller.name.clone(),
            replace: !asked.no_replacement,
        };
        let looking = Looking::new(self, name.clone(), LIFE);
        let ledger = self.changed(caller, &name, event).await?;
        let same = ledger.emergencies.iter().find(|emergency| emergency.id == asked_as);
        let id = same
            .or_else(|| ledger.emergency_on(version))
            .map(|emergency| emergency.id)
            .ok_or_else(|| Refusal::OutOfOrder(name.clone(), rekey_rotation::OutOfOrder::NothingLeft))?;
        tracing::warn!(credential = %name, emergency = %id, by = %caller.name, "revoked");
        let following = Following { looking, id, last: None, over: false };
        Ok(Box::pin(stream::unfold(following, Following::next)))
    }
}

/// The id that a request goes by: its own, or a fresh one.
fn request(id: &str) -> Result<EmergencyId, Refusal> {
    if id.is_empty() {
        return Ok(random::id());
    }
    id.parse().map_err(|_digits| Refusal::invalid("request_id", "has 32 hexadecimal digits, drawn at random"))
}

impl Following {
    /// The next thing to say: the state so far, each that differs, and at the end the receipt.
    async fn next(mut self) -> Option<(Result<wire::RevokeProgress, Status>, Self)> {
        let mut time_is_over = false;
        while !self.over {
            match self.look(time_is_over).await {
                Ok(progress) if self.last.as_ref() == Some(&progress) => {}
                Ok(progress) => {
                    self.over = progress.receipt;
                    self.last = Some(progress.clone());
                    return Some((Ok(progress), self));
                }
                Err(refusal) => {
                    self.over = true;
                    return Some((Err(refusal.to_status()), self));
                }
            }
            time_is_over = !self.looking.again().await;
        }
        None
    }

    async fn look(&self, time_is_over: bool) -> Result<wire::RevokeProgress, Refusal> {
        let report = self.looking.report().await?;
        let report = report.ok_or_else(|| Refusal::no_credential("that was revoked"))?;
        let emergency = report.ledger.emergencies.iter().find(|emergency| emergency.id == self.id);
        let emergency =
            emergency.ok_or_else(|| Refusal::Internal("an unfinished emergency is gone".to_owned()))?;
        let receipt = time_is_over || emergency.is_finished();
        Ok(progress(&report, emergency, receipt))
    }
}

fn progress(report: &Report, emergency: &Emergency, receipt: bool) -> wire::RevokeProgress {
    let name = &report.spec.name;
    wire::RevokeProgress {
        id: emergency.id.to_string(),
        name: name.to_string(),
        versions: emergency.versions.iter().map(|version| cut(report, *version)).collect(),
        holders: holders(report, emergency, receipt),
        intent_ms: emergency.intent.wall_ms,
        cut_ms: show::ms(emergency.cut),
        fenced_ms: show::ms(emergency.fenced),
        replaced_ms: show::ms(emergency.replaced),
        delivered_ms: show::ms(emergency.delivered),
        replacement: show::number(emergency.replacement),
        left_to_do: if receipt { left_to_do(name, report, emergency) } else { Vec::new() },
        receipt,
        by: emergency.by.clone(),
        reason: emergency.reason.clone(),
    }
}

fn cut(report: &Report, version: Version) -> wire::RevokedVersion {
    let record = report.ledger.version(version);
    let ending = report.ledger.endings.get(&version);
    wire::RevokedVersion {
        version: version.get(),
        handle: record.map(|record| record.handle.to_string()).unwrap_or_default(),
        cut_ms: show::ms(record.and_then(|record| record.ended)),
        sessions_ended: record.map_or(0, |record| record.sessions_ended),
        last_error: ending.and_then(|ending| ending.last_error.clone()).unwrap_or_default(),
    }
}

fn holders(report: &Report, emergency: &Emergency, receipt: bool) -> Vec<wire::FencedHolder> {
    let spiffe = |instance| {
        let holder = report.holders.iter().find(|holder| holder.instance == instance);
        holder.map(|holder| holder.row.spiffe.to_string())
    };
    let of = |(instance, fencing): (&rekey_model::InstanceId, &rekey_rotation::Fencing)| wire::FencedHolder {
        instance: instance.to_string(),
        spiffe_id: spiffe(*instance).unwrap_or_else(|| fencing.name.clone()),
        fenced_ms: show::ms(fencing.fenced),
        not_reached: fencing.fenced.is_none() && (receipt || !fencing.live),
    };
    emergency.holders.iter().map(of).collect()
}

/// What is left to do, one sentence each, with what to type.
fn left_to_do(name: &CredentialName, report: &Report, emergency: &Emergency) -> Vec<String> {
    let mut left = Vec::new();
    for version in &emergency.versions {
        let record = report.ledger.version(*version);
        let Some(alive) = record.filter(|record| record.ended.is_none()) else { continue };
        if let Some(place) = &report.place {
            left.push(format!("{version} may still work: {}", alarms::to_ask(place)));
            continue;
        }
        if let Some(by_hand) = report.spec.driver.by_hand() {
            left.push(format!(
                "{version} still works: only a person can end it. {}, then `rekeyctl hand-in {name} --deleted {version}`",
                alarms::deletion(&by_hand, alive.handle.as_str())
            ));
            continue;
        }
        left.push(format!(
            "{version} may still work: the target has not confirmed its end. The controller goes on trying \
             (`rekeyctl status {name}`); if that does not help, end {} at the target by hand now",
            alive.handle
        ));
    }
    for (instance, fencing) in emergency.holders.iter().filter(|(_, fencing)| fencing.fenced.is_none()) {
        left.push(format!(
            "{} was not reached and may still hand out what is revoked: stop it, or `rekeyctl sidecar remove {instance}`",
            fencing.name
        ));
    }
    if emergency.wants_replacement && emergency.replaced.is_none() {
        let told = match (&report.place, report.spec.driver.by_hand()) {
            (Some(place), _) => format!("ask {} to rotate it", place.by),
            (None, Some(by_hand)) => format!("make one at {}, then `rekeyctl hand-in {name}`", by_hand.page),
            (None, None) => format!("`rekeyctl status {name}` says why"),
        };
        left.push(format!("there is no replacement yet, and applications are without: {told}"));
    } else if emergency.wants_replacement && emergency.delivered.is_none() {
        left.push(format!("not every sidecar has the replacement yet: `rekeyctl who {name}` names them"));
    }
    left
}
