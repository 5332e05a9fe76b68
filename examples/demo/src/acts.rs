//! The play: rotations under load, a hold, a rollback, a controller killed in the middle, an emergency.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rekey_testkit::process::poll;
use rekey_testkit::system::{CREDENTIAL, Pace};
use serde_json::Value;

use crate::stage::{Stage, place};
use crate::summary::{Revocation, Spread, Summary};

/// The longest that one command may take.
const PATIENCE: Duration = Duration::from_mins(3);

/// Plays all of it and writes the summary; gives what failed.
pub(crate) fn play(rotations: u32, out: &Path, keep: bool) -> Result<Vec<String>> {
    fs::create_dir_all(out).with_context(|| format!("make {}", out.display()))?;
    let place = place(out)?;
    let played = Play::begin(&place, rotations).and_then(|mut play| play.all());
    if !keep && played.is_ok() {
        fs::remove_dir_all(&place).with_context(|| format!("remove {}", place.display()))?;
    } else {
        eprintln!("the files of the run are in {}", place.display());
    }
    let summary = played?;
    let file = out.join("summary.json");
    fs::write(&file, serde_json::to_string_pretty(&summary)? + "\n")?;
    let failures = summary.failures(rotations);
    println!("\n{}\nwritten to {}", serde_json::to_string_pretty(&summary)?, file.display());
    if failures.is_empty() {
        println!(
            "\n{} rotations, {} logins, {} queries: nothing failed, nothing was restarted, nothing is left behind.",
            summary.rotations, summary.logins, summary.queries
        );
    }
    for failure in &failures {
        println!("FAILED: {failure}");
    }
    Ok(failures)
}

struct Play {
    stage: Stage,
    summary: Summary,
    propagation: Vec<u64>,
    /// When every sidecar was fenced.
    fenced_ms: u64,
}

impl Play {
    fn begin(place: &Path, wanted: u32) -> Result<Self> {
        let stage = Stage::build(place, wanted)?;
        Ok(Self { stage, summary: Summary::default(), propagation: Vec::new(), fenced_ms: 0 })
    }

    fn all(&mut self) -> Result<Summary> {
        let wanted = self.stage.picture.wanted;
        self.rotate_until(wanted / 4)?;
        self.hold_and_release()?;
        self.rotate_until(wanted / 2)?;
        self.roll_back()?;
        self.kill_the_controller_in_mid_rotation()?;
        self.rotate_until(wanted)?;
        self.revoke()?;
        self.stage.pause(Duration::from_secs(1));
        self.close()
    }

    fn rotate_until(&mut self, done: u32) -> Result<()> {
        while self.summary.rotations < done {
            self.stage.act("rotating under load");
            let end = self.stage.ctl(&[
                "rotate",
                CREDENTIAL,
                "--wait",
                "--wait-timeout",
                "3m",
                "--reason",
                "demo",
            ])?;
            self.count(&end)?;
        }
        Ok(())
    }

    /// Takes the result of one waited-for rotation over.
    fn count(&mut self, end: &Value) -> Result<()> {
        let phase = end.pointer("/rotation/phase").and_then(Value::as_str).unwrap_or_default();
        ensure!(phase == "Done", "a rotation ended in {phase}: {end}");
        self.summary.rotations += 1;
        self.stage.picture.done = self.summary.rotations;
        let took = end.get("propagation_ms").and_then(Value::as_u64);
        self.propagation.extend(took);
        let next = end.pointer("/rotation/next").and_then(Value::as_u64).unwrap_or_default();
        let took = took.map(|ms| format!(", with every sidecar after {ms} ms")).unwrap_or_default();
        self.stage.note(&format!("v{next} is live{took}; the version before is gone"));
        Ok(())
    }

    /// Whatever is done in a grace comes in time, however slow the machine is.
    fn wait_long_in_grace(&mut self) -> Result<()> {
        self.stage.system.declare(Pace::default().with_long_grace())
    }

    fn hold_and_release(&mut self) -> Result<()> {
        self.stage.act("an operator holds the rotation in its grace");
        self.wait_long_in_grace()?;
        let rotating = self.stage.system.operator().run_beside(&[
            "rotate",
            CREDENTIAL,
            "--wait",
            "--wait-timeout",
            "3m",
        ]);
        self.wait_for_phase(&["Rolling", "Grace"])?;
        self.stage.ctl(&["hold", CREDENTIAL, "--reason", "somebody wants to look"])?;
        self.stage.system.declare(Pace::default())?;
        self.stage.pause(Duration::from_secs(2));
        let status = self.stage.system.status()?;
        let phase = phase(&status);
        ensure!(phase == "Grace" || phase == "Rolling", "held, and yet it went on to {phase}");
        self.stage.note("held for 2 s: both versions stay valid, nothing is ended");
        self.stage.ctl(&["release", CREDENTIAL])?;
        let end = self.stage.finish(rotating)?;
        self.count(&end)
    }

    fn roll_back(&mut self) -> Result<()> {
        self.stage.act("a rotation is rolled back");
        self.wait_long_in_grace()?;
        self.stage.ctl(&["rotate", CREDENTIAL, "--reason", "a bad idea"])?;
        self.wait_for_phase(&["Rolling", "Grace"])?;
        self.stage.ctl(&["rollback", CREDENTIAL, "--reason", "we changed our mind"])?;
        self.stage.system.declare(Pace::default())?;
        let ended = |status: &Value| phase(status) == "Abandoned" || phase(status).is_empty();
        self.stage.wait_until("the rollback ends", PATIENCE, ended)?;
        self.summary.rollbacks += 1;
        self.stage.note("rolled back: every service returned to the version before, the new one is gone");
        Ok(())
    }

    fn kill_the_controller_in_mid_rotation(&mut self) -> Result<()> {
        self.stage.act("the controller is killed in mid-rotation");
        self.wait_long_in_grace()?;
        self.stage.ctl(&["rotate", CREDENTIAL, "--reason", "to be interrupted"])?;
        self.wait_for_phase(&["Chosen", "Installed", "Proven", "Rolling", "Grace"])?;
        self.stage.system.kill_controller();
        self.stage.note("killed; the services go on with what their sidecars hold");
        self.stage.pause(Duration::from_secs(1));
        self.stage.system.start_controller()?;
        self.stage.system.declare(Pace::default())?;
        self.stage.note("the controller is back and goes on where it was");
        let ended = |status: &Value| phase(status).is_empty() || phase(status) == "Done";
        let status = self.stage.wait_until("the interrupted rotation ends", PATIENCE, ended)?;
        self.summary.rotations += 1;
        self.stage.picture.done = self.summary.rotations;
        let current = status.get("current").and_then(Value::as_u64).unwrap_or_default();
        self.stage.note(&format!("v{current} is live all the same"));
        Ok(())
    }

    fn revoke(&mut self) -> Result<()> {
        self.stage.act("emergency: the credential is revoked");
        let receipt = self.stage.ctl(&["revoke", CREDENTIAL, "--reason", "leaked in the demo"])?;
        let at = |key: &str| receipt.get(key).and_then(Value::as_i64);
        let intent = at("intent_ms").with_context(|| format!("no receipt: {receipt}"))?;
        let after = |key: &str| -> Result<u64> {
            let ms = at(key).with_context(|| format!("{key} is missing in {receipt}"))?;
            Ok(u64::try_from(ms - intent)?)
        };
        let times = Revocation {
            target_cut: after("cut_ms")?,
            all_fenced: after("fenced_ms")?,
            replaced: after("replaced_ms")?,
        };
        self.stage.note(&format!(
            "revoked: dead at the database after {} ms, at every sidecar after {} ms, replaced after {} ms",
            times.target_cut, times.all_fenced, times.replaced
        ));
        self.fenced_ms = u64::try_from(at("fenced_ms").unwrap_or_default())?;
        self.summary.revocation_ms = times;
        let quiet = |status: &Value| phase(status).is_empty() || phase(status) == "Done";
        self.stage.wait_until("the replacement is in use", PATIENCE, quiet)?;
        Ok(())
    }

    fn wait_for_phase(&mut self, wanted: &[&str]) -> Result<()> {
        let wanted_now = |status: &Value| wanted.contains(&phase(status));
        self.stage.wait_until(&format!("the rotation reaches {wanted:?}"), PATIENCE, wanted_now).map(drop)
    }

    /// Ends the services and counts everything.
    fn close(&mut self) -> Result<Summary> {
        self.stage.act("counting");
        self.summary.service_restarts = self.stage.dead_services();
        self.stage.end_services()?;
        let status = self.stage.system.status()?;
        let current = status.get("current").and_then(Value::as_u64).unwrap_or_default();
        let needed = format!("orders_app_v{current}_");
        let orphans = || {
            let roles = self.stage.system.database.made_roles();
            roles.iter().filter(|role| !role.starts_with(&needed)).count()
        };
        // What was revoked is cleaned up behind the receipt.
        let mut left = 0;
        poll(PATIENCE, || {
            left = orphans();
            left == 0
        });
        self.summary.orphan_roles = u64::try_from(left)?;
        self.summary.propagation_ms = Spread::of(std::mem::take(&mut self.propagation));
        self.summary.seconds = self.stage.elapsed().as_secs_f64();
        let total = self.stage.tally.total();
        self.summary.count(&total);
        self.summary.refused_after_all_fenced_ms =
            total.last_refused_by_revocation_ms.saturating_sub(self.fenced_ms);
        for error in self.stage.tally.total().last_errors {
            println!("a service said: {error}");
        }
        Ok(std::mem::take(&mut self.summary))
    }
}

/// The phase of the open rotation; empty without one.
fn phase(status: &Value) -> &str {
    status.pointer("/rotation/phase").and_then(Value::as_str).unwrap_or_default()
}
