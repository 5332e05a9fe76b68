//! One test's own nodes, with a user and a rotator on each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rekey_drivers::redis::{
    Account, Persist, Plug, RIGHTS, RIGHTS_FOR_REWRITE, Redis as Driver, TargetSettings, TlsMode, TlsSettings,
};
use rekey_drivers::{Intent, Owner, Plug as _};
use rekey_model::{Fields, SecretBytes, Span, Version};
use rekey_testkit::redis::{Client, Options, Redis};

use crate::proxy::Proxy;

/// The application's user in every world.
pub(crate) const USER: &str = "orders";
/// What its owner allows it.
pub(crate) const RULES: &str = "on ~orders:* &orders:* +get +ping";
/// The rotator's password in every world.
pub(crate) const ROTATOR_PASSWORD: &str = "rotator-password-5b1f";

/// One test's world.
pub(crate) struct World {
    pub(crate) nodes: [Redis; 2],
    pub(crate) driver: Driver,
    target: TargetSettings,
    account: Account,
    consumers: AtomicUsize,
}

impl World {
    /// A world as most tests need it.
    pub(crate) fn new() -> Self {
        let nodes = [Redis::start(Options::default()), Redis::start(Options::default())];
        Self::of(nodes, RIGHTS, Persist::AclFile)
    }

    /// One whose user has one password at a time.
    pub(crate) fn with_one_password() -> Self {
        let mut world = Self::new();
        world.account.one_password = true;
        world.driver = build(&world.target, &world.account, None);
        world
    }

    /// One whose nodes have no ACL file.
    pub(crate) fn with_users_in_config() -> Self {
        let options = || Options { users_in_config: true, ..Options::default() };
        let nodes = [Redis::start(options()), Redis::start(options())];
        Self::of(nodes, RIGHTS_FOR_REWRITE, Persist::ConfigRewrite)
    }

    fn of(nodes: [Redis; 2], rights: &str, persist: Persist) -> Self {
        for node in &nodes {
            node.run(rights);
            node.run(&format!("ACL SETUSER rekey >{ROTATOR_PASSWORD}"));
            node.run(&format!("ACL SETUSER {USER} {RULES}"));
            node.run(if persist == Persist::AclFile { "ACL SAVE" } else { "CONFIG REWRITE" });
        }
        let target = target(nodes.iter().map(Redis::address).collect(), persist);
        let probes = vec!["GET orders:1".into()];
        let account = Account { user: USER.into(), adopt: None, one_password: false, probes };
        let driver = build(&target, &account, None);
        Self { nodes, driver, target, account, consumers: AtomicUsize::new(0) }
    }

    /// The same account by other settings.
    pub(crate) fn driver_with(&self, change: impl FnOnce(&mut TargetSettings, &mut Account)) -> Driver {
        let (mut target, mut account) = (self.target.clone(), self.account.clone());
        change(&mut target, &mut account);
        build(&target, &account, None)
    }

    /// The same with one node behind a proxy.
    pub(crate) fn through(&self, node: usize, proxy: &Proxy) -> Driver {
        self.driver_with(|target, _| target.nodes[node] = format!("127.0.0.1:{}", proxy.port()))
    }

    /// A version to make, with a password that is found wherever it leaks.
    pub(crate) fn intent(&self, version: u64) -> Intent {
        let secret = SecretBytes::from(format!("plain-marker-{version}"));
        let version = Version::new(version).unwrap();
        let handle = Plug::handle(&self.account, version, &secret).unwrap().parse().unwrap();
        Intent::chosen(version, handle, Arc::new(secret))
    }

    /// A command of the administrator on every node.
    pub(crate) fn on_all(&self, command: &str) {
        for node in &self.nodes {
            node.run(command);
        }
    }

    /// Everything that every node knows of users, but for those of the tests themselves.
    pub(crate) fn rules(&self) -> Vec<String> {
        self.nodes.iter().flat_map(|node| node.run("ACL LIST").texts()).collect()
    }

    /// Whether the user has this version's password at a node.
    pub(crate) fn has(&self, node: usize, intent: &Intent) -> bool {
        let (_, hash) = intent.handle.as_str().split_once('#').unwrap();
        let user = self.nodes[node].run(&format!("ACL GETUSER {USER}"));
        user.texts().iter().any(|text| text == hash)
    }

    /// A session with what a consumer gets: at each node in turn.
    pub(crate) fn consumer(&self, fields: &Fields) -> Client {
        let text = |field: &str| String::from_utf8(fields.get(field).unwrap().expose().to_vec()).unwrap();
        assert_eq!(format!("{}:{}", text("host"), text("port")), self.nodes[0].address());
        let node = self.consumers.fetch_add(1, Ordering::Relaxed) % self.nodes.len();
        self.nodes[node].client(&text("username"), &text("password")).unwrap()
    }

    /// Stops every node and starts it again.
    pub(crate) fn restart(&mut self) {
        for node in &mut self.nodes {
            node.restart().unwrap();
        }
    }
}

/// Settings as a user would write them.
pub(crate) fn target(nodes: Vec<String>, persist: Persist) -> TargetSettings {
    TargetSettings {
        nodes,
        consumer_host: None,
        consumer_port: None,
        user: "rekey".into(),
        password_file: "not-read-here".into(),
        persist,
        tls: TlsSettings { mode: TlsMode::Disable, ..TlsSettings::default() },
        connect_timeout: Span::new(Duration::from_secs(3)),
        command_timeout: Span::new(Duration::from_secs(3)),
        call_timeout: Span::new(Duration::from_secs(15)),
    }
}

/// The driver, with an authority where TLS is spoken.
pub(crate) fn build(target: &TargetSettings, account: &Account, ca: Option<&str>) -> Driver {
    let password = SecretBytes::from(ROTATOR_PASSWORD.to_owned());
    let target = target.with(password, ca.map(str::as_bytes)).unwrap();
    let owner = Owner { installation: "test".into(), credential: "orders/cache".parse().unwrap() };
    Driver::new(target, account.clone(), owner).unwrap()
}
