//! A rotation whose old version is kept alive by a session, so that the new one stays on trial for as long as a row wants.

use std::rc::Rc;

use anyhow::{Result, ensure};
use rekey_testkit::postgres::Postgres;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use crate::patience::comes;
use crate::stage::Stage;

/// A new version that everybody has and the old one with a session.
#[derive(Debug)]
pub(crate) struct Trial {
    /// The version before.
    pub(crate) old: u64,
    /// What the server calls the new one.
    pub(crate) new: String,
    runtime: Runtime,
    session: Client,
}

impl Trial {
    /// Opens a session of the current login, and moves everybody to a new one.
    pub(crate) fn begin(stage: &mut Stage, postgres: &Rc<Postgres>, name: &str) -> Result<Self> {
        let (old, credential) = (stage.current(name)?, stage.read(name)?);
        let config = postgres.connection(
            credential.text("username")?,
            credential.text("password")?,
            credential.text("database")?,
        );
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (session, connection) = runtime.block_on(config.connect(NoTls))?;
        runtime.spawn(connection);
        stage.platform.ctl(&[
            "rotate",
            name,
            "--wait=moved",
            "--wait-timeout",
            "120s",
            "--reason",
            "runbook",
        ])?;
        Ok(Self { old, new: stage.handle(name)?, runtime, session })
    }

    /// The session of the old one still works.
    pub(crate) fn lasts(&self) -> Result<()> {
        self.runtime.block_on(self.session.simple_query("SELECT 1"))?;
        Ok(())
    }

    /// Waits until everybody was sent back by itself, and gives why.
    pub(crate) fn returned(&self, stage: &Stage, name: &str) -> Result<String> {
        let mut status = Value::Null;
        let back = comes(|| {
            status = stage.platform.status(name).unwrap_or(Value::Null);
            status.get("current").and_then(Value::as_u64) == Some(self.old)
        });
        ensure!(back, "nobody goes back from {}: {status:#}", self.new);
        self.lasts()?;
        let why = ["/rotation/last_error", "/history/0/last_error"]
            .map(|at| status.pointer(at).and_then(Value::as_str));
        Ok(why.into_iter().flatten().next().unwrap_or_default().to_owned())
    }

    /// Ends the session, and waits until the new version is gone.
    pub(crate) fn undone(self, stage: &Stage, name: &str) -> Result<()> {
        drop(self.session);
        let status = stage.platform.wait_settled(name, self.old)?;
        let phase = status.pointer("/history/0/phase").and_then(Value::as_str);
        ensure!(phase == Some("Abandoned"), "{status:#}");
        Ok(())
    }
}
