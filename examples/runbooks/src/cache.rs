//! Redis nodes as their owner has them before Rekey: an application's user, and a rotator with what the manual gives it.

use anyhow::{Context, Result};
use rekey_testkit::redis::{Options, Redis};

use crate::stage::Stage;

/// The rotator's password at every node.
const ROTATOR: &str = "rotator-password-c2d8";

/// A node with the user `user`, who may read what begins with the same name.
pub(crate) fn node(user: &str) -> Result<Redis> {
    let node = Redis::try_start(&Options::default())?;
    node.run(&rights()?);
    node.run(&format!("ACL SETUSER rekey >{ROTATOR}"));
    node.run(&format!("ACL SETUSER {user} on ~{user}:* +get +ping"));
    Ok(node)
}

/// The rights that the manual gives the rotator.
fn rights() -> Result<String> {
    let manual = include_str!("../../../docs/drivers.md");
    let line = manual.lines().find(|line| line.starts_with("ACL SETUSER rekey reset"));
    line.map(str::to_owned).context("docs/drivers.md has no rights for Redis")
}

/// Tells the controller of them.
pub(crate) fn target(stage: &mut Stage, name: &str, nodes: &[&Redis]) -> Result<()> {
    let addresses: Vec<String> = nodes.iter().map(|node| format!("\"{}\"", node.address())).collect();
    let yaml = format!(
        "  {name}:\n    redis: {{ nodes: [{}], user: rekey, password_file: {name}-password, \
         tls: {{ mode: disable }} }}\n",
        addresses.join(", ")
    );
    stage.target(name, &yaml, &[(&format!("{name}-password"), ROTATOR)])
}

/// How many passwords a user has at a node.
pub(crate) fn passwords(node: &Redis, user: &str) -> usize {
    let shown = node.run(&format!("ACL GETUSER {user}")).texts();
    shown.iter().filter(|text| text.len() == 64 && text.bytes().all(|c| c.is_ascii_hexdigit())).count()
}

/// Which version of Redis this is.
pub(crate) fn version(node: &Redis) -> String {
    let info = node.run("INFO server").texts().join("\n");
    let line = info.lines().find_map(|line| line.trim().strip_prefix("redis_version:").map(str::to_owned));
    line.unwrap_or_default()
}
