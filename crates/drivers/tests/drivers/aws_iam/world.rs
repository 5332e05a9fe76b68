//! A user and a rotator of its own for each test, at one moto for all of them.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rekey_drivers::aws_iam::{Account, AwsIam, POLICY, TargetSettings, TlsSettings};
use rekey_drivers::{
    Cut, Driver, DriverFuture, Expiry, Found, Installed, Intent, Owner, Proof, Sessions, Usage,
};
use rekey_model::{Fields, Handle, SecretBytes, Span};
use rekey_testkit::moto::{AccessKey, Moto};

static MOTO: LazyLock<Moto> = LazyLock::new(Moto::start);
static NUMBER: AtomicU32 = AtomicU32::new(0);

pub(crate) fn moto() -> &'static Moto {
    &MOTO
}

pub(crate) struct World {
    pub(crate) driver: AwsIam,
    pub(crate) user: String,
    pub(crate) rotator: AccessKey,
    target: TargetSettings,
    account: Account,
}

pub(crate) fn seconds(seconds: u64) -> Span {
    Span::new(Duration::from_secs(seconds))
}

pub(crate) fn fields(id: &str, secret: &str) -> Fields {
    let value = |text: &str| SecretBytes::from(text.to_owned());
    let fields = BTreeMap::from([
        ("access_key_id".parse().unwrap(), value(id)),
        ("secret_access_key".parse().unwrap(), value(secret)),
    ]);
    Fields::new(fields).unwrap()
}

impl World {
    pub(crate) fn new() -> Self {
        let user = format!("orders{}", NUMBER.fetch_add(1, Ordering::SeqCst));
        let rotator = format!("{user}-rotator");
        moto().user(&user, None);
        moto().user(&rotator, Some(&POLICY.replace("user/orders", &format!("user/{user}"))));
        let rotator = moto().create_key(&rotator);
        let target = target(moto().port());
        let account = Account { user: user.clone(), exclusive: true, adopt: None };
        let driver = build(&target, &account, &rotator);
        Self { driver, user, rotator, target, account }
    }

    /// The driver for other settings.
    pub(crate) fn driver_with(&self, change: impl FnOnce(&mut TargetSettings, &mut Account)) -> AwsIam {
        let (mut target, mut account) = (self.target.clone(), self.account.clone());
        change(&mut target, &mut account);
        build(&target, &account, &self.rotator)
    }

    pub(crate) fn at_port(&self, port: u16) -> AwsIam {
        build(&target(port), &self.account, &self.rotator)
    }

    pub(crate) fn as_owner_of(&self, key: &AccessKey) -> AwsIam {
        build(&self.target, &self.account, key)
    }
}

fn target(port: u16) -> TargetSettings {
    let endpoint = format!("http://127.0.0.1:{port}");
    TargetSettings {
        sts_endpoint: Some(endpoint.clone()),
        endpoint,
        iam_region: "us-east-1".to_owned(),
        region: "eu-central-1".to_owned(),
        access_key_id_file: "not-read-here".into(),
        secret_access_key_file: "not-read-here".into(),
        tls: TlsSettings::default(),
        connect_timeout: seconds(5),
        request_timeout: seconds(20),
        call_timeout: seconds(60),
        settle: seconds(1),
        visible_within: seconds(60),
    }
}

fn build(target: &TargetSettings, account: &Account, key: &AccessKey) -> AwsIam {
    let pair = (SecretBytes::from(key.id.clone()), SecretBytes::from(key.secret.clone()));
    let owner = Owner { installation: "test".to_owned(), credential: "orders/cloud".parse().unwrap() };
    AwsIam::new(target.with(pair, None).unwrap(), account.clone(), &owner).unwrap()
}

/// One driver for what makes a key and another for what ends one.
#[derive(Debug)]
pub(crate) struct Either {
    pub(crate) create: AwsIam,
    pub(crate) update: AwsIam,
}

impl Driver for Either {
    fn install<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Installed> {
        self.create.install(intent)
    }

    fn find<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Found> {
        self.create.find(intent)
    }

    fn probe<'a>(&'a self, fields: &'a Fields, old: Option<&'a Handle>) -> DriverFuture<'a, Proof> {
        self.create.probe(fields, old)
    }

    fn usage<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, Usage> {
        self.create.usage(handle)
    }

    fn set_expiry<'a>(&'a self, handle: &'a Handle, expiry: Expiry) -> DriverFuture<'a, ()> {
        self.create.set_expiry(handle, expiry)
    }

    fn revoke<'a>(&'a self, handle: &'a Handle, sessions: Sessions) -> DriverFuture<'a, Cut> {
        self.update.revoke(handle, sessions)
    }

    fn clean_up<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, ()> {
        self.update.clean_up(handle)
    }

    fn settle(&self) -> Duration {
        self.create.settle()
    }
}
