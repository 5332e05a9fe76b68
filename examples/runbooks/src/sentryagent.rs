//! The rows of `sentryagent`.

mod e2;
mod e6;

pub(crate) use e2::ROW as E2;
pub(crate) use e6::ROW as E6;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::login::Database;
use crate::stage::Stage;

/// The database as its team has it.
const DATABASE: Database = Database {
    target: "agentidp-pg",
    name: "agentidp",
    owner: "agentidp_owner",
    table: "credentials",
    legacy: None,
};

/// A credential's line of `rekeyctl list`.
fn line(stage: &Stage, name: &str) -> Result<Value> {
    listed(stage, &["list"])?
        .into_iter()
        .find(|line| is(line, name))
        .with_context(|| format!("{name} is not listed"))
}

fn listed(stage: &Stage, words: &[&str]) -> Result<Vec<Value>> {
    let told = stage.platform.ctl(words)?;
    Ok(told.get("credentials").and_then(Value::as_array).cloned().unwrap_or_default())
}

fn is(line: &Value, name: &str) -> bool {
    line.get("name").and_then(Value::as_str) == Some(name)
}
