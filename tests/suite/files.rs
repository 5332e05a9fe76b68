//! A program that can read nothing but a file, behind a sidecar that keeps one for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rekey_testkit::postgres::sql_over;
use rekey_testkit::process::poll;
use rekey_testkit::system::{CREDENTIAL, Pace, folder, write_private};

use crate::application::Application;
use crate::story::{PATIENCE, Story};

/// Tells the sidecar to keep a file of variables, and starts it again; gives where the file is.
fn kept(story: &mut Story) -> PathBuf {
    let home = story.system.folder().to_owned();
    let run = folder(&home, "run").unwrap();
    fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).unwrap();
    let config = home.join("sidecar-1.yaml");
    let files = "files:
  - path: run/.env
    env: { DB_USER: orders/db#username, DB_PASSWORD: orders/db#password }
    mode: 0400
";
    write_private(&config, &format!("{}{files}", fs::read_to_string(&config).unwrap())).unwrap();
    story.system.end_part("sidecar-1").unwrap();
    story.system.restart_sidecar("sidecar-1").unwrap();
    run.join(".env")
}

/// The variable `name` in the file, as readers of such files take it.
fn variable(path: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(line.trim_matches('\'').to_owned())
}

/// The version that the file has the login of.
fn version(path: &Path) -> Option<u64> {
    let user = variable(path, "DB_USER")?;
    user.strip_prefix("orders_app_v")?.split('_').next()?.parse().ok()
}

/// A program that reads the file and logs in, again and again.
fn program(story: &Story, path: PathBuf) -> Application {
    let server = story.system.database.postgres.connection("nobody", "nothing", "orders");
    Application::repeat(move || {
        // Both from one reading: a file is one version or the next, never a mixture.
        let text = fs::read_to_string(&path).unwrap_or_default();
        let value = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
        };
        let mut login = server.clone();
        login.user(value("DB_USER")).password(value("DB_PASSWORD").trim_matches('\''));
        let read = sql_over(login, "SELECT count(*) FROM orders");
        read.map(drop).with_context(|| value("DB_USER").to_owned())
    })
}

#[test]
fn a_program_that_reads_a_file_rotates_too_and_the_file_goes_with_what_is_cut() {
    // Longer than the program takes to log in with what it has read, on a busy machine too: nobody tells who read a file.
    let mut story = Story::begin("files", 1, Pace { floor: "5s".into(), ..Pace::default() });
    let path = kept(&mut story);
    assert!(poll(PATIENCE, || variable(&path, "DB_USER").is_some()), "there is no file");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o400);
    let program = program(&story, path.clone());
    for number in 2..=4 {
        program.let_work(3);
        story.rotate();
        assert!(poll(PATIENCE, || version(&path) == Some(number)), "the file has {:?}", version(&path));
        story.until_settled_on(number);
    }
    program.let_work(3);
    program.end_without_failure();

    // Cut: what is dead is in no file, and the replacement comes into it.
    let cut = variable(&path, "DB_PASSWORD").unwrap();
    story.system.ctl(&["revoke", CREDENTIAL, "--reason", "leaked"]).unwrap();
    let is_out = || variable(&path, "DB_PASSWORD").as_ref() != Some(&cut);
    assert!(poll(PATIENCE, is_out), "what is cut is still in the file");
    assert!(poll(PATIENCE, || version(&path) == Some(5)), "the file has {:?}", version(&path));

    // Gone with the sidecar that kept it, and so is what it was written through.
    story.system.end_part("sidecar-1").unwrap();
    let left: Vec<_> =
        fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}
