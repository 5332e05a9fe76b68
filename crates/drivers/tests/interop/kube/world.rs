//! One test's own cluster, with an application's service account and a rotator.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use rekey_drivers::kubernetes::{Account, Kubernetes as Driver, TargetSettings, TlsSettings, manifest};
use rekey_drivers::{Intent, Owner};
use rekey_model::{Fields, SecretBytes, Span, Version};
use rekey_testkit::http::Http;
use rekey_testkit::kube::{Kube, application, ask_at};
use serde_json::{Value, json};

/// One test's world.
pub(crate) struct World {
    pub(crate) kube: Kube,
    pub(crate) driver: Driver,
    pub(crate) target: TargetSettings,
    pub(crate) account: Account,
    /// The rotator's token.
    pub(crate) token: String,
    /// How many drivers were made whose answers are lost.
    pub(crate) lossy: AtomicUsize,
    http: Http,
}

impl World {
    pub(crate) fn new() -> Self {
        let kube = Kube::start();
        kube.apply(&application("orders", "orders"));
        let account = account();
        kube.apply(&manifest(&account, ("rekey", "rotator")));
        let token = kube.token_of("rekey", "rotator");
        let target = target(kube.port());
        let driver = build(&target, &account, &token, kube.ca_pem());
        let http = Http::tls(kube.port(), kube.ca_pem()).unwrap();
        Self { kube, driver, target, account, token, lossy: AtomicUsize::new(0), http }
    }

    /// The same account by other settings.
    pub(crate) fn driver_with(&self, change: impl FnOnce(&mut TargetSettings, &mut Account)) -> Driver {
        let (mut target, mut account) = (self.target.clone(), self.account.clone());
        change(&mut target, &mut account);
        build(&target, &account, &self.token, self.kube.ca_pem())
    }

    pub(crate) fn intent(version: u64) -> Intent {
        let handle = format!("orders_v{version}_k2f9qd").parse().unwrap();
        let version = Version::new(version).unwrap();
        Intent { version, handle, secret: None, baseline: Vec::new(), known: Vec::new() }
    }

    /// The names of all Secrets of the application's namespace.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let listed = self.kube.ask("GET", "/api/v1/namespaces/orders/secrets", Value::Null);
        let items = listed["items"].as_array().unwrap().iter();
        items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    /// What the API server answers to the application's own request.
    pub(crate) fn reads(&self, fields: &Fields) -> u16 {
        let token = text(fields, "token");
        let path = "/api/v1/namespaces/orders/configmaps/settings";
        ask_at(&self.http, &token, "GET", path, &Value::Null).unwrap().status
    }

    /// Whether the API server still vouches for the token.
    pub(crate) fn is_vouched_for(&self, fields: &Fields) -> bool {
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": { "token": text(fields, "token"), "audiences": self.account.audiences },
        });
        let said = self.kube.ask("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body);
        said["status"]["authenticated"] == true
    }
}

pub(crate) fn text(fields: &Fields, name: &str) -> String {
    String::from_utf8(fields.get(name).unwrap().expose().to_vec()).unwrap()
}

/// An account as a user would write it.
pub(crate) fn account() -> Account {
    Account {
        namespace: "orders".into(),
        service_account: "orders".into(),
        audiences: Vec::new(),
        life: Span::new(Duration::from_mins(10)),
        probes: vec!["get configmaps/settings".parse().unwrap()],
    }
}

fn target(port: u16) -> TargetSettings {
    let span = |seconds| Span::new(Duration::from_secs(seconds));
    TargetSettings {
        server: format!("https://localhost:{port}"),
        consumer_server: None,
        token_file: "not-read-here".into(),
        tls: TlsSettings { ca_file: Some("not-read-here".into()), ..TlsSettings::default() },
        connect_timeout: span(3),
        request_timeout: span(5),
        call_timeout: span(30),
        server_timeout: span(60),
    }
}

pub(crate) fn build(target: &TargetSettings, account: &Account, token: &str, ca: &str) -> Driver {
    build_for("test", target, account, (token, ca))
}

/// The driver of another installation.
pub(crate) fn build_for(
    installation: &str,
    target: &TargetSettings,
    account: &Account,
    (token, ca): (&str, &str),
) -> Driver {
    let target = target.with(SecretBytes::from(token.to_owned()), Some(ca.as_bytes())).unwrap();
    let owner = Owner { installation: installation.into(), credential: "orders/k8s".parse().unwrap() };
    Driver::new(target, account.clone(), owner).unwrap()
}
