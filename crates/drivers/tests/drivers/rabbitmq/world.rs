//! One test's own virtual hosts and rotator at the server that all tests share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rekey_drivers::rabbitmq::{
    Account, Permission, Rabbitmq as Driver, TargetSettings, TlsMode, TlsSettings,
};
use rekey_drivers::{Intent, Owner};
use rekey_model::{Fields, SecretBytes, Span, Version};
use rekey_testkit::rabbitmq::{Client, RabbitMq};
use serde_json::{Value, json};

/// The rotator's password in every world.
pub(crate) const ROTATOR_PASSWORD: &str = "rotator-password-5b1f";

/// The server that all tests share. It ends with the test process.
pub(crate) fn shared() -> &'static RabbitMq {
    static SHARED: OnceLock<RabbitMq> = OnceLock::new();
    SHARED.get_or_init(RabbitMq::start)
}

/// One test's world.
pub(crate) struct World<'s> {
    pub(crate) server: &'s RabbitMq,
    pub(crate) driver: Driver,
    /// Names of this world begin with it.
    pub(crate) name: String,
    target: TargetSettings,
    account: Account,
}

impl World<'static> {
    /// A world as most tests need it.
    pub(crate) fn new() -> Self {
        Self::at(shared())
    }
}

impl<'s> World<'s> {
    /// A world at a server of its own.
    pub(crate) fn at(server: &'s RabbitMq) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("w{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let permission = |vhost: String| Permission {
            vhost,
            configure: String::new(),
            write: "^orders".into(),
            read: ".*".into(),
        };
        let account = Account {
            prefix: name.clone(),
            adopt: None,
            tags: vec!["reporting".into()],
            permissions: vec![permission(format!("{name}/a b")), permission(format!("{name}-more"))],
        };
        for permission in &account.permissions {
            server.api("PUT", &format!("vhosts/{}", piece(&permission.vhost)), &Value::Null);
        }
        let target = target(server, &format!("{name}_rekey"));
        let driver = build(&target, &account, None);
        let world = Self { server, driver, name, target, account };
        world.put_user(&format!("{}_rekey", world.name), ROTATOR_PASSWORD, "administrator");
        world
    }

    /// The same account by other settings.
    pub(crate) fn driver_with(&self, change: impl FnOnce(&mut TargetSettings, &mut Account)) -> Driver {
        let (mut target, mut account) = (self.target.clone(), self.account.clone());
        change(&mut target, &mut account);
        build(&target, &account, None)
    }

    /// The same account with TLS, trusting `ca`, at the server called `host`.
    pub(crate) fn driver_in_tls(&self, ca: &str, host: &str) -> Driver {
        let mut target = self.target.clone();
        target.address = format!("https://{host}:{}", self.server.management_tls_port());
        target.consumer_port = Some(self.server.tls_port());
        target.tls = TlsSettings { ca_file: Some("not-read-here".into()), ..TlsSettings::default() };
        build(&target, &self.account, Some(ca))
    }

    /// A version to make, with a password that is found wherever it leaks.
    pub(crate) fn intent(&self, version: u64) -> Intent {
        self.intent_called(version, &format!("{}_v{version}_k2f9qd", self.name))
    }

    /// The same with another name.
    pub(crate) fn intent_called(&self, version: u64, name: &str) -> Intent {
        let secret = Arc::new(SecretBytes::from(format!("plain-marker-{}-{version}", self.name)));
        Intent::chosen(Version::new(version).unwrap(), name.parse().unwrap(), secret)
    }

    /// Makes a user, or sets it anew.
    pub(crate) fn put_user(&self, name: &str, password: &str, tags: &str) {
        self.server.api("PUT", &format!("users/{name}"), &json!({ "password": password, "tags": tags }));
    }

    /// Gives a user these expressions at the first virtual host.
    pub(crate) fn permit(&self, name: &str, [configure, write, read]: [&str; 3]) {
        self.permit_at(&self.vhost(), name, [configure, write, read]);
    }

    /// Gives a user these expressions at a virtual host.
    pub(crate) fn permit_at(&self, vhost: &str, name: &str, [configure, write, read]: [&str; 3]) {
        let body = json!({ "configure": configure, "write": write, "read": read });
        self.server.api("PUT", &format!("permissions/{}/{name}", piece(vhost)), &body);
    }

    /// A user as the server shows it; none where there is none.
    pub(crate) fn user(&self, name: &str) -> Option<Value> {
        let answer = self.server.try_api("GET", &format!("users/{name}"), &Value::Null).unwrap();
        (answer.status == 200).then_some(answer.body)
    }

    /// Makes a virtual host.
    pub(crate) fn put_vhost(&self, vhost: &str) {
        self.server.api("PUT", &format!("vhosts/{vhost}"), &Value::Null);
    }

    /// The first virtual host.
    pub(crate) fn vhost(&self) -> String {
        self.account.permissions[0].vhost.clone()
    }

    /// The second virtual host.
    pub(crate) fn other_vhost(&self) -> String {
        self.account.permissions[1].vhost.clone()
    }

    /// A session with what a consumer gets.
    pub(crate) fn consumer(&self, fields: &Fields) -> Client {
        let text = |field: &str| String::from_utf8(fields.get(field).unwrap().expose().to_vec()).unwrap();
        assert_eq!((text("host"), text("port")), ("127.0.0.1".into(), self.server.port().to_string()));
        self.server.client(&text("username"), &text("password"), &self.vhost()).unwrap()
    }
}

/// A name as a piece of a path.
pub(crate) fn piece(name: &str) -> String {
    name.replace('/', "%2F").replace(' ', "%20")
}

/// The server as a target, for this rotator.
pub(crate) fn target(server: &RabbitMq, user: &str) -> TargetSettings {
    TargetSettings {
        address: format!("http://127.0.0.1:{}", server.management_port()),
        consumer_host: None,
        consumer_port: Some(server.port()),
        user: user.into(),
        password_file: "not-read-here".into(),
        tls: TlsSettings { mode: TlsMode::Disable, ..TlsSettings::default() },
        connect_timeout: Span::new(Duration::from_secs(10)),
        request_timeout: Span::new(Duration::from_secs(10)),
        transit: Span::new(Duration::from_secs(2)),
        call_timeout: Span::new(Duration::from_mins(1)),
    }
}

/// The driver, with an authority where TLS is spoken.
pub(crate) fn build(target: &TargetSettings, account: &Account, ca: Option<&str>) -> Driver {
    let password = SecretBytes::from(ROTATOR_PASSWORD.to_owned());
    let target = target.with(password, ca.map(str::as_bytes)).unwrap();
    let owner = Owner { installation: "test".into(), credential: "orders/queue".parse().unwrap() };
    Driver::new(target, account.clone(), owner).unwrap()
}
