//! D3: a new version with environment, scope and expiry; when the old one may end is shown, and counts down.

use anyhow::{Context, Result, ensure};
use rekey_testkit::http::Http;
use serde_json::Value;

use super::DATABASE;
use super::d1::line;
use crate::cluster::{cluster, object};
use crate::consumer::How;
use crate::consumers::http::gets;
use crate::consumers::postgres::queries;
use crate::login::{logins, version};
use crate::measured::Measured;
use crate::part::Part;
use crate::patience::comes;
use crate::row::{Row, Size};
use crate::stage::Stage;

const FILE: &str = include_str!("../../flashfusion/d3-scoped-login.yaml");
const TOKEN: &str = include_str!("../../flashfusion/d3-scoped-token.yaml");
const HOUR: i64 = 3_600_000;

pub(crate) const ROW: Row = Row {
    id: "D3",
    system: "flashfusion",
    title: "a version's environment, scope and expiry; when the old one may end",
    needs: &[Part::Postgres, Part::Kube],
    files: &["d3-scoped-login.yaml", "d3-scoped-token.yaml"],
    play,
};

fn play(stage: &mut Stage, _size: Size) -> Result<Measured> {
    let postgres = DATABASE.make(stage)?;
    let kube = cluster(stage, "flashfusion")?;
    stage.sidecar("flashfusion")?;
    let (login, token) = (stage.declare(FILE)?, stage.declare(TOKEN)?);
    stage.first_version(&login)?;
    stage.first_version(&token)?;
    let mut measured = Measured::at("PostgreSQL, Kubernetes", version(&postgres));
    let consumers = [
        stage.consumer(&login, How::Watch, queries(&DATABASE.query()))?,
        stage.consumer(
            &token,
            How::Get,
            gets(Http::tls(kube.port(), kube.ca_pem())?, "token", &object("flashfusion")),
        )?,
    ];
    consumers.iter().try_for_each(|consumer| consumer.let_work(3))?;
    let [of_login, of_token] = [line(stage, &login)?, line(stage, &token)?];
    for (line, environment, scope) in
        [(&of_login, "production", "release"), (&of_token, "staging", "run-tools")]
    {
        ensure!(line.get("environment").and_then(Value::as_str) == Some(environment), "{line:#}");
        ensure!(line.get("labels").is_some_and(|labels| labels.to_string().contains(scope)), "{line:#}");
    }
    let at = |line: &Value, key: &str| line.get(key).and_then(Value::as_i64);
    let life = at(&of_token, "expires_ms").context("a token's line has no expiry")?
        - at(&of_token, "created_ms").unwrap_or(0);
    ensure!((HOUR / 2..=2 * HOUR).contains(&life), "the token lives for {life} ms: {of_token:#}");
    ensure!(stage.read(&token)?.not_after().is_some(), "its reader is not told when it ends");
    counts_down(stage, &login, &mut measured)?;
    consumers.iter().try_for_each(|consumer| consumer.let_work(3))?;
    for consumer in consumers {
        measured.used(consumer.end()?);
    }
    ensure!(comes(|| logins(&postgres, "ff_release_v") == 1), "logins are left behind");
    measured.ended("dropped when its time was over, not in pg_roles");
    Ok(measured)
}

/// A rotation with its real grace of a day says when the old one may end; with a short one it ends.
fn counts_down(stage: &mut Stage, name: &str, measured: &mut Measured) -> Result<()> {
    let version = stage.current(name)? + 1;
    let words = ["rotate", name, "--wait=moved", "--wait-timeout", "120s", "--reason", "runbook"];
    measured.rotated(&stage.platform.ctl(&words)?);
    let left = || -> Option<i64> {
        let told = stage.platform.ctl(&["status", name]).ok()?;
        let end = told.pointer("/credentials/0/rotation/earliest_end_ms").and_then(Value::as_i64)?;
        Some(end - told.get("now_ms").and_then(Value::as_i64)?)
    };
    ensure!(comes(|| left().is_some()), "nobody says when it may end: {:#}", stage.platform.status(name)?);
    let first = left().context("it was there")?;
    ensure!((20 * HOUR..=24 * HOUR).contains(&first), "it may end in {first} ms");
    ensure!(comes(|| left().is_some_and(|left| left < first)), "the time does not fall: {:?}", left());
    let short: Vec<&str> = FILE.lines().filter(|line| !line.starts_with("grace:")).collect();
    stage.declare(&short.join("\n"))?;
    stage.platform.wait_settled(name, version)?;
    measured
        .note(format!("the old one might end in {} minutes at the earliest, and that fell", first / 60_000));
    Ok(())
}
