//! A12: one inventory of every kind of credential, with owner, age and what is due.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use rekey_testkit::console::Console;
use rekey_testkit::moto::Moto;
use serde_json::Value;

use super::a3::DATABASE;
use crate::cache::{self, node};
use crate::cloud::account;
use crate::cluster::cluster;
use crate::maria;
use crate::measured::Measured;
use crate::part::Part;
use crate::row::{Row, Size};
use crate::stage::Stage;
use crate::vault::approle;

const FILE: &str = include_str!("../../agentaskit/a12-inventory.yaml");

/// What each line is to say it is.
const KINDS: [&str; 7] =
    ["aws-iam", "hand-in", "kubernetes-token", "mysql", "postgres", "redis", "vault-approle"];

pub(crate) const ROW: Row = Row {
    id: "A12",
    system: "agentaskit",
    title: "one inventory of every kind, as CSV and JSON",
    needs: &[Part::Postgres, Part::Mariadb, Part::Redis, Part::Moto, Part::Kube, Part::Bao],
    files: &["a12-inventory.yaml"],
    play,
};

fn play(stage: &mut Stage, _size: Size) -> Result<Measured> {
    DATABASE.make(stage)?;
    let _maria = maria::database(stage, "agentaskit-maria", "billing")?;
    let cache = node("agentaskit")?;
    cache::target(stage, "agentaskit-cache", &[&cache])?;
    let moto = Moto::try_start()?;
    account(stage, "agentaskit-aws", "agentaskit", &moto, moto.port())?;
    let _kube = cluster(stage, "inventory")?;
    let _bao = approle(stage, "agentaskit-bao", "agentaskit")?;
    let console = Console::start();
    let address = console.address();
    let yaml = format!("  agentaskit-console:\n    hand-in: {{ address: \"{address}\" }}\n");
    stage.target("agentaskit-console", &yaml, &[])?;
    stage.sidecar("agentaskit")?;
    let names = stage.declare_all(FILE)?;
    stage.hand_in("agentaskit/inventory/console-key", &console.make_key("agentaskit-ci_v1"))?;
    names.iter().try_for_each(|name| stage.first_version(name))?;
    let mut measured = Measured::at("seven kinds", "of this run");
    // While rotations are under way, too.
    let turning = stage.platform.operator();
    let beside =
        turning.run_beside(&["rotate", "agentaskit/inventory/cache", "--wait", "--wait-timeout", "120s"]);
    let (lines, csv) = (lines(stage)?, csv(stage)?);
    measured.rotated(&beside.join().unwrap_or_else(|_panic| anyhow::bail!("rekeyctl panicked"))?);
    let mut kinds = BTreeSet::new();
    for name in &names {
        let line = lines
            .iter()
            .find(|line| text(line, "name") == *name)
            .with_context(|| format!("no line of {name}"))?;
        kinds.insert(text(line, "kind"));
        for key in ["owner", "environment", "created", "last_rotated", "next_rotation", "target"] {
            ensure!(!text(line, key).is_empty(), "{name} has no {key}: {line:#}");
        }
        for key in ["age_seconds", "max_age_seconds", "age_percent"] {
            ensure!(line.get(key).is_some_and(Value::is_number), "{name} has no {key}: {line:#}");
        }
        ensure!(
            csv.lines().any(|line| line.starts_with(&format!("{name},"))),
            "{name} is not in the CSV:\n{csv}"
        );
    }
    ensure!(kinds.iter().eq(KINDS.iter()), "the kinds are {kinds:?}");
    stage.write_out("a12-inventory.csv", &csv)?;
    measured.note(format!("{} kinds in {} lines, in a12-inventory.csv", kinds.len(), names.len()));
    measured.ended("removed at the cache while the inventory was exported");
    Ok(measured)
}

fn lines(stage: &Stage) -> Result<Vec<Value>> {
    let told = stage.platform.ctl(&["inventory", "export"])?;
    told.get("credentials").and_then(Value::as_array).cloned().context("no lines")
}

fn csv(stage: &Stage) -> Result<String> {
    let told = stage.platform.operator().plain(&["inventory", "export"])?;
    String::from_utf8(told.stdout).context("the CSV is no text")
}

fn text(line: &Value, key: &str) -> String {
    line.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}
