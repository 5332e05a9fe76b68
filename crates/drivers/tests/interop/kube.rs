//! Kubernetes: a real API server for each test, with a service account and a rotator.

mod lost;
mod world;

use std::any::Any;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rekey_drivers::kubernetes::manifest;
use rekey_drivers::{Driver, DriverError, Expiry, Found, Intent, Listed, Sessions, Usage};
use rekey_model::{Fields, SecretBytes};
use rekey_testkit::certificates::Authority;
use rekey_testkit::process::free_port;
use serde_json::{Value, json};

use crate::conformance::{self, Subject, refused};
use world::{World, account, build, build_for, text};

const MANUAL: &str = include_str!("../../../../docs/drivers.md");

#[test]
fn the_manual_shows_the_objects_that_the_tests_run_with() {
    let manifest = manifest(&account(), ("rekey", "rotator"));
    assert!(MANUAL.contains(&manifest), "{manifest}");
}

impl Subject for World {
    fn driver(&self) -> &dyn Driver {
        &self.driver
    }

    fn intent(&self, version: u64) -> Intent {
        Self::intent(version)
    }

    fn taken(&self) -> Intent {
        let theirs = json!({ "metadata": { "name": "orders-v99-k2f9qd" } });
        self.kube.ask("POST", "/api/v1/namespaces/orders/secrets", theirs);
        Self::intent(99)
    }

    fn nobody_listens(&self) -> Arc<dyn Driver> {
        let port = free_port().unwrap();
        Arc::new(self.driver_with(|target, _| target.server = format!("https://localhost:{port}")))
    }

    /// The first one is asked to install, which asks six questions before; the second to revoke, which asks one. What is
    /// said is TLS, so only connections can be counted.
    fn answers_are_lost(&self) -> Arc<dyn Driver> {
        let answers = if self.lossy.fetch_add(1, Ordering::Relaxed) == 0 { 6 } else { 1 };
        let port = lost::answering(self.kube.port(), answers);
        Arc::new(self.driver_with(|target, _| target.server = format!("https://localhost:{port}")))
    }

    fn without_rights(&self) -> Arc<dyn Driver> {
        let token = self.kube.token_of("orders", "orders");
        Arc::new(build(&self.target, &self.account, &token, self.kube.ca_pem()))
    }

    fn consume(&self, _fields: &Fields) -> Box<dyn Any> {
        Box::new(())
    }

    fn makes_secrets(&self) -> bool {
        true
    }

    fn ends_at_once(&self) -> bool {
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

#[tokio::test]
async fn versions_live_beside_each_other_and_end_one_by_one() {
    let world = World::new();
    let (one, two) = (World::intent(1), World::intent(2));
    assert_eq!(world.driver.find(&one).await.unwrap(), Found::Absent);
    assert_eq!(world.driver.check().await.unwrap(), []);
    let first = world.driver.install(&one).await.unwrap();
    let second = world.driver.install(&two).await.unwrap();
    for installed in [&first, &second] {
        assert_eq!(world.driver.probe(&installed.fields, None).await.unwrap().probes, 1);
        world.driver.set_expiry(&installed.handle, Expiry::Never).await.unwrap();
        refused(world.driver.clean_up(&installed.handle).await, "a clean-up before the revocation");
        assert_eq!(world.driver.usage(&installed.handle).await.unwrap(), Usage::CannotTell);
        assert_eq!(world.reads(&installed.fields), 200);
    }
    assert_eq!(world.secrets(), ["orders-v1-k2f9qd", "orders-v2-k2f9qd"]);
    let Listed::Versions(listed) = world.driver.list().await.unwrap() else { panic!("it lists") };
    let listed: Vec<_> = listed.into_iter().map(|it| (it.version.unwrap().get(), it.handle)).collect();
    assert_eq!(listed, [(1, first.handle.clone()), (2, second.handle.clone())]);
    assert_eq!(text(&first.fields, "server"), world.target.server);
    // It is accepted a moment before its end, so every server remembers it.
    assert!(world.is_vouched_for(&first.fields));
    world.driver.revoke(&first.handle, Sessions::Leave).await.unwrap();
    assert!(!world.is_vouched_for(&first.fields), "the ending is told before it is there");
    assert_eq!(world.reads(&first.fields), 401);
    let said = refused(world.driver.probe(&first.fields, None).await, "a probe of a revoked version");
    assert!(said.contains("TokenReview"), "{said}");
    for _ in 0..2 {
        world.driver.revoke(&first.handle, Sessions::End).await.unwrap();
        world.driver.clean_up(&first.handle).await.unwrap();
    }
    refused(world.driver.set_expiry(&first.handle, Expiry::Never).await, "an expiry of what is gone");
    world.driver.probe(&second.fields, None).await.unwrap();
    assert_eq!(world.secrets(), ["orders-v2-k2f9qd"]);
}

#[tokio::test]
async fn a_token_is_for_whom_and_for_how_long_it_was_declared() {
    let world = World::new();
    let driver = world.driver_with(|_, account| {
        account.audiences = vec!["vault".into(), "https://kubernetes.default.svc".into()];
    });
    let made = driver.install(&World::intent(1)).await.unwrap();
    driver.probe(&made.fields, None).await.unwrap();
    let other = world.driver_with(|_, account| account.audiences = vec!["elsewhere".into()]);
    let said = refused(other.probe(&made.fields, None).await, "another audience");
    assert!(said.contains("TokenReview") || said.contains("audience"), "{said}");
    // One that is not for the API server cannot be tried there.
    let apart = world.driver_with(|_, account| account.audiences = vec!["vault".into()]);
    let made = apart.install(&World::intent(2)).await.unwrap();
    let said = refused(apart.probe(&made.fields, None).await, "a probe at the API server");
    assert!(said.contains("login"), "{said}");
    let unprobed = world.driver_with(|_, account| {
        account.audiences = vec!["vault".into()];
        account.probes = Vec::new();
    });
    unprobed.probe(&made.fields, None).await.unwrap();
}

#[tokio::test]
async fn a_probe_needs_what_it_names() {
    let world = World::new();
    let made = world.driver.install(&World::intent(1)).await.unwrap();
    for probe in ["list pods", "get secrets/x", "delete configmaps/settings", "get deployments.apps"] {
        let driver = world.driver_with(|_, account| account.probes = vec![probe.parse().unwrap()]);
        let said = refused(driver.probe(&made.fields, None).await, probe);
        assert!(said.contains(probe) && said.contains("may not"), "{said}");
    }
    let other = world.driver_with(|_, account| account.service_account = "other".into());
    let said = refused(other.probe(&made.fields, None).await, "another account");
    assert!(said.contains("orders:other"), "{said}");
}

#[tokio::test]
async fn every_right_is_needed_and_named_when_it_is_missing() {
    let world = World::new();
    let intent = World::intent(1);
    let whole = manifest(&account(), ("rekey", "rotator"));
    for (take, from, to) in [
        (
            "create serviceaccounts/token",
            "resources: [serviceaccounts/token]",
            "resources: [serviceaccounts/other]",
        ),
        ("create secrets", "verbs: [create, get", "verbs: [get"),
        ("get secrets", "create, get, list", "create, list"),
        ("list secrets", "get, list, delete", "get, delete"),
        ("delete secrets", "list, delete]", "list]"),
        ("create tokenreviews", "resources: [tokenreviews]", "resources: [others]"),
    ] {
        assert!(whole.contains(from));
        world.kube.apply(&whole.replace(from, to));
        let lacks = loop {
            // The authorizer hears of it a moment later.
            let lacks = world.driver.check().await.unwrap();
            if lacks.len() == 1 && lacks[0].what.contains(take) {
                break lacks;
            }
        };
        let why = refused(world.driver.install(&intent).await, take);
        assert!(why.contains(&lacks[0].what) && why.contains(&lacks[0].remedy), "{why}");
        assert!(world.secrets().is_empty(), "{take}: something was made");
    }
    world.kube.apply(&whole);
    while !world.driver.check().await.unwrap().is_empty() {}
    world.driver.install(&intent).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_made_leaves_nothing_behind() {
    let world = World::new();
    world.kube.ask("DELETE", "/api/v1/namespaces/orders/serviceaccounts/orders", Value::Null);
    let said = refused(world.driver.install(&World::intent(1)).await, "an account that is not there");
    assert!(said.contains("not found"), "{said}");
    assert!(world.secrets().is_empty());
    let mut handed = World::intent(2);
    handed.secret = Some(Arc::new(SecretBytes::from("mine".to_owned())));
    refused(world.driver.install(&handed).await, "a secret of ours");
}

#[tokio::test]
async fn nothing_of_others_is_touched() {
    let world = World::new();
    let taken = World::intent(9);
    let theirs = json!({ "metadata": { "name": "orders-v9-k2f9qd" }, "stringData": { "a": "b" } });
    world.kube.ask("POST", "/api/v1/namespaces/orders/secrets", theirs);
    assert_eq!(world.driver.find(&taken).await.unwrap(), Found::Foreign);
    refused(world.driver.install(&taken).await, "an install over something else");
    refused(world.driver.set_expiry(&taken.handle, Expiry::Soon).await, "an expiry of something else");
    refused(world.driver.revoke(&taken.handle, Sessions::End).await, "a revocation of something else");
    refused(world.driver.clean_up(&taken.handle).await, "a clean-up of something else");
    assert_eq!(world.driver.list().await.unwrap(), Listed::Versions(Vec::new()));
    let neighbour =
        build_for("neighbour", &world.target, &world.account, (&world.token, world.kube.ca_pem()));
    let theirs = World::intent(7);
    neighbour.install(&theirs).await.unwrap();
    assert_eq!(world.driver.find(&theirs).await.unwrap(), Found::Foreign);
    refused(world.driver.install(&theirs).await, "an install over a neighbour's");
    refused(world.driver.revoke(&theirs.handle, Sessions::End).await, "a revocation of a neighbour's");
    assert_eq!(world.driver.list().await.unwrap(), Listed::Versions(Vec::new()));
    let mut intent = World::intent(8);
    world.driver.install(&intent).await.unwrap();
    intent.version = taken.version;
    assert_eq!(world.driver.find(&intent).await.unwrap(), Found::Foreign);
    refused(world.driver.install(&intent).await, "an install over another version");
    assert_eq!(world.secrets().len(), 3);
}

#[tokio::test]
async fn what_can_be_printed_holds_no_secret_and_only_the_declared_authority_is_trusted() {
    let world = World::new();
    let intent = World::intent(1);
    let made = world.driver.install(&intent).await.unwrap();
    let mut said = format!("{:?} {intent:?} {made:?}", world.driver);
    let other = Authority::new("another authority").unwrap();
    let wrong = [
        build(&world.target, &world.account, &world.token, other.pem()).install(&intent).await.unwrap_err(),
        build(&world.target, &world.account, "wrong", world.kube.ca_pem())
            .install(&intent)
            .await
            .unwrap_err(),
    ];
    for (error, told) in wrong.iter().zip(["TLS", "Unauthorized"]) {
        assert!(matches!(error, DriverError::Refused(why) if why.to_string().contains(told)), "{error:?}");
        let mut cause: Option<&dyn Error> = Some(error);
        while let Some(one) = cause {
            said.extend([one.to_string(), format!("{one:?}")]);
            cause = one.source();
        }
    }
    for secret in [&text(&made.fields, "token"), &world.token] {
        assert!(!said.contains(secret.as_str()), "{said}");
    }
}

#[tokio::test]
async fn nobody_at_the_address_is_unavailable() {
    let world = World::new();
    let port = free_port().unwrap();
    let nobody = world.driver_with(|target, _| target.server = format!("https://localhost:{port}"));
    let made = world.driver.install(&World::intent(1)).await.unwrap();
    let away = |error: DriverError| assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    away(nobody.check().await.unwrap_err());
    away(nobody.install(&World::intent(2)).await.unwrap_err());
    away(nobody.find(&World::intent(2)).await.unwrap_err());
    away(nobody.probe(&made.fields, None).await.unwrap_err());
    away(nobody.set_expiry(&made.handle, Expiry::Never).await.unwrap_err());
    away(nobody.revoke(&made.handle, Sessions::End).await.unwrap_err());
    away(nobody.clean_up(&made.handle).await.unwrap_err());
    away(nobody.list().await.unwrap_err());
}
