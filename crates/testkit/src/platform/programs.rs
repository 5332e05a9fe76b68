//! The built programs, and how one of them is run as a user would: from a folder, to its end.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

use crate::unprivileged;

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

/// Runs a program as a user would from `folder`, and gives all that came of it.
pub(super) fn run(
    program: &Path,
    folder: &Path,
    controller: Option<&str>,
    arguments: &[&str],
) -> Result<Output> {
    let mut command = command(program, folder, controller);
    command.args(arguments).stdin(Stdio::null());
    command.output().with_context(|| format!("run {}", program.display()))
}

/// A program as a user would start it from `folder`.
pub(super) fn command(program: &Path, folder: &Path, controller: Option<&str>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    command.env("HOME", folder).env_remove("XDG_CONFIG_HOME").env_remove("REKEY_CONTEXT");
    match controller {
        Some(controller) => command.env("REKEY_CONTROLLER", controller),
        None => command.env_remove("REKEY_CONTROLLER"),
    };
    if let Some(id) = unprivileged() {
        use std::os::unix::process::CommandExt;
        command.uid(id).gid(id);
    }
    command
}

/// What a command said on both of its outputs.
pub(super) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
