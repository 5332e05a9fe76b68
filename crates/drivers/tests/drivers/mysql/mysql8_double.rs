//! A user of MySQL 8 that takes two passwords, against a scripted double: no real MySQL 8 can be had here.

use std::any::Any;
use std::io::copy;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use rekey_drivers::mysql::{
    Account, Mysql, RIGHTS_FOR_MYSQL_8, TargetSettings, TlsMode, TlsSettings, TwoPasswords, UserAccount,
};
use rekey_drivers::{Driver, DriverError, Intent, Owner, Sessions, Survey, Usage};
use rekey_model::{Fields, SecretBytes, Span, Version};
use rekey_testkit::mariadb::Session;
use rekey_testkit::mysql8::{MySql8, ROTATOR};

use super::two_passwords::{hash, tag};
use super::world::ROTATOR_PASSWORD;
use crate::conformance::{self, Subject, refused};

const USER: &str = "orders";
const THEIRS: &str = "of-a-person";
const MANUAL: &str = include_str!("../../../../../docs/drivers.md");

struct World {
    double: MySql8,
    driver: TwoPasswords,
}

impl World {
    /// A user that has no password which anybody knows.
    fn new() -> Self {
        let world = Self::with_a_password();
        world.double.change(USER, |account| account.current = nobodys());
        world
    }

    /// A user with a password that a person made.
    fn with_a_password() -> Self {
        let double = MySql8::start(ROTATOR_PASSWORD).unwrap();
        double.make(USER, THEIRS);
        let driver = build(&target(&double), &account());
        Self { double, driver }
    }

    fn driver_with(&self, change: impl FnOnce(&mut TargetSettings)) -> TwoPasswords {
        let mut target = target(&self.double);
        change(&mut target);
        build(&target, &account())
    }

    /// Logs in with the vendor's client of MariaDB, which speaks to MySQL too.
    fn log_in(&self, password: &str) -> Option<Session> {
        Session::log_in_at(&self.double.socket(), USER, password, USER).ok()
    }

    async fn seen(&self) -> Vec<String> {
        let Survey::Seen(seen) = self.driver.survey().await.unwrap() else { panic!("it can tell") };
        seen.into_iter().map(|seen| seen.name).collect()
    }

    /// What changed accounts, in order.
    fn changes(&self) -> Vec<String> {
        let changes = self.double.statements().into_iter();
        changes.filter_map(|sql| sql.strip_prefix("ALTER USER 'orders'@'%' ").map(str::to_owned)).collect()
    }
}

fn nobodys() -> String {
    "$A$005$THISISACOMBINATIONOFINVALIDSALTANDPASSWORDTHATMUSTNEVERBRBEUSED".to_owned()
}

fn target(double: &MySql8) -> TargetSettings {
    let five = Span::new(std::time::Duration::from_secs(5));
    TargetSettings {
        host: double.socket().display().to_string(),
        port: 3306,
        consumer_host: None,
        consumer_port: None,
        user: ROTATOR.into(),
        password_file: "not-read-here".into(),
        tls: TlsSettings { mode: TlsMode::Disable, ..TlsSettings::default() },
        connect_timeout: five,
        statement_timeout: five,
        transit: five,
        call_timeout: Span::new(std::time::Duration::from_secs(20)),
    }
}

fn account() -> UserAccount {
    let probes = vec!["SELECT count(*) FROM orders".into()];
    UserAccount { database: USER.into(), user: USER.into(), from: "%".into(), adopt: None, probes }
}

fn owner() -> Owner {
    Owner { installation: "test".into(), credential: "orders/db".parse().unwrap() }
}

fn build(target: &TargetSettings, account: &UserAccount) -> TwoPasswords {
    let target = target.with(SecretBytes::from(ROTATOR_PASSWORD.to_owned()), None).unwrap();
    TwoPasswords::new(target, account.clone(), owner()).unwrap()
}

impl Subject for World {
    fn driver(&self) -> &dyn Driver {
        &self.driver
    }

    fn intent(&self, version: u64) -> Intent {
        let password = format!("plain-marker-{version}");
        let handle = format!("{USER}#{}", tag(&hash(&password))).parse().unwrap();
        Intent::chosen(Version::new(version).unwrap(), handle, Arc::new(SecretBytes::from(password)))
    }

    fn taken(&self) -> Intent {
        let intent = self.intent(99);
        let handle = format!("others{}", intent.handle).parse().unwrap();
        Intent { handle, ..intent }
    }

    fn nobody_listens(&self) -> Arc<dyn Driver> {
        Arc::new(self.driver_with(|target| target.host = "/nobody/listens".into()))
    }

    fn answers_are_lost(&self) -> Arc<dyn Driver> {
        let socket = self.double.losing_socket().display().to_string();
        Arc::new(self.driver_with(|target| target.host = socket))
    }

    fn without_rights(&self) -> Arc<dyn Driver> {
        self.double.make("powerless", ROTATOR_PASSWORD);
        Arc::new(self.driver_with(|target| target.user = "powerless".into()))
    }

    fn consume(&self, fields: &Fields) -> Box<dyn Any> {
        Box::new(self.log_in(std::str::from_utf8(fields.get("password").unwrap().expose()).unwrap()))
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
fn the_manual_shows_the_rights_that_the_double_looks_at() {
    assert!(MANUAL.contains(RIGHTS_FOR_MYSQL_8));
}

#[tokio::test]
async fn the_password_of_today_is_retained_until_it_is_discarded() {
    let world = World::with_a_password();
    let installed = world.driver.install(&world.intent(1)).await.unwrap();
    world.driver.probe(&installed.fields, None).await.unwrap();
    assert!(world.log_in(THEIRS).is_some() && world.log_in("plain-marker-1").is_some());
    assert!(world.changes()[0].ends_with(" RETAIN CURRENT PASSWORD"), "{:?}", world.changes());
    // The one of today is nobody's version: it comes in by the account, and stands in the way of a third.
    let seen = world.seen().await;
    assert!(seen.len() == 2 && seen[0] == world.intent(1).handle.as_str(), "{seen:?}");
    let why = refused(world.driver.install(&world.intent(2)).await, "a third password");
    assert!(why.contains("DISCARD OLD PASSWORD") && why.contains(&seen[1]), "{why}");
    assert_eq!(world.changes().len(), 1);
    world.double.change(USER, |account| account.retained = None);
    world.driver.install(&world.intent(2)).await.unwrap();
    world.driver.revoke(&world.intent(1).handle, Sessions::Leave).await.unwrap();
    assert_eq!(world.changes().last().unwrap(), "DISCARD OLD PASSWORD");
    assert!(world.log_in("plain-marker-1").is_none() && world.log_in("plain-marker-2").is_some());
}

#[tokio::test]
async fn when_the_newer_is_taken_back_the_older_is_current_again() {
    let world = World::new();
    let (one, two) = (world.intent(1), world.intent(2));
    world.driver.install(&one).await.unwrap();
    let before = world.double.account(USER).unwrap();
    world.driver.install(&two).await.unwrap();
    let lost = world.answers_are_lost().revoke(&two.handle, Sessions::Leave).await;
    assert!(matches!(lost, Err(DriverError::Unknown(_))), "{lost:?}");
    world.driver.revoke(&two.handle, Sessions::Leave).await.unwrap();
    assert!(world.log_in("plain-marker-2").is_none() && world.log_in("plain-marker-1").is_some());
    // What the lost call left retained is the same password, and takes no place.
    world.driver.install(&two).await.unwrap();
    world.driver.revoke(&two.handle, Sessions::Leave).await.unwrap();
    assert_eq!(world.double.account(USER).unwrap(), before);
}

#[tokio::test]
async fn nobody_comes_in_when_the_last_one_is_taken_away_and_it_is_not_retained() {
    let world = World::new();
    let one = world.intent(1);
    world.driver.install(&one).await.unwrap();
    let mut held = world.log_in("plain-marker-1").unwrap();
    assert_eq!(world.driver.usage(&one.handle).await.unwrap(), Usage::CannotTell);
    assert_eq!(world.driver.revoke(&one.handle, Sessions::End).await.unwrap().sessions_ended, 1);
    assert!(held.ask("SELECT 41 + 1").is_none(), "its session goes on");
    assert!(world.log_in("plain-marker-1").is_none() && world.log_in("").is_none());
    assert_eq!(world.double.account(USER).unwrap().current, nobodys());
    assert!(world.seen().await.is_empty());
    world.driver.install(&world.intent(2)).await.unwrap();
    assert_eq!(world.double.account(USER).unwrap().retained, None);
}

#[tokio::test]
async fn what_is_missing_is_named_and_a_standby_is_not_changed() {
    let world = World::new();
    for (right, words) in [
        ("CREATE USER", "GRANT CREATE USER ON *.*"),
        ("CONNECTION_ADMIN", "GRANT CONNECTION_ADMIN ON *.*"),
        ("SELECT", "ON mysql.user TO"),
    ] {
        world.double.grant(right, false);
        let lacks = world.driver.check().await.unwrap();
        assert!(lacks.len() == 1 && lacks[0].remedy.contains(words), "{lacks:?}");
        refused(world.driver.install(&world.intent(1)).await, right);
        world.double.grant(right, true);
    }
    // CONNECTION_ADMIN would let the rotator write there.
    world.double.set_read_only(true);
    for why in [
        world.driver.check().await.unwrap_err(),
        world.driver.install(&world.intent(1)).await.map(drop).unwrap_err(),
    ] {
        assert!(matches!(why, DriverError::Unavailable(_)), "{why:?}");
    }
    assert!(world.changes().is_empty());
}

#[tokio::test]
async fn a_login_for_each_version_is_refused_by_name() {
    let world = World::new();
    let account = Account {
        database: USER.into(),
        role: "orders_app".into(),
        prefix: "orders".into(),
        from: "%".into(),
        adopt: None,
        probes: Vec::new(),
    };
    let target = target(&world.double).with(SecretBytes::from(ROTATOR_PASSWORD.to_owned()), None).unwrap();
    let driver = Mysql::new(target, account, owner()).unwrap();
    let why = refused(driver.check().await, "a login for each version");
    assert!(why.contains("no MariaDB") && why.contains("`user`"), "{why}");
}

#[tokio::test]
async fn the_password_itself_goes_where_nobody_listens_and_never_into_a_statement() {
    let world = World::new();
    let installed = world.driver.install(&world.intent(1)).await.unwrap();
    world.driver.probe(&installed.fields, None).await.unwrap();
    assert!(!world.double.statements().iter().any(|sql| sql.contains("plain-marker")));
    // The server has not seen the second one, and asks for it on a way that others can read.
    world.driver.install(&world.intent(2)).await.unwrap();
    let port = in_plain(&world.double);
    let plain = world.driver_with(|target| {
        target.consumer_host = Some("127.0.0.1".into());
        target.consumer_port = Some(port);
    });
    let second = plain.install(&world.intent(2)).await.unwrap();
    let why = refused(plain.probe(&second.fields, None).await, "a login in plain");
    assert!(why.contains("in TLS or on a Unix socket only"), "{why}");
}

/// A port on loopback that leads to the double, in plain.
fn in_plain(double: &MySql8) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let (port, socket) = (listener.local_addr().unwrap().port(), double.socket());
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), UnixStream::connect(&socket).unwrap());
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || copy(&mut from_client, &mut to_server));
            let (mut server, mut client) = (server, client);
            thread::spawn(move || copy(&mut server, &mut client));
        }
    });
    port
}
