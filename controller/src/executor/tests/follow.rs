//! What somebody else's machine leaves in a file: what works is taken, and what was revoked never again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use rekey_drivers::{Class, Place};
use rekey_model::{Fields, Incarnation, SecretBytes, Version};
use rekey_rotation::{Claim, Event, Mode, Phase};
use rekey_runtime::random;
use serde_json::json;
use tempfile::TempDir;

use super::driver::{Rules, Theirs};
use super::stage::Stage;
use crate::executor::CommitError;

const RULES: Rules = Rules { class: Class::H, slots: None, exclusive: true, one_value: false };

fn v(number: u64) -> Version {
    Version::new(number).unwrap()
}

/// A credential whose values somebody else leaves in a file.
struct Scene {
    stage: Stage,
    folder: TempDir,
}

impl Scene {
    /// `value` is there, works, and is v1.
    async fn begin(value: &'static str) -> Self {
        let parts = [
            ("postgres", json!(null)),
            (
                "hand-in",
                json!({ "target": "dev", "name": "token", "page": "https://dev.example", "follow": "token" }),
            ),
            ("grace", json!(null)),
            ("fields", json!({})),
        ];
        let mut scene = Self { stage: Stage::begun_as(RULES, &parts).await, folder: TempDir::new().unwrap() };
        scene.leave(value);
        let place = Place::new(scene.folder.path().join("token"), None, "the script".to_owned());
        {
            let mut target = scene.stage.target.lock();
            // What works is not for us to say.
            target.meddled = true;
            target.theirs = Some(Theirs { login: "orders", works: vec![value], stalls: false, place });
        }
        scene.until_on(1).await;
        scene
    }

    fn leave(&self, value: &str) {
        let path = self.folder.path().join("token");
        fs::write(&path, value).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn works(&self, values: &[&'static str]) {
        self.stage.target.lock().theirs.as_mut().unwrap().works = values.to_vec();
    }

    async fn until_on(&mut self, version: u64) {
        let is = |ledger: &rekey_rotation::Ledger| {
            ledger.current == Some(v(version)) && ledger.open_rotation().is_none() && !ledger.owed
        };
        for _ in 0..40 {
            if is(&self.stage.ledger().await) {
                return;
            }
            self.pass(Duration::from_secs(3)).await;
        }
        self.stage.until(&format!("v{version}"), is).await;
    }

    async fn until_chosen(&mut self, version: u64) {
        let chosen = |ledger: &rekey_rotation::Ledger| {
            let open = ledger.open_rotation();
            open.is_some_and(|open| open.phase == Phase::Chosen && open.next == Some(v(version)))
        };
        self.stage.until(&format!("v{version} is chosen"), chosen).await;
    }

    async fn pass(&mut self, time: Duration) {
        self.stage.leap(time).await;
        for _ in 0..20 {
            self.stage.step().await;
        }
    }

    async fn revoke(&self, version: Option<Version>) {
        let (id, reason, by) = (random::id(), "leak".to_owned(), "alice".to_owned());
        let event = Event::Revoke { id, version, reason, by, replace: true };
        self.stage.commit(event).await.unwrap();
    }

    fn told(&self) -> String {
        let alarm = self.stage.executor().0.follows.alarm(&self.stage.name);
        alarm.map(|alarm| alarm.message).unwrap_or_default()
    }

    /// v2, which is in the file, was revoked and is over: it is not taken again, and what comes after it is.
    async fn never_again(mut self) {
        self.stage.until("v2 is over", |ledger| !ledger.endings.contains_key(&v(2))).await;
        for login in ["orders", "orders", "elsewhere"] {
            self.stage.target.lock().theirs.as_mut().unwrap().login = login;
            for _ in 0..5 {
                self.pass(Duration::from_secs(3)).await;
            }
            let ledger = self.stage.ledger().await;
            assert_eq!((ledger.last_version, ledger.current), (Some(v(2)), None), "{}", self.told());
            assert!(
                self.told().contains("still has v2, which was revoked: ask the script"),
                "{}",
                self.told()
            );
        }
        self.stage.crash().await;
        self.stage.start();
        self.pass(Duration::from_secs(3)).await;
        assert_eq!(self.stage.ledger().await.last_version, Some(v(2)));
        self.works(&["three"]);
        self.leave("three");
        self.until_on(3).await;
        self.works(&["three", "two"]);
        self.leave("two");
        for _ in 0..5 {
            self.pass(Duration::from_secs(3)).await;
        }
        assert_eq!(self.stage.ledger().await.current, Some(v(3)));
    }
}

#[tokio::test]
async fn a_revoked_value_that_nobody_can_ask_about_is_not_followed_again() {
    let mut scene = Scene::begin("one").await;
    scene.works(&["one", "two", "three"]);
    scene.leave("two");
    scene.until_on(2).await;
    scene.revoke(None).await;
    let ended = Event::Ended { version: v(2), asked: scene.stage.clock.now(), sessions: 0 };
    scene.stage.commit(ended).await.unwrap();
    scene.never_again().await;
}

#[tokio::test]
async fn a_revoked_value_that_works_again_is_not_followed_again() {
    let mut scene = Scene::begin("one").await;
    scene.works(&["two"]);
    scene.leave("two");
    scene.until_on(2).await;
    scene.works(&[]);
    scene.revoke(None).await;
    for _ in 0..3 {
        scene.pass(Duration::from_secs(11)).await;
    }
    scene.works(&["two"]);
    scene.never_again().await;
}

#[tokio::test]
async fn a_value_that_was_changed_again_before_it_was_proven_keeps_nothing_back() {
    let mut scene = Scene::begin("one").await;
    scene.works(&["two"]);
    scene.stage.target.lock().theirs.as_mut().unwrap().stalls = true;
    scene.leave("two");
    scene.until_chosen(2).await;
    // Nobody ever learns whether the second one would have worked.
    scene.works(&["three"]);
    scene.leave("three");
    scene.until_chosen(3).await;
    scene.stage.target.lock().theirs.as_mut().unwrap().stalls = false;
    scene.until_on(3).await;
    scene.stage.until("v2 is over", |ledger| !ledger.endings.contains_key(&v(2))).await;
}

#[tokio::test]
async fn a_value_that_was_revoked_before_it_was_delivered_is_not_followed_either() {
    let mut scene = Scene::begin("one").await;
    scene.works(&["two"]);
    scene.stage.target.lock().theirs.as_mut().unwrap().stalls = true;
    scene.leave("two");
    scene.until_chosen(2).await;
    scene.revoke(Some(v(2))).await;
    // Somebody's word counts when nothing that was under way can land any more.
    scene.pass(Duration::from_secs(1)).await;
    let ended = Event::Ended { version: v(2), asked: scene.stage.clock.now(), sessions: 0 };
    scene.stage.commit(ended).await.unwrap();
    scene.stage.until("v2 is over", |ledger| !ledger.endings.contains_key(&v(2))).await;
    for _ in 0..10 {
        scene.pass(Duration::from_secs(3)).await;
    }
    assert_eq!(scene.stage.ledger().await.last_version, Some(v(2)), "{}", scene.told());
    assert!(scene.told().contains("v2, which was revoked"), "{}", scene.told());
}

#[tokio::test]
async fn what_cannot_be_tried_has_to_stand_as_it_was_written() {
    let mut scene = Scene::begin("one").await;
    scene.works(&["one", "t", "tw", "two", "three"]);
    // Somebody writes slowly: nothing stands for 2 s.
    for part in ["t", "tw", "t", "tw", "t", "tw"] {
        scene.leave(part);
        scene.pass(Duration::from_secs(1)).await;
    }
    scene.leave("two");
    scene.until_on(2).await;
    for _ in 0..5 {
        scene.pass(Duration::from_secs(3)).await;
    }
    assert_eq!(scene.stage.ledger().await.last_version, Some(v(2)), "a part of it was taken");

    let again = "is written again and again: leave it alone for 2s";
    for _ in 0..60 {
        if scene.told().contains(again) {
            break;
        }
        scene.leave("three");
        scene.pass(Duration::from_secs(1)).await;
    }
    assert!(scene.told().contains(again), "{}", scene.told());
    assert_eq!(scene.stage.ledger().await.last_version, Some(v(2)));
    scene.until_on(3).await;
}

#[tokio::test]
async fn what_was_changed_again_while_held_is_not_promoted_first_when_the_hold_ends() {
    let mut scene = Scene::begin("one").await;
    scene.works(&["two"]);
    scene.stage.target.lock().theirs.as_mut().unwrap().stalls = true;
    scene.leave("two");
    scene.until_chosen(2).await;
    let (reason, by) = ("release day".to_owned(), "alice".to_owned());
    scene.stage.commit(Event::Hold { reason, by }).await.unwrap();
    scene.stage.target.lock().theirs.as_mut().unwrap().stalls = false;
    let proven = |ledger: &rekey_rotation::Ledger| {
        ledger.version(v(2)).is_some_and(|record| record.proven.is_some() && record.lasting)
    };
    scene.stage.until("v2 is proven", proven).await;
    assert_eq!(scene.stage.phase().await, Some(Phase::Proven), "it waits for the end of the hold");
    scene.works(&["three"]);
    scene.leave("three");
    scene.stage.until("v2 is given up", |ledger| ledger.open_rotation().is_none()).await;
    assert!(scene.told().contains("has another value, which works and waits: "), "{}", scene.told());
    scene.stage.commit(Event::Release).await.unwrap();
    scene.until_on(3).await;
    assert!(scene.stage.ledger().await.version(v(2)).unwrap().promoted.is_none(), "it was dead by then");
}

#[tokio::test]
async fn what_was_revoked_before_anybody_had_it_is_cut_when_the_provider_refuses_it() {
    let mut scene = Scene::begin("one").await;
    scene.works(&["one", "two"]);
    scene.stage.target.lock().theirs.as_mut().unwrap().stalls = true;
    scene.leave("two");
    scene.until_chosen(2).await;
    scene.revoke(Some(v(2))).await;
    let cut = |ledger: &rekey_rotation::Ledger| ledger.emergencies.iter().any(|it| it.cut.is_some());
    for _ in 0..6 {
        scene.pass(Duration::from_secs(11)).await;
        assert!(!cut(&scene.stage.ledger().await), "the provider takes it still");
    }
    let asked = scene.stage.executor().try_version(&scene.stage.name, v(2)).await.unwrap();
    assert!(asked.unwrap().is_ok(), "whoever says that it is deleted is not believed");
    scene.works(&["one"]);
    for _ in 0..40 {
        if cut(&scene.stage.ledger().await) {
            return;
        }
        scene.pass(Duration::from_secs(11)).await;
    }
    panic!("never cut: {:#?}", scene.stage.ledger().await);
}

#[tokio::test]
async fn what_was_revoked_in_a_life_that_a_restore_lost_is_not_taken_before_somebody_says_so() {
    let mut scene = Scene::begin("one").await;
    let backup = scene.stage.ledger().await;
    scene.works(&["two"]);
    scene.leave("two");
    scene.until_on(2).await;
    scene.revoke(None).await;
    let lost = scene.stage.ledger().await;
    scene.stage.put_back(backup).await;
    scene.stage.lose_secret(v(2)).await;
    let claim =
        Claim { incarnation: Incarnation(1), order: lost.order, serves: None, fenced: lost.fenced.clone() };
    for index in 0..3 {
        scene.stage.tells(index, Some(&claim)).await;
    }
    scene.stage.until("v2 is fenced", |ledger| ledger.fenced.contains(&v(2))).await;
    scene.stage.until("it may be cut", |ledger| ledger.endings.contains_key(&v(2))).await;
    assert_eq!(scene.stage.store.meta().await.unwrap().mode, Mode::Normal);
    for crashes in [true, false] {
        for _ in 0..5 {
            scene.pass(Duration::from_secs(3)).await;
        }
        assert_eq!(scene.stage.ledger().await.last_version, Some(v(1002)), "{}", scene.told());
        let told = scene.told();
        assert!(told.contains("a revoked version is not known here: v2"), "{told}");
        assert!(told.contains("ask the script") && told.contains("hand-in orders/db --deleted v2"), "{told}");
        if crashes {
            scene.stage.crash().await;
            scene.stage.start();
        }
    }
    let value = SecretBytes::new(b"other".to_vec());
    let of = |value: &[u8]| SecretBytes::new(value.to_vec());
    let fields = [("username".parse().unwrap(), of(b"orders")), ("password".parse().unwrap(), of(b"other"))];
    let fields = Fields::new(fields.into()).unwrap();
    let given = scene.stage.executor().may_be_given(&scene.stage.name, (&value, &fields)).await;
    assert!(matches!(given, Err(CommitError::Lost(version)) if version == v(2)), "{given:?}");

    let tried = scene.stage.executor().try_version(&scene.stage.name, v(2)).await.unwrap();
    assert!(tried.is_none(), "nobody can be asked, so that a word is enough");
    let ended = Event::Ended { version: v(2), asked: scene.stage.clock.now(), sessions: 0 };
    scene.stage.commit(ended).await.unwrap();
    scene.until_on(1003).await;
}
