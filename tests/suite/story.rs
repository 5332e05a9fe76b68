//! The words that the tests are told in.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rekey_client::{Builder, Client, Credential};
use rekey_testkit::platform::{Platform, Setup};
use rekey_testkit::process::poll;
use rekey_testkit::system::{CREDENTIAL, Pace, Programs, System, folder};
use serde_json::Value;
use tokio::runtime::{self, Runtime};

/// How long anything may take on a busy machine before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

/// A system under load, and what its services count.
pub(crate) struct Story {
    pub(crate) system: System,
    services: Vec<String>,
    _home: Home,
}

/// An installation of Rekey for stories whose target is not the database of a [`Story`].
pub(crate) struct Installation {
    platform: Platform,
    _home: Home,
}

/// A folder of a story's own. It goes with the story, unless that fails.
pub(crate) struct Home(PathBuf);

/// What a service has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) logins: u64,
    pub(crate) queries: u64,
    pub(crate) failed: u64,
    pub(crate) cut: u64,
    pub(crate) version: u64,
}

impl Story {
    /// A database, a controller, and `sidecars` sidecars with a service behind each.
    pub(crate) fn begin(name: &str, sidecars: usize, pace: Pace) -> Self {
        Self::begin_at_level(name, sidecars, pace, "info")
    }

    /// The same, with every part logging at `level`.
    pub(crate) fn begin_at_level(name: &str, sidecars: usize, pace: Pace, level: &str) -> Self {
        let home = Home::of(name);
        let system = System::start_at_level(Programs::built().unwrap(), &home, pace, level).unwrap();
        let mut story = Self { system, services: Vec::new(), _home: home };
        for number in 1..=sidecars {
            story.system.start_sidecar(&format!("sidecar-{number}")).unwrap();
            story.start_service(number);
        }
        story
    }

    /// Starts the service behind the sidecar `number`.
    pub(crate) fn start_service(&mut self, number: usize) {
        let service = format!("orders-{number}");
        self.system.start_service(&service, &format!("sidecar-{number}")).unwrap();
        self.services.push(service);
    }

    /// Rotates once and waits for its end; gives what `rekeyctl rotate --wait` printed last.
    pub(crate) fn rotate(&self) -> Value {
        self.rotate_other(CREDENTIAL)
    }

    /// The same with another credential than that of the services.
    pub(crate) fn rotate_other(&self, name: &str) -> Value {
        self.system.ctl(&["rotate", name, "--wait", "--wait-timeout", "3m", "--reason", "test"]).unwrap()
    }

    /// Gives the controller targets more (indented by two), with the files that they name, and declares what is at them.
    pub(crate) fn declare_other(&mut self, targets: &str, files: &[(&str, &str)], documents: &str) {
        self.system.add_target(targets, files).unwrap();
        self.system.write("other.yaml", documents).unwrap();
        self.system.ctl(&["apply", "-f", "other.yaml"]).unwrap();
    }

    /// Begins a rotation.
    pub(crate) fn begin_rotation(&self) -> Value {
        self.system.ctl(&["rotate", CREDENTIAL, "--reason", "test"]).unwrap()
    }

    /// The credential's state.
    pub(crate) fn status(&self) -> Value {
        self.system.status().unwrap()
    }

    /// The state of another credential than that of the services.
    pub(crate) fn status_other(&self, name: &str) -> Value {
        Platform::status(&self.system, name).unwrap()
    }

    /// The current version.
    pub(crate) fn current(&self) -> u64 {
        self.status()["current"].as_u64().unwrap_or_default()
    }

    /// The phase of the rotation under way; empty without one.
    pub(crate) fn phase(&self) -> String {
        phase(&self.status()).to_owned()
    }

    /// Waits until the state is as wanted, and gives it.
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(|| self.system.status(), what, wanted)
    }

    /// Waits until no rotation is open and `version` is current.
    pub(crate) fn until_settled_on(&self, version: u64) -> Value {
        self.until(&format!("v{version} is current and nothing is under way"), |status| {
            status["current"] == version && settled(status)
        })
    }

    /// What the service `number` has counted.
    pub(crate) fn counts(&self, number: usize) -> Counts {
        let text = std::fs::read(self.system.stats(&format!("orders-{number}"))).unwrap();
        let stats: Value = serde_json::from_slice(&text).unwrap();
        let get = |key: &str| stats[key].as_u64().unwrap_or_default();
        Counts {
            logins: get("logins"),
            queries: get("queries"),
            failed: get("failed_logins") + get("failed_queries"),
            cut: get("cut_by_revocation") + get("refused_by_revocation"),
            version: get("version"),
        }
    }

    /// Waits until every service has logged in and queried so many times more.
    pub(crate) fn let_work(&self, times: u64) {
        for number in 1..=self.services.len() {
            self.let_work_of(number, times);
        }
    }

    /// Waits until the service `number` has logged in and queried so many times more.
    pub(crate) fn let_work_of(&self, number: usize, times: u64) {
        let before = self.counts(number);
        let worked = poll(PATIENCE, || {
            let now = self.counts(number);
            now.logins >= before.logins + times && now.queries >= before.queries + times
        });
        assert!(worked, "service {number} does not work: {before:?}, then {:?}", self.counts(number));
    }

    /// No service has failed at anything, none has ended, and the database holds only the current version's login.
    pub(crate) fn nothing_failed(&mut self) {
        for number in 1..=self.services.len() {
            let counts = self.counts(number);
            let service = format!("orders-{number}");
            let log = self.system.part(&service).unwrap().log_end();
            assert_eq!(counts.failed, 0, "{service}: {counts:?}\n{log}");
            assert!(self.system.part(&service).unwrap().ended().is_none(), "{service} has ended:\n{log}");
        }
        self.nothing_is_left_behind();
    }

    /// The database holds only the current version's login.
    pub(crate) fn nothing_is_left_behind(&self) {
        let current = format!("orders_app_v{}_", self.current());
        let mut roles = Vec::new();
        let clean = poll(PATIENCE, || {
            roles = self.system.database.made_roles();
            roles.iter().all(|role| role.starts_with(&current))
        });
        assert!(clean, "login roles are left behind: {roles:?}, current is {current}");
    }
}

impl Installation {
    /// Starts its controller.
    pub(crate) fn begin(name: &str, setup: Setup) -> Self {
        let home = Home::of(name);
        let platform = Platform::start(Programs::built().unwrap(), &home, setup).unwrap();
        Self { platform, _home: home }
    }

    /// Waits until the state of the credential `name` is as wanted, and gives it.
    pub(crate) fn until(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(|| self.status(name), what, wanted)
    }
}

impl Deref for Installation {
    type Target = Platform;

    fn deref(&self) -> &Platform {
        &self.platform
    }
}

impl DerefMut for Installation {
    fn deref_mut(&mut self) -> &mut Platform {
        &mut self.platform
    }
}

impl Home {
    pub(crate) fn of(name: &str) -> Self {
        let name = format!("rekey-suite-{name}-{}", std::process::id());
        Self(folder(&std::env::temp_dir(), &name).unwrap())
    }
}

impl Deref for Home {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }
}

/// Waits until the state that `status` asks for is as wanted, and gives it.
fn until(status: impl Fn() -> anyhow::Result<Value>, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let reached = poll(PATIENCE, || {
        last = status().unwrap_or(Value::Null);
        wanted(&last)
    });
    assert!(reached, "{what}: not within {PATIENCE:?}; the state is {last:#}");
    last
}

/// The phase of the open rotation; empty without one.
pub(crate) fn phase(status: &Value) -> &str {
    status.pointer("/rotation/phase").and_then(Value::as_str).unwrap_or_default()
}

/// The rotation that ended last.
pub(crate) fn last(status: &Value) -> &Value {
    status.pointer("/history/0").unwrap_or(&Value::Null)
}

/// Whether no rotation is open and nothing is being ended.
pub(crate) fn settled(status: &Value) -> bool {
    phase(status).is_empty()
}

/// Reads the current password as an application would.
pub(crate) fn read_password(socket: &Path, credential: &str) -> String {
    until_readable(socket, credential).text("password").unwrap().to_owned()
}

/// Waits until the sidecar gives out the credential, and gives it: of one that was declared a moment ago, or after the controller
/// was away, the sidecar may hear a moment later than `rekeyctl` does.
pub(crate) fn until_readable(socket: &Path, credential: &str) -> Credential {
    let (runtime, client) = connect(socket);
    let mut read = Err(String::new());
    poll(PATIENCE, || {
        read = runtime.block_on(client.get(credential)).map_err(|error| error.to_string());
        read.is_ok()
    });
    read.unwrap_or_else(|why| panic!("{credential} is not to be read: {why}"))
}

/// A connection to the sidecar behind `socket`, and what it runs on.
pub(crate) fn connect(socket: impl AsRef<Path>) -> (Runtime, Client) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // A machine that stands still for a while fails nobody.
    let builder = Builder::new(socket.as_ref()).connect_timeout(PATIENCE).call_timeout(PATIENCE);
    let builder = match rekey_testkit::unprivileged() {
        Some(uid) => builder.server_uid(uid),
        None => builder,
    };
    let client = runtime.block_on(builder.connect()).unwrap();
    (runtime, client)
}

/// Somebody who is told what happens: where, and what.
pub(crate) fn receiver() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let notes = Arc::clone(&told);
    // Ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // Who goes away in the middle, as a controller that is killed, has told nothing.
            if let Ok(text) = stream.and_then(heard) {
                notes.lock().unwrap().push(text);
            }
        }
    });
    (url, told)
}

/// What one call tells; it is thanked for it.
fn heard(mut stream: TcpStream) -> std::io::Result<String> {
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    let mut text = String::new();
    while !text.contains('}') {
        let mut some = [0; 4096];
        match stream.read(&mut some)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            size => text += &String::from_utf8_lossy(&some[..size]),
        }
    }
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
    Ok(text)
}
