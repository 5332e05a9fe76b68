//! One test's own OpenBao, with an application's role and a rotator.

use std::time::Duration;

use rekey_drivers::approle::{
    Account, AppRole as Driver, Login, TargetSettings, TlsMode, TlsSettings, Tokens, policy,
};
use rekey_drivers::{Intent, Owner};
use rekey_model::{Fields, SecretBytes, Span, Version};
use rekey_testkit::openbao::OpenBao;
use serde_json::{Value, json};

use crate::proxy::Proxy;

/// The application's role in every world.
pub(crate) const ROLE: &str = "orders";

/// One test's world.
pub(crate) struct World {
    pub(crate) bao: OpenBao,
    pub(crate) driver: Driver,
    /// The rotator's token.
    pub(crate) token: String,
    pub(crate) target: TargetSettings,
    pub(crate) account: Account,
}

impl World {
    pub(crate) fn new() -> Self {
        let bao = OpenBao::start();
        bao.policy("orders", "path \"secret/data/orders\" { capabilities = [\"read\"] }");
        bao.ask("POST", "secret/data/orders", json!({ "data": { "price": "12" } }));
        let role = json!({ "token_policies": ["orders"], "token_ttl": "10m" });
        bao.ask("POST", &format!("auth/approle/role/{ROLE}"), role);
        let account = account();
        bao.policy("rekey", &policy("approle", &account));
        let token = bao.token(&["rekey"]);
        let target = target(format!("https://localhost:{}", bao.tls_port()));
        let driver = build(&target, &account, &token, Some(bao.ca_pem()));
        Self { bao, driver, token, target, account }
    }

    /// The same account by other settings, or another token.
    pub(crate) fn driver_with(
        &self,
        change: impl FnOnce(&mut TargetSettings, &mut Account, &mut String),
    ) -> Driver {
        let (mut target, mut account, mut token) =
            (self.target.clone(), self.account.clone(), self.token.clone());
        change(&mut target, &mut account, &mut token);
        build(&target, &account, &token, Some(self.bao.ca_pem()))
    }

    /// The same without TLS, by a proxy that sees what is said.
    pub(crate) fn through(&self, proxy: &Proxy) -> Driver {
        self.plain_at(proxy.port())
    }

    /// The same without TLS at this port.
    pub(crate) fn plain_at(&self, port: u16) -> Driver {
        self.driver_with(|target, _, _| {
            target.address = format!("http://127.0.0.1:{port}");
            target.tls = TlsSettings { mode: TlsMode::Disable, ..TlsSettings::default() };
        })
    }

    pub(crate) fn intent(version: u64) -> Intent {
        let handle = format!("{ROLE}_v{version}_k2f9qd").parse().unwrap();
        let version = Version::new(version).unwrap();
        Intent { version, handle, secret: None, baseline: Vec::new(), known: Vec::new() }
    }

    /// The accessors of all secret-ids of the role.
    pub(crate) fn secret_ids(&self) -> Vec<String> {
        let path = format!("auth/approle/role/{ROLE}/secret-id");
        keys(&self.bao.ask_as(&self.root(), "LIST", &path, &Value::Null).unwrap().body)
    }

    /// The accessors of all tokens.
    pub(crate) fn tokens(&self) -> Vec<String> {
        keys(&self.bao.ask_as(&self.root(), "LIST", "auth/token/accessors", &Value::Null).unwrap().body)
    }

    pub(crate) fn root(&self) -> String {
        self.bao.root().to_owned()
    }

    /// Logs in as a consumer does and gives its token.
    pub(crate) fn log_in(&self, fields: &Fields) -> Result<String, String> {
        let text = |name: &str| String::from_utf8(fields.get(name).unwrap().expose().to_vec()).unwrap();
        let body = json!({ "role_id": text("role_id"), "secret_id": text("secret_id") });
        let path = format!("auth/{}/login", text("mount"));
        let answer = self.bao.ask_as("", "POST", &path, &body).unwrap();
        match answer.body["auth"]["client_token"].as_str() {
            Some(token) => Ok(token.to_owned()),
            None => Err(format!("{answer:?}")),
        }
    }

    /// Whether a token reads what the application needs.
    pub(crate) fn reads(&self, token: &str) -> bool {
        self.bao.ask_as(token, "GET", "secret/data/orders", &Value::Null).unwrap().status == 200
    }
}

fn keys(body: &Value) -> Vec<String> {
    let keys = body["data"]["keys"].as_array().into_iter().flatten();
    keys.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// An account as a user would write it.
pub(crate) fn account() -> Account {
    Account {
        role: ROLE.into(),
        ttl: Some(Span::new(Duration::from_hours(24))),
        num_uses: None,
        cidrs: Vec::new(),
        tokens: Tokens::Watch,
        policies: vec!["orders".into()],
        probes: vec!["secret/data/orders".into()],
    }
}

fn target(address: String) -> TargetSettings {
    let span = |seconds| Span::new(Duration::from_secs(seconds));
    TargetSettings {
        address,
        consumer_address: None,
        mount: "approle".into(),
        login: Login::Token,
        secret_file: "not-read-here".into(),
        tls: TlsSettings { ca_file: Some("not-read-here".into()), ..TlsSettings::default() },
        connect_timeout: span(3),
        request_timeout: span(5),
        call_timeout: span(20),
        max_request_duration: span(90),
    }
}

/// The driver, with an authority where TLS is spoken.
pub(crate) fn build(target: &TargetSettings, account: &Account, secret: &str, ca: Option<&str>) -> Driver {
    build_for("test", target, account, (secret, ca))
}

/// The driver of another installation.
pub(crate) fn build_for(
    installation: &str,
    target: &TargetSettings,
    account: &Account,
    (secret, ca): (&str, Option<&str>),
) -> Driver {
    let secret = SecretBytes::from(secret.to_owned());
    let target = target.with(secret, ca.map(str::as_bytes)).unwrap();
    let owner = Owner { installation: installation.into(), credential: "orders/api".parse().unwrap() };
    Driver::new(target, account.clone(), owner).unwrap()
}
