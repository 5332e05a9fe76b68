//! The workspace's own binaries, built once by a test process and used from the very paths that build returned.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

static BUILT: OnceLock<Result<BTreeMap<String, PathBuf>, String>> = OnceLock::new();

/// The path of the binary `name` of this workspace. The first call builds all binaries; `cargo test -p` of another
/// package does not build them, and a path put together by hand may hold an old one.
pub fn binary(name: &str) -> Result<PathBuf> {
    match BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}"))) {
        Ok(built) => built.get(name).cloned().with_context(|| {
            format!("the workspace has no binary {name:?}; it has {:?}", built.keys().collect::<Vec<_>>())
        }),
        Err(error) => bail!("{error}"),
    }
}

fn build() -> Result<BTreeMap<String, PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--workspace", "--bins", "--message-format=json-render-diagnostics"])
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("run cargo build")?;
    if !output.status.success() {
        bail!("cargo build of the workspace's binaries failed; its words stand above");
    }
    Ok(executables(&String::from_utf8_lossy(&output.stdout)))
}

/// Name and path of every executable in cargo's JSON messages.
fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    let artifact = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let path = message.get("executable")?.as_str()?;
        Some((message.pointer("/target/name")?.as_str()?.to_owned(), PathBuf::from(path)))
    };
    messages.lines().filter_map(artifact).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_from_the_messages_of_the_build() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"rekey-model"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"rekeyctl"},"executable":"/t/debug/rekeyctl"}
{"reason":"build-finished","success":true}"#;
        let found = executables(messages);
        assert_eq!(found, BTreeMap::from([("rekeyctl".into(), PathBuf::from("/t/debug/rekeyctl"))]));
    }
}
