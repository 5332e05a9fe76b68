//! Where rows play: one Rekey for all of them, one sidecar for each system, one PostgreSQL that all share.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use rekey_client::Credential;
use rekey_testkit::platform::{Platform, Programs, Setup, folder};
use rekey_testkit::postgres::{Options, Postgres};
use serde_json::Value;

use crate::consumer::{self, Consumer, How, Turn};
use crate::measured::Measured;

/// The classes that the declarations name.
const CLASSES: &str = include_str!("../classes.yaml");

/// What every grace is here, so that a run takes seconds: the one thing that is not as the files have it.
const GRACE: &str = "grace: { max_reconnect: 300ms, floor: 400ms, quiet: 300ms, deadline: 2m }";

/// A running Rekey with what rows have added to it. Everything ends with it.
#[derive(Debug)]
pub struct Stage {
    /// The controller, its sidecars, its operator.
    pub platform: Platform,
    postgres: Option<Rc<Postgres>>,
    programs: Programs,
    sidecars: BTreeSet<String>,
    targets: BTreeSet<String>,
    out: PathBuf,
}

impl Stage {
    /// Starts a controller in `place`, with every part logging at `level`; what rows write for people goes to `out`.
    pub fn build(programs: Programs, place: &Path, out: &Path, level: &str) -> Result<Self> {
        let setup = Setup { sections: classes(CLASSES), log_level: level.to_owned(), ..Setup::default() };
        let platform = Platform::start(programs.clone(), place, setup)?;
        let (sidecars, targets) = (BTreeSet::new(), BTreeSet::new());
        Ok(Self { platform, postgres: None, programs, sidecars, targets, out: out.to_owned() })
    }

    /// Another Rekey beside this one, for what would disturb other rows, with every part logging at `level`.
    pub(crate) fn beside(&self, name: &str, level: &str) -> Result<Self> {
        let place = folder(self.platform.folder(), name)?;
        Self::build(self.programs.clone(), &place, &self.out, level)
    }

    /// The PostgreSQL that all rows share, started when it is first asked for.
    pub(crate) fn postgres(&mut self) -> Result<Rc<Postgres>> {
        if let Some(running) = &self.postgres {
            return Ok(Rc::clone(running));
        }
        let started = Rc::new(Postgres::try_start(&Options { tcp: true, ..Options::default() })?);
        Ok(Rc::clone(self.postgres.insert(started)))
    }

    /// Adds a target to the controller's config, once; its files too.
    pub(crate) fn target(&mut self, name: &str, yaml: &str, files: &[(&str, &str)]) -> Result<()> {
        if self.targets.insert(name.to_owned()) {
            self.platform.add_target(yaml, files)?;
        }
        Ok(())
    }

    /// The socket of the system's sidecar, which is started when it is first asked for.
    pub(crate) fn sidecar(&mut self, system: &str) -> Result<PathBuf> {
        self.sidecar_called(system, "a")
    }

    /// The socket of another sidecar of the system.
    pub(crate) fn second_sidecar(&mut self, system: &str) -> Result<PathBuf> {
        self.sidecar_called(system, "b")
    }

    fn sidecar_called(&mut self, system: &str, which: &str) -> Result<PathBuf> {
        let name = format!("{system}-{which}");
        if self.sidecars.insert(name.clone()) {
            self.platform.start_sidecar(&name, &format!("{system}/{which}"), &format!("{system}/*"))?;
        }
        Ok(self.platform.socket(&name))
    }

    /// Declares a credential as its file says, and gives its name.
    pub(crate) fn declare(&self, yaml: &str) -> Result<String> {
        self.declare_all(yaml)?.pop().context("a declaration begins with `credential:`")
    }

    /// Declares all credentials of a file at once, and gives their names.
    pub(crate) fn declare_all(&self, yaml: &str) -> Result<Vec<String>> {
        self.platform.declare(yaml)?;
        Ok(yaml.lines().filter_map(|line| line.strip_prefix("credential: ")).map(str::to_owned).collect())
    }

    /// Starts a consumer of `name` behind its system's sidecar.
    pub(crate) fn consumer(
        &mut self,
        name: &str,
        how: How,
        work: impl FnMut(&Turn<'_>) -> Result<(), String> + Send + 'static,
    ) -> Result<Consumer> {
        let socket = self.sidecar(system_of(name))?;
        Ok(Consumer::start(&socket, name, how, work))
    }

    /// What `name`'s system's sidecar gives out now.
    pub(crate) fn read(&mut self, name: &str) -> Result<Credential> {
        consumer::read(&self.sidecar(system_of(name))?, name)
    }

    /// The current version.
    pub(crate) fn current(&self, name: &str) -> Result<u64> {
        Ok(self.platform.status(name)?.get("current").and_then(Value::as_u64).unwrap_or(0))
    }

    /// What the target calls the current version.
    pub(crate) fn handle(&self, name: &str) -> Result<String> {
        let status = self.platform.status(name)?;
        let versions = status.get("versions").and_then(Value::as_array).into_iter().flatten();
        let mut current = versions.filter(|version| version.get("version") == status.get("current"));
        let handle = current.next().and_then(|version| version.get("handle")).and_then(Value::as_str);
        handle.map(str::to_owned).with_context(|| format!("{name} has no current version: {status:#}"))
    }

    /// Rotates to the end, and counts it.
    pub(crate) fn rotate(&self, name: &str, measured: &mut Measured) -> Result<()> {
        let before = self.current(name)?;
        let words = ["rotate", name, "--wait", "--wait-timeout", "120s", "--reason", "runbook"];
        let told = self.platform.ctl(&words)?;
        let phase = told.pointer("/rotation/phase").and_then(Value::as_str);
        ensure!(phase == Some("Done"), "the rotation of {name} did not end well: {told:#}");
        ensure!(self.current(name)? > before, "{name} is as it was: {told:#}");
        measured.rotated(&told);
        Ok(())
    }

    /// Hands in a value that a person has made, and waits until everybody has it.
    pub(crate) fn hand_in(&self, name: &str, value: &str) -> Result<Value> {
        self.platform.write("made-by-hand", value)?;
        let words = ["hand-in", name, "--file", "made-by-hand", "--wait=moved", "--wait-timeout", "120s"];
        self.platform.ctl(&words)
    }

    /// Leaves a file in the platform's folder, as somebody else's machine does: whole or not at all.
    pub(crate) fn leave(&self, file: &str, text: &str) -> Result<()> {
        let (there, beside) =
            (self.platform.folder().join(file), self.platform.folder().join("being-written"));
        self.platform.write("being-written", text)?;
        std::fs::rename(beside, there).with_context(|| format!("leave {file}"))
    }

    /// Waits until the first version, which makes itself or was handed in, is there.
    pub(crate) fn first_version(&self, name: &str) -> Result<()> {
        self.platform.wait_settled(name, 1).map(drop)
    }

    /// Writes a file for people into the folder of the summary.
    pub(crate) fn write_out(&self, name: &str, text: &str) -> Result<()> {
        std::fs::create_dir_all(&self.out)?;
        std::fs::write(self.out.join(name), text).with_context(|| format!("write {name}"))
    }
}

/// The classes with every grace made short.
pub(crate) fn classes(yaml: &str) -> String {
    let short = |line: &str| match line.find("grace:") {
        Some(at) => format!("{}{GRACE}\n", line.get(..at).unwrap_or_default()),
        None => format!("{line}\n"),
    };
    yaml.lines().map(short).collect()
}

/// The first part of a credential's name.
fn system_of(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}
