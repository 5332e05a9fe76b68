//! Crates that must not be in the tree, with every feature on: the list of `deny.toml`.

use crate::tree::{METADATA, none, top};

#[test]
fn no_banned_crate_is_in_the_tree() {
    let banned = banned();
    assert!(
        banned.len() >= 5 && banned.contains(&"ring".to_owned()),
        "deny.toml was not understood: {banned:?}"
    );
    let built = built();
    assert!(built.contains(&"rustls".to_owned()), "cargo tree was not understood");
    let problems: Vec<String> = banned.into_iter().filter(|name| built.contains(name)).collect();
    none("banned crates (`cargo tree --workspace --all-features -i NAME` says who wants it)", &problems);
}

#[test]
fn known_holes_are_closed() {
    let least = [
        ("h2", "0.4.20"),
        ("rustls-webpki", "0.103.13"),
        ("postgres-protocol", "0.6.12"),
        ("tokio-postgres", "0.7.18"),
        ("time", "0.3.47"),
        ("bytes", "1.11.1"),
        ("tonic", "0.14.7"),
        ("arc-swap", "1.9.1"),
    ];
    let mut problems = Vec::new();
    for (name, least) in least {
        let least = cargo_metadata::semver::Version::parse(least).unwrap();
        for package in METADATA.packages.iter().filter(|p| p.name.as_str() == name && p.version < least) {
            problems.push(format!("{name} {} is older than {least}", package.version));
        }
    }
    none("crates with known holes", &problems);
}

/// The names in the `deny` list of `deny.toml`.
fn banned() -> Vec<String> {
    let text = std::fs::read_to_string(top().join("deny.toml")).unwrap();
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("{ crate = \"")?.split_once('"'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// The names of all crates that are really built, tests included. Metadata lists optional ones that nobody turns on.
fn built() -> Vec<String> {
    let arguments =
        ["tree", "--workspace", "--all-features", "--locked", "--prefix", "none", "--format", "{p}"];
    let output =
        std::process::Command::new(env!("CARGO")).args(arguments).current_dir(top()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}
