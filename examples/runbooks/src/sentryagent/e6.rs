//! E6: one policy for many credentials: 90 days in production, 180 in staging, 365 for services; changed in one place.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{DATABASE, line};
use crate::consumer::How;
use crate::consumers::postgres::queries;
use crate::login::{logins, version};
use crate::measured::Measured;
use crate::part::Part;
use crate::patience::comes;
use crate::row::{Row, Size};
use crate::stage::Stage;

const FILE: &str = include_str!("../../sentryagent/e6-intervals.yaml");
/// What the class says for production, and what it is changed to.
const BEFORE: &str = "production: { schedule: { every: 90d } }";
const AFTER: &str = "production: { schedule: { every: 60d } }";
const DAY: i64 = 86_400_000;

pub(crate) const ROW: Row = Row {
    id: "E6",
    system: "sentryagent",
    title: "intervals by environment: 90, 180 and 365 days from one class",
    needs: &[Part::Postgres],
    files: &["e6-intervals.yaml"],
    play,
};

fn play(stage: &mut Stage, size: Size) -> Result<Measured> {
    let postgres = DATABASE.make(stage)?;
    stage.sidecar("sentryagent")?;
    let names = stage.declare_all(FILE)?;
    let [production, staging, service] = names.as_slice() else {
        anyhow::bail!("the file declares {names:?}")
    };
    names.iter().try_for_each(|name| stage.first_version(name))?;
    let mut measured = Measured::at("PostgreSQL", version(&postgres));
    let consumer = stage.consumer(production, How::Watch, queries(&DATABASE.query()))?;
    consumer.let_work(3)?;
    for name in names.iter().take(size.rotations() as usize) {
        stage.rotate(name, &mut measured)?;
    }
    let due = |stage: &Stage| -> Result<[i64; 3]> {
        Ok([days(stage, production)?, days(stage, staging)?, days(stage, service)?])
    };
    ensure!(due(stage)? == [90, 180, 365], "due in {:?} days", due(stage)?);
    stage.platform.configure(|setup| setup.sections = setup.sections.replace(BEFORE, AFTER))?;
    let follows = comes(|| due(stage).is_ok_and(|due| due == [60, 180, 365]));
    ensure!(follows, "the class was changed, and they are due in {:?} days", due(stage)?);
    let audit = stage.platform.ctl(&["audit", "query", "--credential", production])?.to_string();
    ensure!(audit.contains("schedule.every"), "the audit does not say what the class changed: {audit}");
    stage.platform.configure(|setup| setup.sections = setup.sections.replace(AFTER, BEFORE))?;
    consumer.let_work(3)?;
    measured.used(consumer.end()?);
    for prefix in ["agentidp_production_v", "agentidp_staging_v", "agentidp_service_v"] {
        ensure!(comes(|| logins(&postgres, prefix) == 1), "of {prefix} logins are left behind");
    }
    measured
        .note("due in 90, 180 and 365 days; with the class changed to 60 the first one followed, audited");
    measured.ended("dropped, not in pg_roles");
    Ok(measured)
}

/// In how many days after its last rotation a credential is due.
fn days(stage: &Stage, name: &str) -> Result<i64> {
    let line = line(stage, name)?;
    let at = |key: &str| line.get(key).and_then(Value::as_i64).unwrap_or_default();
    Ok((at("next_rotation_ms") - at("last_rotated_ms") + DAY / 2) / DAY)
}
