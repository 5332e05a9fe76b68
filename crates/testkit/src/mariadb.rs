//! A private MariaDB server.
//!
//! From the distribution. All files lie in a temporary folder, it listens on 127.0.0.1 at a free port and on a Unix socket,
//! offers TLS, logs every statement, and ends with its handle, and also when the test process is killed.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::certificates::Authority;
use crate::process::{Launch, Process, free_port, poll};
use crate::unprivileged;

/// The command line client, for statements and for consumers that are not Rust.
pub const CLIENT: &str = "mariadb";

/// A private server that runs as long as this handle lives.
#[derive(Debug)]
pub struct Mariadb {
    process: Process,
    watchdog: Child,
    folder: TempDir,
    port: u16,
    authority: Authority,
}

impl Drop for Mariadb {
    fn drop(&mut self) {
        // The watchdog first: it must not signal an id that belongs to somebody else by then.
        drop(self.watchdog.kill());
        drop(self.watchdog.wait());
        self.process.kill();
    }
}

impl Mariadb {
    /// Starts a server. Panics with the reason, and with the line that installs MariaDB where there is none.
    pub fn start() -> Self {
        Self::try_start().unwrap_or_else(|error| panic!("no MariaDB for this test: {error:#}"))
    }

    /// Starts a server.
    pub fn try_start() -> Result<Self> {
        let server = program("mariadbd")?;
        let folder = tempfile::Builder::new().prefix("rekey-mariadb-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        chown(folder.path(), unprivileged(), unprivileged())?;
        install(folder.path())?;
        let authority = Authority::new("MariaDB test authority")?;
        let leaf = authority.leaf(&["localhost", "127.0.0.1"])?;
        for (name, text) in [("server.crt", leaf.certificate), ("server.key", leaf.key)] {
            let path = folder.path().join(name);
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            chown(&path, unprivileged(), unprivileged())?;
        }
        // A port that was free may be taken meanwhile; then another does as well.
        let mut tries = 5;
        loop {
            tries -= 1;
            let port = free_port()?;
            match launch(&server, folder.path(), port) {
                Ok(process) => {
                    let watchdog = watchdog(process.id(), folder.path())?;
                    return Ok(Self { process, watchdog, folder, port, authority });
                }
                Err(error) if tries == 0 => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path of the Unix socket; usable as `host`.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// The authority that signed the server's certificate, PEM. The certificate is for `localhost` and 127.0.0.1.
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// Every statement that the server was given, and all that it said.
    pub fn log(&self) -> String {
        let read = |name: &str| {
            fs::read(self.folder.path().join(name)).map(|log| String::from_utf8_lossy(&log).into_owned())
        };
        read("statements").unwrap_or_default() + &self.process.log()
    }

    /// Runs statements as root, and gives the rows of all of them, NULL as the word. Panics on an error.
    pub fn sql(&self, statements: &str) -> Vec<Vec<String>> {
        self.try_sql(statements).unwrap_or_else(|error| panic!("{statements:?} failed: {error:#}"))
    }

    /// Runs statements as root.
    pub fn try_sql(&self, statements: &str) -> Result<Vec<Vec<String>>> {
        let mut command = Command::new(program(CLIENT)?);
        command.args(["--no-defaults", "--batch", "--skip-column-names", "--user=root"]);
        command.arg("--socket").arg(self.socket());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = command.spawn()?;
        client.stdin.take().context("no input")?.write_all(statements.as_bytes())?;
        let output = client.wait_with_output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }
}

/// What to type where it is missing on this machine; none where it is there.
pub fn lacking() -> Option<String> {
    program("mariadbd").err().map(|error| error.to_string())
}

/// A session of the vendor's own client; it ends when dropped.
#[derive(Debug)]
pub struct Session {
    client: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Session {
    /// Logs in to 127.0.0.1 as a consumer does. The password goes by the environment of the client.
    pub fn log_in(port: u16, user: &str, password: &str, database: &str) -> Result<Self> {
        let port = port.to_string();
        Self::by(&["--protocol=tcp", "--host=127.0.0.1", "--port", &port], [user, password, database])
    }

    /// The same on a Unix socket.
    pub fn log_in_at(socket: &Path, user: &str, password: &str, database: &str) -> Result<Self> {
        let socket = socket.display().to_string();
        Self::by(&["--protocol=socket", "--socket", &socket], [user, password, database])
    }

    fn by(way: &[&str], [user, password, database]: [&str; 3]) -> Result<Self> {
        let mut command = Command::new(program(CLIENT)?);
        command.args(["--no-defaults", "--batch", "--skip-column-names", "--unbuffered", "--skip-reconnect"]);
        command.args(way).args(["--user", user, "--database", database]);
        command.env("MYSQL_PWD", password);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = command.spawn()?;
        let answers = BufReader::new(client.stdout.take().context("no output")?);
        let mut session = Self { client, answers };
        if session.ask("SELECT 41 + 1").as_deref() == Some("42") {
            return Ok(session);
        }
        let mut why = String::new();
        let mut said = session.client.stderr.take().context("no errors")?;
        std::io::Read::read_to_string(&mut said, &mut why)?;
        bail!("{user} is not let in: {}", why.trim())
    }

    /// The first line of the answer to a statement that has one; none when the session has ended.
    pub fn ask(&mut self, statement: &str) -> Option<String> {
        writeln!(self.client.stdin.as_mut()?, "{statement};").ok()?;
        let mut line = String::new();
        self.answers.read_line(&mut line).ok()?;
        (!line.is_empty()).then(|| line.trim().to_owned())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.client.kill());
        drop(self.client.wait());
    }
}

/// A program of MariaDB: from `PATH`, else from where Debian keeps servers.
pub fn program(name: &str) -> Result<PathBuf> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&on_path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.find_map(|folder| Some(folder.join(name)).filter(|path| path.is_file()));
    found.context("MariaDB is not installed: apt-get install -y mariadb-server")
}

/// Makes the server's own tables; root has no password, and only the socket in our own folder lets it in.
fn install(folder: &Path) -> Result<()> {
    let data = folder.join("data");
    fs::create_dir(&data)?;
    chown(&data, unprivileged(), unprivileged())?;
    let mut command = Command::new(program("mariadb-install-db")?);
    command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
    command.args(["--skip-name-resolve", "--cross-bootstrap", "--innodb-log-file-size=4M"]);
    command.arg(format!("--datadir={}", data.display())).current_dir(folder);
    if let Some(id) = unprivileged() {
        command.uid(id).gid(id);
    }
    let output = command.output().context("run mariadb-install-db")?;
    if !output.status.success() {
        bail!("mariadb-install-db failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn launch(server: &Path, folder: &Path, port: u16) -> Result<Process> {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut process = Launch::new(server, folder.join("log"))
        .folder(folder)
        .owner(unprivileged())
        .arg("--no-defaults")
        .args([("datadir", path("data")), ("socket", path("socket")), ("pid-file", path("pid"))].map(set))
        .args([("port", port.to_string()), ("bind-address", "127.0.0.1".to_owned())].map(set))
        .args([("ssl-cert", path("server.crt")), ("ssl-key", path("server.key"))].map(set))
        .args([("general-log-file", path("statements"))].map(set))
        .args(["--general-log=1", "--skip-name-resolve", "--skip-log-bin", "--innodb-log-file-size=4M"])
        .args(["--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=0"])
        .start()?;
    let ready = |process: &Process| process.log().contains("ready for connections");
    let up = poll(Duration::from_mins(2), || ready(&process) || process.ended().is_some());
    ensure!(up && process.ended().is_none(), "MariaDB did not start; its log ends:\n{}", process.log_end());
    Ok(process)
}

fn set((name, value): (&str, String)) -> String {
    format!("--{name}={value}")
}

/// Ends the server should this process be killed: it waits for the end of a pipe that only we hold open.
fn watchdog(id: u32, folder: &Path) -> Result<Child> {
    let script = r#"cat >/dev/null; [ "$(cat "$2/pid" 2>/dev/null)" = "$1" ] || exit 0; kill -KILL "$1"
i=0; while [ -e "/proc/$1" ] && [ $i -lt 50 ]; do sleep 0.1; i=$((i+1)); done; rm -rf "$2""#;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, "watchdog", &id.to_string()]).arg(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().context("start the watchdog of a MariaDB server")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_answers_and_ends_with_its_handle() {
        let server = Mariadb::start();
        assert_eq!(server.sql("SELECT 1, NULL; SELECT 'a'"), [vec!["1", "NULL"], vec!["a"]]);
        assert!(server.try_sql("SELECT nothing").is_err());
        assert!(server.log().contains("SELECT 1, NULL"));
        let (id, folder) = (server.process.id(), server.folder.path().to_owned());
        drop(server);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
        assert!(!folder.exists());
    }

    #[test]
    fn a_server_ends_when_its_test_is_killed() {
        let mut server = Mariadb::start();
        // What the kernel does for a process that is killed: it closes its end of the pipe.
        drop(server.watchdog.stdin.take());
        server.process.wait(Duration::from_mins(1)).unwrap();
        assert!(poll(Duration::from_mins(1), || !server.folder.path().exists()));
    }
}
