//! A Rekey on this machine: a controller, sidecars, an operator; whatever it rotates is somebody else's.
//!
//! The real binaries, started as a user would start them and driven by `rekeyctl`.

mod ctl;
mod place;
mod programs;
mod settings;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub use ctl::Ctl;
pub use place::{folder, write_private};
pub use programs::Programs;
pub use settings::Setup;

use crate::process::{Launch, Process, free_port, poll};
use crate::unprivileged;
use programs::{run, said};

/// How long anything local may take before it counts as broken.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// How long a rotation may take at the least; asking each time makes it several times as long on a busy machine.
const SETTLES: Duration = Duration::from_mins(3);

/// A running controller with its sidecars. Everything in it ends with it.
#[derive(Debug)]
pub struct Platform {
    pub(crate) programs: Programs,
    folder: PathBuf,
    setup: Setup,
    /// Stays the same when the controller is started again: sidecars come back to it.
    fleet_port: u16,
    controller: Option<Process>,
    parts: BTreeMap<String, Process>,
}

impl Platform {
    /// Makes an installation in `folder` and starts its controller.
    pub fn start(programs: Programs, folder: &Path, setup: Setup) -> Result<Self> {
        let (folder, fleet_port) = (folder.to_owned(), free_port()?);
        let mut platform =
            Self { programs, folder, setup, fleet_port, controller: None, parts: BTreeMap::new() };
        platform.write("controller.yaml", &settings::controller(&platform.setup, fleet_port))?;
        let init = platform.run_controller(&["init", "--config", "controller.yaml"])?;
        ensure!(init.status.success(), "rekey-controller init failed:\n{}", said(&init));
        platform.start_controller()?;
        Ok(platform)
    }

    /// Writes the controller's config anew and starts it again. Sidecars stay and come back to it.
    pub fn configure(&mut self, change: impl FnOnce(&mut Setup)) -> Result<()> {
        change(&mut self.setup);
        self.write("controller.yaml", &settings::controller(&self.setup, self.fleet_port))?;
        self.kill_controller();
        self.start_controller()
    }

    /// Adds entries to `targets:` (indented by two), with the files that they name, and starts the controller again.
    pub fn add_target(&mut self, yaml: &str, files: &[(&str, &str)]) -> Result<()> {
        files.iter().try_for_each(|(name, text)| self.write(name, text))?;
        self.configure(|setup| setup.targets += yaml)
    }

    /// Declares a credential by its document.
    pub fn declare(&self, yaml: &str) -> Result<()> {
        self.write("credential.yaml", yaml)?;
        self.ctl(&["apply", "-f", "credential.yaml"]).map(drop)
    }

    /// Where its files lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file there that only the parts may read.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        write_private(&self.folder.join(name), text)
    }

    /// Starts the controller and waits until it is ready.
    pub fn start_controller(&mut self) -> Result<()> {
        let launch = self.launch(&self.programs.controller, "controller");
        let mut process = launch.args(["run", "--config", "controller.yaml"]).start()?;
        process.wait_for_log("controller ready", PATIENCE)?;
        self.controller = Some(process);
        let answers = poll(PATIENCE, || self.ctl(&["status"]).is_ok());
        ensure!(answers, "the controller does not answer: {:?}", self.ctl(&["status"]).err());
        Ok(())
    }

    /// Copies the store into a file, as an operator would.
    pub fn backup(&self, to: &str) -> Result<()> {
        let output = self.run_controller(&["backup", "--config", "controller.yaml", "--to", to])?;
        ensure!(output.status.success(), "the backup failed:\n{}", said(&output));
        Ok(())
    }

    /// The store is lost, with the controller that was on it, and made again of a copy.
    pub fn restore(&mut self, from: &str) -> Result<()> {
        self.kill_controller();
        for lost in ["rekey.db", "rekey.db-wal", "rekey.db-shm"] {
            let path = self.folder.join(lost);
            if path.exists() {
                fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
            }
        }
        let output = self.run_controller(&["restore", "--config", "controller.yaml", "--from", from])?;
        ensure!(output.status.success(), "the restore failed:\n{}", said(&output));
        Ok(())
    }

    /// Kills the controller where it stands: SIGKILL.
    pub fn kill_controller(&mut self) {
        self.controller = None;
    }

    /// The controller's process.
    pub fn controller(&mut self) -> Result<&mut Process> {
        self.controller.as_mut().context("the controller does not run")
    }

    /// Joins and starts a sidecar called `name`, known as `path` below `spiffe://rekey.local/sidecar/`, whose callers
    /// may read `may_read`; waits until it serves.
    pub fn start_sidecar(&mut self, name: &str, path: &str, may_read: &str) -> Result<()> {
        self.give_token(name, path)?;
        let config = settings::sidecar(name, may_read, self.fleet_port, &self.folder);
        self.write(&format!("{name}.yaml"), &config)?;
        self.restart_sidecar(name)
    }

    /// Puts a new join token where the sidecar `name` looks for it.
    pub fn give_token(&self, name: &str, path: &str) -> Result<()> {
        let id = format!("spiffe://rekey.local/sidecar/{path}");
        let made = self.ctl(&["token", "create", "--for", &id])?;
        let token = made.get("token").and_then(Value::as_str).context("rekeyctl printed no token")?;
        self.write(&format!("{name}.token"), token)
    }

    /// Starts a sidecar called `twin` with a copy of what the sidecar `name` is known by, and no token: what somebody
    /// can do who has read its folder.
    pub fn start_twin(&mut self, name: &str, twin: &str, may_read: &str) -> Result<()> {
        let copy = folder(&self.folder, &format!("{twin}-state"))?;
        fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        let identity = fs::read_to_string(self.folder.join(format!("{name}-state/identity.pem")))?;
        self.write(&format!("{twin}-state/identity.pem"), &identity)?;
        let config = settings::sidecar(twin, may_read, self.fleet_port, &self.folder);
        self.write(&format!("{twin}.yaml"), &config)?;
        // Whether it is let in at all depends on who renews first.
        let launch = self.launch(&self.programs.sidecar, twin);
        let process = launch.arg("--config").arg(format!("{twin}.yaml")).start()?;
        self.keep(twin, process);
        Ok(())
    }

    /// Starts the sidecar `name` again with the identity that it has.
    pub fn restart_sidecar(&mut self, name: &str) -> Result<()> {
        let launch = self.launch(&self.programs.sidecar, name);
        let mut process = launch.arg("--config").arg(format!("{name}.yaml")).start()?;
        let socket = self.socket(name);
        let serves = poll(PATIENCE, || process.ended().is_some() || self.probe(&socket));
        ensure!(serves && process.ended().is_none(), "sidecar {name} does not serve:\n{}", process.log_end());
        self.keep(name, process);
        Ok(())
    }

    /// A program that is started as a part of this system; what it prints goes to a log called `name`.
    pub fn launch(&self, program: &Path, name: &str) -> Launch {
        Launch::new(program, self.folder.join(format!("{name}.log")))
            .folder(&self.folder)
            .owner(unprivileged())
            .env("RUST_LOG", &self.setup.log_level)
            .env("REKEY_CONTROLLER", self.admin_socket())
    }

    /// Keeps a part for as long as the system lives.
    pub fn keep(&mut self, name: &str, process: Process) {
        self.parts.insert(name.to_owned(), process);
    }

    /// A part by its name.
    pub fn part(&mut self, name: &str) -> Result<&mut Process> {
        self.parts.get_mut(name).with_context(|| format!("there is no part {name}"))
    }

    /// Ends a part where it stands: SIGKILL.
    pub fn kill_part(&mut self, name: &str) {
        self.parts.remove(name);
    }

    /// Asks a part to end, and waits for it.
    pub fn end_part(&mut self, name: &str) -> Result<()> {
        let mut part = self.parts.remove(name).with_context(|| format!("there is no part {name}"))?;
        part.terminate();
        part.wait(PATIENCE).map(drop)
    }

    /// Where the controller awaits sidecars.
    pub fn fleet_address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.fleet_port).into()
    }

    /// The port on loopback where the controller that runs now shows `/metrics`.
    pub fn http_port(&mut self) -> Result<u16> {
        let log = self.controller()?.log();
        let lines = log.lines().rev().filter(|line| line.contains("listening"));
        let mut ports = lines.filter(|line| line.contains("http")).filter_map(|line| {
            let (_, port) = line.rsplit_once("127.0.0.1:")?;
            port.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
        });
        ports.next().context("the controller did not say where it shows its figures")
    }

    /// The socket that the sidecar `name` serves.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}-socket")).join("rekey.sock")
    }

    /// The operator's command line.
    pub fn operator(&self) -> Ctl {
        let controller = Some(self.admin_socket());
        Ctl { program: self.programs.ctl.clone(), folder: self.folder.clone(), controller }
    }

    /// Runs `rekeyctl` and gives what it printed; an error holds its words.
    pub fn ctl(&self, arguments: &[&str]) -> Result<Value> {
        self.operator().run(arguments)
    }

    /// A credential's state, as `rekeyctl status` prints it.
    pub fn status(&self, name: &str) -> Result<Value> {
        let all = self.ctl(&["status", name])?;
        all.pointer("/credentials/0").cloned().with_context(|| format!("{name} is not known"))
    }

    /// Waits until `version` of `name` is current and nothing is under way; gives the state then.
    pub fn wait_settled(&self, name: &str, version: u64) -> Result<Value> {
        let mut last = Value::Null;
        let settled = poll(SETTLES, || {
            last = self.status(name).unwrap_or(Value::Null);
            let phase = last.pointer("/rotation/phase").and_then(Value::as_str).unwrap_or_default();
            last.get("current").and_then(Value::as_u64) == Some(version) && phase.is_empty()
        });
        ensure!(settled, "v{version} of {name} is not settled after {SETTLES:?}: {last:#}");
        Ok(last)
    }

    /// Every log of every part, for a search in all that was said.
    pub fn logs(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.folder)?.collect::<Result<Vec<_>, _>>()?;
        let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "log");
        Ok(entries.into_iter().map(|entry| entry.path()).filter(is_log).collect())
    }

    fn probe(&self, socket: &Path) -> bool {
        let socket = socket.to_string_lossy();
        let arguments = ["probe", "--socket", &socket];
        run(&self.programs.sidecar, &self.folder, None, &arguments).is_ok_and(|o| o.status.success())
    }

    fn run_controller(&self, arguments: &[&str]) -> Result<Output> {
        run(&self.programs.controller, &self.folder, Some(&self.admin_socket()), arguments)
    }

    fn admin_socket(&self) -> String {
        format!("unix:{}", self.folder.join("admin.sock").display())
    }
}
