//! What is kept in memory of followed places: what is wrong there, what was refused, and how long something new has stood.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rekey_drivers::Left;
use rekey_model::{CredentialName, SecretBytes};
use rekey_rotation::{Alarm, AlarmKind};

use super::EVERY;

/// The longest that a value which was refused is not tried again.
const LONGEST: Duration = Duration::from_mins(1);

/// What keeps each followed credential from the next value. A restart forgets it, and looks again.
#[derive(Debug, Default)]
pub(in crate::executor) struct Follows {
    obstacles: Mutex<HashMap<CredentialName, Obstacle>>,
    news: Mutex<HashMap<CredentialName, News>>,
}

/// Another value, since when it has stood there as it does now, and since when it has been there.
#[derive(Debug)]
struct News {
    left: Left,
    since: Duration,
    first: Duration,
}

/// What is wrong at a place.
#[derive(Debug)]
struct Obstacle {
    why: String,
    refused: Option<Refused>,
}

/// A value that the target refused.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) value: Arc<SecretBytes>,
    pub(super) wait: Duration,
    pub(super) next_try: Duration,
}

impl Follows {
    fn lock(&self) -> MutexGuard<'_, HashMap<CredentialName, Obstacle>> {
        self.obstacles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn news(&self) -> MutexGuard<'_, HashMap<CredentialName, News>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::executor) fn forget(&self, name: &CredentialName) {
        self.lock().remove(name);
        self.news().remove(name);
    }

    /// For how long another value has stood, and for how long it has been there. What was written since begins anew.
    pub(super) fn stands_for(&self, name: &CredentialName, left: &Left, elapsed: Duration) -> [Duration; 2] {
        let mut news = self.news();
        let before = news.get(name).filter(|news| news.left.value.same_as(&left.value));
        let first = before.map_or(elapsed, |before| before.first);
        let since = before.filter(|before| before.left.stands(left)).map_or(elapsed, |before| before.since);
        news.insert(name.clone(), News { left: left.clone(), since, first });
        [since, first].map(|since| elapsed.saturating_sub(since))
    }

    /// Whether `value` was refused a moment ago.
    pub(super) fn rests(&self, name: &CredentialName, value: &SecretBytes, elapsed: Duration) -> bool {
        let obstacles = self.lock();
        let refused = obstacles.get(name).and_then(|obstacle| obstacle.refused.as_ref());
        refused.is_some_and(|refused| refused.next_try > elapsed && refused.value.same_as(value))
    }

    /// What was refused is tried again at the next look.
    pub(in crate::executor) fn hurry(&self, name: &CredentialName) {
        if let Some(refused) = self.lock().get_mut(name).and_then(|it| it.refused.as_mut()) {
            refused.next_try = Duration::ZERO;
        }
    }

    /// Keeps what is wrong, and what was refused last; says whether it is news.
    pub(super) fn note(&self, name: &CredentialName, why: &str, refused: Option<Refused>) -> bool {
        let mut obstacles = self.lock();
        let before = obstacles.remove(name);
        let is_news = before.as_ref().is_none_or(|before| before.why != why);
        let refused = refused.or(before.and_then(|before| before.refused));
        obstacles.insert(name.clone(), Obstacle { why: why.to_owned(), refused });
        is_news
    }

    /// For how long a value is left alone that was refused now: longer each time, while it is the same.
    pub(super) fn wait(&self, name: &CredentialName, value: &SecretBytes) -> Duration {
        let obstacles = self.lock();
        let before = obstacles.get(name).and_then(|obstacle| obstacle.refused.as_ref());
        let before = before.filter(|before| before.value.same_as(value));
        before.map_or(EVERY, |before| before.wait.saturating_mul(2).min(LONGEST))
    }

    pub(in crate::executor) fn alarm(&self, name: &CredentialName) -> Option<Alarm> {
        let message = self.lock().get(name)?.why.clone();
        Some(Alarm { kind: AlarmKind::FollowFails, message, next_command: Some("verify NAME") })
    }
}
