//! AWS IAM against moto, which checks signatures, rights and the number of keys.

mod world;

use rekey_drivers::{Driver, DriverError, Expiry, Listed, Sessions, Usage};
use rekey_model::{Handle, SecretBytes, Version};
use rekey_testkit::process::free_port;
use rekey_testkit::weather::{Fault, Weather};

use crate::conformance::refused;
use crate::made_there::{self, Maker, end, intent};
use crate::proxy::Proxy;
use world::{World, moto};

impl Maker for World {
    fn driver(&self) -> &dyn Driver {
        &self.driver
    }

    fn shared(&self) -> Box<dyn Driver> {
        Box::new(self.driver_with(|_, account| account.exclusive = false))
    }

    fn nobody_listens(&self) -> Box<dyn Driver> {
        Box::new(self.at_port(free_port().unwrap()))
    }

    fn answers_are_lost(&self) -> Box<dyn Driver> {
        // Whatever changes something: CreateAccessKey, UpdateAccessKey, DeleteAccessKey.
        let proxies = [b"Action=Create".as_slice(), b"Action=Update".as_slice()];
        let through = |words| Proxy::losing_the_answer_to(moto().port(), words).port();
        let ports = proxies.map(through);
        Box::new(world::Either { create: self.at_port(ports[0]), update: self.at_port(ports[1]) })
    }

    fn without_rights(&self) -> Box<dyn Driver> {
        let powerless = format!("{}-powerless", self.user);
        moto().user(&powerless, None);
        Box::new(self.as_owner_of(&moto().create_key(&powerless)))
    }

    fn by_hand(&self) -> Handle {
        moto().create_key(&self.user).id.parse().unwrap()
    }

    fn take_away(&self, handle: &Handle) {
        moto().delete_key(&self.user, handle.as_str());
    }

    fn of_another(&self) -> (Handle, Box<dyn Fn() -> bool + '_>) {
        let other = format!("{}-other", self.user);
        moto().user(&other, None);
        let key = moto().create_key(&other);
        (key.id.parse().unwrap(), Box::new(move || moto().keys(&other) == [key.clone()]))
    }
}

#[tokio::test]
async fn it_does_what_every_driver_does_whose_target_makes_the_secret() {
    made_there::all(&World::new()).await;
}

#[tokio::test]
async fn there_is_never_a_third_key_and_the_two_are_named() {
    let world = World::new();
    let first = world.driver.install(&intent(&world.driver).await).await.unwrap();
    let by_hand = world.by_hand();
    let mut third = intent(&world.driver).await;
    third.known = vec![first.handle.clone()];
    let why = refused(world.driver.install(&third).await, "a third key");
    let known = format!("{} (ours, active)", first.handle);
    let unknown = format!("{by_hand} (not known here, active)");
    assert!(why.contains(&known) && why.contains(&unknown) && why.contains("delete-access-key"), "{why}");
    world.driver.revoke(&first.handle, Sessions::Leave).await.unwrap();
    refused(world.driver.install(&third).await, "an inactive key takes a slot too");
    world.driver.clean_up(&first.handle).await.unwrap();
    world.driver.install(&third).await.unwrap();
    assert_eq!(moto().keys(&world.user).len(), 2);
}

#[tokio::test]
async fn a_key_that_is_not_known_everywhere_yet_is_waited_for_and_not_for_ever() {
    let world = World::new();
    moto().hide_new_keys(&world.user, 60);
    let made = world.driver.install(&intent(&world.driver).await).await.unwrap();
    let early = world.driver.probe(&made.fields, None).await;
    assert!(matches!(early, Err(DriverError::Unavailable(_))), "{early:?}");
    let impatient = world.driver_with(|target, _| target.visible_within = world::seconds(1));
    std::thread::sleep(std::time::Duration::from_secs(2));
    refused(impatient.probe(&made.fields, None).await, "a key that is never known");
    moto().hide_new_keys(&world.user, 0);
    world.driver.probe(&made.fields, None).await.unwrap();
}

#[tokio::test]
async fn a_key_that_aws_says_is_not_there_and_lists_is_not_taken_for_ended() {
    let world = World::new();
    let weather = Weather::before(moto().port()).unwrap();
    let made = world.driver.install(&intent(&world.driver).await).await.unwrap();
    let absent = "<ErrorResponse><Error><Type>Sender</Type><Code>NoSuchEntity</Code><Message>gone</Message></Error></ErrorResponse>";
    weather.strike("Action=UpdateAccessKey", Fault::Absent(absent));
    let early = world.at_port(weather.port()).revoke(&made.handle, Sessions::End).await;
    assert!(matches!(early, Err(DriverError::Unavailable(_) | DriverError::Unknown(_))), "{early:?}");
    assert!(weather.has_struck() && moto().keys(&world.user)[0].active);
    world.at_port(weather.port()).revoke(&made.handle, Sessions::End).await.unwrap();
    assert_eq!(moto().keys(&world.user), []);
}

#[tokio::test]
async fn a_key_tells_when_it_was_used_last() {
    let world = World::new();
    let made = world.driver.install(&intent(&world.driver).await).await.unwrap();
    assert_eq!(world.driver.usage(&made.handle).await.unwrap(), Usage::LastUsed(None));
    world.driver.probe(&made.fields, None).await.unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let Usage::LastUsed(Some(age)) = world.driver.usage(&made.handle).await.unwrap() else {
        panic!("it was used")
    };
    assert!((1..60).contains(&age.least.as_secs()), "{age:?}");
}

#[tokio::test]
async fn a_key_of_another_user_or_with_another_secret_proves_nothing() {
    let world = World::new();
    let (others, _) = world.of_another();
    let key = moto().keys(&format!("{}-other", world.user)).remove(0);
    assert_eq!(key.id, others.as_str());
    let why = refused(world.driver.probe(&world::fields(&key.id, &key.secret), None).await, "another's key");
    assert!(why.contains("-other's"), "{why}");
    let made = world.driver.install(&intent(&world.driver).await).await.unwrap();
    let wrong = world::fields(made.handle.as_str(), "wrong-secret");
    let why = refused(world.driver.probe(&wrong, None).await, "another secret");
    assert!(why.contains("SignatureDoesNotMatch") && !why.contains("wrong-secret"), "{why}");
}

#[tokio::test]
async fn what_the_rotator_may_not_do_is_named() {
    let world = World::new();
    let why = refused(world.without_rights().list().await, "a list without rights");
    assert!(why.contains("as the rotator") && why.contains("iam:ListAccessKeys"), "{why}");
}

#[tokio::test]
async fn an_adopted_key_is_checked_kept_and_ended() {
    let world = World::new();
    let todays = moto().create_key(&world.user);
    let adopting = world.driver_with(|_, account| {
        account.adopt = Some(rekey_drivers::aws_iam::Adopt { access_key_id: todays.id.clone() });
    });
    let handed = |secret: &str| {
        let secret = std::sync::Arc::new(SecretBytes::from(secret.to_owned()));
        rekey_drivers::Intent::chosen(Version::FIRST, todays.id.parse().unwrap(), secret)
    };
    refused(adopting.install(&handed("another")).await, "another secret");
    let adopted = adopting.install(&handed(&todays.secret)).await.unwrap();
    adopting.probe(&adopted.fields, None).await.unwrap();
    adopting.set_expiry(&adopted.handle, Expiry::Never).await.unwrap();
    let Listed::Versions(listed) = adopting.list().await.unwrap() else { panic!("it can tell") };
    assert_eq!((listed[0].version, listed[0].adopted), (Some(Version::FIRST), true));
    end(&adopting, &adopted.handle).await;
    assert_eq!(moto().keys(&world.user), []);
}

#[tokio::test]
async fn no_secret_is_in_an_error_or_shown() {
    let world = World::new();
    let made = world.driver.install(&intent(&world.driver).await).await.unwrap();
    let secret = moto().keys(&world.user).remove(0).secret;
    let shown = format!("{:?} {made:?}", world.driver);
    let errors = format!("{:?}", world.nobody_listens().probe(&made.fields, None).await);
    for text in [shown, errors] {
        assert!(!text.contains(&secret) && !text.contains(&world.rotator.secret), "{text}");
    }
}

#[test]
fn the_manual_shows_the_policy_that_these_tests_run_with() {
    let manual = include_str!("../../../../docs/drivers.md");
    assert!(manual.contains(&format!("```json\n{}\n```", rekey_drivers::aws_iam::POLICY)));
}
