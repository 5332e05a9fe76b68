//! Where the demo plays: the system, the picture of it, and the clock; waits that keep the picture moving.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rekey_testkit::system::{CREDENTIAL, Pace, Programs, System, folder};
use serde_json::Value;

use crate::tally::Tally;
use crate::view::{Picture, View};

/// The three services, each with the sidecar it reads from.
pub(crate) const SERVICES: [(&str, &str); 3] =
    [("orders-1", "sidecar-1"), ("orders-2", "sidecar-2"), ("orders-3", "sidecar-3")];

/// How often the picture is drawn anew.
const FRAME: Duration = Duration::from_millis(100);

/// The system and everything that shows it.
#[derive(Debug)]
pub(crate) struct Stage {
    /// What plays.
    pub(crate) system: System,
    /// What is shown.
    pub(crate) picture: Picture,
    /// What the services counted.
    pub(crate) tally: Tally,
    view: View,
    start: Instant,
}

impl Stage {
    /// Starts everything.
    pub(crate) fn build(place: &Path, wanted: u32) -> Result<Self> {
        let start = now();
        let mut picture = Picture::of(wanted);
        let mut view = View::new();
        view.begin();
        picture.note(start.elapsed(), "starting a private PostgreSQL and a controller");
        view.show(&picture, start.elapsed(), &Tally::default());
        let beside = std::env::current_exe()?.parent().map(Path::to_path_buf).context("where am I?")?;
        let system = System::start(Programs::beside(&beside)?, place, Pace::default())?;
        let mut stage = Self { system, picture, tally: Tally::default(), view, start };
        stage.note("the application's own login is adopted as version 1");
        for (service, sidecar) in SERVICES {
            stage.system.start_sidecar(sidecar)?;
            stage.system.start_service(service, sidecar)?;
            stage.tally.follow(service, stage.system.stats(service));
            stage.note(&format!("{sidecar} has joined and serves {service}"));
        }
        Ok(stage)
    }

    /// Says what happened.
    pub(crate) fn note(&mut self, what: &str) {
        self.picture.note(self.start.elapsed(), what);
        self.draw();
    }

    /// Says what is done now.
    pub(crate) fn act(&mut self, what: &str) {
        what.clone_into(&mut self.picture.act);
        self.draw();
    }

    /// How long the demo runs.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Reads the figures and draws the picture.
    pub(crate) fn draw(&mut self) {
        self.tally.read();
        self.view.show(&self.picture, self.start.elapsed(), &self.tally);
    }

    /// Lets the services work for a while.
    pub(crate) fn pause(&mut self, time: Duration) {
        let until = now() + time;
        while now() < until {
            std::thread::sleep(FRAME.min(time));
            self.draw();
        }
    }

    /// Runs `rekeyctl` while the picture moves.
    pub(crate) fn ctl(&mut self, arguments: &[&str]) -> Result<Value> {
        let running = self.system.operator().run_beside(arguments);
        self.finish(running)
    }

    /// Waits for a `rekeyctl` that runs already; it limits its own waiting.
    pub(crate) fn finish(&mut self, running: JoinHandle<Result<Value>>) -> Result<Value> {
        while !running.is_finished() {
            std::thread::sleep(FRAME / 2);
            self.show_rotation();
            self.draw();
        }
        running.join().unwrap_or_else(|_panic| bail!("the thread that ran rekeyctl panicked"))
    }

    /// Waits until the credential's state is as wanted.
    pub(crate) fn wait_until(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let until = now() + limit;
        loop {
            let status = self.system.status();
            if let Ok(status) = &status
                && wanted(status)
            {
                return Ok(status.clone());
            }
            if now() > until {
                bail!("{what}: not after {limit:?}; {CREDENTIAL} is {status:?}");
            }
            std::thread::sleep(FRAME / 2);
            self.draw();
        }
    }

    fn show_rotation(&mut self) {
        let Ok(status) = self.system.status() else { return };
        let text = |pointer: &str| {
            status.pointer(pointer).map(ToString::to_string).unwrap_or_default().replace('"', "")
        };
        self.picture.rotation = match status.get("rotation").filter(|r| !r.is_null()) {
            Some(_) => format!(
                "v{} → v{}: {}, {} of {} sidecars have it",
                text("/rotation/old"),
                text("/rotation/next"),
                text("/rotation/phase"),
                text("/holders/acknowledged"),
                text("/holders/counting"),
            ),
            None => String::new(),
        };
    }

    /// Counts services that do not run any more.
    pub(crate) fn dead_services(&mut self) -> u32 {
        let dead = |stage: &mut Self, name: &str| {
            stage.system.part(name).map_or(true, |part| part.ended().is_some())
        };
        SERVICES.iter().filter(|(service, _)| dead(self, service)).map(|_| 1).sum()
    }

    /// Ends the services so that their last figures are written.
    pub(crate) fn end_services(&mut self) -> Result<()> {
        SERVICES.iter().try_for_each(|(service, _)| self.system.end_part(service))?;
        self.draw();
        Ok(())
    }
}

/// Makes the folder of a run that the parts can reach; below the temporary folder when the demo runs as root.
pub(crate) fn place(wanted: &Path) -> Result<PathBuf> {
    let parent =
        if rekey_testkit::unprivileged().is_some() { std::env::temp_dir() } else { wanted.to_owned() };
    folder(&std::path::absolute(parent)?, &format!("rekey-demo-{}", std::process::id()))
}

/// Now, for the demo's own waits.
#[expect(
    clippy::disallowed_methods,
    reason = "the demo measures its own run; nothing of Rekey depends on it"
)]
fn now() -> Instant {
    Instant::now()
}
