//! A private `PgBouncer` before a PostgreSQL cluster.
//!
//! From the distribution. Its settings, its users' file and its socket lie in a temporary folder, it listens on 127.0.0.1 at a
//! free port and on a Unix socket, and ends with its handle, and also when the test process is killed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::certificates::Authority;
use crate::guarded::Guarded;
use crate::postgres::{Row, sql_over};
use crate::process::{Launch, free_port, poll};
use crate::unprivileged;

/// How a pooler is to be.
#[derive(Debug, Default)]
pub struct Options {
    /// The server's port.
    pub server: u16,
    /// The folder of the server's Unix socket; none: it is on 127.0.0.1.
    pub socket: Option<PathBuf>,
    /// Lines of the users' file after the administrator's.
    pub users: Vec<String>,
    /// Speak TLS only, with a certificate for these names.
    pub tls: Option<Vec<String>>,
    /// More lines of the section `[pgbouncer]`.
    pub settings: Vec<String>,
}

/// A private pooler that runs as long as this handle lives.
#[derive(Debug)]
pub struct PgBouncer {
    server: Option<Guarded>,
    folder: TempDir,
    port: u16,
    authority: Option<Authority>,
}

impl PgBouncer {
    /// The administrator of the console.
    pub const ADMIN: &'static str = "pool_admin";
    /// The administrator's password.
    pub const ADMIN_PASSWORD: &'static str = "pool-admin-password-93d0";
    /// One who may look at the console and change nothing, with the administrator's password.
    pub const VIEWER: &'static str = "pool_viewer";

    /// Starts a pooler. Panics with the reason, and with the line that installs `PgBouncer` where there is none.
    #[expect(clippy::needless_pass_by_value, reason = "reads best at the many places that call it")]
    pub fn start(options: Options) -> Self {
        Self::try_start(&options).unwrap_or_else(|error| panic!("no PgBouncer for this test: {error:#}"))
    }

    /// Starts a pooler.
    pub fn try_start(options: &Options) -> Result<Self> {
        program()?;
        let folder = tempfile::Builder::new().prefix("rekey-pgbouncer-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        chown(folder.path(), unprivileged(), unprivileged())?;
        let authority =
            options.tls.as_ref().map(|_| Authority::new("PgBouncer test authority")).transpose()?;
        let mut pooler = Self { server: None, folder, port: 0, authority };
        let admins =
            [Self::ADMIN, Self::VIEWER].map(|name| format!("\"{name}\" \"{}\"", Self::ADMIN_PASSWORD));
        let users = admins.iter().chain(&options.users).map(String::as_str).collect::<Vec<_>>().join(
            "
",
        );
        pooler.write("users/list.txt", &users)?;
        let mut tries = 5;
        loop {
            // A port that was free may be taken meanwhile; before the first start another does as well.
            pooler.port = free_port()?;
            pooler.configure(options)?;
            tries -= 1;
            match pooler.start_again() {
                Ok(()) => return Ok(pooler),
                Err(error) if tries == 0 => return Err(error),
                Err(_) => pooler.server = None,
            }
        }
    }

    /// The port, on 127.0.0.1 and in the socket's name.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the Unix socket; usable as `host`.
    pub fn socket_folder(&self) -> &Path {
        self.folder.path()
    }

    /// The users' file.
    pub fn userlist(&self) -> PathBuf {
        self.folder.path().join("users/list.txt")
    }

    /// The authority that signed its certificate, PEM; none without TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.authority.as_ref().map(Authority::pem)
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Runs a command at the console, and gives the rows of its answer. Panics on an error.
    pub fn console(&self, command: &str) -> Vec<Row> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(self.socket_folder()).port(self.port).dbname("pgbouncer");
        config.user(Self::ADMIN).password(Self::ADMIN_PASSWORD).connect_timeout(Duration::from_mins(1));
        sql_over(config, command).unwrap_or_else(|error| panic!("{command:?} failed: {error:#}"))
    }

    /// Its process id; none while it does not run.
    pub fn id(&self) -> Option<u32> {
        self.server.as_ref().and_then(|server| server.ids().first().copied())
    }

    /// Stops it where it stands, as a crash would.
    pub fn crash(&mut self) {
        self.server = None;
    }

    /// Stops it where it stands: connections stay open and nobody answers.
    pub fn pause(&mut self) {
        if let Some(process) = self.server.as_mut().and_then(Guarded::last) {
            process.pause();
        }
    }

    /// Lets a paused one go on.
    pub fn resume(&mut self) {
        if let Some(process) = self.server.as_mut().and_then(Guarded::last) {
            process.resume();
        }
    }

    /// Starts it again where it was, if it is not running.
    pub fn start_again(&mut self) -> Result<()> {
        if self.server.is_some() {
            return Ok(());
        }
        let process = Launch::new(program()?, self.folder.path().join("log"))
            .folder(self.folder.path())
            .owner(unprivileged())
            .arg(self.folder.path().join("pgbouncer.ini"))
            .start()?;
        let server = self.server.insert(Guarded::new(vec![process], self.folder.path())?);
        let port = self.port;
        let up = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        if !poll(Duration::from_mins(1), || up() || server.has_ended()) || server.has_ended() {
            bail!("PgBouncer did not start; its log ends:\n{}", server.log_end());
        }
        Ok(())
    }

    fn configure(&self, options: &Options) -> Result<()> {
        let folder = self.folder.path().display();
        let socket = options.socket.as_ref().map(|socket| socket.display().to_string());
        let host = socket.unwrap_or_else(|| "127.0.0.1".to_owned());
        let mut lines = vec![
            "[databases]".to_owned(),
            format!("* = host={host} port={}", options.server),
            "[pgbouncer]".to_owned(),
            format!("listen_addr = 127.0.0.1\nlisten_port = {}", self.port),
            format!("unix_socket_dir = {folder}"),
            "auth_type = scram-sha-256".to_owned(),
            format!("auth_file = {}", self.userlist().display()),
            format!("admin_users = {}\nstats_users = {}", Self::ADMIN, Self::VIEWER),
        ];
        if let (Some(names), Some(authority)) = (&options.tls, &self.authority) {
            let leaf = authority.leaf(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
            self.write("server.pem", &leaf.certificate)?;
            self.write("server.key", &leaf.key)?;
            lines.push("client_tls_sslmode = require\nclient_tls_protocols = tlsv1.3".to_owned());
            lines.push(format!(
                "client_tls_cert_file = {folder}/server.pem\nclient_tls_key_file = {folder}/server.key"
            ));
        }
        lines.extend(options.settings.iter().cloned());
        self.write("pgbouncer.ini", &(lines.join("\n") + "\n"))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.path().join(name);
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            fs::create_dir(folder)?;
            chown(folder, unprivileged(), unprivileged())?;
        }
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
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut programs = folders.map(|folder| folder.join("pgbouncer"));
    programs
        .find(|program| program.is_file())
        .context("PgBouncer is not installed: apt-get install -y pgbouncer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::{self, Postgres};

    #[test]
    fn a_pooler_passes_logins_on_and_ends_with_its_handle() {
        let postgres = Postgres::start(postgres::Options { tcp: true, ..postgres::Options::default() });
        postgres.sql("CREATE ROLE orders LOGIN PASSWORD 'secret'");
        let verifier = postgres.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'orders'");
        let line = format!("\"orders\" \"{}\"", verifier[0][0].as_deref().unwrap());
        let pooler =
            PgBouncer::start(Options { server: postgres.port(), users: vec![line], ..Options::default() });
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(pooler.port()).user("orders").password("secret").dbname("postgres");
        assert_eq!(sql_over(config, "SELECT user").unwrap(), [[Some("orders".to_owned())]]);
        assert!(!pooler.console("SHOW SERVERS").is_empty());
        let (id, folder) = (pooler.server.as_ref().unwrap().ids()[0], pooler.folder.path().to_owned());
        drop(pooler);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
        assert!(!folder.exists());
    }

    #[test]
    fn a_pooler_ends_when_its_test_is_killed() {
        let mut pooler = PgBouncer::start(Options { server: 1, ..Options::default() });
        let folder = pooler.folder.path().to_owned();
        pooler.server.as_mut().unwrap().as_if_killed();
        assert!(poll(Duration::from_mins(1), || !folder.exists()));
    }
}
