//! C8: secrets of development: from the `.env` file where somebody writes them to the `.env` file that a program reads.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rekey_testkit::console::Console;
use rekey_testkit::http::Http;
use rekey_testkit::platform::{folder, write_private};
use serde_json::Value;

use crate::consumer::How;
use crate::consumers::http::{get, gets};
use crate::measured::Measured;
use crate::patience::comes;
use crate::row::{Row, Size};
use crate::stage::Stage;

const DECLARATION: &str = include_str!("../../cloud-aegis/c8-env-file.yaml");
const PATH: &str = "/v1/me";
/// Where a developer's script writes it.
const FILE: &str = "env.development";

pub(crate) const ROW: Row = Row {
    id: "C8",
    system: "cloud-aegis",
    title: "secrets of development, from one .env file to another",
    needs: &[],
    files: &["c8-env-file.yaml"],
    play,
};

fn play(stage: &mut Stage, size: Size) -> Result<Measured> {
    let console = Console::start();
    let server = Http::plain(console.port());
    let mut stage = stage.beside("c8", "info")?;
    stage.sidecar("cloud-aegis")?;
    let target = format!(
        "  aegis-dev:\n    hand-in: {{ address: \"{}\", follows: {{ dev-token: {{ file: {FILE}, key: VITE_DEV_TOKEN, \
         by: \"whoever rotated the item in 1Password\" }} }} }}\n",
        console.address()
    );
    stage.target("aegis-dev", &target, &[])?;
    let mut old = console.make_key("dev-1");
    stage.leave(FILE, &written(&old))?;
    let name = stage.declare(DECLARATION)?;
    stage.first_version(&name)?;
    let sink = sink(&mut stage, &name)?;
    ensure!(comes(|| token(&sink).is_some()), "there is no {}", sink.display());
    let mut measured = Measured::at("a console (scripted double)", "of this run");
    let (path, asked) = (sink.clone(), server.clone());
    let reads = move |_turn: &crate::consumer::Turn<'_>| match get(
        &asked,
        &token(&path).unwrap_or_default(),
        PATH,
    )? {
        200 => Ok(()),
        status => Err(format!("with what stands in the file: status {status}")),
    };
    let consumers = [
        stage.consumer(&name, How::Get, reads)?,
        stage.consumer(&name, How::Watch, gets(server.clone(), "value", PATH))?,
    ];
    for turn in 1..=size.rotations() {
        consumers.iter().try_for_each(|consumer| consumer.let_work(5))?;
        stage.leave(FILE, &written("ck_of_a_hand_that_slipped"))?;
        let told = || {
            stage.platform.status(&name).is_ok_and(|status| alarms(&status).contains("VITE_DEV_TOKEN in "))
        };
        ensure!(comes(told), "nobody is told of a token that does not work");
        let new = console.make_key(&format!("dev-{}", turn + 1));
        stage.leave(FILE, &written(&new))?;
        stage.platform.wait_settled(&name, u64::from(turn) + 1)?;
        ensure!(comes(|| token(&sink).as_deref() == Some(&*new)), "the program's file has the old token");
        measured.rotated(&Value::Null);
        // A use of the old one that has begun ends before it is deleted.
        consumers.iter().try_for_each(|consumer| consumer.let_work(5))?;
        ensure!(console.delete(&format!("dev-{turn}")), "the old token was not there");
        ensure!(get(&server, &old, PATH) == Ok(401), "the old token works still");
        old = new;
    }
    for consumer in consumers {
        consumer.let_work(5)?;
        measured.used(consumer.end()?);
    }
    measured.note("one that does not work went into no program's file");
    measured.ended("deleted at the console by the script that made the next one, 401");
    Ok(measured)
}

/// The file as the script writes it.
fn written(token: &str) -> String {
    format!("# not in git\nVITE_API=http://localhost:8080\nVITE_DEV_TOKEN='{token}'\n")
}

/// Has the sidecar keep a file for a program that can read nothing else; gives where it is.
fn sink(stage: &mut Stage, name: &str) -> Result<PathBuf> {
    let (part, home) = ("cloud-aegis-a", stage.platform.folder().to_owned());
    let run = folder(&home, "frontend")?;
    fs::set_permissions(&run, std::os::unix::fs::PermissionsExt::from_mode(0o700)).context("frontend/")?;
    let config = home.join(format!("{part}.yaml"));
    let text = fs::read_to_string(&config).context("the sidecar's config")?;
    let files = format!(
        "files:\n  - path: frontend/.env\n    env: {{ VITE_DEV_TOKEN: {name}#value }}\n    mode: 0400\n"
    );
    write_private(&config, &format!("{text}{files}"))?;
    stage.platform.end_part(part)?;
    stage.platform.restart_sidecar(part)?;
    Ok(run.join(".env"))
}

/// What the program reads.
fn token(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("VITE_DEV_TOKEN="))?;
    Some(value.trim_matches('\'').to_owned())
}

/// What all alarms that stand say.
fn alarms(status: &Value) -> String {
    status.get("alarms").map(ToString::to_string).unwrap_or_default()
}
