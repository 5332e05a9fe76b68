//! `PgBouncer` before a PostgreSQL server, with its users in a file: each version is one line more. Or without a file,
//! where it asks the server for each login (`auth_query`) and there is nothing to tell it.
//!
//! A line holds the very verifier that the server has, so `PgBouncer` passes a login on without knowing the password. The
//! file is replaced as a whole and then loaded (`RELOAD`); a line that is not ours is never changed.

mod console;
mod plug;
mod settings;
mod userlist;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rekey_model::{Handle, SecretBytes};
use tokio::time::sleep;

pub(crate) use plug::{build, read};
pub use settings::{Target, TargetSettings};

use crate::fault::Fault;
use crate::follower::{Follower, Through};
use crate::postgres::link::{ChannelBinding, Link, Login};
use crate::{DriverError, DriverFuture, scram};
use userlist::{Held, Userlist};

/// The follower's name.
pub const NAME: &str = "pgbouncer";

/// How often, and after how long, it is looked again whether sessions are gone that were cut at the server.
const LOOKS: (u32, Duration) = (20, Duration::from_millis(100));

/// One credential at one `PgBouncer`.
#[derive(Debug, Clone)]
pub struct PgBouncer {
    target: Target,
    /// What names of this credential's versions begin with: `<stem>_v`.
    begins: String,
}

impl PgBouncer {
    /// The follower for logins whose names begin with `stem`.
    pub fn new(target: Target, stem: &str) -> Self {
        Self { target, begins: format!("{stem}_v") }
    }

    /// Does the `work` of one call within its limit, and says what a failure means: `touched` when the file was replaced.
    async fn bounded<T>(
        &self,
        work: impl AsyncFnOnce(&AtomicBool) -> Result<T, Fault>,
    ) -> Result<T, DriverError> {
        crate::fault::call(self.target.timeouts.call, work).await
    }

    /// A session at the console.
    async fn console<'a>(&self, touched: &'a AtomicBool) -> Result<Link<'a>, Fault> {
        let login = Login {
            route: &self.target.route,
            tls: self.target.tls.as_ref(),
            database: "pgbouncer",
            user: &self.target.user,
            password: &self.target.password,
            application: "rekey",
            own_settings: false,
            binding: ChannelBinding::Disable,
            timeouts: self.target.timeouts,
        };
        Link::open(&login, touched).await.map_err(|fault| fault.during("at the console"))
    }

    /// The file, for us alone until what is returned is dropped.
    async fn hold(&self, file: &Path) -> Result<Held, Fault> {
        Userlist::new(file).hold(self.target.timeouts.statement).await
    }

    fn ours(&self, handle: &Handle) -> Result<(), Fault> {
        if handle.as_str().starts_with(&self.begins) {
            return Ok(());
        }
        Err(Fault::no(format!("{handle} does not begin with {}: it is not ours to change", self.begins)))
    }

    /// Puts a line for `handle` into the file, or takes it out, and has the file loaded.
    async fn write(&self, handle: &Handle, line: Option<&str>, touched: &AtomicBool) -> Result<(), Fault> {
        self.ours(handle)?;
        let Some(file) = &self.target.userlist else { return Ok(()) };
        // First: a console that is away is to find the file as it was.
        let mut console = self.console(touched).await?;
        let held = self.hold(file).await?;
        let before = held.read()?;
        let after = userlist::with(&before.text, handle.as_str(), line);
        if after != before.text {
            held.replace(&before, &after, || touched.store(true, Ordering::Relaxed))?;
        }
        console::run(&mut console, "RELOAD").await?;
        if held.read()?.text != after {
            return Err(Fault::NotYet("somebody else changed the userlist meanwhile".to_owned()));
        }
        if line.is_some() && !console::knows(&mut console, handle).await? {
            return Err(Fault::no(format!(
                "it was reloaded and does not know {handle}: auth_file in its settings must be {}, and its user must be able to read it",
                file.display()
            )));
        }
        console.close().await;
        Ok(())
    }

    async fn look(&self, handle: &Handle, touched: &AtomicBool) -> Result<bool, Fault> {
        let mut console = self.console(touched).await?;
        let has = match &self.target.userlist {
            Some(file) => {
                let listed = userlist::holds(&self.hold(file).await?.read()?.text, handle.as_str());
                listed && console::knows(&mut console, handle).await?
            }
            None => true,
        };
        console.close().await;
        Ok(has)
    }

    async fn through(&self, handle: &Handle, touched: &AtomicBool) -> Result<Through, Fault> {
        let mut console = self.console(touched).await?;
        let through = console::through(&mut console, handle).await?;
        console.close().await;
        Ok(through)
    }

    async fn release(&self, handle: &Handle, touched: &AtomicBool) -> Result<(), Fault> {
        let mut console = self.console(touched).await?;
        let mut databases = Vec::new();
        for look in 0..LOOKS.0 {
            databases = console::databases_of(&mut console, handle).await?;
            if databases.is_empty() {
                console.close().await;
                return Ok(());
            }
            if look == LOOKS.0 / 2 {
                // Not at the server that cut them, then: at a replica, perhaps.
                for database in &databases {
                    console::reconnect(&mut console, database).await?;
                }
            }
            sleep(LOOKS.1).await;
        }
        let databases = databases.join(", ");
        Err(Fault::NotYet(format!(
            "{handle} is refused, but has sessions at a server behind it: {databases}"
        )))
    }
}

impl Follower for PgBouncer {
    fn ready(&self) -> DriverFuture<'_, ()> {
        Box::pin(self.bounded(async move |touched| {
            let mut console = self.console(touched).await?;
            if let Some(file) = &self.target.userlist {
                let held = self.hold(file).await?;
                held.try_out(&held.read()?)?;
            }
            let may = console::is_administrator(&mut console, &self.target.user).await?;
            console.close().await;
            let user = &self.target.user;
            if may { Ok(()) } else { Err(Fault::no(format!("{user} is not among its admin_users"))) }
        }))
    }

    fn install<'a>(&'a self, handle: &'a Handle, secret: &'a SecretBytes) -> DriverFuture<'a, ()> {
        Box::pin(self.bounded(async move |touched| {
            let line = format!("\"{handle}\" \"{}\"\n", scram::verifier(handle.as_str(), secret));
            self.write(handle, Some(&line), touched).await
        }))
    }

    fn has<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, bool> {
        Box::pin(self.bounded(async move |touched| self.look(handle, touched).await))
    }

    fn seen<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, Through> {
        Box::pin(self.bounded(async move |touched| self.through(handle, touched).await))
    }

    fn remove<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, ()> {
        Box::pin(self.bounded(async move |touched| self.write(handle, None, touched).await))
    }

    fn let_go<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, ()> {
        Box::pin(self.bounded(async move |touched| self.release(handle, touched).await))
    }

    /// The file is replaced at once or not at all. A `RELOAD` that lands late loads the file as it is then.
    fn settle(&self) -> Duration {
        Duration::ZERO
    }
}
