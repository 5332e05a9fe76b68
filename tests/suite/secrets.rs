//! No secret is in any log, error, metric or file, at the most talkative level; and the search would find one.

use rekey_testkit::marker::{forms, found_in};
use rekey_testkit::system::{CREDENTIAL, Pace};

use crate::story::Story;

#[test]
fn no_secret_is_written_anywhere_at_trace_level() {
    let mut story = Story::begin_at_level("marker", 1, Pace::default(), "trace");
    let legacy = story.system.database.legacy_password().to_owned();
    let rotator = story.system.database.rotator_password().to_owned();
    let folder = story.system.folder().to_owned();
    // What a user handed over stands where the user put it, and is taken away before the search.
    std::fs::remove_file(folder.join("legacy-password")).unwrap();
    story.rotate();
    let socket = story.system.socket("sidecar-1");
    let second = crate::story::read_password(&socket, CREDENTIAL);
    assert!(second.len() >= 32, "the password is too short to be searched for");
    story.rotate();
    let third = crate::story::read_password(&socket, CREDENTIAL);
    assert_ne!(second, third);
    // Errors too: things that fail, with secrets at hand.
    story.system.operator().output(&["adopt", CREDENTIAL, "--password-file", "rotator-password"]).unwrap();
    story.system.operator().output(&["revoke", CREDENTIAL, "--reason", "test"]).unwrap();
    story.let_work(2);
    std::fs::remove_file(folder.join("rotator-password")).unwrap();
    let server_log = story.system.database.postgres.log();
    for (what, secret) in
        [("adopted", &legacy), ("rotator's", &rotator), ("second", &second), ("third", &third)]
    {
        let found = found_in(&folder, secret.as_bytes()).unwrap();
        assert!(found.is_empty(), "the {what} password stands in {found:?}");
        assert!(!server_log.contains(secret.as_str()), "the {what} password stands in the database's log");
    }
    // The search itself: planted in each form, it is found.
    for (number, form) in forms(third.as_bytes()).into_iter().enumerate() {
        let planted = folder.join("planted.log");
        std::fs::write(&planted, [b"before ".as_slice(), &form, b" after"].concat()).unwrap();
        assert_eq!(found_in(&folder, third.as_bytes()).unwrap().len(), 1, "form {number} was not found");
        std::fs::remove_file(planted).unwrap();
    }
    story.system.end_part("orders-1").unwrap();
}
