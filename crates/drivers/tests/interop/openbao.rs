//! OpenBao: a real server for each test, with a role and a rotator of its own.

mod lost;
mod rights;
mod secrecy;
mod tokens;
mod world;

use std::any::Any;
use std::sync::Arc;

use rekey_drivers::approle::Login;
use rekey_drivers::{Driver, DriverError, Expiry, Found, Intent, Listed, Sessions, Survey};
use rekey_model::{Fields, SecretBytes};
use rekey_testkit::openbao::ask_at;
use rekey_testkit::process::free_port;
use serde_json::json;

use crate::conformance::{self, Subject, refused};
use crate::proxy::Proxy;
use world::{World, build_for};

/// A token that ends when its user goes.
struct User(u16, String);

impl Drop for User {
    fn drop(&mut self) {
        ask_at(self.0, &self.1, "POST", "auth/token/revoke-self", &json!(null)).unwrap();
    }
}

impl Subject for World {
    fn driver(&self) -> &dyn Driver {
        &self.driver
    }

    fn intent(&self, version: u64) -> Intent {
        Self::intent(version)
    }

    fn taken(&self) -> Intent {
        let by_hand = self.bao.ask("POST", "auth/approle/role/orders/secret-id", json!({}));
        let accessor = by_hand["data"]["secret_id_accessor"].as_str().unwrap();
        let intent = Self::intent(99);
        Intent { handle: format!("{}#{accessor}", intent.handle).parse().unwrap(), ..intent }
    }

    fn nobody_listens(&self) -> Arc<dyn Driver> {
        Arc::new(self.plain_at(free_port().unwrap()))
    }

    /// Of what makes a secret-id, and of what destroys one.
    fn answers_are_lost(&self) -> Arc<dyn Driver> {
        let proxy = Proxy::losing_the_answer_to(self.bao.port(), b"x-vault-wrap-ttl");
        let proxy = Proxy::losing_the_answer_to(
            proxy.port(),
            b"POST /v1/auth/approle/role/orders/secret-id-accessor/destroy",
        );
        Arc::new(self.through(&proxy))
    }

    fn without_rights(&self) -> Arc<dyn Driver> {
        let powerless = self.bao.token(&["default"]);
        Arc::new(self.driver_with(|_, _, token| *token = powerless))
    }

    fn consume(&self, fields: &Fields) -> Box<dyn Any> {
        Box::new(User(self.bao.port(), self.log_in(fields).unwrap()))
    }

    fn makes_secrets(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn it_does_what_every_driver_does() {
    conformance::all(&World::new()).await;
}

#[tokio::test]
async fn versions_live_beside_each_other_and_end_one_by_one() {
    let world = World::new();
    let (one, two) = (World::intent(1), World::intent(2));
    assert_eq!(world.driver.find(&one).await.unwrap(), Found::Absent);
    let first = world.driver.install(&one).await.unwrap();
    let second = world.driver.install(&two).await.unwrap();
    assert_eq!(world.secret_ids().len(), 2);
    for installed in [&first, &second] {
        assert_eq!(world.driver.probe(&installed.fields, None).await.unwrap().probes, 1);
        world.driver.set_expiry(&installed.handle, Expiry::Never).await.unwrap();
        refused(world.driver.clean_up(&installed.handle).await, "a clean-up before the revocation");
    }
    let Listed::Versions(listed) = world.driver.list().await.unwrap() else { panic!("it lists") };
    let mut listed: Vec<_> = listed.into_iter().map(|it| (it.version.unwrap().get(), it.handle)).collect();
    listed.sort_by_key(|(version, _)| *version);
    assert_eq!(listed, [(1, first.handle.clone()), (2, second.handle.clone())]);
    for _ in 0..2 {
        world.driver.revoke(&first.handle, Sessions::Leave).await.unwrap();
        world.driver.clean_up(&first.handle).await.unwrap();
        let said = refused(world.driver.probe(&first.fields, None).await, "a probe of a revoked version");
        assert!(said.contains("login"), "{said}");
        refused(world.driver.set_expiry(&first.handle, Expiry::Never).await, "an expiry of what is gone");
        world.driver.probe(&second.fields, None).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_made_is_as_declared() {
    let world = World::new();
    let driver = world.driver_with(|_, account, _| account.cidrs = vec!["127.0.0.0/8".into()]);
    let made = driver.install(&World::intent(3)).await.unwrap();
    driver.probe(&made.fields, None).await.unwrap();
    let accessor = made.handle.as_str().split_once('#').unwrap().1;
    let path = "auth/approle/role/orders/secret-id-accessor/lookup";
    let data = &world.bao.ask("POST", path, json!({ "secret_id_accessor": accessor }))["data"];
    assert_eq!(data["secret_id_ttl"], 24 * 3600);
    assert_eq!(data["cidr_list"], json!(["127.0.0.0/8"]));
    assert_eq!(data["metadata"]["rekey_credential"], "orders/api");
    assert_eq!(data["metadata"]["rekey_version"], "3");
    let elsewhere = world.driver_with(|_, account, _| account.cidrs = vec!["10.0.0.0/8".into()]);
    let made = elsewhere.install(&World::intent(4)).await.unwrap();
    refused(elsewhere.probe(&made.fields, None).await, "a login from elsewhere");
}

#[tokio::test]
async fn the_probe_takes_none_of_the_consumers_uses() {
    let world = World::new();
    let driver = world.driver_with(|_, account, token| {
        account.num_uses = Some(2);
        world.bao.policy("limited", &rekey_drivers::approle::policy("approle", account));
        *token = world.bao.token(&["limited"]);
    });
    let made = driver.install(&World::intent(1)).await.unwrap();
    for probes in [1, 0, 0] {
        assert_eq!(driver.probe(&made.fields, None).await.unwrap().probes, probes);
    }
    for _ in 0..2 {
        world.log_in(&made.fields).unwrap();
    }
    world.log_in(&made.fields).unwrap_err();
    let said = refused(driver.probe(&made.fields, None).await, "a secret-id without uses");
    assert!(said.contains("no use left"), "{said}");
}

#[tokio::test]
async fn nothing_of_others_is_touched() {
    let world = World::new();
    let by_hand = world.bao.ask("POST", "auth/approle/role/orders/secret-id", json!({}));
    let accessor = by_hand["data"]["secret_id_accessor"].as_str().unwrap();
    let intent = World::intent(9);
    let mut taken = intent.clone();
    taken.handle = format!("{}#{accessor}", intent.handle).parse().unwrap();
    assert_eq!(world.driver.find(&taken).await.unwrap(), Found::Foreign);
    let Survey::Seen(seen) = world.driver.survey().await.unwrap() else { panic!("it tells") };
    assert!(
        seen.len() == 1 && seen[0].name.contains(accessor),
        "what was made by hand is not seen: {seen:?}"
    );
    refused(world.driver.install(&taken).await, "an install over something else");
    refused(world.driver.set_expiry(&taken.handle, Expiry::Soon).await, "an expiry of something else");
    refused(world.driver.revoke(&taken.handle, Sessions::End).await, "a revocation of something else");
    refused(world.driver.clean_up(&taken.handle).await, "a clean-up of something else");
    // Nor what another installation made for the same name.
    let neighbour =
        build_for("neighbour", &world.target, &world.account, (&world.token, Some(world.bao.ca_pem())));
    let theirs = neighbour.install(&intent).await.unwrap();
    taken.handle = theirs.handle.clone();
    assert_eq!(world.driver.find(&taken).await.unwrap(), Found::Foreign);
    refused(world.driver.revoke(&taken.handle, Sessions::End).await, "a revocation of a neighbour's");
    assert_eq!(world.driver.find(&intent).await.unwrap(), Found::Absent, "a marker without its owner");
    neighbour.revoke(&theirs.handle, Sessions::End).await.unwrap();
    // Nor what another attempt made under another marker.
    let made = world.driver.install(&intent).await.unwrap();
    taken.handle = made.handle.as_str().replace("k2f9qd", "other1").parse().unwrap();
    refused(world.driver.revoke(&taken.handle, Sessions::End).await, "a revocation of another attempt's");
    assert_eq!(world.secret_ids().len(), 2);
    assert_eq!(world.driver.list().await.unwrap(), {
        let version = Some(intent.version);
        Listed::Versions(vec![rekey_drivers::ListedVersion {
            version,
            handle: made.handle.clone(),
            accepted: true,
            adopted: false,
        }])
    });
}

#[tokio::test]
async fn a_probe_needs_what_is_declared() {
    let world = World::new();
    let made = world.driver.install(&World::intent(1)).await.unwrap();
    for (probe, told) in [("secret/data/others", "permission denied"), ("sys/mounts", "permission denied")] {
        let driver = world.driver_with(|_, account, _| account.probes = vec![probe.into()]);
        let said = refused(driver.probe(&made.fields, None).await, probe);
        assert!(said.contains(told) && said.contains(probe), "{said}");
    }
    let driver = world.driver_with(|_, account, _| account.policies.push("admin".into()));
    let said = refused(driver.probe(&made.fields, None).await, "a policy that the role has not");
    assert!(said.contains("admin"), "{said}");
    let role = json!({ "token_policies": ["orders"] });
    world.bao.ask("POST", "auth/approle/role/others", role);
    let driver = world.driver_with(|_, account, _| account.role = "others".into());
    let said = refused(driver.probe(&made.fields, None).await, "another role");
    assert!(said.contains("not the role others"), "{said}");
}

#[tokio::test]
async fn a_rotator_with_an_approle_leaves_no_token_behind() {
    let world = World::new();
    world.bao.ask("POST", "auth/approle/role/rekey", json!({ "token_policies": ["rekey"] }));
    let id = world.bao.ask("GET", "auth/approle/role/rekey/role-id", json!(null));
    let role_id = id["data"]["role_id"].as_str().unwrap().to_owned();
    let secret = world.bao.ask("POST", "auth/approle/role/rekey/secret-id", json!({}));
    let secret = secret["data"]["secret_id"].as_str().unwrap().to_owned();
    let driver = world.driver_with(|target, _, token| {
        target.login = Login::AppRole { mount: "approle".into(), role_id };
        *token = secret;
    });
    let before = world.tokens();
    let made = driver.install(&World::intent(1)).await.unwrap();
    driver.probe(&made.fields, None).await.unwrap();
    driver.revoke(&made.handle, Sessions::End).await.unwrap();
    driver.clean_up(&made.handle).await.unwrap();
    assert_eq!(world.tokens(), before);
    let wrong = world.driver_with(|target, _, token| {
        target.login = Login::AppRole { mount: "approle".into(), role_id: "wrong".into() };
        *token = "wrong".into();
    });
    let said = refused(wrong.install(&World::intent(2)).await, "a wrong login of the rotator");
    assert!(said.contains("rotator's login"), "{said}");
}

#[tokio::test]
async fn a_sealed_server_is_waited_for() {
    let world = World::new();
    let made = world.driver.install(&World::intent(1)).await.unwrap();
    world.bao.seal();
    for error in [
        world.driver.install(&World::intent(2)).await.unwrap_err(),
        world.driver.probe(&made.fields, None).await.unwrap_err(),
        world.driver.revoke(&made.handle, Sessions::End).await.unwrap_err(),
    ] {
        assert!(
            matches!(&error, DriverError::Unavailable(why) if why.to_string().contains("sealed")),
            "{error:?}"
        );
    }
    world.bao.unseal().unwrap();
    world.driver.probe(&made.fields, None).await.unwrap();
    assert_eq!(world.secret_ids().len(), 1);
}

#[tokio::test]
async fn nobody_at_the_address_is_unavailable() {
    let world = World::new();
    let nobody = world.plain_at(free_port().unwrap());
    let made = world.driver.install(&World::intent(1)).await.unwrap();
    let away = |error: DriverError| assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    away(nobody.install(&World::intent(2)).await.unwrap_err());
    away(nobody.find(&World::intent(2)).await.unwrap_err());
    away(nobody.probe(&made.fields, None).await.unwrap_err());
    away(nobody.usage(&made.handle).await.unwrap_err());
    away(nobody.set_expiry(&made.handle, Expiry::Never).await.unwrap_err());
    away(nobody.revoke(&made.handle, Sessions::End).await.unwrap_err());
    away(nobody.clean_up(&made.handle).await.unwrap_err());
    away(nobody.list().await.unwrap_err());
}

#[tokio::test]
async fn a_secret_that_is_handed_in_is_refused() {
    let world = World::new();
    let mut intent = World::intent(1);
    intent.secret = Some(Arc::new(SecretBytes::from("mine".to_owned())));
    refused(world.driver.install(&intent).await, "a secret of ours");
    assert!(world.secret_ids().is_empty());
}
