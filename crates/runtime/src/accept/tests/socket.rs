//! Placing Unix sockets.

use super::*;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn a_missing_directory_is_made_private_and_the_socket_has_its_mode() {
    let top = directory();
    let path = top.path().join("rekey/rekey.sock");
    let _listener = Listener::unix(&path, UnixMode { mode: 0o660, gid: None }).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(&path), 0o660);
    let names: Vec<_> =
        std::fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "the private directory was left behind: {names:?}");
}

#[tokio::test]
async fn a_group_may_enter_the_directory_that_was_made_for_it() {
    let top = directory();
    let path = top.path().join("rekey/rekey.sock");
    let gid = rustix::process::getegid().as_raw();
    let _listener = Listener::unix(&path, UnixMode { mode: 0o660, gid: Some(gid) }).unwrap();
    assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o750);
    assert_eq!(std::fs::metadata(&path).unwrap().gid(), gid);
}

#[tokio::test]
async fn a_socket_in_use_is_not_taken() {
    let top = directory();
    let path = top.path().join("rekey/s");
    let held = Listener::unix(&path, UnixMode::PRIVATE).unwrap();
    assert!(matches!(Listener::unix(&path, UnixMode::PRIVATE), Err(SocketError::InUse(_))));
    drop(held);
    assert!(!path.exists(), "a socket goes with its listener");
    Listener::unix(&path, UnixMode::PRIVATE).unwrap();
}

#[tokio::test]
async fn a_socket_of_one_who_takes_no_lock_is_not_taken_while_it_answers() {
    let top = directory();
    let path = top.path().join("rekey/s");
    drop(Listener::unix(&path, UnixMode::PRIVATE).unwrap());
    let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(matches!(Listener::unix(&path, UnixMode::PRIVATE), Err(SocketError::InUse(_))));
    drop(other);
    let mut door = Door::open(
        Listener::unix(&path, UnixMode::PRIVATE).expect("a stale socket is replaced"),
        Limits::sidecar(),
        Clock::manual(),
        None,
    );
    let _caller = UnixStream::connect(&path).await.unwrap();
    assert!(matches!(door.next().await.peer(), Peer::Local { pid: Some(_), .. }));
}

/// The lock says it even where the file was removed from under a living process.
#[tokio::test]
async fn a_removed_socket_of_a_living_process_is_not_taken() {
    let top = directory();
    let path = top.path().join("rekey/s");
    let held = Listener::unix(&path, UnixMode::PRIVATE).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(Listener::unix(&path, UnixMode::PRIVATE), Err(SocketError::InUse(_))));
    drop(held);
}

#[tokio::test]
async fn nothing_but_a_socket_is_replaced() {
    let top = directory();
    let path = top.path().join("rekey/s");
    drop(Listener::unix(&path, UnixMode::PRIVATE).unwrap());
    std::fs::write(&path, "somebody's").unwrap();
    assert!(matches!(Listener::unix(&path, UnixMode::PRIVATE), Err(SocketError::NotASocket(_))));
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    assert!(matches!(Listener::unix(&path, UnixMode::PRIVATE), Err(SocketError::NotASocket(_))));
}

#[tokio::test]
async fn abstract_and_nameless_paths_are_refused() {
    for path in ["@rekey", "\0rekey", ""] {
        let refused = Listener::unix(Path::new(path), UnixMode::PRIVATE);
        assert!(matches!(refused, Err(SocketError::Abstract(_))), "{path:?}: {refused:?}");
        let refused = crate::tls::connect_unix_lazy(Path::new(path), None);
        assert!(matches!(refused, Err(crate::tls::ConnectError::Abstract(_))), "{path:?}");
    }
    for path in ["rekey.sock", "/"] {
        let refused = Listener::unix(Path::new(path), UnixMode::PRIVATE);
        assert!(matches!(refused, Err(SocketError::NoName(_))), "{path:?}: {refused:?}");
    }
}

#[tokio::test]
async fn a_directory_that_others_may_write_is_refused() {
    let top = directory();
    for open in [0o777, 0o1777, 0o770] {
        std::fs::set_permissions(top.path(), std::fs::Permissions::from_mode(open)).unwrap();
        let refused = Listener::unix(&top.path().join("s"), UnixMode::PRIVATE);
        assert!(matches!(refused, Err(SocketError::OpenDirectory(_))), "{refused:?}");
    }
}
