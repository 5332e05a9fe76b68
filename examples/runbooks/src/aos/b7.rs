//! B7: a hosted PostgreSQL whose URL stands at several paths: they change together, or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::DATABASE;
use crate::consumer::{How, Turn};
use crate::consumers::postgres::queries;
use crate::login::{logins, version};
use crate::measured::Measured;
use crate::part::Part;
use crate::patience::comes;
use crate::row::{Row, Size};
use crate::stage::Stage;

const FILE: &str = include_str!("../../aos/b7-two-paths.yaml");

pub(crate) const ROW: Row = Row {
    id: "B7",
    system: "aos",
    title: "DATABASE_URL at several paths: they change as one",
    needs: &[Part::Postgres],
    files: &["b7-two-paths.yaml"],
    play,
};

fn play(stage: &mut Stage, size: Size) -> Result<Measured> {
    stage.sidecar("aos")?;
    let postgres = DATABASE.make(stage)?;
    let names = both(stage)?;
    names.iter().try_for_each(|name| stage.first_version(name))?;
    let [one, other] = &names;
    let mut measured = Measured::at("PostgreSQL", version(&postgres));
    let compared = Arc::new(AtomicU64::new(0));
    let consumers = [
        stage.consumer(one, How::Watch, uses(&names, &compared))?,
        stage.consumer(other, How::Get, uses(&names, &compared))?,
    ];
    consumers.iter().try_for_each(|consumer| consumer.let_work(5))?;
    for turn in 0..size.rotations() {
        // Whichever is asked for, both rotate.
        let (asked, other) = if turn % 2 == 0 { (one, other) } else { (other, one) };
        let before = stage.current(other)?;
        stage.rotate(asked, &mut measured)?;
        stage.platform.wait_settled(other, before + 1)?;
        measured.rotations += 1;
        let now = [stage.current(asked)?, stage.current(other)?];
        ensure!(now == [before + 1; 2], "both were v{before}, and are {now:?}");
        consumers.iter().try_for_each(|consumer| consumer.let_work(5))?;
    }
    if size == Size::Whole {
        one_fails(stage, &names, &mut measured)?;
    }
    for consumer in consumers {
        measured.used(consumer.end()?);
    }
    let compared = compared.load(Ordering::SeqCst);
    ensure!(compared > 0, "nobody ever read both at one moment");
    measured.note(format!(
        "both were read {compared} times in one generation, never a new one beside an old one"
    ));
    ensure!(comes(|| logins(&postgres, "nova_neon_") == names.len()), "logins are left behind");
    measured.ended("both dropped, not in pg_roles");
    Ok(measured)
}

fn both(stage: &Stage) -> Result<[String; 2]> {
    stage.declare_all(FILE)?.try_into().map_err(|names| anyhow::anyhow!("{names:?} are not two"))
}

/// What each does: it looks at both, and uses its own by its URL.
fn uses(
    names: &[String; 2],
    compared: &Arc<AtomicU64>,
) -> impl FnMut(&Turn<'_>) -> Result<(), String> + Send + 'static {
    let (names, compared) = (names.clone(), Arc::clone(compared));
    let mut queries = queries(&DATABASE.query());
    move |turn| {
        let [one, other] = names.each_ref().map(|name| turn.beside(name));
        let (one, other) = (one?, other?);
        if one.generation() == other.generation() {
            compared.fetch_add(1, Ordering::SeqCst);
            if one.version() != other.version() {
                return Err(format!("{} of one beside {} of the other", one.version(), other.version()));
            }
        }
        queries(turn)
    }
}

/// What one of them needs is gone: its new version does not work, so nobody gets a new one of either.
fn one_fails(stage: &Stage, [one, other]: &[String; 2], measured: &mut Measured) -> Result<()> {
    let before = [stage.current(one)?, stage.current(other)?];
    let broken = FILE.replacen("FROM runs\"]", "FROM not_there\"]", 2).replacen("not_there", "runs", 1);
    stage.declare_all(&broken)?;
    stage.platform.ctl(&["rotate", one, "--reason", "runbook"])?;
    let last = |name: &str| -> Option<String> {
        let status = stage.platform.status(name).ok()?;
        let settled = status.get("rotation").is_none_or(Value::is_null);
        let phase = status.pointer("/history/0/phase").and_then(Value::as_str)?;
        settled.then(|| phase.to_owned())
    };
    let abandoned = || [one, other].iter().all(|name| last(name).as_deref() == Some("Abandoned"));
    ensure!(comes(abandoned), "they were not undone: {:?} {:?}", last(one), last(other));
    let now = [stage.current(one)?, stage.current(other)?];
    ensure!(now == before, "{before:?} became {now:?}");
    stage.declare_all(FILE)?;
    measured.note("when the second's new login failed its probe, neither was given out and both were undone");
    Ok(())
}
