//! B9: a key that only a person can make, at a console that lets several live.

use anyhow::{Result, ensure};
use rekey_testkit::console::Console;
use rekey_testkit::http::Http;
use serde_json::Value;

use crate::consumer::How;
use crate::consumers::http::{get, gets};
use crate::measured::Measured;
use crate::patience::comes;
use crate::row::{Row, Size};
use crate::stage::Stage;

const FILE: &str = include_str!("../../aos/b9-clerk.yaml");
const PATH: &str = "/v1/me";

pub(crate) const ROW: Row = Row {
    id: "B9",
    system: "aos",
    title: "a key made at a console: proven, handed in, the old one deleted",
    needs: &[],
    files: &["b9-clerk.yaml"],
    play,
};

fn play(stage: &mut Stage, size: Size) -> Result<Measured> {
    let console = Console::start();
    let server = Http::plain(console.port());
    stage.sidecar("aos")?;
    stage.target(
        "aos-clerk",
        &format!("  aos-clerk:\n    hand-in: {{ address: \"{}\" }}\n", console.address()),
        &[],
    )?;
    let name = stage.declare(FILE)?;
    let mut measured = Measured::at("a console (scripted double)", "of this run");
    let mut old = console.make_key("aos-clerk_v1");
    stage.hand_in(&name, &old)?;
    stage.first_version(&name)?;
    let consumer = stage.consumer(&name, How::Watch, gets(server.clone(), "oidc_client_secret", PATH))?;
    consumer.let_work(5)?;
    for turn in 0..size.rotations() {
        let (before, after) = (turn + 1, turn + 2);
        let wrong = stage.hand_in(&name, "ck_0123456789abcdef0123456789abcdef");
        ensure!(
            wrong.is_err_and(|why| format!("{why:#}").contains("401")),
            "a key that does not work was taken"
        );
        let new = console.make_key(&format!("aos-clerk_v{after}"));
        measured.rotated(&stage.hand_in(&name, &new)?);
        consumer.let_work(5)?;
        ensure!(get(&server, &old, PATH) == Ok(200), "the old key was gone before anybody deleted it");
        let reminder = format!("Delete aos-clerk_v{before} on the same page");
        let alarms = || stage.platform.status(&name).map(|status| alarms(&status)).unwrap_or_default();
        ensure!(comes(|| alarms().contains(&reminder)), "nobody is told \"{reminder}\": {}", alarms());
        ensure!(console.delete(&format!("aos-clerk_v{before}")), "the old key was not there");
        stage.platform.ctl(&["hand-in", &name, "--deleted", &format!("v{before}")])?;
        stage.platform.wait_settled(&name, u64::from(after))?;
        ensure!(get(&server, &old, PATH) == Ok(401), "the old key works still");
        old = new;
    }
    consumer.let_work(5)?;
    measured.used(consumer.end()?);
    measured.note("a key that does not work was refused, and nobody saw it");
    measured.ended("deleted at the console by a person who was reminded of it by name, 401");
    Ok(measured)
}

/// What all alarms that stand say.
fn alarms(status: &Value) -> String {
    status.get("alarms").map(ToString::to_string).unwrap_or_default()
}
