//! A private Redis, with an ACL file, an administrator, and nobody else who may log in.

mod client;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

pub use client::{Client, Reply};

use crate::certificates::Authority;
use crate::process::{Launch, Process, free_port, poll};
use crate::unprivileged;

/// How a Redis is to be.
#[derive(Debug, Default)]
pub struct Options {
    /// Speak TLS only, with a certificate for these names.
    pub tls: Option<Vec<String>>,
    /// Keep users in `redis.conf` itself, without an ACL file.
    pub users_in_config: bool,
    /// More users, as lines of an ACL file without the word `user`.
    pub users: Vec<String>,
}

/// A private Redis that runs as long as this handle lives.
#[derive(Debug)]
pub struct Redis {
    server: Option<Server>,
    folder: TempDir,
    port: u16,
    authority: Option<Authority>,
}

/// The server process and the one that ends it should we be killed.
#[derive(Debug)]
struct Server {
    process: Process,
    watchdog: std::process::Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        // The watchdog first: it must not signal an id that belongs to somebody else by then.
        drop(self.watchdog.kill());
        drop(self.watchdog.wait());
        self.process.kill();
    }
}

impl Redis {
    /// The administrator's name.
    pub const ADMIN: &'static str = "admin";
    /// The administrator's password.
    pub const ADMIN_PASSWORD: &'static str = "admin-password-71c3";

    /// Starts a Redis. Panics with the reason, and with the line that installs Redis where there is none.
    #[expect(clippy::needless_pass_by_value, reason = "reads best at the many places that call it")]
    pub fn start(options: Options) -> Self {
        Self::try_start(&options).unwrap_or_else(|error| panic!("no Redis for this test: {error:#}"))
    }

    /// Starts a Redis.
    pub fn try_start(options: &Options) -> Result<Self> {
        program()?;
        let folder = tempfile::Builder::new().prefix("rekey-redis-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
        chown(folder.path(), unprivileged(), unprivileged())?;
        let authority = options.tls.as_ref().map(|_| Authority::new("Redis test authority")).transpose()?;
        let mut redis = Self { server: None, folder, port: 0, authority };
        let mut tries = 5;
        loop {
            // A port that was free may be taken meanwhile; before the first start another does as well.
            redis.port = free_port()?;
            redis.configure(options)?;
            tries -= 1;
            match redis.start_again() {
                Ok(()) => return Ok(redis),
                Err(error) if tries == 0 => return Err(error),
                Err(_) => redis.server = None,
            }
        }
    }

    /// Where it listens, on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens, as `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The authority that signed the server's certificate, PEM; none without TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.authority.as_ref().map(Authority::pem)
    }

    /// The server's process id; none while it is stopped.
    pub fn id(&self) -> Option<u32> {
        self.server.as_ref().map(|server| server.process.id())
    }

    /// The folder of its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command as the administrator, words separated by spaces; panics at an error.
    pub fn run(&self, command: &str) -> Reply {
        let words: Vec<&str> = command.split_ascii_whitespace().collect();
        let reply = self.client(Self::ADMIN, Self::ADMIN_PASSWORD).and_then(|mut admin| admin.run(&words));
        reply.unwrap_or_else(|error| panic!("{command}: {error:#}"))
    }

    /// A connection as this user, without TLS.
    pub fn client(&self, user: &str, password: &str) -> Result<Client> {
        Client::log_in(self.port, user, password)
    }

    /// Stops the server as an operator would and waits for it.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            server.process.signal(Signal::CONT);
            server.process.terminate();
            server.process.wait(Duration::from_mins(1))?;
        }
        Ok(())
    }

    /// Starts the server again where it was, if it is not running.
    pub fn start_again(&mut self) -> Result<()> {
        if self.server.is_some() {
            return Ok(());
        }
        let log = self.folder.path().join("log");
        let said = |log: &Path| {
            fs::read_to_string(log).unwrap_or_default().matches("Ready to accept connections").count()
        };
        let before = said(&log);
        let process = Launch::new(program()?, &log)
            .folder(self.folder.path())
            .owner(unprivileged())
            .arg(self.folder.path().join("redis.conf"))
            .start()?;
        let watchdog = watchdog(process.id(), self.folder.path())?;
        let process = &mut self.server.insert(Server { process, watchdog }).process;
        poll(Duration::from_mins(1), || said(&log) > before || process.ended().is_some());
        if process.ended().is_some() || said(&log) == before {
            bail!("Redis did not start; its log ends:\n{}", process.log_end());
        }
        Ok(())
    }

    /// Stops the server and starts it again.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.start_again()
    }

    /// Stops the server where it stands: connections stay open and nobody answers.
    pub fn pause(&mut self) {
        if let Some(server) = &mut self.server {
            server.process.pause();
        }
    }

    /// Lets a paused server go on.
    pub fn resume(&mut self) {
        if let Some(server) = &mut self.server {
            server.process.resume();
        }
    }

    fn configure(&self, options: &Options) -> Result<()> {
        let folder = self.folder.path().display();
        let admin = format!("{} on >{} ~* &* +@all", Self::ADMIN, Self::ADMIN_PASSWORD);
        let users = ["default off resetpass".to_owned(), admin];
        let users =
            users.iter().chain(&options.users).fold(String::new(), |all, one| all + "user " + one + "\n");
        let mut lines = vec![
            "bind 127.0.0.1".to_owned(),
            "save \"\"".to_owned(),
            "daemonize no".to_owned(),
            format!("dir {folder}"),
        ];
        if options.users_in_config {
            lines.push(users);
        } else {
            self.write("users.acl", &users)?;
            lines.push(format!("aclfile {folder}/users.acl"));
        }
        match (&options.tls, &self.authority) {
            (Some(names), Some(authority)) => {
                let leaf = authority.leaf(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
                self.write("server.pem", &leaf.certificate)?;
                self.write("server.key", &leaf.key)?;
                lines.push(format!("port 0\ntls-port {}\ntls-auth-clients no", self.port));
                lines.push(format!("tls-cert-file {folder}/server.pem\ntls-key-file {folder}/server.key"));
                lines.push(format!("tls-ca-cert-file {folder}/server.pem"));
            }
            _plain => lines.push(format!("port {}", self.port)),
        }
        self.write("redis.conf", &(lines.join("\n") + "\n"))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.path().join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(chown(&path, unprivileged(), unprivileged())?)
    }
}

/// What to type where it is missing on this machine; none where it is there.
pub fn lacking() -> Option<String> {
    program().err().map(|error| error.to_string())
}

fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/bin")]);
    let mut programs = folders.map(|folder| folder.join("redis-server"));
    programs
        .find(|program| program.is_file())
        .context("Redis is not installed: apt-get install -y redis-server")
}

/// Ends the server should this process be killed: it waits for the end of a pipe that only we hold open.
fn watchdog(id: u32, folder: &Path) -> Result<std::process::Child> {
    let script = r#"cat >/dev/null; [ "$(readlink "/proc/$1/cwd")" = "$2" ] || exit 0
kill -KILL "$1"; rm -rf "$2""#;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, "watchdog", &id.to_string()]).arg(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().context("start the watchdog of a Redis server")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_answers_keeps_what_is_saved_and_ends_with_its_handle() {
        let mut redis = Redis::start(Options::default());
        redis.run("ACL SETUSER kept on >pass ~* +@all");
        redis.run("ACL SAVE");
        redis.run("ACL SETUSER lost on >pass ~* +@all");
        redis.restart().unwrap();
        assert_eq!(redis.client("kept", "pass").unwrap().run(&["PING"]).unwrap(), Reply::Text("PONG".into()));
        assert!(redis.client("lost", "pass").is_err());
        let (id, folder) = (redis.id().unwrap(), redis.folder().to_owned());
        drop(redis);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
        assert!(!folder.exists());
    }

    #[test]
    fn a_server_ends_when_its_test_is_killed() {
        let mut redis = Redis::start(Options::default());
        let folder = redis.folder().to_owned();
        // What the kernel does for a process that is killed: it closes its end of the pipe.
        drop(redis.server.as_mut().unwrap().watchdog.stdin.take());
        redis.server.as_mut().unwrap().process.wait(Duration::from_mins(1)).unwrap();
        assert!(poll(Duration::from_mins(1), || !folder.exists()));
    }
}
