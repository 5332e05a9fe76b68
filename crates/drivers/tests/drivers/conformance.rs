//! What every driver must do, whatever its target: run by each driver's own tests.

use std::any::Any;
use std::sync::Arc;

use rekey_drivers::{Driver, DriverError, Expiry, Found, Intent, Sessions, Survey, Usage};
use rekey_model::{Fields, Handle, Version};

/// A driver with a target that was made for one test.
pub(crate) trait Subject {
    /// The driver under test.
    fn driver(&self) -> &dyn Driver;
    /// A version to make.
    fn intent(&self, version: u64) -> Intent;
    /// A version whose name at the target is taken by something that is not ours.
    fn taken(&self) -> Intent;
    /// The same driver where nobody listens at the target's address.
    fn nobody_listens(&self) -> Arc<dyn Driver>;
    /// The same driver where the target does what it is asked, and the answer is lost.
    fn answers_are_lost(&self) -> Arc<dyn Driver>;
    /// The same driver with a login of its own that may do nothing.
    fn without_rights(&self) -> Arc<dyn Driver>;
    /// Uses a version as a consumer does, until what is returned is dropped.
    fn consume(&self, fields: &Fields) -> Box<dyn Any>;
    /// Whether the target tells versions apart: which one a session came in with, which one a name was made for, and
    /// that one was revoked. Where one account takes two values, it does not.
    fn tells_versions(&self) -> bool {
        true
    }
    /// Whether the target makes the secret: then a call is made once for an intent, and the target gives the name.
    fn makes_secrets(&self) -> bool {
        false
    }
    /// Whether the target refuses a version at once when it is ended: a revocation whose answer came has waited for it.
    fn ends_at_once(&self) -> bool {
        true
    }
    /// Whether the target tells who uses a version.
    fn sees_users(&self) -> bool {
        true
    }
    /// Whether the account takes one value at a time: then the account is always there, and what is made and ended is its
    /// value.
    fn takes_one_value(&self) -> bool {
        false
    }
}

/// Runs all of it.
pub(crate) async fn all(subject: &dyn Subject) {
    what_is_missing_is_named(subject).await;
    a_survey_shows_what_comes_in(subject).await;
    twice_is_once(subject).await;
    a_revoked_version_fails_its_probe(subject).await;
    a_lost_answer_is_unknown_and_is_found(subject).await;
    what_is_absent_is_revoked(subject).await;
    unavailable_and_refused_are_told_apart(subject).await;
    what_is_not_ours_is_left_alone(subject).await;
    if subject.sees_users() {
        users_are_seen_and_cut(subject).await;
        users_are_left_alone_in_peace(subject).await;
    } else {
        let usage = subject.driver().usage(&subject.intent(18).handle).await.unwrap();
        assert_eq!(usage, Usage::CannotTell);
    }
    if subject.takes_one_value() {
        one_value_kills_the_other(subject).await;
    } else {
        assert!(subject.driver().fields(&subject.intent(22)).is_none(), "nobody waits for it");
    }
}

async fn end(driver: &dyn Driver, handle: &Handle) {
    driver.revoke(handle, Sessions::End).await.unwrap();
    driver.clean_up(handle).await.unwrap();
}

async fn what_is_missing_is_named(subject: &dyn Subject) {
    assert_eq!(subject.driver().check().await.unwrap(), [], "all that the manual names is there");
    let lacks = subject.without_rights().check().await.unwrap();
    assert!(!lacks.is_empty(), "a rotator that may do nothing lacks something");
    for lack in lacks {
        assert!(!lack.what.is_empty() && !lack.remedy.is_empty(), "{lack:?}");
    }
    let away = subject.nobody_listens().check().await.unwrap_err();
    assert!(matches!(away, DriverError::Unavailable(_)), "{away:?}");
}

async fn a_survey_shows_what_comes_in(subject: &dyn Subject) {
    let (driver, intent) = (subject.driver(), subject.intent(21));
    let comes_in = || async {
        let Survey::Seen(seen) = driver.survey().await.unwrap() else { return None };
        let open = seen.into_iter().filter(|sighting| sighting.shut.is_none());
        Some(open.map(|sighting| sighting.name).collect::<Vec<_>>())
    };
    let handle = driver.install(&intent).await.unwrap().handle;
    let name = handle.to_string();
    assert!(comes_in().await.is_none_or(|seen| seen.contains(&name)), "{name} is not seen");
    driver.revoke(&handle, Sessions::End).await.unwrap();
    assert!(comes_in().await.is_none_or(|seen| !seen.contains(&name)), "{name} is seen and was revoked");
    driver.clean_up(&handle).await.unwrap();
}

async fn twice_is_once(subject: &dyn Subject) {
    let (driver, intent) = (subject.driver(), subject.intent(11));
    is_absent(subject, &intent).await;
    let once = driver.install(&intent).await.unwrap();
    let handle = &once.handle;
    if subject.makes_secrets() {
        let known = Intent { known: vec![handle.clone()], ..intent.clone() };
        assert!(
            !matches!(driver.find(&known).await.unwrap(), Found::Strangers(_)),
            "what was answered is known"
        );
    } else {
        let twice = driver.install(&intent).await.unwrap();
        assert_eq!((handle, handle), (&twice.handle, &intent.handle));
        for (name, value) in once.fields.iter() {
            assert!(twice.fields.get(name.as_str()).unwrap().same_as(value), "{name} differs");
        }
        driver.probe(&twice.fields, None).await.unwrap();
        assert_eq!(driver.find(&intent).await.unwrap(), Found::Present);
    }
    for _ in 0..2 {
        driver.probe(&once.fields, None).await.unwrap();
        driver.set_expiry(handle, Expiry::Soon).await.unwrap();
        driver.set_expiry(handle, Expiry::Never).await.unwrap();
    }
    driver.probe(&once.fields, Some(handle)).await.unwrap();
    driver.revoke(handle, Sessions::End).await.unwrap();
    driver.revoke(handle, Sessions::End).await.unwrap();
    driver.clean_up(handle).await.unwrap();
    driver.clean_up(handle).await.unwrap();
    is_absent(subject, &intent).await;
}

/// Nothing is found; of an account that takes one value, not every target tells which.
async fn is_absent(subject: &dyn Subject, intent: &Intent) {
    let found = subject.driver().find(intent).await.unwrap();
    assert!(found == Found::Absent || subject.takes_one_value(), "{found:?}");
}

/// Readers have the value before the target is changed: what they were given is what it takes then, and only that.
async fn one_value_kills_the_other(subject: &dyn Subject) {
    let (driver, intents) = (subject.driver(), [subject.intent(20), subject.intent(21)]);
    let [one, other] = intents.each_ref().map(|intent| driver.fields(intent).unwrap());
    for (intent, (lives, dies)) in intents.iter().zip([(&one, &other), (&other, &one)]) {
        let installed = driver.install(intent).await.unwrap();
        for (name, value) in installed.fields.iter() {
            assert!(lives.get(name.as_str()).unwrap().same_as(value), "{name} differs");
        }
        driver.probe(lives, None).await.unwrap();
        refused(driver.probe(dies, None).await, "a probe of the value that is not there");
    }
    let user = subject.consume(&other);
    driver.install(&intents[0]).await.unwrap();
    assert_eq!(sessions(subject, &intents[0].handle).await, 1, "who is connected stays so");
    drop(user);
    end(driver, &intents[0].handle).await;
}

async fn a_revoked_version_fails_its_probe(subject: &dyn Subject) {
    let (driver, intent) = (subject.driver(), subject.intent(12));
    let installed = driver.install(&intent).await.unwrap();
    driver.probe(&installed.fields, None).await.unwrap();
    driver.revoke(&installed.handle, Sessions::End).await.unwrap();
    refused(driver.probe(&installed.fields, None).await, "a probe of a revoked version");
    if subject.tells_versions() && !subject.makes_secrets() {
        refused(driver.install(&intent).await, "a late install of a revoked version");
    }
    driver.clean_up(&installed.handle).await.unwrap();
    refused(driver.probe(&installed.fields, None).await, "a probe of a version that is gone");
}

async fn a_lost_answer_is_unknown_and_is_found(subject: &dyn Subject) {
    let (driver, intent) = (subject.driver(), subject.intent(13));
    let lost = subject.answers_are_lost().install(&intent).await;
    assert!(matches!(lost, Err(DriverError::Unknown(_))), "{lost:?}");
    match driver.find(&intent).await.unwrap() {
        Found::Present if !subject.makes_secrets() => {}
        Found::Strangers(strangers) if subject.makes_secrets() && !strangers.is_empty() => {
            for stranger in &strangers {
                end(driver, stranger).await;
            }
            assert_eq!(driver.find(&intent).await.unwrap(), Found::Absent);
        }
        found @ (Found::Absent | Found::Present | Found::Foreign | Found::Strangers(_)) => {
            panic!("what a lost answer made is not found: {found:?}")
        }
    }
    let intent = if subject.makes_secrets() { subject.intent(20) } else { intent };
    let installed = driver.install(&intent).await.unwrap();
    driver.probe(&installed.fields, None).await.unwrap();
    let lost = subject.answers_are_lost().revoke(&installed.handle, Sessions::End).await;
    assert!(matches!(lost, Err(DriverError::Unknown(_))), "{lost:?}");
    if subject.ends_at_once() {
        refused(
            driver.probe(&installed.fields, None).await,
            "a probe after a revocation whose answer was lost",
        );
    }
    end(driver, &installed.handle).await;
    refused(driver.probe(&installed.fields, None).await, "a probe after a revocation that was repeated");
}

async fn what_is_absent_is_revoked(subject: &dyn Subject) {
    let handle = subject.intent(14).handle;
    assert_eq!(subject.driver().revoke(&handle, Sessions::End).await.unwrap().sessions_ended, 0);
    subject.driver().clean_up(&handle).await.unwrap();
    if subject.sees_users() {
        assert_eq!(sessions(subject, &handle).await, 0);
    }
}

async fn unavailable_and_refused_are_told_apart(subject: &dyn Subject) {
    let intent = subject.intent(15);
    let nobody = subject.nobody_listens();
    let unavailable = |error| assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    unavailable(nobody.install(&intent).await.unwrap_err());
    unavailable(nobody.find(&intent).await.unwrap_err());
    if subject.sees_users() {
        unavailable(nobody.usage(&intent.handle).await.unwrap_err());
    }
    unavailable(nobody.revoke(&intent.handle, Sessions::End).await.unwrap_err());
    // Of an only value, no expiry is set and nothing is left to clean up.
    for nothing in
        [nobody.set_expiry(&intent.handle, Expiry::Never).await, nobody.clean_up(&intent.handle).await]
    {
        match nothing {
            Err(error) => unavailable(error),
            Ok(()) => assert!(subject.takes_one_value()),
        }
    }
    refused(subject.without_rights().install(&intent).await, "an install without rights");
    is_absent(subject, &intent).await;
    let installed = subject.driver().install(&intent).await.unwrap();
    unavailable(nobody.probe(&installed.fields, None).await.unwrap_err());
    refused(
        subject.without_rights().revoke(&installed.handle, Sessions::End).await,
        "a revocation without rights",
    );
    subject.driver().probe(&installed.fields, None).await.unwrap();
    end(subject.driver(), &installed.handle).await;
}

async fn what_is_not_ours_is_left_alone(subject: &dyn Subject) {
    if subject.takes_one_value() {
        // It is the account that is declared, whatever it was before.
        return;
    }
    let (driver, taken) = (subject.driver(), subject.taken());
    for _ in 0..2 {
        assert_eq!(driver.find(&taken).await.unwrap(), Found::Foreign);
        refused(driver.install(&taken).await, "an install over something else");
        refused(driver.set_expiry(&taken.handle, Expiry::Soon).await, "an expiry of something else");
        refused(driver.revoke(&taken.handle, Sessions::End).await, "a revocation of something else");
        refused(driver.clean_up(&taken.handle).await, "a clean-up of something else");
    }
    if !subject.tells_versions() || subject.makes_secrets() {
        return;
    }
    // The same name for another version is not what this intent made either.
    let intent = subject.intent(16);
    driver.install(&intent).await.unwrap();
    let other = Intent { version: Version::new(17).unwrap(), ..intent.clone() };
    assert_eq!(driver.find(&other).await.unwrap(), Found::Foreign);
    refused(driver.install(&other).await, "an install over another version");
    end(driver, &intent.handle).await;
}

async fn users_are_seen_and_cut(subject: &dyn Subject) {
    let (driver, intent) = (subject.driver(), subject.intent(18));
    let installed = driver.install(&intent).await.unwrap();
    assert_eq!(sessions(subject, &installed.handle).await, 0);
    let users: Vec<_> = (0..3).map(|_| subject.consume(&installed.fields)).collect();
    assert_eq!(sessions(subject, &installed.handle).await, 3);
    if !subject.takes_one_value() {
        refused(driver.clean_up(&installed.handle).await, "a clean-up before the revocation");
    }
    assert_eq!(driver.revoke(&installed.handle, Sessions::End).await.unwrap().sessions_ended, 3);
    assert_eq!(sessions(subject, &installed.handle).await, 0);
    drop(users);
    driver.clean_up(&installed.handle).await.unwrap();
}

async fn users_are_left_alone_in_peace(subject: &dyn Subject) {
    let (driver, intent) = (subject.driver(), subject.intent(19));
    let installed = driver.install(&intent).await.unwrap();
    let users: Vec<_> = (0..3).map(|_| subject.consume(&installed.fields)).collect();
    for _ in 0..2 {
        let left = driver.revoke(&installed.handle, Sessions::Leave).await.unwrap();
        let waited_for = if subject.tells_versions() { 3 } else { 0 };
        assert_eq!((left.sessions_ended, left.sessions_left), (0, waited_for));
        assert_eq!(sessions(subject, &installed.handle).await, 3, "nobody was cut");
        refused(driver.probe(&installed.fields, None).await, "a login with a version that is being left");
    }
    drop(users);
    for _ in 0..100 {
        let left = driver.revoke(&installed.handle, Sessions::Leave).await.unwrap().sessions_left;
        if left == 0 && sessions(subject, &installed.handle).await == 0 {
            break;
        }
    }
    assert_eq!(sessions(subject, &installed.handle).await, 0);
    driver.clean_up(&installed.handle).await.unwrap();
}

/// How many sessions the driver sees. Those of an account must tell their age, or nobody could judge them.
async fn sessions(subject: &dyn Subject, handle: &Handle) -> usize {
    match subject.driver().usage(handle).await.unwrap() {
        Usage::Sessions(sessions) if subject.tells_versions() => sessions.len(),
        Usage::OfAccount(sessions) if !subject.tells_versions() => {
            assert!(sessions.iter().all(|session| session.age.is_some()), "{sessions:?}");
            sessions.len()
        }
        usage @ (Usage::Sessions(_) | Usage::OfAccount(_) | Usage::LastUsed(_) | Usage::CannotTell) => {
            panic!("not what this target can tell: {usage:?}")
        }
    }
}

/// A driver whose versions somebody makes and ends by hand.
pub(crate) trait ByHand {
    /// The driver under test.
    fn driver(&self) -> &dyn Driver;
    /// Somebody makes a version at the target, and hands it in.
    fn intent(&self, version: u64) -> Intent;
    /// Somebody ends a version at the target.
    fn delete(&self, handle: &Handle);
    /// The same driver where nobody listens at the target's address.
    fn nobody_listens(&self) -> Arc<dyn Driver>;
}

/// What such a driver must do: it makes and ends nothing, and tells truly what works.
pub(crate) async fn by_hand(subject: &dyn ByHand) {
    let (driver, nobody) = (subject.driver(), subject.nobody_listens());
    assert_eq!(driver.check().await.unwrap(), []);
    assert_eq!(driver.survey().await.unwrap(), Survey::CannotTell);
    let (old, new) = (subject.intent(11), subject.intent(12));
    let [one, two] = [driver.install(&old).await.unwrap(), driver.install(&old).await.unwrap()];
    assert_eq!((&one.handle, &two.handle), (&old.handle, &old.handle));
    let told = driver.fields(&old).expect("what nobody has yet can be asked about");
    for (name, value) in one.fields.iter() {
        assert!(two.fields.get(name.as_str()).unwrap().same_as(value), "{name} differs");
        assert!(told.get(name.as_str()).unwrap().same_as(value), "{name} differs before it is installed");
    }
    assert_eq!(driver.find(&old).await.unwrap(), Found::Present, "and is not made again");
    let new = nobody.install(&new).await.unwrap();
    for _ in 0..2 {
        driver.probe(&one.fields, None).await.unwrap();
        driver.probe(&new.fields, Some(&one.handle)).await.unwrap();
        driver.set_expiry(&new.handle, Expiry::Soon).await.unwrap();
        driver.set_expiry(&new.handle, Expiry::Never).await.unwrap();
    }
    assert_eq!(driver.usage(&new.handle).await.unwrap(), Usage::CannotTell);
    for sessions in [Sessions::Leave, Sessions::End] {
        refused(driver.revoke(&one.handle, sessions).await, "an ending that is somebody else's");
        driver.probe(&one.fields, None).await.unwrap();
    }
    let away = nobody.probe(&one.fields, None).await.unwrap_err();
    assert!(matches!(away, DriverError::Unavailable(_)), "nobody is there, which proves nothing: {away:?}");
    subject.delete(&one.handle);
    for _ in 0..2 {
        refused(driver.probe(&one.fields, None).await, "a probe of a version that was deleted");
        driver.probe(&new.fields, None).await.unwrap();
        driver.clean_up(&one.handle).await.unwrap();
    }
    subject.delete(&new.handle);
    refused(driver.probe(&new.fields, None).await, "a probe of a version that was deleted");
}

/// The text of a refusal, with its cause.
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, DriverError>, what: &str) -> String {
    match result {
        Err(DriverError::Refused(cause)) => cause.to_string(),
        other => panic!("{what} is to be refused, but: {other:?}"),
    }
}
