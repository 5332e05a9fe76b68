//! What is true around a credential now: its rows, made into the facts that the rotation machine decides by.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rekey_drivers::Class;
use rekey_model::{CredentialName, Moment, SpiffeId, Version};
use rekey_rotation::{
    Acked, Barrier, Claim, Event, Evidence, Facts, HolderFacts, Ledger, Making, Mode, Overlap, Phase, Policy,
    Rotation, Schedule, Trial, Tried, Usage,
};
use serde::Deserialize;

use super::gate::{self, Tied};
use super::{CommitError, Executor, Judged, Settings};
use crate::fleet::UsageReport;
use crate::spec::{self, Spec};
use crate::store::{CredentialId, CredentialRow, HolderRow, Tx};

/// How long a call may still land where the target is not known: long.
const UNKNOWN_SETTLE: Duration = Duration::from_mins(10);
/// How many times as long as readers waited a barrier rests after it was given up.
const REST: u32 = 5;
/// How long after a decision a call that it overtook is given up, at the most.
const GIVING_UP: Duration = Duration::from_millis(500);

/// Everything that a decision about one credential rests on.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) id: CredentialId,
    pub(super) spec: Spec,
    pub(super) ledger: Ledger,
    pub(super) rows: Vec<HolderRow>,
    pub(super) claims: Vec<Claim>,
    /// Whom a rotation of it keeps waiting.
    pub(super) keeps: Vec<CredentialName>,
    gate: Option<String>,
    mates: Vec<String>,
    tried: Tried,
    policy: Policy,
    holders: Vec<HolderFacts>,
    evidence: Option<Evidence>,
    now: Moment,
    mode: Mode,
    listening_since: Moment,
}

impl Seen {
    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            now: self.now,
            mode: self.mode,
            policy: &self.policy,
            holders: &self.holders,
            listening_since: self.listening_since,
            evidence: self.evidence.as_ref(),
            claims: &self.claims,
            gate: self.gate.as_deref(),
            mates: &self.mates,
            tried: self.tried,
        }
    }

    /// Whether the target makes the secret.
    pub(super) fn is_made_there(&self) -> bool {
        match self.policy.making {
            Making::Ours | Making::Given | Making::Followed => false,
            Making::Token { .. } | Making::Listed | Making::Expiring { .. } => true,
        }
    }

    /// Whether somebody else makes the versions, gives them to us, and ends them.
    pub(super) fn is_given(&self) -> bool {
        self.policy.making == Making::Given || self.is_followed()
    }

    /// Whether it is a machine that does, so that the value before is dead when the next one is here.
    pub(super) fn is_followed(&self) -> bool {
        self.policy.making == Making::Followed
    }
}

impl Seen {
    /// What holders say against the version that they are to use now: a change that was not applied, logins that the
    /// target refused, or too few good uses of many. None when nobody does, or when it is known and there is no way back.
    pub(super) fn failure(&self) -> Option<Event> {
        let open = self.ledger.open_rotation().filter(|open| open.forward_only.is_none())?;
        let uncut = matches!(open.phase, Phase::Staged | Phase::Barrier);
        if !uncut && !matches!(open.phase, Phase::Canary | Phase::Rolling | Phase::Grace) {
            return None;
        }
        let canary = self.ledger.canary();
        let (order, new) = (self.ledger.order, canary.map(|(_, next)| next).or(self.ledger.current)?);
        // Only the canary has it, and speaks of it.
        let has_it = |row: &&HolderRow| canary.is_none_or(|(holder, _)| holder == row.instance);
        let said = self.rows.iter().filter(|row| row.gone.is_none()).filter(has_it).find_map(|row| {
            let nacked = row.nacked.as_ref().filter(|nacked| nacked.order == order);
            let refused = row.reported.as_ref().filter(|reported| reported.order == order && !uncut);
            // Who is refused the old version just as well says nothing of the new one.
            let refused = refused.filter(|reported| {
                let told = report(&reported.report);
                told.refuses(new) && !open.old.is_some_and(|old| told.refuses(old))
            });
            nacked
                .map(|nacked| {
                    format!("{} could not apply it: {}", called(&row.spiffe, &row.host), nacked.reason)
                })
                .or_else(|| {
                    refused.map(|_| {
                        format!("processes behind {} are refused {new}", called(&row.spiffe, &row.host))
                    })
                })
        });
        // How the canary does is judged where it is decided.
        let judged = || self.judged().filter(|_| canary.is_none())?.against(new, self.spec.judge);
        Some(Event::Failed { order, why: said.or_else(judged)? })
    }

    /// How the uses of the version went that the canary has, or that holders move to; none where they move to none.
    pub(super) fn judged(&self) -> Option<Judged> {
        let tried = self.ledger.canary().map(|_| Judged { good: self.tried.good, of: self.tried.uses });
        tried.or_else(|| self.moved())
    }

    fn moved(&self) -> Option<Judged> {
        let moves = |open: &&Rotation| matches!(open.phase, Phase::Rolling | Phase::Grace);
        let open = self.ledger.open_rotation().filter(moves)?;
        // What a restore left behind is ended without anybody moving.
        let next = open.next.filter(|_| open.promoted.is_some())?;
        let told = self.rows.iter().filter(|row| row.gone.is_none()).filter_map(|row| row.reported.as_ref());
        Some(Judged::of(next, open.old, told.map(|reported| report(&reported.report))))
    }
}

/// What is read beside a credential's own row.
struct Beside {
    spec: Spec,
    holders: Vec<HolderRow>,
    claims: Vec<Claim>,
    tied: Tied,
}

impl Beside {
    /// Of a row whose declaration reads, before anything is read.
    fn of(row: &CredentialRow) -> Result<Self, CommitError> {
        let spec = Spec::parse(&row.spec).map_err(|_problems| CommitError::Spec(row.name.clone()))?;
        Ok(Self { spec, holders: Vec::new(), claims: Vec::new(), tied: Tied::new() })
    }
}

impl Executor {
    /// Reads what is true now, outside any transaction: for what is shown and for what is only begun.
    pub(super) async fn see(&self, name: &CredentialName) -> Result<Option<Seen>, CommitError> {
        let store = &self.0.store;
        let Some(row) = store.credential(name).await? else { return Ok(None) };
        let mut beside = Beside::of(&row)?;
        beside.holders = store.holders_of(name).await?;
        beside.claims = store.claims_of(name).await?;
        for tie in gate::asks(&beside.spec) {
            beside.tied.insert(tie.kind, store.tied(&tie).await?);
        }
        let mode = store.meta().await?.mode;
        Ok(Some(self.seen(row, beside, (self.0.clock.now(), mode))))
    }

    /// Reads what is true in a transaction, and stays so until it commits.
    pub(super) async fn see_in(&self, tx: &mut Tx, row: CredentialRow) -> Result<Seen, CommitError> {
        let mut beside = Beside::of(&row)?;
        beside.holders = tx.holders_of(&row.name).await?;
        beside.claims = tx.claims_of(&row.name).await?;
        for tie in gate::asks(&beside.spec) {
            beside.tied.insert(tie.kind, tx.tied(&tie).await?);
        }
        let when = (tx.now(), tx.mode());
        Ok(self.seen(row, beside, when))
    }

    fn seen(&self, row: CredentialRow, beside: Beside, (now, mode): (Moment, Mode)) -> Seen {
        let Beside { spec, holders: rows, claims, tied } = beside;
        let settle = self.settle(&spec);
        let class = self.0.drivers.made(&spec);
        let policy = policy(&spec, class, (row.id, &self.0.settings, settle));
        let evidence = self.0.watch.evidence(&row.name);
        let first = spec.canary.as_ref().and_then(|canary| canary.holder.as_ref());
        let holders = rows.iter().filter_map(|it| holder(it, &row.ledger, (&policy, first))).collect();
        let tried = tried(&spec, &row.ledger, &rows);
        let listening_since = self.0.listening_since;
        Seen {
            id: row.id,
            keeps: gate::waiting(&spec, &tied),
            gate: gate::why(&spec, &row.ledger, (&tied, now)),
            mates: gate::mates(&spec, &tied),
            tried,
            spec,
            ledger: row.ledger,
            rows,
            claims,
            policy,
            holders,
            evidence,
            now,
            mode,
            listening_since,
        }
    }
}

/// How long calls may still land at each target, by its name: asked of the driver once.
#[derive(Debug, Default)]
pub(super) struct Settles(Mutex<HashMap<String, Duration>>);

impl Executor {
    /// How long a call may still land at the target of `spec`.
    pub(super) fn settle(&self, spec: &Spec) -> Duration {
        let target = spec.driver.target().to_string();
        let mut known = self.0.settles.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(settle) = known.get(&target) {
            return *settle;
        }
        let Ok(driver) = self.0.drivers.driver(spec) else { return UNKNOWN_SETTLE };
        *known.entry(target).or_insert(driver.settle().saturating_add(GIVING_UP))
    }
}

/// Who makes the secret, as the rotation machine says it.
fn making(class: Class) -> Making {
    match class {
        Class::A => Making::Ours,
        Class::B { token, expires } => Making::Token { life: token, expires },
        Class::C => Making::Listed,
        Class::D { expires } => Making::Expiring { life: expires },
        Class::H => Making::Given,
    }
}

fn policy(
    spec: &Spec,
    (class, slots): (Class, Option<u32>),
    (id, settings, settle): (CredentialId, &Settings, Duration),
) -> Policy {
    let grace = &spec.grace;
    let declared = spec.schedule.map(|schedule| (schedule.every.get(), schedule.jitter.get()));
    let due = in_time(declared, spec.driver.life());
    Policy {
        schedule: due.map(|(every, jitter)| Schedule { every, jitter, seed: seed(id) }),
        max_reconnect: grace.max_reconnect.get(),
        floor: grace.floor.get(),
        quiet: grace.quiet.get(),
        deadline: grace.deadline.get(),
        offline_for: spec.deliver.offline.serves_alone_for(),
        lease: settings.lease,
        slack: settings.slack,
        brake_divisor: settings.brake_divisor,
        budget: settings.budget,
        settle,
        adopts: spec.driver.adopt().is_some(),
        canary: spec.canary.as_ref().map(|it| Trial { uses: it.uses, within: it.within.get() }),
        overlap: spec.barrier.map_or(Overlap::Both, |barrier| Overlap::Neither(barrier_of(&barrier))),
        making: if spec.driver.is_followed() { Making::Followed } else { making(class) },
        slots,
        verify_every: settings.verify,
        // Spread over the interval in 256 places, so that a start does not try everything at once.
        verify_after: settings.verify / 256 * u32::from(seed(id).to_be_bytes()[0]),
    }
}

/// When a version is too old, and by how much it may come later: as declared, and before 80 % are over of the life that
/// the target gives it.
fn in_time(declared: Option<(Duration, Duration)>, life: Option<Duration>) -> Option<(Duration, Duration)> {
    let Some(latest) = life.map(|life| life / 10 * 8) else { return declared };
    let (every, jitter) = declared.unwrap_or((latest, latest));
    let every = every.min(latest / 10 * 9);
    Some((every, jitter.min(latest.saturating_sub(every))))
}

/// A barrier whose readers wait for `wait` in all: half of it for the holders to confirm, the rest for the change.
fn barrier_of(barrier: &spec::Barrier) -> Barrier {
    let wait = barrier.wait.get();
    Barrier {
        known: true,
        wait,
        confirm: wait / 2,
        drain: barrier.drain.get(),
        pause: wait.saturating_mul(REST),
        missing: barrier.missing,
    }
}

/// The same number for a credential at every start and in every release: half of its id, which is random.
fn seed(id: CredentialId) -> u64 {
    u64::try_from(id.bits() >> 64).unwrap_or_default()
}

/// A holder's row as the machine knows holders; none for an instance that never said hello. What it was promised holds,
/// whatever was declared since.
fn holder(
    row: &HolderRow,
    ledger: &Ledger,
    (policy, first): (&Policy, Option<&SpiffeId>),
) -> Option<HolderFacts> {
    let last_contact = row.last_contact?;
    let acked = row.acked.map(|acked| acked.order);
    let goodbye = (row.session.is_none() && row.lease.is_zero()).then_some(last_contact);
    Some(HolderFacts {
        instance: row.instance,
        name: called(&row.spiffe, &row.host),
        tries_first: first == Some(&row.spiffe),
        since: row.since,
        came_empty: row.came_empty,
        last_contact,
        lease: row.lease.max(policy.lease),
        alone: ledger.longest_alone(acked, policy.offline_for),
        acked: row.acked.map(|acked| Acked { order: acked.order, at: acked.at }),
        usage: row.reported.as_ref().map_or(Usage::Silent, |reported| Usage::Told {
            order: reported.order,
            processes: processes(&reported.report),
        }),
        gone: row.gone.or(goodbye),
    })
}

/// How the uses behind the canary went, if there is one.
fn tried(spec: &Spec, ledger: &Ledger, rows: &[HolderRow]) -> Tried {
    let Some((holder, next)) = ledger.canary() else { return Tried::default() };
    let old = ledger.open_rotation().and_then(|open| open.old);
    let told = rows.iter().filter(|row| row.instance == holder && row.gone.is_none());
    let told = told.filter_map(|row| row.reported.as_ref());
    Judged::of(next, old, told.map(|reported| report(&reported.report))).tried(spec.judge)
}

/// What people call a sidecar: its SPIFFE id, and its host if it tells one.
pub(super) fn called(spiffe: &SpiffeId, host: &str) -> String {
    if host.is_empty() { spiffe.to_string() } else { format!("{spiffe} on {host}") }
}

/// A report as the fleet stores it; one that does not read says nothing.
fn report(stored: &serde_json::Value) -> UsageReport {
    UsageReport::deserialize(stored).unwrap_or_default()
}

/// How many processes use each version.
fn processes(stored: &serde_json::Value) -> BTreeMap<Version, u32> {
    report(stored).versions.iter().map(|of| (of.version, of.processes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_changed_before_the_target_ends_it() {
        let minutes = |(every, jitter)| (Duration::from_mins(every), Duration::from_mins(jitter));
        let in_time = |declared: Option<(u64, u64)>, life: Option<u64>| {
            in_time(declared.map(minutes), life.map(Duration::from_mins))
        };
        assert_eq!(in_time(None, None), None);
        assert_eq!(in_time(Some((90, 5)), None), Some(minutes((90, 5))));
        // As declared, where that is soon enough.
        assert_eq!(in_time(Some((30, 5)), Some(100)), Some(minutes((30, 5))));
        assert_eq!(in_time(None, Some(100)), Some(minutes((72, 8))));
        assert_eq!(in_time(Some((1000, 500)), Some(100)), Some(minutes((72, 8))));
        assert_eq!(in_time(Some((70, 500)), Some(100)), Some(minutes((70, 10))));
    }
}
