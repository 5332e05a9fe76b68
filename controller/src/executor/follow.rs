//! Credentials that somebody else's machine rotates: the place where it leaves values is looked at again and again, and what
//! is new there is tried as a consumer would use it. What works goes to everybody at once, because the value before it is
//! dead; what does not goes to nobody, and is told.

mod reading;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rekey_drivers::{Driver, DriverError, Intent, Place};
use rekey_model::{CredentialName, Fields, SecretBytes, Version};
use rekey_rotation::{Alarm, AlarmKind, Phase, Why};

use super::act::Trouble;
use super::given::Known;
use super::secrets::draw_handle;
use super::seen::Seen;
use super::{Causes, CommitError, Executor};
use crate::audit::Actor;
use crate::template;

pub(super) use self::reading::Readings;

/// How often a place is looked at.
const EVERY: Duration = Duration::from_secs(2);
/// How long apart a new value is read twice: whoever writes it may be in the middle of that.
const TWICE: Duration = Duration::from_millis(200);
/// The longest that a value which was refused is not tried again.
const LONGEST: Duration = Duration::from_mins(1);
/// How long nothing is taken after a rotation that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// What keeps each followed credential from the next value. A restart forgets it, and looks again.
#[derive(Debug, Default)]
pub(super) struct Follows(Mutex<HashMap<CredentialName, Obstacle>>);

/// What is wrong at a place.
#[derive(Debug)]
struct Obstacle {
    why: String,
    refused: Option<Refused>,
}

/// A value that the target refused.
#[derive(Debug)]
struct Refused {
    value: Arc<SecretBytes>,
    wait: Duration,
    next_try: Duration,
}

/// What came of a look.
enum Looked {
    /// What is there is in use, or on its way.
    Known,
    /// Something else comes first.
    Later,
    /// The target refuses what is there, and why.
    Refused(String),
    /// Nothing can be taken, and why.
    Not(String),
}

impl Follows {
    fn lock(&self) -> MutexGuard<'_, HashMap<CredentialName, Obstacle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn forget(&self, name: &CredentialName) {
        self.lock().remove(name);
    }

    /// Whether `value` was refused a moment ago.
    fn rests(&self, name: &CredentialName, value: &SecretBytes, elapsed: Duration) -> bool {
        let obstacles = self.lock();
        let refused = obstacles.get(name).and_then(|obstacle| obstacle.refused.as_ref());
        refused.is_some_and(|refused| refused.next_try > elapsed && refused.value.same_as(value))
    }

    /// What was refused is tried again at the next look.
    pub(super) fn hurry(&self, name: &CredentialName) {
        if let Some(refused) = self.lock().get_mut(name).and_then(|it| it.refused.as_mut()) {
            refused.next_try = Duration::ZERO;
        }
    }

    /// Keeps what is wrong, and what was refused last; says whether it is news.
    fn note(&self, name: &CredentialName, why: &str, refused: Option<Refused>) -> bool {
        let mut obstacles = self.lock();
        let before = obstacles.remove(name);
        let is_news = before.as_ref().is_none_or(|before| before.why != why);
        let refused = refused.or(before.and_then(|before| before.refused));
        obstacles.insert(name.clone(), Obstacle { why: why.to_owned(), refused });
        is_news
    }

    /// For how long a value is left alone that was refused now: longer each time, while it is the same.
    fn wait(&self, name: &CredentialName, value: &SecretBytes) -> Duration {
        let obstacles = self.lock();
        let before = obstacles.get(name).and_then(|obstacle| obstacle.refused.as_ref());
        let before = before.filter(|before| before.value.same_as(value));
        before.map_or(EVERY, |before| before.wait.saturating_mul(2).min(LONGEST))
    }

    pub(super) fn alarm(&self, name: &CredentialName) -> Option<Alarm> {
        let message = self.lock().get(name)?.why.clone();
        Some(Alarm { kind: AlarmKind::FollowFails, message, next_command: Some("verify NAME") })
    }
}

impl Executor {
    /// What was left is looked at now, also if it was refused a moment ago.
    pub(super) fn look_at_place_now(&self, name: &CredentialName) {
        self.0.follows.hurry(name);
        self.look_now(name);
    }

    /// Looks whether somebody else's machine has left another value, and takes it if it works; says when to look again.
    pub(super) async fn look_at_place(&self, seen: &Seen) -> Result<Duration, Trouble> {
        let Some(place) = self.0.drivers.place(&seen.spec)? else { return Ok(EVERY) };
        let name = &seen.spec.name;
        let value = match self.read_place(name, &place).await {
            Ok(value) => Arc::new(value),
            Err(why) => {
                let why = format!("nothing new can be followed: {why}; ask {}", place.by);
                self.tell(name, &why, None);
                return Ok(EVERY);
            }
        };
        match self.follow_to(seen, &place, &value).await? {
            Looked::Known => self.0.follows.forget(name),
            Looked::Later => {}
            Looked::Refused(why) => {
                let wait = self.0.follows.wait(name, &value);
                let next_try = self.0.clock.elapsed().saturating_add(wait);
                self.tell(name, &why, Some(Refused { value, wait, next_try }));
            }
            Looked::Not(why) => self.tell(name, &why, None),
        }
        Ok(EVERY)
    }

    async fn read_place(&self, name: &CredentialName, place: &Place) -> Result<SecretBytes, String> {
        self.0.readings.read((name, place, &self.0.clock), Place::read).await
    }

    fn tell(&self, name: &CredentialName, why: &str, refused: Option<Refused>) {
        if self.0.follows.note(name, why, refused) {
            tracing::warn!(credential = %name, %why, "what somebody else rotates is not followed");
        }
    }

    async fn follow_to(
        &self,
        seen: &Seen,
        place: &Place,
        value: &Arc<SecretBytes>,
    ) -> Result<Looked, Trouble> {
        let (name, at) = (&seen.spec.name, place.shown());
        let driver = self.0.drivers.driver(&seen.spec)?;
        let fields = match form(seen, &*driver, value).await? {
            Ok(fields) => fields,
            Err(why) => {
                return Ok(Looked::Refused(format!("{at} has what cannot be used: {why}; ask {}", place.by)));
            }
        };
        match self.which(seen, (value, &fields)).await? {
            None => {}
            // It is on its way out, and may come again when it is gone.
            Some(Known::Here(version)) if seen.ledger.endings.contains_key(&version) => {
                return Ok(Looked::Later);
            }
            Some(Known::Here(_)) => return Ok(Looked::Known),
            Some(Known::Revoked(version)) => {
                return Ok(Looked::Not(format!(
                    "{at} still has {version}, which was revoked: ask {} for another",
                    place.by
                )));
            }
        }
        if let Err(why) = template::derive(&fields, &seen.spec.fields) {
            return Ok(Looked::Refused(format!("{at} has what cannot be used: {why}; ask {}", place.by)));
        }
        if comes_first(seen) || self.0.follows.rests(name, value, self.0.clock.elapsed()) {
            return Ok(Looked::Later);
        }
        self.0.clock.sleep(TWICE).await;
        if !self.read_place(name, place).await.is_ok_and(|again| again.same_as(value)) {
            return Ok(Looked::Later);
        }
        match driver.probe(&fields, None).await {
            Ok(_proof) => {}
            Err(DriverError::Refused(source)) => {
                let why = Causes(&*source).to_string();
                let told = format!(
                    "{at} has a value that does not work, and nobody got it: {why}; ask {}",
                    place.by
                );
                return Ok(Looked::Refused(told));
            }
            Err(error) => {
                return Ok(Looked::Not(format!("{at} has another value, not tried yet: {}", Causes(&error))));
            }
        }
        let reason = format!("{at} has another value");
        let why = Why::Asked { reason, by: place.by.clone(), request: String::new() };
        match self.give(name, value, (why, Actor::controller())).await {
            Ok(_given) => Ok(Looked::Known),
            Err(CommitError::OutOfOrder(error)) => {
                Ok(Looked::Not(format!("{at} has another value, which works and waits: {error}")))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What consumers would get of `value`; or why it is none.
async fn form(
    seen: &Seen,
    driver: &dyn Driver,
    value: &Arc<SecretBytes>,
) -> Result<Result<Fields, String>, Trouble> {
    let handle = draw_handle(seen, Version::FIRST, Some(value))?;
    let intent = Intent::chosen(Version::FIRST, handle, Arc::clone(value));
    match driver.install(&intent).await {
        Ok(installed) => Ok(Ok(installed.fields)),
        Err(DriverError::Refused(source)) => Ok(Err(Causes(&*source).to_string())),
        Err(error) => Err(error.into()),
    }
}

/// Whether another value cannot be taken now: one is on its way out, or one has failed just now.
fn comes_first(seen: &Seen) -> bool {
    let now = seen.facts().now;
    seen.ledger.rotation.as_ref().is_some_and(|last| {
        let forward =
            [Phase::Planned, Phase::Chosen, Phase::Installed, Phase::Proven, Phase::Rolling, Phase::Grace];
        let failed = last.ended.filter(|_| last.failed);
        last.phase.is_open() && !forward.contains(&last.phase)
            || failed.is_some_and(|at| now.at_least_since(at) < AFTER_FAILURE)
    })
}
