//! Credentials that somebody else's machine rotates: the place where it leaves values is looked at again and again, and what
//! is new there is tried as a consumer would use it. What works goes to everybody at once, because the value before it is
//! dead; what does not goes to nobody, and is told.

mod memory;
mod reading;

use std::sync::Arc;
use std::time::Duration;

use rekey_drivers::{Driver, DriverError, Intent, Left, Place};
use rekey_model::{CredentialName, Fields, SecretBytes, Version};
use rekey_rotation::{Event, OutOfOrder, Phase, Why};

use super::act::Trouble;
use super::given::Known;
use super::secrets::draw_handle;
use super::seen::Seen;
use super::{Causes, CommitError, Executor};
use crate::audit::Actor;
use crate::template;

pub(super) use self::memory::Follows;
pub(super) use self::reading::Readings;

use self::memory::Refused;

/// How often a place is looked at.
const EVERY: Duration = Duration::from_secs(2);
/// How long a new value stands before it is tried: whoever writes it may be in the middle of that.
const STANDS: Duration = Duration::from_millis(200);
/// The same where it cannot be tried, so that half of a value would be taken for one.
const STANDS_UNTRIED: Duration = Duration::from_secs(2);
/// How long a value may be written again and again before that is told.
const AGAIN: Duration = Duration::from_secs(10);
/// How long nothing is taken after a rotation that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// What came of a look.
enum Looked {
    /// What is there is in use, or on its way.
    Known,
    /// Something else comes first.
    Later,
    /// It has to stand for so long yet.
    TooNew(Duration),
    /// The target refuses what is there, and why.
    Refused(String),
    /// Nothing can be taken, and why.
    Not(String),
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
        let left = match self.0.readings.read((name, &place, &self.0.clock), Place::read).await {
            Ok(left) => left,
            Err(why) => {
                let why = format!("nothing new can be followed: {why}; ask {}", place.by);
                self.tell(name, &why, None);
                return Ok(EVERY);
            }
        };
        match self.follow_to(seen, &place, &left).await? {
            Looked::Known => self.0.follows.forget(name),
            Looked::Later => {}
            Looked::TooNew(wait) => return Ok(wait),
            Looked::Refused(why) => {
                let value = left.value;
                let wait = self.0.follows.wait(name, &value);
                let next_try = self.0.clock.elapsed().saturating_add(wait);
                self.tell(name, &why, Some(Refused { value, wait, next_try }));
            }
            Looked::Not(why) => self.tell(name, &why, None),
        }
        Ok(EVERY)
    }

    fn tell(&self, name: &CredentialName, why: &str, refused: Option<Refused>) {
        if self.0.follows.note(name, why, refused) {
            tracing::warn!(credential = %name, %why, "what somebody else rotates is not followed");
        }
    }

    async fn follow_to(&self, seen: &Seen, place: &Place, left: &Left) -> Result<Looked, Trouble> {
        let (name, at, value) = (&seen.spec.name, place.shown(), &left.value);
        let driver = self.0.drivers.driver(&seen.spec)?;
        let of_no_use = |why| format!("{at} has what cannot be used: {why}; ask {}", place.by);
        let fields = match form(seen, &*driver, value).await? {
            Ok(fields) => fields,
            Err(why) => return Ok(Looked::Refused(of_no_use(why))),
        };
        if let Some(known) = self.which(seen, (value, &fields)).await? {
            return Ok(known_as(known, seen, place));
        }
        if let Err(why) = template::derive(&fields, &seen.spec.fields) {
            return Ok(Looked::Refused(of_no_use(why.to_string())));
        }
        if comes_first(seen) || self.0.follows.rests(name, value, self.0.clock.elapsed()) {
            return Ok(Looked::Later);
        }
        if let Some(too_new) = self.too_new(seen, place, left) {
            return Ok(too_new);
        }
        if let Err(error) = driver.probe(&fields, None).await {
            return Ok(not_proven(&error, place));
        }
        let reason = format!("{at} has another value");
        let why = Why::Asked { reason, by: place.by.clone(), request: String::new() };
        match self.give(name, value, (why, Actor::controller())).await {
            Ok(_given) => Ok(Looked::Known),
            Err(CommitError::OutOfOrder(error)) => {
                if matches!(error, OutOfOrder::Held { .. }) {
                    self.give_up_unproven(seen).await?;
                }
                Ok(Looked::Not(format!("{at} has another value, which works and waits: {error}")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// While everything is held another value has taken the place of what waits to be promoted: that is dead, and is not to
    /// be promoted first when the hold ends.
    async fn give_up_unproven(&self, seen: &Seen) -> Result<(), Trouble> {
        let waits = [Phase::Chosen, Phase::Installed, Phase::Proven];
        if seen.ledger.open_rotation().is_some_and(|open| waits.contains(&open.phase)) {
            self.commit_own(seen, Event::Overtaken).await?;
        }
        Ok(())
    }

    /// What has not stood for long enough yet; none: it has.
    fn too_new(&self, seen: &Seen, place: &Place, left: &Left) -> Option<Looked> {
        let untried = seen.spec.driver.by_hand().is_some_and(|by_hand| !by_hand.proven);
        let needed = if untried { STANDS_UNTRIED } else { STANDS };
        let [stood, there] = self.0.follows.stands_for(&seen.spec.name, left, self.0.clock.elapsed());
        let wait = needed.checked_sub(stood).filter(|wait| !wait.is_zero())?;
        let told = || {
            let (at, by) = (place.shown(), &place.by);
            format!(
                "{at} has another value and is written again and again: leave it alone for {needed:?}, or ask {by}"
            )
        };
        Some(if there > AGAIN { Looked::Not(told()) } else { Looked::TooNew(wait) })
    }
}

/// What follows from a value that is a version already.
fn known_as(known: Known, seen: &Seen, place: &Place) -> Looked {
    match known {
        // It is on its way out, and may come again when it is gone.
        Known::Here(version) if seen.ledger.endings.contains_key(&version) => Looked::Later,
        Known::Here(_) => Looked::Known,
        Known::Revoked(version) => Looked::Not(format!(
            "{} still has {version}, which was revoked: ask {} for another",
            place.shown(),
            place.by
        )),
        Known::Lost(version) => Looked::Not(format!(
            "a revoked version is not known here: {version}, since a restore, and {at} may still have it; ask {by} whether \
             it is deleted, then say so: `rekeyctl hand-in {name} --deleted {version}`",
            at = place.shown(),
            by = place.by,
            name = seen.spec.name,
        )),
    }
}

/// What follows where another value was not seen to work.
fn not_proven(error: &DriverError, place: &Place) -> Looked {
    let (at, by) = (place.shown(), &place.by);
    if let DriverError::Refused(source) = error {
        let why = Causes(&**source);
        return Looked::Refused(format!(
            "{at} has a value that does not work, and nobody got it: {why}; ask {by}"
        ));
    }
    Looked::Not(format!("{at} has another value, not tried yet: {}", Causes(error)))
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
