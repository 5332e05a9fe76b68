//! The processes that are measured: the real sidecar and the bare echo.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rekey_proto::local::GetRequest;
use tempfile::TempDir;

use crate::calls::connect;
use crate::clock::now;
use crate::rounds::{Amount, Pair};
use crate::table::{Measure, Table};
use crate::{controller, material};

/// How long a part may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything that runs.
pub(crate) struct Stage {
    pub(crate) sidecar: Server,
    pub(crate) echo: Server,
    folder: TempDir,
}

/// A process that serves a socket; ended with its handle.
pub(crate) struct Server {
    program: PathBuf,
    arguments: Vec<PathBuf>,
    socket: PathBuf,
    child: Option<Child>,
}

impl Stage {
    /// Starts all of it.
    pub(crate) async fn set() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let controller = controller::start(&at("ca.pem"))?;
        let mut token =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(at("token"))?;
        token.write_all(b"a bench lets everybody in")?;
        std::fs::write(at("sidecar.yaml"), config(folder.path(), controller))?;

        let own = std::env::current_exe()?;
        let program = own.with_file_name("rekey-sidecar");
        if !program.exists() {
            bail!("there is no {}; build it: cargo build --profile dist -p rekey-sidecar", program.display());
        }
        let arguments = vec!["--config".into(), at("sidecar.yaml")];
        let socket = at("socket").join("rekey.sock");
        let sidecar = Server { program, arguments, socket, child: None };
        let socket = at("echo.sock");
        let echo =
            Server { program: own, arguments: vec!["echo".into(), socket.clone()], socket, child: None };
        let mut stage = Self { sidecar, echo, folder };
        stage.sidecar.start().await.context("the sidecar")?;
        stage.echo.start().await.context("the echo")?;
        Ok(stage)
    }

    /// Where the sidecar keeps who it is.
    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }
}

/// Starts all of it, says which processes they are, and waits for an interrupt.
pub(crate) async fn hold() -> Result<()> {
    let stage = Stage::set().await?;
    for server in [&stage.sidecar, &stage.echo] {
        let pid = server.child.as_ref().map_or(0, Child::id);
        writeln!(std::io::stdout(), "{pid} {}", server.program.display())?;
    }
    Ok(tokio::signal::ctrl_c().await?)
}

fn config(folder: &Path, controller: SocketAddr) -> String {
    format!(
        "controller:
  address: {controller}
  server_name: localhost
  ca_file: {folder}/ca.pem
identity:
  state_dir: {folder}/state
  join_token_file: {folder}/token
socket:
  path: {folder}/socket/rekey.sock
",
        folder = folder.display(),
    )
}

impl Server {
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Starts it, and gives the time until its first answer.
    async fn start(&mut self) -> Result<Duration> {
        self.end();
        let started = now();
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        self.child = Some(child);
        let mut client = None;
        while started.elapsed() < PATIENCE {
            match &mut client {
                None => client = connect(&self.socket).await.ok(),
                Some(connected) => {
                    let asked = connected.get(GetRequest { name: material::name(0) });
                    match tokio::time::timeout(Duration::from_secs(1), asked).await {
                        Ok(Ok(_)) => return Ok(started.elapsed()),
                        // Details are a sidecar's own words: not yet.
                        Ok(Err(status)) if !status.details().is_empty() => {}
                        Ok(Err(_)) | Err(_) => client = None,
                    }
                }
            }
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        bail!("no answer within {PATIENCE:?}")
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
        drop(std::fs::remove_file(&self.socket));
    }

    fn proc(&self, file: &str) -> Result<PathBuf> {
        let child = self.child.as_ref().context("it does not run")?;
        Ok(PathBuf::from(format!("/proc/{}/{file}", child.id())))
    }

    /// The time that its threads have spent on a CPU.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        let mut nanos = 0;
        for task in std::fs::read_dir(self.proc("task")?)? {
            let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
            nanos += text.split(' ').next().context("an empty schedstat")?.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// What it keeps in memory by the line `kind` of its status, in MiB.
    fn resident(&self, kind: &'static str) -> Result<f64> {
        let text = std::fs::read_to_string(self.proc("status")?)?;
        let line = text.lines().find_map(|line| line.strip_prefix(kind)).context(kind)?;
        let kib: u32 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(f64::from(kib) / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// From the start of the process to its first answer: as after a restart, with an identity from before, and as on the
/// first day, with nothing but a token.
pub(crate) async fn startup(stage: &mut Stage, amount: Amount, table: &mut Table) -> Result<()> {
    let (mut again, mut first) = (Pair::default(), Pair::default());
    for _ in 0..amount.rounds {
        let ours = stage.sidecar.start().await?;
        let anchor = stage.echo.start().await?;
        again.push(ours.as_secs_f64() * 1e3, anchor.as_secs_f64() * 1e3);
        stage.sidecar.end();
        std::fs::remove_dir_all(stage.state()).context("forget the identity")?;
        let ours = stage.sidecar.start().await?;
        first.push(ours.as_secs_f64() * 1e3, anchor.as_secs_f64() * 1e3);
    }
    for (name, pair) in
        [("start to first answer, 100 held", again), ("first join to first answer, 100", first)]
    {
        table.add(Measure { name, unit: "ms", anchor: "bare tonic echo", aim: "<= 10 ms" }, &pair);
    }
    Ok(())
}

/// Memory of processes that have answered one read: all of it, and its two kinds.
pub(crate) fn idle_memory(stage: &Stage, table: &mut Table) -> Result<()> {
    let rows = [
        ("idle memory, 100 held", "VmRSS:", "<= 8 MiB"),
        ("idle memory, its own", "RssAnon:", ""),
        ("idle memory, of files", "RssFile:", ""),
    ];
    for (name, line, aim) in rows {
        let mut pair = Pair::default();
        pair.push(stage.sidecar.resident(line)?, stage.echo.resident(line)?);
        table.add(Measure { name, unit: "MiB", anchor: "bare tonic echo", aim }, &pair);
    }
    Ok(())
}
