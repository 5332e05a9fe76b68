//! A private RabbitMQ with its management plugin and its own port mapper (epmd), an administrator, and nobody else.
//!
//! From the distribution, without the service that it may have started. Data, log and cookie lie in a temporary folder; it
//! listens on 127.0.0.1 at free ports, plain and in TLS, and ends with its handle, and also when the test process is killed.

mod client;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

pub use client::Client;

use crate::certificates::Authority;
use crate::guarded::Guarded;
use crate::http::{Answer, Http};
use crate::process::{Launch, free_port, poll};
use crate::unprivileged;

/// How long a start may take: an Erlang system on a busy machine.
const START: Duration = Duration::from_mins(2);
/// `admin:admin-password-71c3` as `Authorization: Basic` has it.
const BASIC: &str = "Basic YWRtaW46YWRtaW4tcGFzc3dvcmQtNzFjMw==";

/// A private RabbitMQ that runs as long as this handle lives.
#[derive(Debug)]
pub struct RabbitMq {
    server: Option<Guarded>,
    folder: TempDir,
    ports: Ports,
    authority: Authority,
}

/// Where it listens.
#[derive(Debug, Clone, Copy)]
struct Ports {
    amqp: u16,
    amqp_tls: u16,
    management: u16,
    management_tls: u16,
    /// For other Erlang nodes.
    distribution: u16,
    epmd: u16,
}

impl RabbitMq {
    /// The administrator's name.
    pub const ADMIN: &'static str = "admin";
    /// The administrator's password.
    pub const ADMIN_PASSWORD: &'static str = "admin-password-71c3";

    /// Starts a RabbitMQ. Panics with the reason, and with the line that installs RabbitMQ where there is none.
    pub fn start() -> Self {
        Self::try_start().unwrap_or_else(|error| panic!("no RabbitMQ for this test: {error:#}"))
    }

    /// Starts a RabbitMQ.
    pub fn try_start() -> Result<Self> {
        program("rabbitmq-server")?;
        let folder = tempfile::Builder::new().prefix("rekey-rabbitmq-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
        chown(folder.path(), unprivileged(), unprivileged())?;
        let authority = Authority::new("RabbitMQ test authority")?;
        let mut rabbit = Self { server: None, folder, ports: Ports::free()?, authority };
        let leaf = rabbit.authority.leaf(&["localhost", "127.0.0.1"])?;
        rabbit.write("server.pem", &leaf.certificate)?;
        rabbit.write("server.key", &leaf.key)?;
        rabbit.write("ca.pem", rabbit.authority.pem())?;
        rabbit.write("plugins", "[rabbitmq_management].")?;
        let mut tries = 3;
        loop {
            rabbit.configure()?;
            tries -= 1;
            match rabbit.start_again() {
                Ok(()) => return Ok(rabbit),
                Err(error) if tries == 0 => return Err(error),
                Err(_) => rabbit.server = None,
            }
            // A port that was free may be taken meanwhile; before the first start others do as well.
            rabbit.ports = Ports::free()?;
        }
    }

    /// Where applications log in, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.ports.amqp
    }

    /// The same in TLS.
    pub fn tls_port(&self) -> u16 {
        self.ports.amqp_tls
    }

    /// Where the management plugin listens, on 127.0.0.1.
    pub fn management_port(&self) -> u16 {
        self.ports.management
    }

    /// The same in TLS.
    pub fn management_tls_port(&self) -> u16 {
        self.ports.management_tls
    }

    /// The authority that signed the server's certificate, PEM. The certificate is for `localhost` and 127.0.0.1.
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        fs::read(self.folder.path().join("log"))
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// Asks the management plugin as the administrator; `path` follows `/api/`. Panics at an error.
    pub fn api(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer =
            self.try_api(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error:#}"));
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        answer.body
    }

    /// Asks the management plugin as the administrator.
    pub fn try_api(&self, method: &str, path: &str, body: &Value) -> Result<Answer> {
        let http = Http::plain(self.ports.management);
        http.ask(method, &format!("/api/{path}"), &[("Authorization", BASIC)], body)
    }

    /// The names of a user's connections.
    pub fn connections(&self, user: &str) -> Vec<String> {
        let shown = self.api("GET", &format!("connections/username/{user}"), &Value::Null);
        let names = shown.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str());
        names.map(str::to_owned).collect()
    }

    /// A connection as this user, which the server lists already.
    pub fn client(&self, user: &str, password: &str, vhost: &str) -> Result<Client> {
        let client = Client::log_in(self.ports.amqp, user, password, vhost)?;
        let listed =
            poll(Duration::from_mins(1), || self.connections(user).iter().any(|name| *name == client.name()));
        ensure!(listed, "the connection of {user} is not listed");
        Ok(client)
    }

    /// Runs a line that begins with `rabbitmqctl`, as an administrator on the server's machine would.
    pub fn ctl(&self, line: &str) -> Result<String> {
        let mut words = line.split_ascii_whitespace();
        ensure!(words.next() == Some("rabbitmqctl"), "{line} is no line of rabbitmqctl");
        let mut command = Command::new(program("rabbitmqctl")?);
        command.args(words).current_dir(self.folder.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).envs(self.environment());
        if let Some(id) = unprivileged() {
            command.uid(id).gid(id);
        }
        let output = command.output()?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(output.status.success(), "{line}: {} {}", said(&output.stdout), said(&output.stderr));
        Ok(said(&output.stdout))
    }

    /// Stops the server as an operator would, waits for it, and starts it again.
    pub fn restart(&mut self) -> Result<()> {
        if let Some(server) = self.server.as_mut().and_then(Guarded::last) {
            server.terminate();
            server.wait(START)?;
        }
        self.server = None;
        self.start_again()
    }

    /// Stops the server where it stands, and waits until each of its threads does: connections stay open and nobody answers.
    pub fn pause(&mut self) {
        let Some(server) = self.server.as_mut().and_then(Guarded::last) else { return };
        server.pause();
        let threads = PathBuf::from(format!("/proc/{}/task", server.id()));
        let stands = |thread: fs::DirEntry| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        };
        poll(START, || fs::read_dir(&threads).into_iter().flatten().flatten().all(stands));
    }

    /// Lets a paused server go on.
    pub fn resume(&mut self) {
        if let Some(server) = self.server.as_mut().and_then(Guarded::last) {
            server.resume();
        }
    }

    fn start_again(&mut self) -> Result<()> {
        let up = |log: String| log.matches("Server startup complete").count();
        let before = up(self.log());
        let epmd = self.launch(Path::new("/usr/bin/epmd"), "epmd.log");
        let epmd = epmd.args(["-port".to_owned(), self.ports.epmd.to_string()]).start()?;
        // Where none listens yet, the server starts one of its own, which would outlive it.
        let port = self.ports.epmd;
        let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        ensure!(poll(START, listens), "the port mapper does not listen; its log ends:\n{}", epmd.log_end());
        let server = self.launch(&program("rabbitmq-server")?, "log").start()?;
        // The server is ended first, then the port mapper that it is known by.
        let mut server = Guarded::new(vec![epmd, server], self.folder.path())?;
        poll(START, || up(self.log()) > before || server.has_ended());
        if server.has_ended() || up(self.log()) == before {
            bail!("RabbitMQ did not start; its log ends:\n{}", server.log_end());
        }
        self.server = Some(server);
        Ok(())
    }

    fn launch(&self, program: &Path, log: &str) -> Launch {
        let launch = Launch::new(program, self.folder.path().join(log)).folder(self.folder.path());
        let launch = launch.owner(unprivileged());
        self.environment().into_iter().fold(launch, |launch, (name, value)| launch.env(name, value))
    }

    /// What makes it this server and no other. With `RABBITMQ_ALLOW_INPUT` the script becomes the server's own process.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let Ports { distribution, epmd, .. } = self.ports;
        vec![
            ("HOME", self.folder.path().display().to_string()),
            ("RABBITMQ_NODENAME", format!("rekey{epmd}@localhost")),
            ("RABBITMQ_MNESIA_BASE", file("data")),
            ("RABBITMQ_LOG_BASE", file("logs")),
            ("RABBITMQ_LOGS", "-".to_owned()),
            ("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", file("plugins")),
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null".to_owned()),
            ("RABBITMQ_PID_FILE", file("pid")),
            ("RABBITMQ_DIST_PORT", distribution.to_string()),
            ("RABBITMQ_ALLOW_INPUT", "1".to_owned()),
            // One scheduler that does not spin: tests share the machine.
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-noinput +S 1:1 +sbwt none".to_owned()),
            ("ERL_EPMD_PORT", epmd.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ]
    }

    fn configure(&self) -> Result<()> {
        let folder = self.folder.path().display();
        let Ports { amqp, amqp_tls, management, management_tls, .. } = self.ports;
        let (admin, password) = (Self::ADMIN, Self::ADMIN_PASSWORD);
        let mut lines = vec![
            format!("default_user = {admin}\ndefault_pass = {password}"),
            format!("listeners.tcp.1 = 127.0.0.1:{amqp}\nlisteners.ssl.1 = 127.0.0.1:{amqp_tls}"),
            format!("management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management}"),
            format!("management.ssl.ip = 127.0.0.1\nmanagement.ssl.port = {management_tls}"),
            "log.console = true\nlog.file = false".to_owned(),
        ];
        for listener in ["ssl_options", "management.ssl"] {
            lines.push(format!("{listener}.cacertfile = {folder}/ca.pem"));
            lines.push(format!(
                "{listener}.certfile = {folder}/server.pem\n{listener}.keyfile = {folder}/server.key"
            ));
            lines.push(format!("{listener}.versions.1 = tlsv1.3"));
        }
        self.write("rabbitmq.conf", &(lines.join("\n") + "\n"))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.path().join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(chown(&path, unprivileged(), unprivileged())?)
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        // What it has is thrown away, so that it need not be left time to put it in order.
        if let Some(server) = self.server.as_mut().and_then(Guarded::last) {
            server.kill();
        }
    }
}

impl Ports {
    fn free() -> Result<Self> {
        Ok(Self {
            amqp: free_port()?,
            amqp_tls: free_port()?,
            management: free_port()?,
            management_tls: free_port()?,
            distribution: free_port()?,
            epmd: free_port()?,
        })
    }
}

/// What to type where it is missing on this machine; none where it is there.
pub fn lacking() -> Option<String> {
    program("rabbitmq-server").err().map(|error| error.to_string())
}

/// The real program: what stands in `/usr/sbin` changes to the service's own user first.
fn program(name: &str) -> Result<PathBuf> {
    let releases = fs::read_dir("/usr/lib/rabbitmq/lib").into_iter().flatten().flatten();
    let mut programs = releases.map(|release| release.path().join("sbin").join(name));
    programs
        .find(|program| program.is_file())
        .context("RabbitMQ is not installed: apt-get install -y rabbitmq-server")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_server_lets_users_in_and_ends_with_its_handle() {
        let rabbit = RabbitMq::start();
        let user = json!({ "password": "secret", "tags": "" });
        rabbit.api("PUT", "users/orders", &user);
        assert!(rabbit.client("orders", "secret", "/").is_err(), "it has no permissions");
        rabbit.ctl("rabbitmqctl set_permissions orders .* .* .*").unwrap();
        let mut client = rabbit.client("orders", "secret", "/").unwrap();
        assert!(client.works());
        assert!(rabbit.client("orders", "wrong", "/").is_err());
        let (ids, folder) = (rabbit.server.as_ref().unwrap().ids(), rabbit.folder.path().to_owned());
        assert_eq!(ids.len(), 2);
        drop(rabbit);
        for id in ids {
            assert!(!Path::new(&format!("/proc/{id}")).exists());
        }
        assert!(!folder.exists());
    }

    #[test]
    fn a_server_ends_when_its_test_is_killed() {
        let mut rabbit = RabbitMq::start();
        let folder = rabbit.folder.path().to_owned();
        rabbit.server.as_mut().unwrap().as_if_killed();
        assert!(poll(Duration::from_mins(1), || !folder.exists()));
    }
}
