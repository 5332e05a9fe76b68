//! Targets in bad weather, with the real binaries: a provider that answers wrongly or not at all, a database in failover.

use std::sync::Arc;

use rekey_testkit::moto::{Moto, Sdk};
use rekey_testkit::platform::{Platform, Programs, Setup};
use rekey_testkit::postgres::sql_over;
use rekey_testkit::process::poll;
use rekey_testkit::system::{self, Pace, System};
use rekey_testkit::weather::{Fault, Weather};

use crate::application::Application;
use crate::aws_iam::{CLOUD, CREDENTIAL, RIGHTS, current, policy};
use crate::story::{Home, Installation, PATIENCE, last, settled};

/// Says that a key was made, which there is not.
const LIE: &str = "<CreateAccessKeyResponse><CreateAccessKeyResult><AccessKey><UserName>orders</UserName>\
    <AccessKeyId>AKIATHEREISNOSUCHKEY</AccessKeyId><Status>Active</Status>\
    <SecretAccessKey>nobody/made/this/secret/access/key/aaaaaa</SecretAccessKey>\
    </AccessKey></CreateAccessKeyResult></CreateAccessKeyResponse>";

/// A platform with the keys of one user, and a rotator with what the manual gives it, who goes through the weather.
fn platform(name: &str, moto: &Moto, weather: &Weather) -> Installation {
    moto.user("orders", Some(RIGHTS));
    moto.user("rekey", Some(&policy()));
    let key = moto.create_key("rekey");
    let mut platform = Installation::begin(name, Setup::default());
    let target = format!(
        "  cloud:
    aws-iam:
      endpoint: http://127.0.0.1:{}
      sts_endpoint: http://127.0.0.1:{}
      access_key_id_file: cloud-id
      secret_access_key_file: cloud-secret
      request_timeout: 10s
      call_timeout: 30s
      settle: 1s
",
        weather.port(),
        moto.port(),
    );
    platform.add_target(&target, &[("cloud-id", &key.id), ("cloud-secret", &key.secret)]).unwrap();
    platform.declare(CREDENTIAL).unwrap();
    platform.start_sidecar("sidecar-1", "orders/sidecar-1", "orders/*").unwrap();
    platform.wait_settled(CLOUD, 1).unwrap();
    platform
}

/// What the state says of alarms and of the rotation that is open or was last.
fn told(platform: &Platform) -> String {
    let status = platform.status(CLOUD).unwrap();
    format!("{} {} {}", status["alarms"], status["rotation"], last(&status))
}

/// Uses what it reads, and looks each time how many keys there are.
fn application(platform: &Platform, moto: &Arc<Moto>) -> Application {
    let (moto, mut sdk) = (Arc::clone(moto), Sdk::start(moto.port()).unwrap());
    Application::start(platform.socket("sidecar-1"), CLOUD, move |credential| {
        let (id, secret) = (credential.text("access_key_id")?, credential.text("secret_access_key")?);
        sdk.try_key(id, secret).map_err(anyhow::Error::msg)?;
        let keys = moto.keys("orders").len();
        anyhow::ensure!(keys <= 2, "there are {keys} keys");
        Ok(())
    })
}

/// Waits until nothing is under way, and the only key is the one that is served.
fn until_only_the_served_key_is_left(platform: &Platform, moto: &Moto, what: &str) -> u64 {
    let clean = || {
        let (_, key, status) = current(platform);
        let only = moto.keys("orders").iter().map(|key| key.id.clone()).eq([key]);
        settled(&status) && only
    };
    assert!(poll(PATIENCE, clean), "{what}: {:?}\n{:#}", moto.keys("orders"), current(platform).2);
    current(platform).0
}

#[test]
fn whatever_a_provider_answers_there_is_no_third_key_no_orphan_and_no_use_that_fails() {
    let moto = Arc::new(Moto::start());
    let weather = Weather::before(moto.port()).unwrap();
    let platform = platform("provider", &moto, &weather);
    let application = application(&platform, &moto);
    application.let_work(3);
    for (words, fault) in [
        ("Action=CreateAccessKey", Fault::AnswerLost),
        ("Action=CreateAccessKey", Fault::AnswerTwice),
        ("Action=CreateAccessKey", Fault::Hang),
        ("Action=CreateAccessKey", Fault::AnswerCut),
        ("Action=CreateAccessKey", Fault::TooMany(2)),
        ("Action=CreateAccessKey", Fault::Broken),
        ("Action=UpdateAccessKey", Fault::AnswerLost),
        ("Action=DeleteAccessKey", Fault::AnswerCut),
    ] {
        let before = until_only_the_served_key_is_left(&platform, &moto, "before");
        weather.strike(words, fault);
        platform.ctl(&["rotate", CLOUD, "--reason", "test"]).unwrap();
        let what = format!("{words} {fault:?}");
        assert!(poll(PATIENCE, || weather.has_struck()), "{what}: was never asked");
        let after = until_only_the_served_key_is_left(&platform, &moto, &what);
        assert!(after > before, "{what}: v{after} is current, as before");
        application.let_work(2);
    }
    // A key that there is not fails its proof, and nobody is given it.
    let (before, key, _) = current(&platform);
    weather.strike("Action=CreateAccessKey", Fault::Lie(LIE));
    platform.ctl(&["rotate", CLOUD, "--reason", "test"]).unwrap();
    assert!(poll(PATIENCE, || weather.has_struck()), "a lie: was never asked");
    until_only_the_served_key_is_left(&platform, &moto, "a lie");
    assert_eq!((current(&platform).0, current(&platform).1), (before, key));
    platform.ctl(&["rotate", CLOUD, "--reason", "test"]).unwrap();
    let rotated = || current(&platform).0 > before;
    assert!(poll(PATIENCE, rotated), "after a lie: {:#}", current(&platform).2);
    until_only_the_served_key_is_left(&platform, &moto, "after a lie");
    application.let_work(3);
    assert!(application.end_without_failure() > 25);
}

#[test]
fn a_key_that_somebody_made_by_hand_is_named_and_never_deleted() {
    let moto = Moto::start();
    let weather = Weather::before(moto.port()).unwrap();
    let platform = platform("by-hand", &moto, &weather);
    let ours = current(&platform).1;
    let theirs = moto.create_key("orders").id;
    let named = || platform.ctl(&["verify", CLOUD]).is_ok() && told(&platform).contains(&theirs);
    assert!(poll(PATIENCE, named), "no alarm names {theirs}: {}", told(&platform));
    assert!(told(&platform).contains("stranger"), "{}", told(&platform));
    platform.ctl(&["rotate", CLOUD, "--reason", "test"]).unwrap();
    let no_room = || told(&platform).contains("no third") && told(&platform).contains(&ours);
    assert!(poll(PATIENCE, no_room), "it does not say that there is no room: {}", told(&platform));
    let keys = || moto.keys("orders").into_iter().map(|key| key.id).collect::<Vec<_>>();
    assert_eq!(keys(), [ours.clone(), theirs.clone()]);
    moto.delete_key("orders", &theirs);
    let rotated = || {
        let (version, key, status) = current(&platform);
        if settled(&status) && version == 1 {
            platform.ctl(&["rotate", CLOUD, "--reason", "test"]).ok();
        }
        version > 1 && keys() == [key]
    };
    assert!(poll(PATIENCE, rotated), "{:?} {}", keys(), told(&platform));
}

/// Logs in anew each time, and reads.
fn reader(system: &System) -> Application {
    let (host, port) = (system.database.host(), system.database.port());
    Application::start(system.socket("sidecar-1"), system::CREDENTIAL, move |credential| {
        let mut connection = tokio_postgres::Config::new();
        connection.host_path(&host).port(port).dbname("orders");
        connection.user(credential.text("username")?).password(credential.text("password")?);
        sql_over(connection, "SELECT count(*) FROM orders").map(drop)
    })
}

#[test]
fn a_database_that_becomes_a_standby_in_a_rotation_is_waited_for_and_named() {
    let home = Home::of("standby");
    let mut system = System::start(Programs::built().unwrap(), &home, Pace::default()).unwrap();
    system.start_sidecar("sidecar-1").unwrap();
    system.wait_settled(system::CREDENTIAL, 1).unwrap();
    let before = reader(&system);
    before.let_work(5);
    before.end_without_failure();
    // Who is connected is cut by the failover itself, whoever rotates: readers begin again when the standby is up.
    let data = system.database.postgres.sql("SHOW data_directory")[0][0].clone().unwrap();
    system.database.postgres.stop().unwrap();
    system.ctl(&["rotate", system::CREDENTIAL, "--reason", "test"]).unwrap();
    std::fs::write(std::path::Path::new(&data).join("standby.signal"), "").unwrap();
    system.database.postgres.start_again().unwrap();
    let meanwhile = reader(&system);
    let says = || system.status().unwrap()["rotation"].to_string();
    let named = || ["read-only", "standby"].iter().any(|word| says().contains(word));
    assert!(poll(PATIENCE, named), "it does not say what it waits for: {}", says());
    meanwhile.let_work(20);
    assert_eq!(system.status().unwrap()["current"], 1);
    system.database.postgres.sql("SELECT pg_promote()");
    // Its next try may be half a minute away; it may have been made, too.
    system.ctl(&["retry", system::CREDENTIAL]).ok();
    system.wait_settled(system::CREDENTIAL, 2).unwrap();
    meanwhile.let_work(5);
    meanwhile.end_without_failure();
    let made = system.database.made_roles();
    assert!(made.len() == 1 && made[0].starts_with("orders_app_v2_"), "{made:?}");
}
