//! No secret is in any log, error, metric or file, at the most talkative level; and the search would find one.

use std::path::Path;

use rekey_testkit::system::{CREDENTIAL, Pace};

use crate::story::Story;

/// The forms in which a leaked secret might stand somewhere.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex = |upper: bool| {
        secret.iter().map(|b| if upper { format!("{b:02X}") } else { format!("{b:02x}") }).collect::<String>()
    };
    let list = secret.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let utf16 = secret.iter().flat_map(|b| [*b, 0]).collect();
    let reversed = secret.iter().rev().copied().collect();
    vec![secret.to_vec(), hex(false).into(), hex(true).into(), list.into(), utf16, reversed]
}

/// The files below `folder` that hold `secret` in any form.
fn found_in(folder: &Path, secret: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path)
                && forms(secret).iter().any(|form| bytes.windows(form.len()).any(|window| window == form))
            {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

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
        let found = found_in(&folder, secret.as_bytes());
        assert!(found.is_empty(), "the {what} password stands in {found:?}");
        assert!(!server_log.contains(secret.as_str()), "the {what} password stands in the database's log");
    }
    // The search itself: planted in each form, it is found.
    for (number, form) in forms(third.as_bytes()).into_iter().enumerate() {
        let planted = folder.join("planted.log");
        std::fs::write(&planted, [b"before ".as_slice(), &form, b" after"].concat()).unwrap();
        assert_eq!(found_in(&folder, third.as_bytes()).len(), 1, "form {number} was not found");
        std::fs::remove_file(planted).unwrap();
    }
    story.system.end_part("orders-1").unwrap();
}
