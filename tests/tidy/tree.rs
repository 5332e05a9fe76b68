//! Reads the tree: its packages and its source files.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use cargo_metadata::{Metadata, MetadataCommand};

/// The top of the tree.
pub(crate) fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// What cargo knows of the workspace, with every feature on.
pub(crate) static METADATA: LazyLock<Metadata> = LazyLock::new(|| {
    MetadataCommand::new()
        .manifest_path(top().join("Cargo.toml"))
        .features(cargo_metadata::CargoOpt::AllFeatures)
        .other_options(vec!["--locked".into(), "--filter-platform".into(), host()])
        .exec()
        .unwrap()
});

/// The platform that the tests run on: metadata for all others would want crates that were never downloaded.
fn host() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// One source file of ours.
pub(crate) struct File {
    /// Its path below the top.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
}

impl File {
    /// The lines before its unit tests.
    pub(crate) fn code(&self) -> impl Iterator<Item = &str> {
        self.text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"))
    }
}

/// Every Rust file that git tracks or does not ignore, generated code left out.
pub(crate) fn rust_files() -> Vec<File> {
    files(|path| ends_in(path, &["rs"]) && !path.starts_with("proto/src/generated/"))
}

/// Whether the path has one of these extensions.
pub(crate) fn ends_in(path: &str, extensions: &[&str]) -> bool {
    path.rsplit_once('.').is_some_and(|(_, extension)| extensions.contains(&extension))
}

/// Every text file for which `wanted` says yes.
pub(crate) fn files(wanted: impl Fn(&str) -> bool) -> Vec<File> {
    let listed = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(top())
        .output()
        .expect("git lists the files of the tree");
    assert!(listed.status.success(), "git ls-files failed");
    let names = String::from_utf8(listed.stdout).unwrap();
    let read = |path: &str| {
        let text = std::fs::read_to_string(top().join(path)).ok()?;
        Some(File { path: path.to_owned(), text })
    };
    let files: Vec<File> = names.lines().filter(|path| wanted(path)).filter_map(read).collect();
    assert!(!files.is_empty(), "no file was looked at");
    files
}

/// Fails with every line of `problems`, if there is any.
pub(crate) fn none(what: &str, problems: &[String]) {
    assert!(problems.is_empty(), "{what}:\n  {}", problems.join("\n  "));
}
