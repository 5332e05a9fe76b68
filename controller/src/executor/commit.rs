//! One transaction: rows, decision, ledger, audit, history. The way in which everything that happens changes a ledger.

use rekey_drivers::Intent;
use rekey_model::{CredentialName, Fields, RotationId, Version};
use rekey_rotation::{Event, Ledger, OutOfOrder, group};
use rekey_runtime::random;

use super::seen::Seen;
use super::{Executor, record};
use crate::audit::Actor;
use crate::seal::{SealError, Sealed};
use crate::spec::{Spec, ties};
use crate::store::{CredentialRow, StoreError, Tie, Tx};
use crate::targets::TargetError;
use crate::template::FillError;

/// How often a commit that lost a race is decided anew.
const TRIES: u32 = 3;

/// Why an event changed nothing. The text holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// It has no edge where the credential stands.
    #[error(transparent)]
    OutOfOrder(#[from] OutOfOrder),
    /// There is no such credential.
    #[error("there is no credential {0}")]
    NoSuchCredential(CredentialName),
    /// The stored declaration is not one that this release understands.
    #[error("the declaration of {0} does not read: apply it again")]
    Spec(CredentialName),
    /// The store did not do it.
    #[error("the store did not take it")]
    Store(#[from] StoreError),
    /// A secret could not be sealed or opened.
    #[error("a secret was not sealed or opened")]
    Seal(#[source] SealError),
    /// A version has no secret of the right form, or no name.
    #[error("{0} is not as it was made")]
    Unsealed(Version),
    /// There is no driver.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// What was handed in is a version that there is already.
    #[error("that is {0}, which was handed in before")]
    Known(Version),
    /// What was handed in is a version that nobody may ever get again.
    #[error("that is {0}, which was revoked: make another one")]
    Revoked(Version),
    /// What was handed in may be a version that nobody may ever get again, and whose value is not here.
    #[error(
        "{0} was revoked, and its value is not known here since a restore: this may be it. Delete {0} where it was made, and \
         say so with `--deleted {0}` first"
    )]
    Lost(Version),
    /// The controller ends, or a fault stopped what was asked for.
    #[error("it was stopped before it was done")]
    Stopped,
    /// A field that is made of others could not be made.
    #[error("a field of the declaration cannot be made")]
    Derive(#[source] FillError),
}

/// What a commit led to.
#[derive(Debug)]
pub struct Outcome {
    /// The ledger now.
    pub ledger: Ledger,
    /// Whether anything was changed.
    pub changed: bool,
}

impl Executor {
    /// Commits what follows from `event` at this credential, with the audit record of `actor`. An event from which nothing
    /// follows changes nothing, and is no error.
    pub async fn commit(
        &self,
        name: &CredentialName,
        event: Event,
        actor: Actor,
    ) -> Result<Outcome, CommitError> {
        self.commit_with(name, &event, &actor, None).await
    }

    /// Records the application's login of today, whose `fields` were seen to work with `proven`, as version 1. Refused if
    /// the credential was declared anew meanwhile: another login was not proven.
    pub async fn adopt(&self, proven: &Spec, fields: &Fields, actor: Actor) -> Result<Outcome, CommitError> {
        let name = &proven.name;
        let seen = self.see(name).await?.ok_or_else(|| CommitError::NoSuchCredential(name.clone()))?;
        let same = seen.spec.driver.target() == proven.driver.target();
        let adopt = proven.driver.adopt().filter(|_| same);
        let adopt = adopt.ok_or(OutOfOrder::NoEdge { event: "adopt", phase: None })?;
        let sealed = self.seal_given(&seen, Version::FIRST, fields)?;
        let event = Event::Adopt { handle: adopt.clone(), version: None };
        self.commit_with(name, &event, &actor, Some((Version::FIRST, &sealed))).await
    }

    /// Records what works now, whose `fields` were seen to work with `proven`, as the next version of an account that takes
    /// one value, which somebody else has changed. Refused if there is another version since, or another declaration.
    pub async fn adopt_next(
        &self,
        proven: &Spec,
        (intent, fields): (&Intent, &Fields),
        actor: Actor,
    ) -> Result<Outcome, CommitError> {
        let name = &proven.name;
        let seen = self.see(name).await?.ok_or_else(|| CommitError::NoSuchCredential(name.clone()))?;
        let secret = intent.secret.as_ref().ok_or(CommitError::Unsealed(intent.version))?;
        self.refuse_known(&seen, (secret, fields)).await?;
        let (version, handle) = (intent.version, intent.handle.clone());
        let same = seen.spec.driver.target() == proven.driver.target();
        same.then_some(()).ok_or(OutOfOrder::NoEdge { event: "adopt", phase: None })?;
        let sealed = self.seal_given(&seen, version, fields)?;
        let event = Event::Adopt { handle, version: Some(version) };
        self.commit_with(name, &event, &actor, Some((version, &sealed))).await
    }

    /// Commits an event together with the sealed secret that it is about.
    pub(super) async fn commit_with(
        &self,
        name: &CredentialName,
        event: &Event,
        actor: &Actor,
        secret: Option<(Version, &Sealed)>,
    ) -> Result<Outcome, CommitError> {
        let mut left = TRIES;
        loop {
            left = left.saturating_sub(1);
            match Box::pin(self.try_commit(name, event, actor, secret)).await {
                Err(CommitError::Store(StoreError::Conflict)) if left > 0 => {}
                Ok(outcome) => {
                    self.follow(name, event, &outcome);
                    return Ok(outcome);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_commit(
        &self,
        name: &CredentialName,
        event: &Event,
        actor: &Actor,
        secret: Option<(Version, &Sealed)>,
    ) -> Result<Outcome, CommitError> {
        let mut tx = self.0.store.begin().await?;
        let row = tx.load(name).await?.ok_or_else(|| CommitError::NoSuchCredential(name.clone()))?;
        let seen = self.see_in(&mut tx, row.clone()).await?;
        if let Event::Adopt { handle, version } = event {
            let right = match version {
                None => seen.spec.driver.adopt() == Some(handle),
                Some(version) => seen.spec.driver.may_be_called(*version, handle),
            };
            right.then_some(()).ok_or(OutOfOrder::NoEdge { event: "adopt", phase: None })?;
        }
        let mut together = vec![(row, Some(seen))];
        self.join_group(&mut tx, &mut together, event).await?;
        let after = decide(&together, event)?;
        let asked = after.first().cloned().ok_or_else(|| CommitError::NoSuchCredential(name.clone()))?;
        let changed = together.iter().zip(&after).any(|((row, _), after)| row.ledger != *after);
        if !changed {
            tx.rollback().await?;
            return Ok(Outcome { ledger: asked, changed });
        }
        let mut freed = Vec::new();
        for ((row, seen), after) in
            together.iter().zip(after).filter(|((row, _), after)| row.ledger != *after)
        {
            if keeps_waiting(&row.ledger) && !keeps_waiting(&after) {
                freed.extend(seen.iter().flat_map(|seen| &seen.keeps).cloned());
            }
            // What the others do besides beginning follows, and is told by the phase that they come to.
            let about = row.name == *name || matches!(event, Event::Begin { .. });
            let (event, secret) = if about { (event, secret) } else { (&Event::Look, None) };
            save(&mut tx, row, after, (event, actor), secret).await?;
        }
        tx.commit().await?;
        for other in &freed {
            self.0.lanes.poke(other);
        }
        Ok(Outcome { ledger: asked, changed })
    }

    /// Reads the others of its group, where they are decided together with it. Of one whose declaration does not read only
    /// the row is there.
    async fn join_group(
        &self,
        tx: &mut Tx,
        together: &mut Vec<(CredentialRow, Option<Seen>)>,
        event: &Event,
    ) -> Result<(), CommitError> {
        let group = together.first().and_then(|(_, seen)| group_of(seen.as_ref()?, event));
        let Some((name, tie)) = group else { return Ok(()) };
        for row in tx.tied(&tie).await?.into_iter().filter(|row| row.name != name) {
            let seen = readable(self.see_in(tx, row.clone()).await)?;
            together.push((row, seen));
        }
        Ok(())
    }

    /// Whether time, acknowledgements and evidence alone have set an edge free, here or at others of its group.
    pub(super) async fn has_moved(&self, seen: &Seen) -> Result<bool, CommitError> {
        let mut others = Vec::new();
        if let Some((name, tie)) = group_of(seen, &Event::Look) {
            for row in self.0.store.tied(&tie).await?.into_iter().filter(|row| row.name != name) {
                let seen = readable(self.see(&row.name).await)?.flatten();
                others.push((row, seen));
            }
        }
        let others = others.iter().map(|(row, seen)| member(row, seen.as_ref()));
        let together: Vec<_> = std::iter::once((&seen.ledger, Some(seen.facts()))).chain(others).collect();
        let after = group::after(&together, 0, &Event::Look, &[]);
        Ok(after.is_ok_and(|after| after.iter().zip(&together).any(|(after, (ledger, _))| after != *ledger)))
    }

    /// What follows in memory from a commit.
    fn follow(&self, name: &CredentialName, event: &Event, outcome: &Outcome) {
        if matches!(event, Event::Retry | Event::Release | Event::Revoke { .. }) {
            self.0.lanes.retry_now(name);
        }
        if matches!(event, Event::Revoke { .. }) {
            self.0.lanes.hurry(name);
        }
        if outcome.changed {
            let phase = outcome.ledger.rotation.as_ref().map(|rotation| rotation.phase.as_str());
            tracing::info!(credential = %name, event = event.name(), phase, order = %outcome.ledger.order, "committed");
        }
    }

    /// Forgets a deleted credential of which nothing is left, once every live holder has dropped it.
    pub(super) async fn forget_deleted(&self, seen: &Seen) -> Result<bool, CommitError> {
        if !may_be_forgotten(seen) {
            return Ok(false);
        }
        // It may have changed since, and so may the holders: what is acted on is read here.
        let mut tx = self.0.store.begin().await?;
        let Some(row) = tx.load(&seen.spec.name).await? else { return Ok(true) };
        let forgotten = may_be_forgotten(&self.see_in(&mut tx, row.clone()).await?);
        if forgotten {
            tx.delete(&row).await?;
            tx.commit().await?;
        }
        Ok(forgotten)
    }
}

/// Saves what was decided about one credential, with its audit, its secret and its history.
pub(super) async fn save(
    tx: &mut Tx,
    before: &CredentialRow,
    after: Ledger,
    (event, actor): (&Event, &Actor),
    secret: Option<(Version, &Sealed)>,
) -> Result<(), CommitError> {
    let mut row = CredentialRow { ledger: after, ..before.clone() };
    tx.save(&mut row).await?;
    keep_secrets(tx, (before, &row.ledger), secret).await?;
    for entry in &record::entries(&row.name, event, actor, (&before.ledger, &row.ledger)) {
        tx.audit(entry).await?;
    }
    let now = row.ledger.rotation.as_ref().filter(|now| before.ledger.rotation.as_ref() != Some(now));
    if let Some(rotation) = now {
        tx.record_rotation(row.id, rotation).await?;
    }
    Ok(())
}

/// The tie to those that are decided together with it, and its own name; none: it is decided alone.
fn group_of(seen: &Seen, event: &Event) -> Option<(CredentialName, Tie)> {
    let together = seen.ledger.is_grouped() || matches!(event, Event::Begin { .. });
    let tie = ties::group(&seen.spec).filter(|_| together)?;
    Some((seen.spec.name.clone(), tie))
}

/// What was seen, or nothing where the declaration does not read.
fn readable<T>(seen: Result<T, CommitError>) -> Result<Option<T>, CommitError> {
    match seen {
        Err(CommitError::Spec(_)) => Ok(None),
        seen => seen.map(Some),
    }
}

/// One of those that are decided together, as the machine takes it.
fn member<'s>(row: &'s CredentialRow, seen: Option<&'s Seen>) -> group::Member<'s> {
    (seen.map_or(&row.ledger, |seen| &seen.ledger), seen.map(Seen::facts))
}

/// What follows from an event at the first of those that are decided together.
fn decide(together: &[(CredentialRow, Option<Seen>)], event: &Event) -> Result<Vec<Ledger>, CommitError> {
    let members: Vec<_> = together.iter().map(|(row, seen)| member(row, seen.as_ref())).collect();
    let ids: Vec<RotationId> = together.iter().map(|_| random::id()).collect();
    group::after(&members, 0, event, &ids).map_err(|refused| {
        let other = together.get(refused.member).filter(|_| refused.member > 0);
        let why = other.map(|(row, _)| format!("{}, of the same group: {}", row.name, refused.why));
        CommitError::OutOfOrder(why.map_or(refused.why, |why| OutOfOrder::Gated { why }))
    })
}

/// Whether what is tied to it has to wait.
fn keeps_waiting(ledger: &Ledger) -> bool {
    ledger.open_rotation().is_some() || ledger.owed
}

/// Whether nothing is left of a deleted credential, and every live holder has dropped it.
fn may_be_forgotten(seen: &Seen) -> bool {
    let told = seen.facts().live().all(|holder| holder.has_acked(seen.ledger.order));
    seen.ledger.is_forgettable() && told
}

/// Whether the value of a version that is over is still to be known: it was revoked, and values of this credential come
/// from outside too (handed in, followed, or adopted where one was changed), so that it could come once more.
fn is_remembered(row: &CredentialRow, after: &Ledger, version: Version) -> bool {
    // Where the declaration does not read nobody can tell.
    let theirs =
        |spec: Spec| spec.driver.is_followed() || spec.driver.by_hand().is_some() || spec.barrier.is_some();
    after.fenced.contains(&version) && Spec::parse(&row.spec).map_or(true, theirs)
}

/// Stores the secret of this commit, and removes those that are of no use any more: of versions that are over, and that
/// nothing is left of at the target. What was revoked is kept where it could come in once more.
async fn keep_secrets(
    tx: &mut Tx,
    (before, after): (&CredentialRow, &Ledger),
    secret: Option<(Version, &Sealed)>,
) -> Result<(), StoreError> {
    if let Some((version, sealed)) = secret {
        // What was only chosen gives way to what the driver answered, in one transaction.
        tx.drop_secret(before.id, version).await?;
        tx.put_secret(before.id, version, sealed).await?;
    }
    let is_over = |ledger: &Ledger, version: Version| {
        let ended = ledger.version(version).is_some_and(|record| record.stage.is_final());
        ended && !ledger.endings.contains_key(&version)
    };
    let now_over = after.versions.keys().filter(|it| is_over(after, **it) && !is_over(&before.ledger, **it));
    for version in now_over.filter(|version| !is_remembered(before, after, **version)) {
        tx.drop_secret(before.id, *version).await?;
    }
    Ok(())
}
