//! What every driver must do whose target makes the secret and lists what it has: run by each driver's own tests.

use rekey_drivers::{Driver, DriverError, Expiry, Found, Intent, Listed, Sessions, Usage};
use rekey_model::{Fields, Handle, Version};

use crate::conformance::refused;

/// A driver with an account that was made for one test, and that is declared ours alone.
pub(crate) trait Maker {
    /// The driver under test.
    fn driver(&self) -> &dyn Driver;
    /// The same where the account is not declared ours alone.
    fn shared(&self) -> Box<dyn Driver>;
    /// The same driver where nobody listens at the target's address.
    fn nobody_listens(&self) -> Box<dyn Driver>;
    /// The same driver where the target does what it is asked, and the answer is lost.
    fn answers_are_lost(&self) -> Box<dyn Driver>;
    /// The same driver with a login of its own that may do nothing.
    fn without_rights(&self) -> Box<dyn Driver>;
    /// A secret of the account that somebody makes by hand.
    fn by_hand(&self) -> Handle;
    /// Somebody takes it away again.
    fn take_away(&self, handle: &Handle);
    /// A secret of another account of the same target, and whether it is there and works.
    fn of_another(&self) -> (Handle, Box<dyn Fn() -> bool + '_>);
}

/// Runs all of it.
pub(crate) async fn all(maker: &dyn Maker) {
    one_life(maker).await;
    a_lost_answer_is_found_and_ended(maker).await;
    what_may_be_somebody_elses_is_named(maker).await;
    unavailable_and_refused_are_told_apart(maker).await;
    what_is_absent_or_anothers_is_left_alone(maker).await;
}

/// A version to make: what the target lists now is not ours.
pub(crate) async fn intent(driver: &dyn Driver) -> Intent {
    Intent {
        version: Version::new(7).unwrap(),
        handle: "a-marker_v7_k2f9qd".parse().unwrap(),
        secret: None,
        baseline: listed(driver).await,
        known: Vec::new(),
    }
}

async fn listed(driver: &dyn Driver) -> Vec<Handle> {
    match driver.list().await.unwrap() {
        Listed::Versions(versions) => versions.into_iter().map(|it| it.handle).collect(),
        Listed::CannotTell => panic!("such a target lists"),
    }
}

pub(crate) async fn end(driver: &dyn Driver, handle: &Handle) {
    driver.revoke(handle, Sessions::End).await.unwrap();
    driver.clean_up(handle).await.unwrap();
}

async fn one_life(maker: &dyn Maker) {
    let driver = maker.driver();
    let intent = intent(driver).await;
    assert_eq!(driver.find(&intent).await.unwrap(), Found::Absent);
    let made = driver.install(&intent).await.unwrap();
    assert_ne!(made.handle, intent.handle, "the target names it");
    let handle = made.handle.clone();
    let with = |known: &Handle| Intent { known: vec![known.clone()], ..intent.clone() };
    assert_eq!(driver.find(&with(&handle)).await.unwrap(), Found::Absent, "what is known is no stranger");
    for _ in 0..2 {
        driver.probe(&made.fields, None).await.unwrap();
        driver.set_expiry(&handle, Expiry::Never).await.unwrap();
    }
    assert!(!matches!(driver.usage(&handle).await.unwrap(), Usage::CannotTell));
    refused(driver.clean_up(&handle).await, "a clean-up before the revocation");
    for _ in 0..2 {
        driver.revoke(&handle, Sessions::Leave).await.unwrap();
        refused(driver.probe(&made.fields, None).await, "a probe of a version that is ended");
    }
    assert!(listed(driver).await.contains(&handle), "refused, and still there");
    for _ in 0..2 {
        driver.clean_up(&handle).await.unwrap();
        driver.revoke(&handle, Sessions::End).await.unwrap();
    }
    assert!(!listed(driver).await.contains(&handle));
    refused(driver.probe(&made.fields, None).await, "a probe of a version that is gone");
    refused(driver.set_expiry(&handle, Expiry::Never).await, "an expiry of a version that is gone");
}

async fn a_lost_answer_is_found_and_ended(maker: &dyn Maker) {
    let driver = maker.driver();
    let intent = intent(driver).await;
    let lost = maker.answers_are_lost().install(&intent).await;
    assert!(matches!(lost, Err(DriverError::Unknown(_))), "{lost:?}");
    let Found::Strangers(strangers) = driver.find(&intent).await.unwrap() else { panic!("it is there") };
    assert_eq!(strangers.len(), 1);
    let lost = maker.answers_are_lost().revoke(&strangers[0], Sessions::End).await;
    assert!(matches!(lost, Err(DriverError::Unknown(_))), "{lost:?}");
    end(driver, &strangers[0]).await;
    assert_eq!(driver.find(&intent).await.unwrap(), Found::Absent);
}

async fn what_may_be_somebody_elses_is_named(maker: &dyn Maker) {
    let driver = maker.driver();
    let intent = intent(driver).await;
    let stranger = maker.by_hand();
    let why = refused(maker.shared().find(&intent).await, "a look where not all is ours");
    assert!(why.contains(stranger.as_str()), "{why}");
    assert_eq!(driver.find(&intent).await.unwrap(), Found::Strangers(vec![stranger.clone()]));
    let later = Intent { baseline: listed(driver).await, ..intent };
    assert_eq!(driver.find(&later).await.unwrap(), Found::Absent, "it was there before");
    maker.take_away(&stranger);
}

async fn unavailable_and_refused_are_told_apart(maker: &dyn Maker) {
    let driver = maker.driver();
    let intent = intent(driver).await;
    let nobody = maker.nobody_listens();
    let unavailable = |error| assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    unavailable(nobody.list().await.unwrap_err());
    unavailable(nobody.install(&intent).await.unwrap_err());
    unavailable(nobody.find(&intent).await.unwrap_err());
    unavailable(nobody.usage(&intent.handle).await.unwrap_err());
    unavailable(nobody.set_expiry(&intent.handle, Expiry::Never).await.unwrap_err());
    unavailable(nobody.revoke(&intent.handle, Sessions::End).await.unwrap_err());
    unavailable(nobody.clean_up(&intent.handle).await.unwrap_err());
    let before = listed(driver).await;
    refused(maker.without_rights().install(&intent).await, "an install without rights");
    assert_eq!(listed(driver).await, before);
    let made = driver.install(&intent).await.unwrap();
    unavailable(nobody.probe(&made.fields, None).await.unwrap_err());
    refused(maker.without_rights().revoke(&made.handle, Sessions::End).await, "a revocation without rights");
    driver.probe(&made.fields, None).await.unwrap();
    refused(driver.probe(&nothing(), None).await, "a probe without a value");
    end(driver, &made.handle).await;
}

fn nothing() -> Fields {
    Fields::new(std::collections::BTreeMap::new()).unwrap()
}

async fn what_is_absent_or_anothers_is_left_alone(maker: &dyn Maker) {
    let driver = maker.driver();
    let (others, works) = maker.of_another();
    for handle in [others, "NOSUCHTHING0000000000".parse().unwrap()] {
        assert_eq!(driver.revoke(&handle, Sessions::End).await.unwrap().sessions_ended, 0);
        driver.clean_up(&handle).await.unwrap();
        refused(driver.set_expiry(&handle, Expiry::Never).await, "an expiry of what is not this account's");
    }
    assert!(works(), "it is another account's");
}
