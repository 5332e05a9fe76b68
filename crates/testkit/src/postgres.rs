//! A private PostgreSQL cluster.
//!
//! Version 15 from the distribution, or whatever `REKEY_PG_BIN` points to. Passwords are SCRAM, the socket and all
//! files lie in a temporary folder, and the server ends with its handle, and also when the test process is killed.

mod cluster;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::certificates::Authority;
use crate::process::{Launch, Process, free_port, poll};
use crate::unprivileged;

/// How a cluster is to be.
#[derive(Debug, Default)]
pub struct Options {
    /// Listen on 127.0.0.1 at a free port too, not only on the Unix socket.
    pub tcp: bool,
    /// Offer TLS with a certificate for these names, and let nobody in over TCP without it. Implies `tcp`.
    pub tls: Option<Vec<String>>,
    /// Log every statement, as `log_statement = all` does.
    pub log_statements: bool,
    /// Lines that stand before all others in `pg_hba.conf`.
    pub hba: Vec<String>,
    /// More settings of `postgresql.conf`, by name.
    pub settings: Vec<(String, String)>,
}

/// A row as text; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// A private cluster that runs as long as this handle lives.
#[derive(Debug)]
pub struct Postgres {
    server: Option<Server>,
    folder: TempDir,
    bin: PathBuf,
    port: u16,
    tcp: bool,
    password: String,
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
        cluster::signal_all(Some(self.process.id()), Signal::CONT);
        self.process.signal(Signal::QUIT);
        drop(self.process.wait(Duration::from_secs(30)));
    }
}

impl Postgres {
    /// The superuser's name.
    pub const SUPERUSER: &'static str = "postgres";

    /// Starts a cluster. Panics with the reason, and with the line that installs PostgreSQL where there is none.
    #[expect(clippy::needless_pass_by_value, reason = "reads best at the many places that call it")]
    pub fn start(options: Options) -> Self {
        Self::try_start(&options).unwrap_or_else(|error| panic!("no PostgreSQL for this test: {error:#}"))
    }

    /// Starts a cluster.
    pub fn try_start(options: &Options) -> Result<Self> {
        let bin = cluster::bin()?;
        let folder = cluster::folder()?;
        let password = cluster::copy_template(&bin, &folder.path().join("data"))?;
        let authority =
            options.tls.as_ref().map(|_| Authority::new("PostgreSQL test authority")).transpose()?;
        let tcp = options.tcp || options.tls.is_some();
        let mut postgres = Self { server: None, folder, bin, port: 5432, tcp, password, authority };
        cluster::configure(&postgres, options)?;
        postgres.start_again()?;
        Ok(postgres)
    }

    /// The folder of the Unix socket; usable as `host`.
    pub fn socket_folder(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// The port, on TCP (when asked for) and in the socket's name.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The authority that signed the server's certificate, PEM; none without TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.authority.as_ref().map(Authority::pem)
    }

    /// Where the server logs.
    pub fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// All that the server has logged.
    pub fn log(&self) -> String {
        fs::read(self.log_file()).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// The server's process id; none while it is stopped.
    pub fn id(&self) -> Option<u32> {
        self.server.as_ref().map(|server| server.process.id())
    }

    /// A connection string for tokio-postgres or sqlx-like `key=value` readers, over the Unix socket.
    pub fn connection(&self, user: &str, password: &str, database: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host_path(self.socket_folder()).port(self.port).user(user).password(password).dbname(database);
        config.connect_timeout(Duration::from_mins(1));
        config
    }

    /// Runs statements as superuser in the database `postgres`, and gives the rows of all of them. Panics on an error.
    pub fn sql(&self, statements: &str) -> Vec<Row> {
        self.sql_in("postgres", statements)
    }

    /// Runs statements as superuser in `database`. Panics on an error.
    pub fn sql_in(&self, database: &str, statements: &str) -> Vec<Row> {
        self.try_sql(self.connection(Self::SUPERUSER, &self.password, database), statements)
            .unwrap_or_else(|error| panic!("{statements:?} failed: {error:#}"))
    }

    /// Runs statements over `connection`. Works inside and outside of async code.
    pub fn try_sql(&self, connection: tokio_postgres::Config, statements: &str) -> Result<Vec<Row>> {
        sql_over(connection, statements)
    }

    /// Stops the server as an operator would (fast shutdown) and waits for it.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            cluster::signal_all(Some(server.process.id()), Signal::CONT);
            server.process.signal(Signal::INT);
            server.process.wait(Duration::from_mins(1))?;
        }
        Ok(())
    }

    /// Ends the server without a chance to tidy up, as a crash would.
    pub fn crash(&mut self) {
        self.server = None;
    }

    /// Starts the server again where it was, if it is not running.
    pub fn start_again(&mut self) -> Result<()> {
        if self.server.is_some() {
            return Ok(());
        }
        // A port that was free may be taken meanwhile; before the first start another does as well.
        let first = !self.log_file().exists();
        let mut tries = if first { 5 } else { 1 };
        loop {
            if first && self.tcp {
                self.port = free_port()?;
            }
            tries -= 1;
            match self.start_once() {
                Ok(()) => return Ok(()),
                Err(error) if tries == 0 => return Err(error),
                Err(_) => self.server = None,
            }
        }
    }

    /// Stops the server and starts it again.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.start_again()
    }

    /// Stops every process of the cluster where it stands: connections stay open and nobody answers.
    pub fn pause(&mut self) {
        cluster::signal_all(self.id(), Signal::STOP);
    }

    /// Lets a paused cluster go on.
    pub fn resume(&mut self) {
        cluster::signal_all(self.id(), Signal::CONT);
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn start_once(&mut self) -> Result<()> {
        let process = Launch::new(self.bin.join("postgres"), self.log_file())
            .folder(self.folder.path())
            .owner(unprivileged())
            .arg("-D")
            .arg(self.data())
            .args(["-p".to_owned(), self.port.to_string()])
            .start()?;
        fs::set_permissions(self.log_file(), fs::Permissions::from_mode(0o600))?;
        let watchdog = watchdog(process.id(), &self.data())?;
        let server = self.server.insert(Server { process, watchdog });
        let ready = self.folder.path().join(format!("socket/.s.PGSQL.{}", self.port));
        let status = self.folder.path().join("data/postmaster.pid");
        let up = || ready.exists() && fs::read_to_string(&status).is_ok_and(|text| text.contains("ready"));
        if !poll(Duration::from_mins(2), || up() || server.process.ended().is_some()) || !up() {
            bail!("PostgreSQL did not start; its log ends:\n{}", server.process.log_end());
        }
        Ok(())
    }
}

/// Ends the server should this process be killed: it waits for the end of a pipe that only we hold open.
fn watchdog(id: u32, data: &Path) -> Result<std::process::Child> {
    let script = r#"cat >/dev/null; [ "$(head -n 1 "$2/postmaster.pid" 2>/dev/null)" = "$1" ] || exit 0
kill -CONT "$1"; kill -QUIT "$1"; i=0; while [ -e "/proc/$1" ] && [ $i -lt 50 ]; do sleep 0.1; i=$((i+1)); done
rm -rf "${2%/data}""#;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, "watchdog", &id.to_string()]).arg(data);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().context("start the watchdog of a PostgreSQL server")
}

/// What to type where it is missing on this machine; none where it is there.
pub fn lacking() -> Option<String> {
    cluster::bin().err().map(|error| error.to_string())
}

/// Runs statements over `connection`. Works inside and outside of async code.
pub fn sql_over(connection: tokio_postgres::Config, statements: &str) -> Result<Vec<Row>> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(run(connection, statements))
    };
    thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|_| bail!("the thread that runs the statements panicked"))
}

async fn run(config: tokio_postgres::Config, statements: &str) -> Result<Vec<Row>> {
    let limit = config.get_connect_timeout().copied().unwrap_or(Duration::from_mins(1));
    let connected = tokio::time::timeout(limit, config.connect(NoTls)).await.context("it does not answer")?;
    let (client, connection) = connected.map_err(told)?;
    let work = async move {
        let messages = client.simple_query(statements).await;
        drop(client);
        messages
    };
    let (messages, ended) = tokio::join!(work, connection);
    let messages = messages.map_err(told)?;
    ended.context("the connection broke")?;
    let mut rows = Vec::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            rows.push((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect());
        }
    }
    Ok(rows)
}

/// The error with the server's own words, which tokio-postgres keeps to itself.
fn told(error: tokio_postgres::Error) -> anyhow::Error {
    match error.as_db_error() {
        Some(db) => anyhow::anyhow!("{}: {}", db.code().code(), db.message()),
        None => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_answers_restarts_and_ends_with_its_handle() {
        let mut postgres = Postgres::start(Options { tcp: true, log_statements: true, ..Options::default() });
        assert_eq!(postgres.sql("SELECT 1, NULL"), vec![vec![Some("1".to_owned()), None]]);
        assert!(postgres.log().contains("SELECT 1, NULL"));
        postgres.sql("CREATE TABLE kept()");
        postgres.restart().unwrap();
        postgres.crash();
        postgres.start_again().unwrap();
        assert_eq!(postgres.sql("SELECT count(*) FROM kept"), vec![vec![Some("0".to_owned())]]);
        let (id, folder) = (postgres.id().unwrap(), postgres.socket_folder());
        drop(postgres);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
        assert!(!folder.exists());
    }

    #[test]
    fn a_wrong_password_is_refused_and_a_paused_cluster_does_not_answer() {
        let mut postgres = Postgres::start(Options::default());
        let wrong = postgres.connection(Postgres::SUPERUSER, "wrong", "postgres");
        assert!(postgres.try_sql(wrong, "SELECT 1").unwrap_err().to_string().contains("password"));
        postgres.pause();
        let mut late = postgres.connection(Postgres::SUPERUSER, postgres.password(), "postgres");
        late.connect_timeout(Duration::from_millis(200));
        assert!(postgres.try_sql(late, "SELECT 1").is_err());
        postgres.resume();
        postgres.sql("SELECT 1");
    }

    #[test]
    fn a_cluster_ends_when_its_test_is_killed() {
        let mut postgres = Postgres::start(Options::default());
        let (id, folder) = (postgres.id().unwrap(), postgres.socket_folder());
        // What the kernel does for a process that is killed: it closes its end of the pipe.
        drop(postgres.server.as_mut().unwrap().watchdog.stdin.take());
        let server = &mut postgres.server.as_mut().unwrap().process;
        server.wait(Duration::from_mins(1)).unwrap();
        assert_eq!(server.id(), id);
        assert!(poll(Duration::from_mins(1), || !folder.exists()));
    }
}
