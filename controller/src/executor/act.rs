//! One step: one call of a driver, and the commit of what came of it.

use std::time::Duration;

use rekey_drivers::{
    Age, Driver, DriverError, Expiry, Found, Installed, Intent, Listed, Session, Sessions, Usage,
};
use rekey_model::{CredentialName, Handle, Version};
use rekey_rotation::{Cause, Event, Step, Why};
use rekey_runtime::random;

use super::lanes::Task;
use super::secrets::handle_of;
use super::seen::Seen;
use super::watch::Sample;
use super::{Causes, CommitError, Executor};
use crate::audit::Actor;
use crate::store::CredentialId;
use crate::targets::TargetError;

/// How long a step rests whose subject had moved on when its outcome came.
const MOVED_ON: Duration = Duration::from_millis(200);
/// Repeats of one trouble after which it is no longer news.
const NEWS: u32 = 3;

/// Why a step is to be tried again later. Its text holds no secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The driver did not do it.
    #[error("{why}")]
    Driver {
        /// Why.
        why: String,
        /// How long the target asked to be left alone.
        after: Option<Duration>,
    },
    /// The outcome was not committed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// There is no driver.
    #[error(transparent)]
    Target(#[from] TargetError),
}

impl From<DriverError> for Trouble {
    fn from(error: DriverError) -> Self {
        Self::Driver { why: Causes(&error).to_string(), after: error.retry_after() }
    }
}

impl Executor {
    /// Performs a step: waits for room at the target, makes sure that it is still due, acts.
    pub(super) async fn perform(&self, task: &Task, step: Step, target: String) {
        let began = self.0.clock.elapsed();
        let _room = self.0.lanes.permit(&target, task.lane).await;
        match self.act_if_due(&task.name, &step).await {
            Ok(pause) => self.0.lanes.worked(task, began.saturating_add(pause)),
            Err(Trouble::Commit(CommitError::OutOfOrder(_))) => {
                self.0.lanes.worked(task, self.0.clock.elapsed().saturating_add(MOVED_ON));
            }
            Err(trouble) => {
                let why = Causes(&trouble).to_string();
                let after = if let Trouble::Driver { after, .. } = &trouble { *after } else { None };
                let failures = self.0.lanes.failed(task, (why.clone(), after), self.0.clock.elapsed());
                let (name, verb, version) = (&task.name, task.verb, task.version.map(Version::get));
                if failures <= NEWS {
                    tracing::warn!(credential = %name, step = verb, version, %why, "not done; trying again");
                } else {
                    tracing::debug!(credential = %name, step = verb, version, %why, failures, "not done");
                }
            }
        }
    }

    /// Acts if the step is due in what is committed now; says how long it need not be done again.
    async fn act_if_due(&self, name: &CredentialName, step: &Step) -> Result<Duration, Trouble> {
        match self.see(name).await? {
            Some(seen) if seen.ledger.due(&seen.facts()).contains(step) => self.act(&seen, step).await,
            Some(_) | None => Ok(Duration::ZERO),
        }
    }

    async fn act(&self, seen: &Seen, step: &Step) -> Result<Duration, Trouble> {
        match step {
            Step::Begin { why } => self.begin(seen, why.clone()).await?,
            Step::Choose { version } => self.choose(seen, *version).await?,
            Step::Install { version, look_first } => self.install(seen, *version, *look_first).await?,
            Step::Probe { version, old } => self.probe(seen, *version, *old).await?,
            Step::Lift { version } => self.lift(seen, *version).await?,
            Step::Sample { version } => return self.sample(seen, *version).await,
            Step::End { version, .. } => return self.end(seen, *version).await,
            Step::CleanUp { version } => self.clean_up(seen, *version).await?,
            Step::Check { since } => self.check_declared(seen, *since).await?,
            Step::Verify { version } => return self.verify(seen, *version).await,
            Step::Try { version } => return self.try_again(seen, *version).await,
            Step::Follow => return self.look_at_place(seen).await,
            Step::List => self.ask_what_is_there(seen).await?,
        }
        Ok(Duration::ZERO)
    }

    pub(super) async fn commit_own(&self, seen: &Seen, event: Event) -> Result<(), Trouble> {
        self.commit(&seen.spec.name, event, Actor::controller()).await?;
        Ok(())
    }

    async fn begin(&self, seen: &Seen, why: Why) -> Result<(), Trouble> {
        self.commit_own(seen, Event::Begin { rotation: random::id(), why }).await
    }

    /// Where the target makes the secret, it is asked first what it has: what comes later may be ours.
    async fn choose(&self, seen: &Seen, version: Version) -> Result<(), Trouble> {
        let baseline = if seen.is_made_there() { Some(self.baseline(seen).await?) } else { None };
        let (handle, sealed) = self.draw(seen, version)?;
        let rotation = seen.ledger.open_rotation().map_or_else(random::id, |open| open.id);
        let event = Event::Choose { rotation, version, handle, baseline };
        let secret = sealed.as_ref().map(|sealed| (version, sealed));
        self.commit_with(&seen.spec.name, &event, &Actor::controller(), secret).await?;
        Ok(())
    }

    async fn baseline(&self, seen: &Seen) -> Result<Vec<Handle>, Trouble> {
        Ok(match self.0.drivers.driver(&seen.spec)?.list().await? {
            Listed::Versions(listed) => listed.into_iter().map(|it| it.handle).collect(),
            Listed::CannotTell => Vec::new(),
        })
    }

    /// Makes the version. After a lost answer this is the same call again, where that makes nothing new.
    async fn install(&self, seen: &Seen, version: Version, look_first: bool) -> Result<(), Trouble> {
        let name = &seen.spec.name;
        if self.0.unsure.of(name, version) {
            // What came of an earlier call was not recorded: this is recorded before there is another.
            self.commit_own(seen, Event::Resumed).await?;
            self.0.unsure.forget(name);
            return Ok(());
        }
        let driver = self.0.drivers.driver(&seen.spec)?;
        let intent = self.intent(seen, version).await?;
        let attempt = attempt_of(seen, version);
        if look_first && driver.find(&intent).await? == Found::Foreign {
            let why = format!("{} exists and is not ours", intent.handle);
            return self.commit_own(seen, Event::Refused { version, attempt, why }).await;
        }
        self.0.unsure.begin(name, version);
        let recorded = match driver.install(&intent).await {
            Ok(installed) if made_more(&*driver, &intent, &installed).await => {
                let why = "it made more than it answered with".to_owned();
                self.commit_own(seen, Event::Lost { version, attempt, why }).await
            }
            Ok(installed) => self.record_installed(seen, &intent, installed).await,
            Err(error @ DriverError::Unknown(_)) => {
                let why = Causes(&error).to_string();
                let lost = self.commit_own(seen, Event::Lost { version, attempt, why }).await;
                lost.and(Err(error.into()))
            }
            Err(error) => {
                // Nothing happened, whether that is recorded or not.
                self.0.unsure.forget(name);
                self.not_changed(seen, version, error).await
            }
        };
        if !matches!(&recorded, Err(Trouble::Commit(error)) if !matches!(error, CommitError::OutOfOrder(_))) {
            self.0.unsure.forget(name);
        }
        recorded
    }

    async fn record_installed(
        &self,
        seen: &Seen,
        intent: &Intent,
        installed: Installed,
    ) -> Result<(), Trouble> {
        let version = intent.version;
        let sealed = self.seal_given(seen, version, &installed.fields)?;
        let handle = intent.secret.is_none().then_some(installed.handle);
        let event = Event::Installed { version, attempt: attempt_of(seen, version), handle };
        let secret = Some((version, &sealed));
        self.commit_with(&seen.spec.name, &event, &Actor::controller(), secret).await?;
        Ok(())
    }

    /// The target has not what it was to have. Where readers wait for it, that it was not reached is recorded too.
    async fn not_changed(&self, seen: &Seen, version: Version, error: DriverError) -> Result<(), Trouble> {
        if matches!(error, DriverError::Unavailable(_)) && seen.ledger.is_cutting() {
            let (attempt, why) = (attempt_of(seen, version), Causes(&error).to_string());
            self.commit_own(seen, Event::Untouched { version, attempt, why }).await?;
        }
        self.refused(seen, version, error).await
    }

    /// A refusal counts; anything else is tried again.
    async fn refused(&self, seen: &Seen, version: Version, error: DriverError) -> Result<(), Trouble> {
        if matches!(error, DriverError::Refused(_)) {
            let (attempt, why) = (attempt_of(seen, version), Causes(&error).to_string());
            self.commit_own(seen, Event::Refused { version, attempt, why }).await?;
        }
        Err(error.into())
    }

    async fn probe(&self, seen: &Seen, version: Version, old: Option<Version>) -> Result<(), Trouble> {
        let driver = self.0.drivers.driver(&seen.spec)?;
        let fields = self.fields(seen.id, version).await?;
        let old = old.map(|old| handle_of(seen, old)).transpose()?;
        match driver.probe(&fields, old.as_ref()).await {
            Ok(_proof) => {
                let attempt = attempt_of(seen, version);
                self.commit_own(seen, Event::Probed { version, attempt }).await
            }
            Err(error) if seen.ledger.is_cutting() && driver.log_in(&fields).await.is_ok() => {
                let why = format!("{version} can log in, but a probe says no: {}", Causes(&error));
                let attempt = attempt_of(seen, version);
                self.commit_own(seen, Event::LetIn { version, attempt, why }).await
            }
            Err(error) => self.refused(seen, version, error).await,
        }
    }

    async fn lift(&self, seen: &Seen, version: Version) -> Result<(), Trouble> {
        let driver = self.0.drivers.driver(&seen.spec)?;
        match driver.set_expiry(&handle_of(seen, version)?, Expiry::Never).await {
            Ok(()) => {
                let attempt = attempt_of(seen, version);
                self.commit_own(seen, Event::Lifted { version, attempt }).await
            }
            Err(error) => self.refused(seen, version, error).await,
        }
    }

    async fn sample(&self, seen: &Seen, version: Version) -> Result<Duration, Trouble> {
        let (name, policy) = (&seen.spec.name, seen.facts().policy);
        let driver = self.0.drivers.driver(&seen.spec)?;
        let asked = self.0.clock.now();
        let usage = driver.usage(&handle_of(seen, version)?).await;
        let answered = self.0.clock.now();
        let sessions = match usage {
            Ok(Usage::CannotTell) => None,
            Ok(Usage::Sessions(sessions)) => Some(u32::try_from(sessions.len()).unwrap_or(u32::MAX)),
            Ok(Usage::OfAccount(sessions)) => {
                Some(perhaps_older(&sessions, seen.ledger.moved_for(&seen.facts())))
            }
            Ok(Usage::LastUsed(age)) => {
                let quiet = self.0.watch.quiet_since(name, version).map(|since| asked.at_most_since(since));
                Some(u32::from(used_since(age, quiet)))
            }
            Err(error) => {
                self.0.watch.failed(name, version);
                return Err(error.into());
            }
        };
        self.0.watch.take(name, Sample { version, asked, answered, sessions }, policy.sample_gap());
        Ok(policy.sample_every())
    }

    /// Ends a version. Where its sessions are spared and some are there, they are shown and waited for.
    async fn end(&self, seen: &Seen, version: Version) -> Result<Duration, Trouble> {
        if seen.ledger.is_unanswered(version) {
            return self.end_unseen(seen, version).await.map(|()| Duration::ZERO);
        }
        let emergency = seen.ledger.endings.get(&version).is_some_and(|it| it.cause == Cause::Emergency);
        if seen.is_followed() && !emergency {
            // Whoever rotates it has ended it, or will: nothing of it is ours.
            let asked = self.0.clock.now();
            self.commit_own(seen, Event::Ended { version, asked, sessions: 0 }).await?;
            return Ok(Duration::ZERO);
        }
        if seen.is_given() {
            return self.await_deletion(seen, version).await;
        }
        let (name, policy) = (&seen.spec.name, seen.facts().policy);
        let driver = self.0.drivers.driver(&seen.spec)?;
        if seen.ledger.ends_for_a_lost_life(version, &seen.facts())
            && self.is_overwritten(seen, (version, &*driver)).await?
        {
            let asked = self.0.clock.now();
            self.commit_own(seen, Event::Ended { version, asked, sessions: 0 }).await?;
            return Ok(Duration::ZERO);
        }
        let spares = seen.ledger.spares_sessions(version);
        let sessions = if spares { Sessions::Leave } else { Sessions::End };
        let asked = self.0.clock.now();
        let cut = match driver.revoke(&handle_of(seen, version)?, sessions).await {
            Ok(cut) => cut,
            Err(error) => return self.ending_refused(seen, version, error).await.map(|()| Duration::ZERO),
        };
        if cut.sessions_left > 0 {
            // What a later rotation samples of another version is not to be overwritten.
            if !seen.ledger.due(&seen.facts()).iter().any(|step| matches!(step, Step::Sample { .. })) {
                let sample = Sample { version, asked, answered: asked, sessions: Some(cut.sessions_left) };
                self.0.watch.take(name, sample, policy.sample_gap());
            }
            return Ok(policy.sample_every());
        }
        self.commit_own(seen, Event::Ended { version, asked, sessions: cut.sessions_ended }).await?;
        Ok(Duration::ZERO)
    }

    /// Whether the only value that the account takes is surely not this version's, whose secret is here.
    async fn is_overwritten(
        &self,
        seen: &Seen,
        (version, driver): (Version, &dyn Driver),
    ) -> Result<bool, Trouble> {
        Ok(self.takes(seen.id, version, driver).await? == Some(false))
    }

    /// Whether the account takes this version's value now; none: its secret is not here, and nobody can know.
    pub(super) async fn takes(
        &self,
        id: CredentialId,
        version: Version,
        driver: &dyn Driver,
    ) -> Result<Option<bool>, Trouble> {
        let fields = match self.fields(id, version).await {
            Err(CommitError::Unsealed(_)) => return Ok(None),
            fields => fields?,
        };
        match driver.log_in(&fields).await {
            Ok(()) => Ok(Some(true)),
            Err(DriverError::Refused(_)) => Ok(Some(false)),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends whatever the call for a version made, whose answer nobody has.
    async fn end_unseen(&self, seen: &Seen, version: Version) -> Result<(), Trouble> {
        let driver = self.0.drivers.driver(&seen.spec)?;
        let intent = self.intent(seen, version).await?;
        let asked = self.0.clock.now();
        match end_strangers(&*driver, &intent).await {
            Ok(sessions) => self.commit_own(seen, Event::Ended { version, asked, sessions }).await,
            Err(error) => self.ending_refused(seen, version, error).await,
        }
    }

    async fn clean_up(&self, seen: &Seen, version: Version) -> Result<(), Trouble> {
        if seen.ledger.is_unanswered(version) {
            return self.commit_own(seen, Event::CleanedUp { version }).await;
        }
        let driver = self.0.drivers.driver(&seen.spec)?;
        match driver.clean_up(&handle_of(seen, version)?).await {
            Ok(()) => self.commit_own(seen, Event::CleanedUp { version }).await,
            Err(error) => self.ending_refused(seen, version, error).await,
        }
    }

    async fn ask_what_is_there(&self, seen: &Seen) -> Result<(), Trouble> {
        let driver = self.0.drivers.driver(&seen.spec)?;
        let listing = self.shows((seen.id, &seen.ledger), &seen.spec, &*driver).await?;
        self.commit_own(seen, Event::Listed { listing }).await
    }

    async fn ending_refused(&self, seen: &Seen, version: Version, error: DriverError) -> Result<(), Trouble> {
        if matches!(error, DriverError::Refused(_)) {
            let why = Causes(&error).to_string();
            self.commit_own(seen, Event::EndingRefused { version, why }).await?;
        }
        Err(error.into())
    }
}

/// Ends and removes what an intent made that nobody has the secret of; gives the sessions ended.
async fn end_strangers(driver: &dyn Driver, intent: &Intent) -> Result<u32, DriverError> {
    let Found::Strangers(strangers) = driver.find(intent).await? else { return Ok(0) };
    let mut sessions = 0_u32;
    for stranger in strangers.iter().filter(|it| intent.may_have_made(it)) {
        let cut = driver.revoke(stranger, Sessions::End).await?;
        driver.clean_up(stranger).await?;
        sessions = sessions.saturating_add(cut.sessions_ended);
    }
    Ok(sessions)
}

/// Whether the target shows more than it answered with, where it makes the secret: somebody between repeated the call.
async fn made_more(driver: &dyn Driver, intent: &Intent, installed: &Installed) -> bool {
    if intent.secret.is_some() {
        return false;
    }
    let mut known = intent.known.clone();
    known.push(installed.handle.clone());
    let found = driver.find(&Intent { known, ..intent.clone() }).await;
    matches!(found, Ok(Found::Strangers(strangers)) if !strangers.is_empty())
}

/// Whether a value that was last used `age` ago was used after it had been quiet for `quiet`.
fn used_since(age: Option<Age>, quiet: Option<Duration>) -> bool {
    age.zip(quiet).is_some_and(|(age, quiet)| age.least <= quiet)
}

/// How many of an account's sessions may have begun with the value that is being left: all, until everybody has moved
/// `moved` ago; then those that may be older.
fn perhaps_older(sessions: &[Session], moved: Option<Duration>) -> u32 {
    let older = |session: &&Session| {
        let age = session.age.zip(moved);
        age.is_none_or(|(age, moved)| age.reaches(moved))
    };
    u32::try_from(sessions.iter().filter(older).count()).unwrap_or(u32::MAX)
}

fn attempt_of(seen: &Seen, version: Version) -> u32 {
    seen.ledger.version(version).map_or(0, |record| record.attempt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_counts_when_it_came_after_the_quiet_began() {
        let aged = |secs| Some(Age { least: Duration::from_secs(secs), step: Duration::from_secs(1) });
        let quiet = Some(Duration::from_mins(1));
        assert!(used_since(aged(0), quiet) && used_since(aged(60), quiet));
        assert!(!used_since(aged(61), quiet), "before");
        assert!(!used_since(aged(0), None), "nothing was quiet yet: from now on");
        assert!(!used_since(None, quiet), "it was never used");
    }

    #[test]
    fn a_session_of_an_account_counts_until_it_is_surely_younger_than_the_last_change() {
        let second = Duration::from_secs(1);
        let aged = |least: Option<u64>| Session {
            id: None,
            client: String::new(),
            application: String::new(),
            since_ms: 0,
            age: least.map(|least| Age { least: Duration::from_secs(least), step: second }),
        };
        let sessions = [aged(Some(1)), aged(Some(4)), aged(Some(9)), aged(None)];
        assert_eq!(perhaps_older(&sessions, None), 4, "nobody knows who has moved");
        assert_eq!(perhaps_older(&sessions, Some(second * 2)), 4, "1 s may be nearly 2 s");
        assert_eq!(perhaps_older(&sessions, Some(Duration::from_millis(2_001))), 3);
        assert_eq!(perhaps_older(&sessions, Some(second * 6)), 2);
        assert_eq!(perhaps_older(&sessions, Some(second * 60)), 1, "one does not tell its age");
    }
}
