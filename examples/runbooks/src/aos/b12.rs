//! B12: no secret in any log or file, modes that keep others out, a copy of the store, and what becomes of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rekey_testkit::marker::{forms, found_in};
use serde_json::Value;

use super::DATABASE;
use super::b5::FILE;
use crate::consumer::How;
use crate::consumers::postgres::queries;
use crate::login::{logins, version};
use crate::measured::Measured;
use crate::part::Part;
use crate::patience::comes;
use crate::row::{Row, Size};
use crate::stage::Stage;

pub(crate) const ROW: Row = Row {
    id: "B12",
    system: "aos",
    title: "no secret in logs or files, modes, backup and restore",
    needs: &[Part::Postgres],
    files: &["b5-emergency.yaml"],
    play,
};

/// What in our folder is no part of Rekey: what this run writes as its user, and the parts' logs, which it opens.
const NOT_ITS_OWN: [&str; 2] = ["log", "yaml"];

fn play(stage: &mut Stage, size: Size) -> Result<Measured> {
    // A Rekey of its own: its store is lost and put back, and it says all that it can say.
    let mut stage = stage.beside("b12", "trace")?;
    stage.sidecar("aos")?;
    let (postgres, name) = DATABASE.declare(&mut stage, FILE)?;
    let mut measured = Measured::at("PostgreSQL", version(&postgres));
    let consumer = stage.consumer(&name, How::Watch, queries(&DATABASE.query()))?;
    consumer.let_work(3)?;
    let mut secrets = vec![stage.read(&name)?.text("password")?.to_owned()];
    stage.rotate(&name, &mut measured)?;
    secrets.push(stage.read(&name)?.text("password")?.to_owned());
    stage.platform.backup("copy.db")?;
    stage.rotate(&name, &mut measured)?;
    secrets.push(stage.read(&name)?.text("password")?.to_owned());
    consumer.let_work(3)?;
    if size == Size::Whole {
        restored(&mut stage, &name)?;
        consumer.let_work(3)?;
        measured.note("a restored store only reconciled first, and its holders kept what it did not know");
    }
    consumer.expect_refusals();
    stage.platform.ctl(&["revoke", &name, "--reason", "drill"])?;
    consumer.recovered()?;
    measured.rotations += 1;
    measured.used(consumer.end()?);
    let folder = stage.platform.folder();
    for secret in &secrets {
        let found = found_in(folder, secret.as_bytes())?;
        ensure!(found.is_empty(), "a password stands in {found:?}");
        ensure!(!postgres.log().contains(secret), "a password stands in the server's log");
    }
    let last = secrets.pop().context("no secret")?;
    search_finds(folder, last.as_bytes())?;
    let files = modes(folder)?;
    ensure!(comes(|| logins(&postgres, "nova_worker_v") == 1), "logins are left behind");
    measured.note(format!(
        "{} passwords looked for at the level trace; {files} files are its user's alone",
        secrets.len() + 1
    ));
    measured.ended("dropped, also what a restored copy did not know");
    Ok(measured)
}

/// The store is lost and put back: it only reconciles, then goes on with a version that nobody ever used.
fn restored(stage: &mut Stage, name: &str) -> Result<()> {
    let before = stage.current(name)?;
    stage.platform.restore("copy.db")?;
    stage.platform.start_controller()?;
    let on = comes(|| {
        let told = stage.platform.ctl(&["reconcile"]).unwrap_or(Value::Null);
        told.get("reconciling") == Some(&Value::Bool(false))
            && stage.current(name).is_ok_and(|now| now > 1000)
    });
    ensure!(on, "after v{before} the restored store does not go on: {:#}", stage.platform.status(name)?);
    let now = stage.current(name)?;
    stage.platform.wait_settled(name, now)?;
    let audit = stage.platform.ctl(&["audit", "query"])?.to_string();
    ensure!(
        audit.contains("sidecars heard") || audit.contains("sidecar heard"),
        "it did not reconcile: {audit}"
    );
    Ok(())
}

/// Planted in each form, the search finds it.
fn search_finds(folder: &Path, secret: &[u8]) -> Result<()> {
    let planted = folder.join("planted");
    for form in forms(secret) {
        fs::write(&planted, [b"before ".as_slice(), &form, b" after"].concat())?;
        ensure!(found_in(folder, secret)?.len() == 1, "the search does not find what it looks for");
    }
    fs::remove_file(planted).context("remove what was planted")
}

/// Every file and folder that Rekey made is its user's alone, but the authority's certificate; gives how many files.
fn modes(folder: &Path) -> Result<usize> {
    let (mut folders, mut files, mut open) = (vec![folder.to_owned()], 0, Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let told = fs::symlink_metadata(&path)?;
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            if NOT_ITS_OWN.contains(&extension) || path.ends_with("ca.pem") {
                continue;
            }
            if told.permissions().mode() & 0o077 != 0 {
                open.push(format!("{} {:o}", path.display(), told.permissions().mode() & 0o7777));
            }
            if told.is_dir() {
                folders.push(path);
            } else {
                files += 1;
            }
        }
    }
    ensure!(open.is_empty(), "others may look at {open:?}");
    ensure!(files >= 4, "only {files} files were looked at");
    Ok(files)
}
