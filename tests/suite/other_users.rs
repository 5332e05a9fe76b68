//! A sidecar knows its callers by the kernel: who is not listed gets nothing, and is not told that there is something.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rekey_testkit::process::poll;
use rekey_testkit::system::{CREDENTIAL, Pace};

use crate::story::{PATIENCE, Story};

/// Says to this program, started by itself, that it is a caller, and of which socket.
const CALLER: &str = "REKEY_SUITE_CALLS";

/// What a caller hears: the version and how many names are listed, or why not.
fn call(socket: &Path) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let owner = rekey_testkit::unprivileged();
        let sidecar = std::env::var("REKEY_SUITE_SIDECAR").ok().and_then(|uid| uid.parse().ok()).or(owner);
        let builder = rekey_client::Builder::new(socket);
        let builder = sidecar.into_iter().fold(builder, rekey_client::Builder::server_uid);
        let client = match builder.connect().await {
            Ok(client) => client,
            Err(rekey_client::Error::Connect { source, .. }) => return format!("{:?}", source.kind()),
            Err(error) => return error.to_string(),
        };
        match client.get(CREDENTIAL).await {
            Ok(credential) => format!("v{}", credential.version().get()),
            Err(rekey_client::Error::Unavailable(why)) => format!("{:?}", why.reason()),
            Err(error) => error.to_string(),
        }
    })
}

/// What a process of the user `uid` and the group `gid` hears; needs root.
fn call_as(uid: u32, gid: u32, socket: &Path) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let test = "other_users::of_two_users_at_one_socket_only_the_one_that_is_listed_is_served";
    command.args(["--exact", test, "--nocapture"]).current_dir("/");
    command.env(CALLER, socket).env("REKEY_SUITE_SIDECAR", rekey_testkit::DAEMON.to_string());
    let output = command.uid(uid).gid(gid).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let heard = said.lines().find_map(|line| line.split("heard: ").nth(1));
    heard.unwrap_or_else(|| panic!("the caller did not run: {said}{output:?}")).to_owned()
}

/// Replaces `from` in a sidecar's config.
fn edit(story: &Story, from: &str, to: &str) {
    let config = story.system.folder().join("sidecar-1.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.contains(from), "{from:?} is not in {text}");
    std::fs::write(&config, text.replace(from, to)).unwrap();
}

#[test]
fn who_is_not_listed_any_more_is_refused_at_the_next_call() {
    let story = Story::begin("listed", 1, Pace::default());
    let socket = story.system.socket("sidecar-1");
    let me = rustix::process::geteuid().as_raw();
    assert_eq!(call(&socket), "v1");
    edit(&story, &format!("- uid: {me}\n"), "- uid: 4242\n");
    assert!(
        poll(PATIENCE, || call(&socket) == "NotFound"),
        "a caller that is not listed hears {}",
        call(&socket)
    );
    edit(&story, "- uid: 4242\n", &format!("- uid: {me}\n"));
    assert!(
        poll(PATIENCE, || call(&socket) == "v1"),
        "a caller that is listed again hears {}",
        call(&socket)
    );
}

#[test]
fn of_two_users_at_one_socket_only_the_one_that_is_listed_is_served() {
    if let Some(socket) = std::env::var_os(CALLER) {
        // Here this program is the caller, and another user than the one that tests.
        eprintln!("heard: {}", call(Path::new(&socket)));
        return;
    }
    let mut story = Story::begin("users", 1, Pace::default());
    let socket = story.system.socket("sidecar-1");
    let Some(daemon) = rekey_testkit::unprivileged() else {
        // Only root can be two users. Anybody can be one whom another's sidecar does not list.
        edit(&story, "callers:\n", "callers:\n  - uid: 4242\n    may_read: [\"orders/*\"]\n");
        let me = rustix::process::geteuid().as_raw();
        edit(&story, &format!("  - uid: {me}\n    may_read: [\"orders/*\"]\n"), "");
        assert!(poll(PATIENCE, || call(&socket) == "NotFound"), "{}", call(&socket));
        return;
    };
    // The door of the folder comes first: it lets in its owner only.
    assert_eq!(call_as(daemon, daemon, &socket), "v1");
    assert_eq!(call_as(daemon + 1, daemon + 1, &socket), "PermissionDenied");
    // Behind a door that is open to a group, the user counts.
    edit(&story, "socket:\n", &format!("socket:\n  mode: 0660\n  gid: {daemon}\n"));
    story.system.end_part("sidecar-1").unwrap();
    std::fs::remove_dir_all(socket.parent().unwrap()).unwrap();
    story.system.restart_sidecar("sidecar-1").unwrap();
    assert_eq!(call_as(daemon + 1, daemon, &socket), "NotFound");
    assert_eq!(call_as(daemon, daemon, &socket), "v1");
    assert_eq!(call_as(daemon + 1, daemon + 1, &socket), "PermissionDenied");
}
