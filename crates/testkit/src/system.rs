//! A whole Rekey on this machine: a private PostgreSQL with an application's schema, a controller, sidecars, services.
//!
//! The real binaries, started as a user would start them and driven by `rekeyctl`. The demo and the whole-system tests
//! are two stories told with it.

mod database;
mod settings;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

pub use database::Database;
pub use settings::{CREDENTIAL, Pace};

use crate::process::{Launch, Process, free_port, poll};
use crate::unprivileged;

/// How long anything local may take before it counts as broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// The built programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `rekey-controller`.
    pub controller: PathBuf,
    /// `rekey-sidecar`.
    pub sidecar: PathBuf,
    /// `rekeyctl`.
    pub ctl: PathBuf,
    /// The example service.
    pub orders: PathBuf,
}

impl Programs {
    /// The programs that lie in `folder`.
    pub fn beside(folder: &Path) -> Result<Self> {
        let program = |name: &str| {
            let path = folder.join(name);
            ensure!(path.is_file(), "there is no {} in {}: build it first", name, folder.display());
            Ok(path)
        };
        Ok(Self {
            controller: program("rekey-controller")?,
            sidecar: program("rekey-sidecar")?,
            ctl: program("rekeyctl")?,
            orders: program("orders")?,
        })
    }

    /// The workspace's own, built if need be.
    pub fn built() -> Result<Self> {
        use crate::cargo::binary;
        Ok(Self {
            controller: binary("rekey-controller")?,
            sidecar: binary("rekey-sidecar")?,
            ctl: binary("rekeyctl")?,
            orders: binary("orders")?,
        })
    }
}

/// The operator's command line, which may run beside other things.
#[derive(Debug, Clone)]
pub struct Ctl {
    program: PathBuf,
    folder: PathBuf,
    /// Who is asked when nothing else is said; none: whom the contexts in `folder` name.
    controller: Option<String>,
}

impl Ctl {
    /// The same program as a person elsewhere has it: with the home `home`, and no controller but by its contexts.
    #[must_use]
    pub fn elsewhere(&self, home: &Path) -> Self {
        Self { program: self.program.clone(), folder: home.to_owned(), controller: None }
    }

    /// Runs `rekeyctl` with `-o json` and gives the last document that it printed; an error holds its words.
    pub fn run(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.output(arguments)?;
        let line = arguments.join(" ");
        ensure!(output.status.success(), "rekeyctl {line} failed ({}):\n{}", output.status, said(&output));
        let documents = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
        let documents = documents.collect::<Result<Vec<_>, _>>();
        let mut documents =
            documents.with_context(|| format!("rekeyctl {line} printed no JSON:\n{}", said(&output)))?;
        Ok(documents.pop().unwrap_or(Value::Null))
    }

    /// Runs `rekeyctl` with `-o json` and gives all that came of it.
    pub fn output(&self, arguments: &[&str]) -> Result<Output> {
        self.plain(&[arguments, &["-o", "json"]].concat())
    }

    /// Runs `rekeyctl` as typed and gives all that came of it.
    pub fn plain(&self, arguments: &[&str]) -> Result<Output> {
        run(&self.program, &self.folder, self.controller.as_deref(), arguments)
    }

    /// Runs it beside what goes on here.
    pub fn run_beside(&self, arguments: &[&str]) -> JoinHandle<Result<Value>> {
        let (ctl, arguments) = (self.clone(), arguments.iter().map(ToString::to_string).collect::<Vec<_>>());
        std::thread::spawn(move || ctl.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()))
    }
}

/// A running system. Everything in it ends with it.
#[derive(Debug)]
pub struct System {
    programs: Programs,
    folder: PathBuf,
    pace: Pace,
    log_level: String,
    /// Stays the same when the controller is started again: sidecars come back to it.
    fleet_port: u16,
    /// The database whose logins rotate.
    pub database: Database,
    controller: Option<Process>,
    parts: BTreeMap<String, Process>,
}

impl System {
    /// Starts the database and a controller in `folder`, with the credential [`CREDENTIAL`] declared and its login of
    /// today adopted.
    pub fn start(programs: Programs, folder: &Path, pace: Pace) -> Result<Self> {
        Self::start_at_level(programs, folder, pace, "info")
    }

    /// The same, with every part logging at `level`.
    pub fn start_at_level(programs: Programs, folder: &Path, pace: Pace, level: &str) -> Result<Self> {
        let database = Database::start()?;
        let mut system = Self {
            programs,
            folder: folder.to_owned(),
            pace,
            log_level: level.to_owned(),
            fleet_port: free_port()?,
            database,
            controller: None,
            parts: BTreeMap::new(),
        };
        system.write(
            "controller.yaml",
            &settings::controller(&system.database, system.fleet_port, &system.pace),
        )?;
        system.write("rotator-password", system.database.rotator_password())?;
        system.write("legacy-password", system.database.legacy_password())?;
        system.write("credential.yaml", &settings::credential(&system.pace))?;
        let init = system.run(&system.programs.controller, &["init", "--config", "controller.yaml"])?;
        ensure!(init.status.success(), "rekey-controller init failed:\n{}", said(&init));
        system.start_controller()?;
        system.ctl(&["apply", "-f", "credential.yaml"])?;
        system.ctl(&["adopt", CREDENTIAL, "--password-file", "legacy-password"])?;
        Ok(system)
    }

    /// Declares the credential anew, at another pace.
    pub fn declare(&mut self, pace: Pace) -> Result<()> {
        self.pace = pace;
        self.write("credential.yaml", &settings::credential(&self.pace))?;
        self.ctl(&["apply", "-f", "credential.yaml"]).map(drop)
    }

    /// Where its files lie.
    pub fn folder(&self) -> &Path {
        &self.folder
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
        let arguments = ["backup", "--config", "controller.yaml", "--to", to];
        let output = self.run(&self.programs.controller, &arguments)?;
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
        let arguments = ["restore", "--config", "controller.yaml", "--from", from];
        let output = self.run(&self.programs.controller, &arguments)?;
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

    /// Joins and starts a sidecar called `name`, and waits until it serves the credential.
    pub fn start_sidecar(&mut self, name: &str) -> Result<()> {
        self.give_token(name)?;
        self.write(&format!("{name}.yaml"), &settings::sidecar(name, self.fleet_port, &self.folder))?;
        self.restart_sidecar(name)
    }

    /// Puts a new join token where the sidecar `name` looks for it.
    pub fn give_token(&self, name: &str) -> Result<()> {
        let id = format!("spiffe://rekey.local/sidecar/orders/{name}");
        let made = self.ctl(&["token", "create", "--for", &id])?;
        let token = made.get("token").and_then(Value::as_str).context("rekeyctl printed no token")?;
        self.write(&format!("{name}.token"), token)
    }

    /// Starts a sidecar called `twin` with a copy of what the sidecar `name` is known by, and no token: what somebody
    /// can do who has read its folder.
    pub fn start_twin(&mut self, name: &str, twin: &str) -> Result<()> {
        let copy = folder(&self.folder, &format!("{twin}-state"))?;
        fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        let identity = fs::read_to_string(self.folder.join(format!("{name}-state/identity.pem")))?;
        self.write(&format!("{twin}-state/identity.pem"), &identity)?;
        self.write(&format!("{twin}.yaml"), &settings::sidecar(twin, self.fleet_port, &self.folder))?;
        self.restart_sidecar(twin)
    }

    /// Starts the sidecar `name` again with the identity that it has.
    pub fn restart_sidecar(&mut self, name: &str) -> Result<()> {
        let launch = self.launch(&self.programs.sidecar, name);
        let mut process = launch.arg("--config").arg(format!("{name}.yaml")).start()?;
        let socket = self.socket(name);
        let serves = poll(PATIENCE, || process.ended().is_some() || self.probe(&socket));
        ensure!(serves && process.ended().is_none(), "sidecar {name} does not serve:\n{}", process.log_end());
        self.parts.insert(name.to_owned(), process);
        Ok(())
    }

    /// Starts a copy of the example service behind the sidecar `sidecar`, and waits for its first figures.
    pub fn start_service(&mut self, name: &str, sidecar: &str) -> Result<()> {
        let stats = self.stats(name);
        let launch = self.launch(&self.programs.orders, name);
        let process = launch
            .arg("--socket")
            .arg(self.socket(sidecar).as_os_str())
            .args(["--credential", CREDENTIAL])
            .arg("--stats-file")
            .arg(stats.as_os_str())
            .start()?;
        self.parts.insert(name.to_owned(), process);
        ensure!(
            poll(PATIENCE, || stats.exists()),
            "service {name} does nothing:\n{}",
            self.part(name)?.log_end()
        );
        Ok(())
    }

    /// A sidecar or a service by its name.
    pub fn part(&mut self, name: &str) -> Result<&mut Process> {
        self.parts.get_mut(name).with_context(|| format!("there is no part {name}"))
    }

    /// Ends a sidecar or service where it stands: SIGKILL.
    pub fn kill_part(&mut self, name: &str) {
        self.parts.remove(name);
    }

    /// Asks a sidecar or service to end, and waits for it.
    pub fn end_part(&mut self, name: &str) -> Result<()> {
        let mut part = self.parts.remove(name).with_context(|| format!("there is no part {name}"))?;
        part.terminate();
        part.wait(PATIENCE).map(drop)
    }

    /// Where the controller awaits sidecars.
    pub fn fleet_address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.fleet_port).into()
    }

    /// The socket that the sidecar `name` serves.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}-socket")).join("rekey.sock")
    }

    /// The file into which the service `name` writes its figures.
    pub fn stats(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
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

    /// The credential's state, as `rekeyctl status` prints it.
    pub fn status(&self) -> Result<Value> {
        let all = self.ctl(&["status", CREDENTIAL])?;
        let credentials = all.get("credentials").and_then(Value::as_array).cloned().unwrap_or_default();
        credentials.into_iter().next().context("the credential is not known")
    }

    /// Every log of every part, for a search in all that was said.
    pub fn logs(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.folder)?.collect::<Result<Vec<_>, _>>()?;
        Ok(entries
            .into_iter()
            .map(|e| e.path())
            .filter(|p| p.extension().is_some_and(|e| e == "log"))
            .collect())
    }

    fn probe(&self, socket: &Path) -> bool {
        let socket = socket.to_string_lossy();
        self.run(&self.programs.sidecar, &["probe", "--socket", &socket]).is_ok_and(|o| o.status.success())
    }

    fn launch(&self, program: &Path, name: &str) -> Launch {
        Launch::new(program, self.folder.join(format!("{name}.log")))
            .folder(&self.folder)
            .owner(unprivileged())
            .env("RUST_LOG", &self.log_level)
            .env("REKEY_CONTROLLER", self.admin_socket())
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> Result<Output> {
        run(program, &self.folder, Some(&self.admin_socket()), arguments)
    }

    fn admin_socket(&self) -> String {
        format!("unix:{}", self.folder.join("admin.sock").display())
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        write_private(&self.folder.join(name), text)
    }
}

/// Writes a file that only the parts may read.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    if let Some(id) = unprivileged() {
        std::os::unix::fs::chown(path, Some(id), Some(id))?;
    }
    Ok(())
}

/// Runs a program as a user would from `folder`, and gives all that came of it.
fn run(program: &Path, folder: &Path, controller: Option<&str>, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(std::process::Stdio::null());
    command.env("HOME", folder).env_remove("XDG_CONFIG_HOME").env_remove("REKEY_CONTEXT");
    match controller {
        Some(controller) => command.env("REKEY_CONTROLLER", controller),
        None => command.env_remove("REKEY_CONTROLLER"),
    };
    if let Some(id) = unprivileged() {
        use std::os::unix::process::CommandExt;
        command.uid(id).gid(id);
    }
    command.output().with_context(|| format!("run {}", program.display()))
}

/// A folder for a system: ours alone, below `parent`, empty.
pub fn folder(parent: &Path, name: &str) -> Result<PathBuf> {
    let folder = parent.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    if let Some(id) = unprivileged() {
        std::os::unix::fs::chown(&folder, Some(id), Some(id))?;
        if folder.ancestors().skip(1).any(|above| above != Path::new("") && !open_to_all(above)) {
            bail!(
                "{} cannot be reached by the user that the parts run as; choose another folder",
                folder.display()
            );
        }
    }
    Ok(folder)
}

fn open_to_all(folder: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(folder).is_ok_and(|m| m.permissions().mode() & 0o001 != 0)
}

/// What a command said on both of its outputs.
fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
