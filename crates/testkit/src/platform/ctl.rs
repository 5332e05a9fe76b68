//! The operator's command line.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::thread::JoinHandle;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::programs::{command, run, said};

/// The operator's command line, which may run beside other things.
#[derive(Debug, Clone)]
pub struct Ctl {
    pub(super) program: PathBuf,
    pub(super) folder: PathBuf,
    /// Who is asked when nothing else is said; none: whom the contexts in `folder` name.
    pub(super) controller: Option<String>,
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

    /// Runs `rekeyctl` with `-o json` and pipes `text` into it; gives all that came of it.
    pub fn piped(&self, arguments: &[&str], text: &str) -> Result<Output> {
        let mut command = command(&self.program, &self.folder, self.controller.as_deref());
        command.args(arguments).args(["-o", "json"]);
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        // It ends with the last of its handle, which is this one.
        process.stdin.take().context("nothing can be piped in")?.write_all(text.as_bytes())?;
        Ok(process.wait_with_output()?)
    }

    /// Runs it beside what goes on here.
    pub fn run_beside(&self, arguments: &[&str]) -> JoinHandle<Result<Value>> {
        let (ctl, arguments) = (self.clone(), arguments.iter().map(ToString::to_string).collect::<Vec<_>>());
        std::thread::spawn(move || ctl.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()))
    }
}
