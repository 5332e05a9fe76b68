//! The file with the pooler's users: what is changed in it, who is named when it is not, and files that mean harm.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use futures_util::future::join_all;
use rekey_drivers::{DriverError, Expiry, Found, Sessions};
use rekey_testkit::pgbouncer::PgBouncer;

use super::world::{FOREIGN, World, userlist};
use crate::conformance::refused;

/// The kind of a failure and its text, which must name the pooler.
fn named<T: std::fmt::Debug>(result: Result<T, DriverError>) -> (&'static str, String) {
    let (kind, source) = match result.unwrap_err() {
        DriverError::Unavailable(source) => ("unavailable", source),
        DriverError::Refused(source) => ("refused", source),
        DriverError::Unknown(source) => ("unknown", source),
    };
    let text = source.to_string();
    assert!(text.contains("orders-pool"), "{kind}: {text}");
    (kind, text)
}

#[tokio::test]
async fn only_our_own_lines_change_and_hold_no_password() {
    let world = World::new();
    let path = world.pooler.userlist();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let (before, seen) = (world.userlist(), fs::metadata(&path).unwrap());
    assert!(before.contains(FOREIGN));
    let intents = [1, 2].map(|version| world.database.intent(version));
    for intent in &intents {
        world.driver.install(intent).await.unwrap();
        world.driver.install(intent).await.unwrap();
    }
    let text = world.userlist();
    let ours: Vec<&str> = text.strip_suffix(before.as_str()).expect("others' lines stay").lines().collect();
    assert_eq!(ours.len(), 2, "{ours:?}");
    for intent in &intents {
        let sql = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{}'", intent.handle);
        let line = format!("\"{}\" \"{}\"", intent.handle, world.database.value(&sql));
        assert!(ours.contains(&line.as_str()), "{line} is not among {ours:?}");
    }
    assert!(!text.contains("plain-marker") && !world.pooler.log().contains("plain-marker"));
    let now = fs::metadata(&path).unwrap();
    assert_eq!((now.mode(), now.uid(), now.gid()), (seen.mode(), seen.uid(), seen.gid()));
    for intent in &intents {
        world.driver.revoke(&intent.handle, Sessions::Leave).await.unwrap();
        world.driver.clean_up(&intent.handle).await.unwrap();
    }
    assert_eq!(world.userlist(), before);
    let beside: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().flatten().collect();
    assert_eq!(beside.len(), 1, "{beside:?}");
}

#[tokio::test]
async fn calls_at_the_same_time_lose_no_line() {
    let world = World::new();
    let intents: Vec<_> = (1..=6).map(|version| world.database.intent(version)).collect();
    for done in join_all(intents.iter().map(|intent| world.driver.install(intent))).await {
        done.unwrap();
    }
    for intent in &intents {
        assert_eq!(world.driver.find(intent).await.unwrap(), Found::Present);
    }
    assert!(world.userlist().ends_with(FOREIGN));
}

#[tokio::test]
async fn a_pooler_that_is_away_is_named_and_nothing_is_made() {
    let mut world = World::new();
    let (intent, before) = (world.database.intent(1), world.userlist());
    world.pooler.crash();
    assert_eq!(named(world.driver.install(&intent).await).0, "unavailable");
    world.pooler.start_again().unwrap();
    world.pooler.pause();
    assert_eq!(named(world.driver.install(&intent).await).0, "unavailable");
    world.pooler.resume();
    assert_eq!((world.logins(), world.userlist()), (Vec::new(), before));
    let installed = world.driver.install(&intent).await.unwrap();
    world.driver.probe(&installed.fields, None).await.unwrap();
    // And afterwards: what needs it says who is missing.
    world.pooler.crash();
    assert_eq!(named(world.driver.probe(&installed.fields, None).await).0, "unavailable");
    assert_eq!(named(world.driver.usage(&intent.handle).await).0, "unavailable");
    assert_eq!(named(world.driver.set_expiry(&intent.handle, Expiry::Never).await).0, "unavailable");
    assert_eq!(named(world.driver.revoke(&intent.handle, Sessions::Leave).await).0, "unavailable");
    assert_eq!(world.logins(), [intent.handle.to_string()], "it is not ended before the pooler knows");
}

#[tokio::test]
async fn a_pooler_that_reads_another_file_is_named_and_nothing_counts_as_made() {
    let world = World::new();
    let other = world.pooler.userlist().with_file_name("other.txt");
    fs::write(&other, "").unwrap();
    let astray = world.driver_with(|places| places.userlist = userlist(&other));
    let intent = world.database.intent(1);
    let (kind, text) = named(astray.install(&intent).await);
    assert!(kind == "unknown" && text.contains("auth_file") && text.contains("other.txt"), "{kind} {text}");
    assert_eq!(astray.find(&intent).await.unwrap(), Found::Absent);
    let (kind, text) = named(astray.set_expiry(&intent.handle, Expiry::Never).await);
    assert!(kind == "refused" && text.contains("does not have"), "{kind} {text}");
    // The same call at the right file completes it.
    let installed = world.driver.install(&intent).await.unwrap();
    world.driver.set_expiry(&intent.handle, Expiry::Never).await.unwrap();
    world.driver.probe(&installed.fields, None).await.unwrap();
}

#[tokio::test]
async fn a_line_that_somebody_took_out_is_missed_and_put_back() {
    let world = World::new();
    let (intent, before) = (world.database.intent(1), world.userlist());
    let installed = world.driver.install(&intent).await.unwrap();
    fs::write(world.pooler.userlist(), before).unwrap();
    world.pooler.console("RELOAD");
    assert_eq!(world.driver.find(&intent).await.unwrap(), Found::Absent);
    assert_eq!(named(world.driver.set_expiry(&intent.handle, Expiry::Never).await).0, "refused");
    assert_eq!(named(world.driver.probe(&installed.fields, None).await).0, "refused");
    world.driver.install(&intent).await.unwrap();
    world.driver.probe(&installed.fields, None).await.unwrap();
}

#[tokio::test]
async fn who_may_only_look_at_the_console_is_refused_before_anything() {
    let world = World::new();
    for (user, word) in [(PgBouncer::VIEWER, "admin_users"), ("nobody_knows", "authentication failed")] {
        let driver = world.driver_with(|places| places.user = user.into());
        let (kind, text) = named(driver.install(&world.database.intent(1)).await);
        assert!(kind == "refused" && text.contains(word), "{kind} {text}");
    }
    assert_eq!(world.logins(), Vec::<String>::new());
}

#[tokio::test]
async fn a_file_that_means_harm_is_refused_before_anything() {
    let world = World::new();
    let folder = world.pooler.userlist().parent().unwrap().to_owned();
    let path = |name: &str| folder.join(name);
    let before = world.userlist();
    std::os::unix::fs::symlink(world.pooler.userlist(), path("link")).unwrap();
    fs::create_dir(path("folder")).unwrap();
    fs::File::create(path("huge")).unwrap().set_len(1 << 40).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), rustix::fs::Mode::RUSR).unwrap();
    for (name, word) in [
        ("link", "no plain file"),
        ("folder", "no plain file"),
        ("pipe", "no plain file"),
        ("huge", "more than"),
        ("absent", "No such file"),
        ("absent/list.txt", "No such file"),
    ] {
        let driver = world.driver_with(|places| places.userlist = userlist(&path(name)));
        let (kind, text) = named(driver.install(&world.database.intent(1)).await);
        assert!(
            kind == "refused" && text.contains(word) && text.contains("/users/"),
            "{name}: {kind} {text}"
        );
    }
    assert_eq!((world.logins(), world.userlist()), (Vec::new(), before));
    assert!(Path::new(&path("link")).is_symlink());
}

#[tokio::test]
async fn a_line_that_the_pooler_cannot_read_does_not_hide_ours() {
    let world = World::new();
    fs::write(world.pooler.userlist(), format!("{}\nnot a line\n", world.userlist())).unwrap();
    let installed = world.driver.install(&world.database.intent(1)).await.unwrap();
    world.driver.probe(&installed.fields, None).await.unwrap();
    refused(
        world.driver.install(&world.database.intent(1).clone_as("elsewhere_v1_x")).await,
        "another's name",
    );
}

/// An intent with another name.
trait CloneAs {
    fn clone_as(&self, handle: &str) -> Self;
}

impl CloneAs for rekey_drivers::Intent {
    fn clone_as(&self, handle: &str) -> Self {
        Self { handle: handle.parse().unwrap(), ..self.clone() }
    }
}
