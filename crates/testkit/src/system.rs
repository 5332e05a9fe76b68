//! A [`Platform`] with a private PostgreSQL and an application's schema in it, whose login it rotates.
//!
//! The demo and the whole-system tests are two stories told with it.

mod database;
mod settings;

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::Value;

pub use crate::platform::{Ctl, Programs, folder, write_private};
pub use database::Database;
pub use settings::{CREDENTIAL, Pace};

use crate::platform::{PATIENCE, Platform};
use crate::process::poll;

/// What the callers of this system's sidecars may read.
const READABLE: &str = "orders/*";

/// A running system. Everything in it ends with it. What it can do as any [`Platform`] can, it does as that.
#[derive(Debug)]
pub struct System {
    platform: Platform,
    /// The database whose logins rotate.
    pub database: Database,
}

impl System {
    /// Starts the database and a controller in `folder`, with the credential [`CREDENTIAL`] declared and its login of
    /// today adopted.
    pub fn start(programs: Programs, folder: &Path, pace: Pace) -> Result<Self> {
        Self::start_at_level(programs, folder, pace, "info")
    }

    /// The same, with every part logging at `level`.
    #[expect(clippy::needless_pass_by_value, reason = "reads best at the many places that call it")]
    pub fn start_at_level(programs: Programs, folder: &Path, pace: Pace, level: &str) -> Result<Self> {
        let database = Database::start()?;
        write_private(&folder.join("rotator-password"), database.rotator_password())?;
        write_private(&folder.join("legacy-password"), database.legacy_password())?;
        let platform = Platform::start(programs, folder, settings::controller(&database, &pace, level))?;
        let system = Self { platform, database };
        system.apply(&pace)?;
        system.ctl(&["adopt", CREDENTIAL, "--password-file", "legacy-password"])?;
        Ok(system)
    }

    /// Declares the credential anew, at another pace.
    #[expect(clippy::needless_pass_by_value, reason = "as at the start")]
    pub fn declare(&mut self, pace: Pace) -> Result<()> {
        self.apply(&pace)
    }

    fn apply(&self, pace: &Pace) -> Result<()> {
        self.platform.declare(&settings::credential(pace))
    }

    /// Joins and starts a sidecar called `name`, and waits until it serves the credential.
    pub fn start_sidecar(&mut self, name: &str) -> Result<()> {
        self.platform.start_sidecar(name, &format!("orders/{name}"), READABLE)
    }

    /// Puts a new join token where the sidecar `name` looks for it.
    pub fn give_token(&self, name: &str) -> Result<()> {
        self.platform.give_token(name, &format!("orders/{name}"))
    }

    /// Starts a sidecar called `twin` with a copy of what the sidecar `name` is known by, and no token: what somebody
    /// can do who has read its folder.
    pub fn start_twin(&mut self, name: &str, twin: &str) -> Result<()> {
        self.platform.start_twin(name, twin, READABLE)
    }

    /// Starts a copy of the example service behind the sidecar `sidecar`, and waits for its first figures.
    pub fn start_service(&mut self, name: &str, sidecar: &str) -> Result<()> {
        let stats = self.stats(name);
        let launch = self.platform.launch(&self.platform.programs.orders, name);
        let process = launch
            .arg("--socket")
            .arg(self.socket(sidecar).as_os_str())
            .args(["--credential", CREDENTIAL])
            .arg("--stats-file")
            .arg(stats.as_os_str())
            .start()?;
        self.keep(name, process);
        ensure!(
            poll(PATIENCE, || stats.exists()),
            "service {name} does nothing:\n{}",
            self.part(name)?.log_end()
        );
        Ok(())
    }

    /// The file into which the service `name` writes its figures.
    pub fn stats(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{name}.json"))
    }

    /// The credential's state, as `rekeyctl status` prints it.
    pub fn status(&self) -> Result<Value> {
        self.platform.status(CREDENTIAL)
    }
}

impl Deref for System {
    type Target = Platform;

    fn deref(&self) -> &Platform {
        &self.platform
    }
}

impl DerefMut for System {
    fn deref_mut(&mut self) -> &mut Platform {
        &mut self.platform
    }
}
