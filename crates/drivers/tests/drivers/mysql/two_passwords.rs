//! One user that takes two passwords at once: a database, a user and a rotator of its own for each test.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rekey_drivers::mysql::{AdoptPassword, RIGHTS_FOR_USERS, TargetSettings, TwoPasswords, UserAccount};
use rekey_drivers::{Driver, DriverError, Found, Intent, Owner, Sessions, Survey, Usage};
use rekey_model::{Fields, SecretBytes, Version};
use rekey_testkit::mariadb::{Mariadb, Session};

use super::world::{ROTATOR_PASSWORD, log_in, shared, target};
use crate::conformance::{self, Subject, refused};
use crate::proxy::Proxy;

const MANUAL: &str = include_str!("../../../../../docs/drivers.md");

/// One test's world.
struct World {
    server: &'static Mariadb,
    driver: TwoPasswords,
    /// The user, its database, and what names begin with.
    name: String,
    target: TargetSettings,
    account: UserAccount,
}

impl World {
    /// A user without a password that anybody knows.
    fn new() -> Self {
        Self::with("IDENTIFIED VIA mysql_native_password USING 'invalid'", |_| {})
    }

    /// A user that is made with these words.
    fn with(made: &str, change: impl FnOnce(&mut UserAccount)) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let (server, name) = (shared(), format!("u{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let rights = RIGHTS_FOR_USERS.replace("rekey", &format!("{name}_rekey"));
        server.sql(&format!(
            "CREATE DATABASE {name}; CREATE TABLE {name}.orders (id int); {rights} \
             SET PASSWORD FOR {name}_rekey = PASSWORD('{ROTATOR_PASSWORD}'); \
             CREATE USER {name} {made}; GRANT ALL PRIVILEGES ON {name}.* TO {name}"
        ));
        let mut account = UserAccount {
            database: name.clone(),
            user: name.clone(),
            from: "%".into(),
            adopt: None,
            probes: vec!["SELECT count(*) FROM orders".into()],
        };
        change(&mut account);
        let target = target(server, &name);
        let driver = build(&target, &account);
        let world = Self { server, driver, name, target, account };
        // `invalid` is a way to log in that nobody can take, and takes up a place all the same.
        if made.ends_with("'invalid'") {
            world.empty();
        }
        world
    }

    /// Leaves the user with no password at all, as the end of its last version does.
    fn empty(&self) {
        let name = &self.name;
        self.server
            .sql(&format!("ALTER USER {name} IDENTIFIED VIA mysql_native_password USING '{}'", hash("x")));
        let handle = format!("{name}#{}", tag(&hash("x"))).parse().unwrap();
        let end = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(self.driver.revoke(&handle, Sessions::Leave)).unwrap();
        };
        std::thread::scope(|scope| scope.spawn(end).join().unwrap());
    }

    fn driver_with(&self, change: impl FnOnce(&mut TargetSettings, &mut UserAccount)) -> TwoPasswords {
        let (mut target, mut account) = (self.target.clone(), self.account.clone());
        change(&mut target, &mut account);
        build(&target, &account)
    }

    fn intent(&self, version: u64) -> Intent {
        self.intent_with(version, &format!("plain-marker-{}-{version}", self.name))
    }

    fn intent_with(&self, version: u64, password: &str) -> Intent {
        Intent::chosen(
            Version::new(version).unwrap(),
            format!("{}#{}", self.name, tag(&hash(password))).parse().unwrap(),
            Arc::new(SecretBytes::from(password.to_owned())),
        )
    }

    /// How the server says that the user logs in.
    fn ways(&self) -> String {
        let shown = self.server.sql(&format!("SHOW CREATE USER {}", self.name));
        shown[0][0].clone()
    }

    async fn seen(&self) -> Vec<(String, bool)> {
        let Survey::Seen(seen) = self.driver.survey().await.unwrap() else { panic!("it can tell") };
        seen.into_iter().map(|seen| (seen.name, seen.shut.is_some())).collect()
    }

    fn log_in(&self, fields: &Fields) -> Option<Session> {
        log_in(self.server, fields)
    }
}

/// What MariaDB keeps of a password.
pub(super) fn hash(password: &str) -> String {
    let once = digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    format!("*{}", hex::encode_upper(digest(&SHA1_FOR_LEGACY_USE_ONLY, once.as_ref())))
}

pub(super) fn tag(hash: &str) -> String {
    hex::encode(digest(&SHA256, format!("rekey/1 hash={hash}").as_bytes()))[..20].to_owned()
}

fn build(target: &TargetSettings, account: &UserAccount) -> TwoPasswords {
    let target = target.with(SecretBytes::from(ROTATOR_PASSWORD.to_owned()), None).unwrap();
    let owner = Owner { installation: "test".into(), credential: "orders/db".parse().unwrap() };
    TwoPasswords::new(target, account.clone(), owner).unwrap()
}

impl Subject for World {
    fn driver(&self) -> &dyn Driver {
        &self.driver
    }

    fn intent(&self, version: u64) -> Intent {
        self.intent(version)
    }

    fn taken(&self) -> Intent {
        let intent = self.intent(99);
        let handle = format!("others{}", intent.handle).parse().unwrap();
        Intent { handle, ..intent }
    }

    fn nobody_listens(&self) -> Arc<dyn Driver> {
        let port = rekey_testkit::process::free_port().unwrap();
        Arc::new(self.driver_with(|target, _| target.port = port))
    }

    fn answers_are_lost(&self) -> Arc<dyn Driver> {
        let proxy = Proxy::losing_the_answer_to(self.server.port(), b"IDENTIFIED VIA");
        Arc::new(self.driver_with(|target, _| target.port = proxy.port()))
    }

    fn without_rights(&self) -> Arc<dyn Driver> {
        let name = format!("{}_powerless", self.name);
        self.server.sql(&format!("CREATE USER IF NOT EXISTS {name} IDENTIFIED BY '{ROTATOR_PASSWORD}'"));
        Arc::new(self.driver_with(|target, _| target.user = name))
    }

    fn consume(&self, fields: &Fields) -> Box<dyn Any> {
        Box::new(self.log_in(fields).unwrap())
    }

    fn tells_versions(&self) -> bool {
        false
    }

    fn sees_users(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn it_does_what_every_driver_does() {
    conformance::all(&World::new()).await;
}

#[test]
fn the_manual_shows_the_rights_that_these_tests_run_with() {
    assert!(MANUAL.contains(RIGHTS_FOR_USERS));
}

#[tokio::test]
async fn both_passwords_log_in_with_the_vendors_client_until_one_is_ended() {
    let world = World::new();
    let (old, new) = (world.intent(1), world.intent(2));
    let first = world.driver.install(&old).await.unwrap();
    let second = world.driver.install(&new).await.unwrap();
    for fields in [&first.fields, &second.fields] {
        world.log_in(fields).unwrap();
        world.driver.probe(fields, Some(&old.handle)).await.unwrap();
    }
    let mut held = world.log_in(&first.fields).unwrap();
    world.driver.revoke(&old.handle, Sessions::Leave).await.unwrap();
    assert_eq!(held.ask("SELECT 7").as_deref(), Some("7"), "nobody is cut in peace");
    assert!(world.log_in(&first.fields).is_none());
    world.log_in(&second.fields).unwrap();
    assert_eq!(world.driver.usage(&new.handle).await.unwrap(), Usage::CannotTell);
}

#[tokio::test]
async fn an_emergency_ends_every_session_of_the_user_and_of_nobody_else() {
    let (world, other) = (World::new(), World::new());
    let (old, new) = (world.intent(1), world.intent(2));
    let first = world.driver.install(&old).await.unwrap();
    let second = world.driver.install(&new).await.unwrap();
    let theirs = other.driver.install(&other.intent(1)).await.unwrap();
    let mut sessions = [&first.fields, &second.fields].map(|fields| world.log_in(fields).unwrap());
    let mut stays = other.log_in(&theirs.fields).unwrap();
    let cut = world.driver.revoke(&old.handle, Sessions::End).await.unwrap();
    assert_eq!((cut.sessions_ended, cut.sessions_left), (2, 0));
    assert!(sessions.iter_mut().all(|session| session.ask("SELECT 7").is_none()));
    assert_eq!(stays.ask("SELECT 7").as_deref(), Some("7"));
    assert!(world.log_in(&first.fields).is_none());
    world.log_in(&second.fields).unwrap();
}

#[tokio::test]
async fn a_third_password_is_refused_and_what_is_there_is_named_and_stays() {
    let world = World::with("IDENTIFIED BY 'made-by-hand'", |_| {});
    let (one, two) = (world.intent(1), world.intent(2));
    let first = world.driver.install(&one).await.unwrap();
    let before = world.ways();
    let why = refused(world.driver.install(&two).await, "a third way to log in");
    let stranger = format!("{}#{}", world.name, tag(&hash("made-by-hand")));
    assert!(why.contains(&stranger) && why.contains(one.handle.as_str()), "{why}");
    assert_eq!(world.ways(), before);
    assert_eq!(world.seen().await, [(stranger.clone(), false), (one.handle.to_string(), false)]);
    // It was made already: twice is once, whatever room there is.
    assert_eq!(world.driver.install(&one).await.unwrap().handle, one.handle);
    world.driver.revoke(&one.handle, Sessions::Leave).await.unwrap();
    assert_eq!(world.seen().await, [(stranger, false)]);
    assert!(world.log_in(&first.fields).is_none());
    Session::log_in(world.server.port(), &world.name, "made-by-hand", &world.name).unwrap();
}

#[tokio::test]
async fn nobody_comes_in_when_the_last_password_is_taken_away() {
    let world = World::new();
    let (one, two) = (world.intent(1), world.intent(2));
    let first = world.driver.install(&one).await.unwrap();
    world.driver.revoke(&one.handle, Sessions::End).await.unwrap();
    for password in ["", "invalid"] {
        assert!(Session::log_in(world.server.port(), &world.name, password, &world.name).is_err());
    }
    assert!(world.log_in(&first.fields).is_none());
    assert_eq!(world.seen().await, []);
    let second = world.driver.install(&two).await.unwrap();
    world.log_in(&second.fields).unwrap();
    assert!(!world.ways().contains(" OR "), "{}", world.ways());
}

#[tokio::test]
async fn the_password_of_today_is_adopted_by_its_hash_and_ended_like_any_other() {
    let hash = hash("of-a-person");
    let world =
        World::with("IDENTIFIED BY 'of-a-person' REQUIRE NONE WITH MAX_USER_CONNECTIONS 50", |account| {
            account.adopt = Some(AdoptPassword { hash: hash.clone() });
        });
    let before = world.ways();
    let adopted = world.intent_with(1, "of-a-person");
    let today = world.driver.install(&adopted).await.unwrap();
    assert_eq!(world.ways(), before, "nothing is changed");
    world.driver.probe(&today.fields, None).await.unwrap();
    let wrong = world.intent_with(1, "another");
    let wrong = Intent { handle: adopted.handle.clone(), ..wrong };
    refused(world.driver.install(&wrong).await, "an adoption with the wrong password");
    let next = world.driver.install(&world.intent(2)).await.unwrap();
    world.driver.revoke(&adopted.handle, Sessions::Leave).await.unwrap();
    assert!(world.log_in(&today.fields).is_none());
    world.log_in(&next.fields).unwrap();
    assert!(world.ways().contains("MAX_USER_CONNECTIONS 50"), "{}", world.ways());
    refused(world.driver.install(&adopted).await, "an adoption of what is not there");
}

#[tokio::test]
async fn a_user_that_is_not_to_be_changed_is_refused_and_the_remedy_mends_it() {
    for (done, words) in [
        ("GRANT SUPER ON *.* TO USER", "whole server"),
        ("ALTER USER USER ACCOUNT LOCK", "is locked"),
        ("ALTER USER USER IDENTIFIED BY ''", "without a password"),
        ("CREATE USER USER@'10.%'", "twin"),
        ("DROP USER USER", "there is no user"),
    ] {
        let world = World::new();
        assert_eq!(world.driver.check().await.unwrap(), []);
        world.server.sql(
            &done
                .replace("USER USER", &format!("USER {}", world.name))
                .replace("TO USER", &format!("TO {}", world.name)),
        );
        let lacks = world.driver.check().await.unwrap();
        assert!(lacks.len() == 1 && lacks[0].what.contains(words), "{done}: {lacks:?}");
        let why = refused(world.driver.install(&world.intent(1)).await, done);
        assert!(why.contains(words), "{done}: {why}");
        if lacks[0].remedy.contains("UNLOCK") {
            world.server.sql(&lacks[0].remedy);
            assert_eq!(world.driver.check().await.unwrap(), []);
        }
    }
}

#[tokio::test]
async fn each_right_that_is_missing_is_named_and_its_remedy_mends_it() {
    let world = World::new();
    let rotator = format!("{}_rekey", world.name);
    world.server.sql(&format!(
        "REVOKE CREATE USER, PROCESS, CONNECTION ADMIN ON *.* FROM {rotator}; \
         REVOKE SELECT (Host, User, Priv) ON mysql.global_priv FROM {rotator}"
    ));
    let lacks = world.driver.check().await.unwrap();
    assert_eq!(lacks.len(), 2, "{lacks:?}");
    refused(world.driver.install(&world.intent(1)).await, "an install without rights");
    for lack in lacks {
        world.server.sql(&lack.remedy);
    }
    assert_eq!(world.driver.check().await.unwrap(), []);
    world.driver.install(&world.intent(1)).await.unwrap();
}

#[tokio::test]
async fn a_lock_and_a_password_taken_away_by_hand_are_seen() {
    let world = World::new();
    let one = world.intent(1);
    world.driver.install(&one).await.unwrap();
    world.server.sql(&format!("ALTER USER {} ACCOUNT LOCK", world.name));
    assert_eq!(world.seen().await, [(one.handle.to_string(), true)]);
    world.server.sql(&format!("ALTER USER {} IDENTIFIED BY 'another' ACCOUNT UNLOCK", world.name));
    let seen = world.seen().await;
    assert!(seen.len() == 1 && seen[0].0 != one.handle.as_str(), "{seen:?}");
    assert_eq!(world.driver.find(&one).await.unwrap(), Found::Absent);
}

#[tokio::test]
async fn the_server_is_never_told_a_password_and_no_name_holds_a_hash() {
    let world = World::new();
    let one = world.intent(1);
    world.driver.install(&one).await.unwrap();
    let log = world.server.log();
    let hash = hash(&format!("plain-marker-{}-1", world.name));
    assert!(log.contains(&hash), "the log shows statements");
    assert!(!log.contains(&format!("plain-marker-{}", world.name)));
    assert!(!one.handle.as_str().to_uppercase().contains(&hash[1..9]));
}

#[tokio::test]
async fn a_call_that_was_given_up_has_landed_or_never_will_after_the_time_to_settle() {
    let world = World::new();
    let proxy =
        Proxy::holding_back(world.server.port(), b"IDENTIFIED VIA", std::time::Duration::from_secs(12));
    let short = |ms| rekey_model::Span::new(std::time::Duration::from_millis(ms));
    let driver = world.driver_with(|target, _| {
        target.port = proxy.port();
        target.transit = short(1000);
        (target.connect_timeout, target.statement_timeout) = (short(3000), short(3000));
        target.call_timeout = short(6000);
    });
    let intent = world.intent(1);
    let result = driver.install(&intent).await;
    assert!(matches!(result, Err(DriverError::Unknown(_))), "{result:?}");
    assert!(proxy.passed_all_on(std::time::Duration::from_mins(1)));
    for _ in 0..5 {
        assert_eq!(world.driver.find(&intent).await.unwrap(), Found::Absent);
    }
}

#[tokio::test]
async fn of_two_that_are_ended_at_once_neither_brings_the_other_back() {
    let world = World::new();
    for round in 0..5_u64 {
        let [one, two] = [1, 2].map(|number| world.intent(2 * round + number));
        world.driver.install(&one).await.unwrap();
        world.driver.install(&two).await.unwrap();
        let (first, second) = tokio::join!(
            world.driver.revoke(&one.handle, Sessions::End),
            world.driver.revoke(&two.handle, Sessions::End),
        );
        first.unwrap();
        second.unwrap();
        for intent in [&one, &two] {
            assert_eq!(world.driver.find(intent).await.unwrap(), Found::Absent, "{} is back", intent.handle);
        }
    }
}

#[tokio::test]
async fn the_end_of_one_of_two_does_not_wait_for_those_who_come_back_with_the_other() {
    let world = World::new();
    let [one, two] = [1, 2].map(|number| world.intent(number));
    world.driver.install(&one).await.unwrap();
    let fields = world.driver.install(&two).await.unwrap().fields;
    let stop = Arc::new(AtomicBool::new(false));
    let come_back: Vec<_> = (0..3)
        .map(|_| {
            let (stop, server, fields) = (Arc::clone(&stop), world.server, fields.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    // Held for a while; who is cut comes back at once.
                    let held = log_in(server, &fields);
                    std::thread::sleep(std::time::Duration::from_millis(100));
                    drop(held);
                }
            })
        })
        .collect();
    let cut = world.driver.revoke(&one.handle, Sessions::End).await;
    stop.store(true, Ordering::SeqCst);
    for thread in come_back {
        thread.join().unwrap();
    }
    assert!(cut.unwrap().sessions_left == 0);
    assert_eq!(world.driver.find(&two).await.unwrap(), Found::Present);
}

#[tokio::test]
async fn who_was_on_the_way_in_when_an_emergency_ended_the_others_is_ended_too() {
    let world = World::new();
    let stays = world.driver.install(&world.intent(1)).await.unwrap().fields;
    // On a machine that is slow just then somebody comes after all is over: one in time is enough.
    for round in 2..12 {
        let cut = world.intent(round);
        world.driver.install(&cut).await.unwrap();
        let (server, fields) = (world.server, stays.clone());
        let mut first = world.log_in(&fields).unwrap();
        let late = std::thread::spawn(move || {
            for _ in 0..60_000 {
                if first.ask("SELECT 7").is_none() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            log_in(server, &fields)
        });
        world.driver.revoke(&cut.handle, Sessions::End).await.unwrap();
        world.driver.clean_up(&cut.handle).await.unwrap();
        if late.join().unwrap().is_none_or(|mut late| late.ask("SELECT 7").is_none()) {
            return;
        }
    }
    panic!("nobody was ended who came while the others were");
}
