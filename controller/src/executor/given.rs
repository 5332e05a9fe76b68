//! Versions that somebody else makes and ends: what is handed in becomes the next one, and what is no longer needed is asked
//! about until the provider refuses it or somebody says that it is deleted.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rekey_drivers::{Driver, DriverError};
use rekey_model::{CredentialName, Fields, RotationId, SecretBytes, Version};
use rekey_rotation::{EndingState, Event, OutOfOrder, Phase, Why};
use rekey_runtime::random;

use super::act::Trouble;
use super::secrets::draw_handle;
use super::seen::Seen;
use super::{CommitError, Executor};
use crate::audit::Actor;
use crate::fields::CHOSEN;
use crate::template;

/// How long after a first refusal a second one counts: a provider may refuse everybody for a moment.
const TWICE: Duration = Duration::from_secs(30);
/// How often a value is tried that somebody is to delete.
const STILL: Duration = Duration::from_mins(5);
/// Both in an emergency.
const URGENT: Duration = Duration::from_secs(10);

/// What was handed in, and which rotation brings it into use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// The version that it became.
    pub version: Version,
    /// The rotation.
    pub rotation: RotationId,
}

/// What is known of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It is this version, which may still work.
    Here(Version),
    /// It is this one, which nobody may ever get again.
    Revoked(Version),
    /// It may be this one, which nobody may ever get again, and whose value a restore lost.
    Lost(Version),
}

/// What follows from a value that is handed in.
struct Events {
    /// What comes first, where no rotation waits for it.
    first: Vec<Event>,
    choose: Event,
    given: Given,
}

/// Since when the provider has refused each version that is to be deleted. A restart forgets it, and asks again.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<BTreeMap<(CredentialName, Version), Duration>>);

impl Refusals {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(CredentialName, Version), Duration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is refused now; since when it has been.
    fn since(&self, name: &CredentialName, version: Version, elapsed: Duration) -> Duration {
        *self.lock().entry((name.clone(), version)).or_insert(elapsed)
    }

    /// It works, or it is over.
    fn end(&self, name: &CredentialName, version: Version) {
        self.lock().remove(&(name.clone(), version));
    }

    pub(super) fn forget(&self, name: &CredentialName) {
        self.lock().retain(|(of, _), _| of != name);
    }
}

impl Executor {
    /// Whether `value`, of which consumers would get `fields`, could be handed in now. Changes nothing.
    pub async fn may_be_given(
        &self,
        name: &CredentialName,
        (value, fields): (&SecretBytes, &Fields),
    ) -> Result<(), CommitError> {
        let seen = self.seen_of(name).await?;
        let why = Why::Asked { reason: String::new(), by: String::new(), request: String::new() };
        events(&seen, value, why)?;
        template::derive(fields, &seen.spec.fields).map_err(CommitError::Derive)?;
        self.refuse_known(&seen, (value, fields)).await
    }

    /// Refuses a value that is a version already, or was one that was revoked.
    pub(super) async fn refuse_known(
        &self,
        seen: &Seen,
        value: (&SecretBytes, &Fields),
    ) -> Result<(), CommitError> {
        match self.which(seen, value).await? {
            None => Ok(()),
            Some(Known::Here(version)) => Err(CommitError::Known(version)),
            Some(Known::Revoked(version)) => Err(CommitError::Revoked(version)),
            Some(Known::Lost(version)) if seen.is_given() => Err(CommitError::Lost(version)),
            // Its target is asked what it takes, and nobody's word is waited for.
            Some(Known::Lost(_)) => Ok(()),
        }
    }

    /// The version that `value` is, of which consumers would get `fields`; none: it is new. What was revoked stays so for
    /// as long as the credential is there, and is known by the secret alone, whatever was declared since; it may be one whose
    /// value is not here, until that has ended. Others are looked for while they may still work.
    pub(super) async fn which(
        &self,
        seen: &Seen,
        (value, fields): (&SecretBytes, &Fields),
    ) -> Result<Option<Known>, CommitError> {
        let (mut here, mut lost) = (None, None);
        for (version, record) in &seen.ledger.versions {
            let fenced = seen.ledger.fenced.contains(version);
            let there = !record.stage.is_final() || seen.ledger.endings.contains_key(version);
            if !fenced && !there {
                continue;
            }
            let known = match self.fields(seen.id, *version).await {
                Ok(known) => known,
                Err(CommitError::Unsealed(_)) => {
                    let ends = seen.ledger.endings.get(version);
                    let may_work = ends.is_some_and(|ending| ending.state != EndingState::Ended);
                    lost = lost.or((fenced && may_work).then_some(Known::Lost(*version)));
                    continue;
                }
                Err(error) => return Err(error),
            };
            if fenced && has_secret(&known, (value, fields)) {
                return Ok(Some(Known::Revoked(*version)));
            }
            if !fenced && is_same(&known, (value, fields)) {
                here = here.or(Some(Known::Here(*version)));
            }
        }
        Ok(here.or(lost))
    }

    /// Makes `value`, which was seen to work, the next version, and begins a rotation if none waits for it. It is proven
    /// again, as every version is, before anybody gets it. When it fails, a rotation may have begun and waits on.
    pub async fn give(
        &self,
        name: &CredentialName,
        value: &SecretBytes,
        (why, actor): (Why, Actor),
    ) -> Result<Given, CommitError> {
        match self.try_give(name, value, (why.clone(), actor.clone())).await {
            Err(CommitError::OutOfOrder(_)) if self.seen_of(name).await?.waits_to_be_given() => {
                // The controller has begun one by itself in between.
                self.try_give(name, value, (why, actor)).await
            }
            done => done,
        }
    }

    async fn try_give(
        &self,
        name: &CredentialName,
        value: &SecretBytes,
        (why, actor): (Why, Actor),
    ) -> Result<Given, CommitError> {
        let seen = self.seen_of(name).await?;
        let Events { first, choose, given } = events(&seen, value, why)?;
        let sealed = self.seal_handed_in(&seen, given.version, value)?;
        for event in first {
            self.commit(name, event, actor.clone()).await?;
        }
        self.commit_with(name, &choose, &actor, Some((given.version, &sealed))).await?;
        Ok(given)
    }

    async fn seen_of(&self, name: &CredentialName) -> Result<Seen, CommitError> {
        self.see(name).await?.ok_or_else(|| CommitError::NoSuchCredential(name.clone()))
    }

    /// What the provider says of a version now. None: it has no secret here, and cannot be asked about.
    pub async fn try_version(
        &self,
        name: &CredentialName,
        version: Version,
    ) -> Result<Option<Result<(), DriverError>>, CommitError> {
        let seen = self.seen_of(name).await?;
        let driver = self.0.drivers.driver(&seen.spec)?;
        let Some(fields) = self.to_ask_with(&seen, version, &*driver).await? else { return Ok(None) };
        let _room = self.room_at(seen.spec.driver.target().as_str()).await;
        Ok(Some(driver.probe(&fields, None).await.map(drop)))
    }

    /// What the provider can be asked with about a version: what consumers got of it, or would have got of one that was only
    /// chosen. None: that is not here, and nobody can know.
    async fn to_ask_with(
        &self,
        seen: &Seen,
        version: Version,
        driver: &dyn Driver,
    ) -> Result<Option<Fields>, CommitError> {
        let known = match self.fields(seen.id, version).await {
            Ok(known) => known,
            Err(CommitError::Unsealed(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        if known.get(CHOSEN).is_none() {
            return Ok(Some(known));
        }
        Ok(driver.fields(&self.intent(seen, version).await?))
    }

    /// Tries a version that somebody is to delete; says when to try again. It has ended once it was refused twice, a while
    /// apart, and nobody else is asked to confirm it then.
    pub(super) async fn await_deletion(&self, seen: &Seen, version: Version) -> Result<Duration, Trouble> {
        let name = &seen.spec.name;
        let (twice, still) =
            if seen.ledger.spares_sessions(version) { (TWICE, STILL) } else { (URGENT, URGENT) };
        let driver = self.0.drivers.driver(&seen.spec)?;
        // A restore left it behind: only somebody's word ends it.
        let Some(fields) = self.to_ask_with(seen, version, &*driver).await? else { return Ok(still) };
        let (asked, elapsed) = (self.0.clock.now(), self.0.clock.elapsed());
        match driver.probe(&fields, None).await {
            Ok(_proof) => {
                self.0.refusals.end(name, version);
                Ok(still)
            }
            Err(DriverError::Refused(_)) => {
                let since = self.0.refusals.since(name, version, elapsed);
                let left = twice.saturating_sub(elapsed.saturating_sub(since));
                if left.is_zero() {
                    self.commit_own(seen, Event::Ended { version, asked, sessions: 0 }).await?;
                    self.0.refusals.end(name, version);
                }
                Ok(left)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Seen {
    /// Whether a rotation is open that waits for a value.
    fn waits_to_be_given(&self) -> bool {
        self.is_given() && self.ledger.open_rotation().is_some_and(|open| open.phase == Phase::Planned)
    }
}

/// Whether what is sealed of a version has `value` as its secret: as it was chosen, or in a field that would be nothing
/// but `value` again.
fn has_secret(known: &Fields, (value, fields): (&SecretBytes, &Fields)) -> bool {
    let holds = |name: &str| known.get(name).is_some_and(|known| known.same_as(value));
    holds(CHOSEN) || fields.iter().any(|(name, field)| field.same_as(value) && holds(name.as_str()))
}

/// Whether what is sealed of a version is what consumers would get of `value`; one that is only chosen will be.
fn is_same(known: &Fields, (value, fields): (&SecretBytes, &Fields)) -> bool {
    if let Some(chosen) = known.get(CHOSEN) {
        return chosen.same_as(value);
    }
    fields.iter().all(|(name, value)| known.get(name.as_str()).is_some_and(|known| known.same_as(value)))
}

/// What follows from a value that is handed in now: refused whole, or all of it may be committed.
fn events(seen: &Seen, value: &SecretBytes, why: Why) -> Result<Events, CommitError> {
    let (mut ledger, facts) = (seen.ledger.clone(), seen.facts());
    if !seen.is_given() {
        let phase = ledger.open_rotation().map(|open| open.phase);
        return Err(OutOfOrder::NoEdge { event: "hand-in", phase }.into());
    }
    let mut first = Vec::new();
    if let Ok(after) = ledger.after(&Event::Overtaken, &facts) {
        ledger = after;
        first.push(Event::Overtaken);
    }
    let version = ledger.next_version();
    let rotation = match ledger.open_rotation() {
        Some(open) if open.phase == Phase::Planned => open.id,
        None if ledger.owed => random::id(),
        Some(_) | None => {
            let rotation = random::id();
            let begin = Event::Begin { rotation, why };
            ledger = ledger.after(&begin, &facts)?;
            first.push(begin);
            rotation
        }
    };
    let handle = draw_handle(seen, version, Some(value))?;
    let choose = Event::Choose { rotation, version, handle, baseline: None };
    ledger.after(&choose, &facts)?;
    Ok(Events { first, choose, given: Given { version, rotation } })
}
