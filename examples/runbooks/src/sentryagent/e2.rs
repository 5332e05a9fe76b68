//! E2: what is due within seven days is told by the same alert, and by the same look into the list.

use anyhow::{Result, ensure};
use rekey_testkit::prometheus::Prometheus;

use super::{DATABASE, is, listed};
use crate::consumer::How;
use crate::consumers::postgres::queries;
use crate::login::may_log_in;
use crate::measured::Measured;
use crate::part::Part;
use crate::patience::comes;
use crate::row::{Row, Size};
use crate::stage::Stage;

const FILE: &str = include_str!("../../sentryagent/e2-expiring.yaml");
const RULES: &str = include_str!("../../../../deploy/prometheus/rekey.rules.yml");
const ALERT: &str = "CredentialExpiryApproaching";

pub(crate) const ROW: Row = Row {
    id: "E2",
    system: "sentryagent",
    title: "what is due within 7 days: CredentialExpiryApproaching",
    needs: &[Part::Postgres, Part::Prometheus],
    files: &["e2-expiring.yaml"],
    play,
};

fn play(stage: &mut Stage, _size: Size) -> Result<Measured> {
    let postgres = DATABASE.make(stage)?;
    stage.sidecar("sentryagent")?;
    let names = stage.declare_all(FILE)?;
    let [soon, later] = names.as_slice() else { anyhow::bail!("the file declares {names:?}") };
    names.iter().try_for_each(|name| stage.first_version(name))?;
    let consumer = stage.consumer(soon, How::Get, queries(&DATABASE.query()))?;
    // The alert waits for five minutes, so that a rotation that is under way wakes nobody; a run does not.
    let prometheus =
        Prometheus::try_start(stage.platform.http_port()?, &RULES.replace("for: 5m", "for: 0s"))?;
    let mut measured = Measured::at("Prometheus", prometheus.version()?);
    let fires = |name: &str| {
        let alerts = prometheus.alerts().unwrap_or_default();
        alerts.iter().any(|alert| alert.name == ALERT && alert.credential == name)
    };
    ensure!(comes(|| fires(soon)), "{ALERT} does not fire: {:?}", prometheus.alerts());
    ensure!(!fires(later), "{ALERT} fires for what is due in 60 days");
    let due = listed(stage, &["list", "--expiring-in", "7d"])?;
    ensure!(due.iter().any(|line| is(line, soon)), "`list --expiring-in 7d` does not show {soon}");
    ensure!(!due.iter().any(|line| is(line, later)), "`list --expiring-in 7d` shows {later}");
    consumer.let_work(3)?;
    let old = stage.handle(soon)?;
    stage.rotate(soon, &mut measured)?;
    consumer.let_work(3)?;
    measured.used(consumer.end()?);
    ensure!(comes(|| !may_log_in(&postgres, &old)), "{old} may log in");
    measured.note(format!("{ALERT} fired for {soon} alone, and `list --expiring-in 7d` showed the same"));
    measured.ended(format!("{old}: dropped"));
    Ok(measured)
}
