//! What must hold of settings.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn told(problems: &Problems) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[derive(Debug, PartialEq)]
struct Config {
    listen: std::net::SocketAddr,
    floor: u64,
    names: Vec<String>,
    store: &'static str,
}

fn config(top: &Section<'_>) -> Option<Config> {
    let listen = top.required("listen");
    let grace = top.section("grace");
    let floor = grace.and_then(|grace| {
        grace.optional::<u64>("quiet");
        grace.required("floor")
    });
    let names = top.list("names");
    let store = top.section("store").and_then(|store| store.one_of(&["sqlite", "postgres"]));
    for caller in top.sections("callers") {
        caller.required::<u32>("uid");
    }
    Some(Config { listen: listen?, floor: floor?, names, store: store? })
}

const GOOD: &str = "# the whole
listen: 127.0.0.1:8443
grace: { floor: 5 }
names:
  - a
  - 'b c'
store:
  sqlite: /var/lib/rekey
callers:
  - uid: 1000
";

#[test]
fn good_settings_are_read() {
    let read = Document::parse("rekey.yaml", GOOD).unwrap().read(config).unwrap();
    let names = vec!["a".to_owned(), "b c".to_owned()];
    assert_eq!(read, Config { listen: "127.0.0.1:8443".parse().unwrap(), floor: 5, names, store: "sqlite" });
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_lines() {
    let text = "listen: nowhere-9f2
grace:
  flor: 5
  quiet: many-9f2
store:
  sqlite: a
  postgres: b
callers:
  - uid: 1000
  - uid: x-9f2
    gid-9f3: 2
names: no-list-9f2
entirely-else: 1
";
    let problems = Document::parse("rekey.yaml", text).unwrap().read(config).unwrap_err();
    assert_eq!(
        told(&problems),
        [
            "rekey.yaml:1: listen: invalid socket address syntax",
            "rekey.yaml:3: grace.floor: is missing (add `floor: ..`)",
            "rekey.yaml:3: grace.flor: there is no such setting (did you mean `floor`?)",
            "rekey.yaml:4: grace.quiet: invalid digit found in string",
            "rekey.yaml:6: store: only one of these may be set: sqlite, postgres (remove the others)",
            "rekey.yaml:10: callers[1].uid: invalid digit found in string",
            "rekey.yaml:11: callers[1].gid-9f3: there is no such setting (known here: uid)",
            "rekey.yaml:12: names: this must be a list (write `names: [ .. ]`, or one `- ..` a line)",
            "rekey.yaml:13: entirely-else: there is no such setting (known here: callers, grace, listen, names, store)",
        ]
    );
    assert!(!problems.to_string().contains("-9f2"), "a value was shown: {problems}");
}

#[test]
fn what_is_no_settings_is_refused_with_its_line() {
    let cases = [
        ("a: 1\nb: &x 2\n", "f:2: an anchor (&) or a tag (!) stands here"),
        ("a: 1\nb: *x\n", "f:2: "),
        ("a: !!str 1\n", "f:1: an anchor (&) or a tag (!) stands here"),
        ("a: !secret-9f2 1\n", "f:1: an anchor (&) or a tag (!) stands here"),
        ("a: {b: 1}\n<<: {c: 1}\n", "f:2: a merge key (<<) stands here"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "f:4: b.c: the key stands twice, first in line 3 (keep one of them)"),
        ("a:\n  - x: 1\n    x: 2\n", "f:3: a[0].x: the key stands twice, first in line 2"),
        ("[a]: 1\n", "f:1: a key must be a word"),
        ("a: \"open-9f2\nb: 1\n", "f:"),
        ("a: 1\n---\nb: 1\n", "f:3: there is a second document"),
        ("- 1\n", "f:1: this is not a map"),
        ("", "f: the file is empty"),
        ("# only words\n", "f: the file is empty"),
    ];
    for (text, expected) in cases {
        let problems = Document::parse("f", text).map(|_| ()).unwrap_err();
        let first = problems.0[0].to_string();
        assert!(first.starts_with(expected), "{text:?}: {first}");
        assert!(!problems.to_string().contains("9f2"), "a value was shown: {problems}");
    }
}

#[test]
fn what_is_too_large_or_too_deep_is_refused() {
    let large = format!("a: {}", "x".repeat(1 << 20));
    assert!(Document::parse("f", &large).unwrap_err().to_string().contains("larger than 1 MiB"));
    let deep = |depth| format!("a: {}1{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Document::parse("f", &deep(31)).is_ok());
    assert!(Document::parse("f", &deep(32)).unwrap_err().to_string().contains("too deep"));
    Document::parse("f", &"[".repeat(100_000)).unwrap_err();
    Document::parse("f", &"- ".repeat(100_000)).unwrap_err();
}

#[test]
fn a_document_becomes_json_and_knows_its_lines() {
    let text = "credential: orders/db
quoted: \"true\"
truth: true
nothing: ~
count: 12
octal: 017
deliver:
  to: [ \"spiffe://a/b\", x ]
---
credential: orders/queue
";
    let documents = Document::parse_all("f", text).unwrap();
    assert_eq!(
        documents[0].value(),
        serde_json::json!({
            "credential": "orders/db", "quoted": "true", "truth": true, "nothing": null, "count": 12, "octal": "017",
            "deliver": { "to": ["spiffe://a/b", "x"] }
        })
    );
    assert_eq!((documents[0].line_of("deliver.to[1]"), documents[0].line_of("deliver.none")), (8, 7));
    assert_eq!((documents.len(), documents[1].line(), documents[1].line_of("credential")), (2, 10, 10));
}

#[test]
fn debug_shows_no_value() {
    let document = Document::parse("f", "key: marker-9f2\nlist: [marker-9f2]\n").unwrap();
    assert!(!format!("{document:?}").contains("9f2"));
}

#[test]
fn maps_of_names_are_read_and_their_words_checked() {
    let document =
        Document::parse("f", "labels: { tier: gold, x: 1 }\ntargets:\n  one: {port: 1}\n  two: 2\n").unwrap();
    let read = document.read(|top| {
        let labels = top.section("labels")?.pairs::<String>("gold");
        let targets = top.section("targets")?.named();
        Some((
            labels,
            targets.iter().map(|(name, target)| (name.clone(), target.or("port", 0_u16))).collect::<Vec<_>>(),
        ))
    });
    let problems = read.unwrap_err();
    assert_eq!(
        told(&problems),
        ["f:4: targets.two: this must have settings of its own (write them below it, indented)"]
    );
}

#[test]
fn broken_text_of_any_kind_makes_a_problem_and_no_panic() {
    let seeds = [
        GOOD,
        "a: |\n  text\n b: >-\n",
        "%YAML 1.2\n---\na: 1\n...\n",
        "? a\n: b\n",
        "{a: [1, {b: 'c'}], \"d\": e}",
    ];
    for (index, seed) in seeds.iter().enumerate() {
        let bytes = seed.as_bytes();
        for round in 0..2_000_u32 {
            let mut broken = bytes.to_vec();
            // A fixed walk through positions and replacements: the same every time.
            for step in 0..=round % 3 {
                let place = (round as usize * 7 + step as usize * 31 + index) % broken.len();
                broken[place] =
                    b"\n\t :-[]{},&*!|>'\"%@`#?\\\0\xc3a"[(round as usize / 3 + step as usize) % 26];
            }
            let text = String::from_utf8_lossy(&broken);
            drop(Document::parse_all("f", &text));
            drop(Document::parse_all("f", &text[..text.floor_char_boundary(round as usize % text.len())]));
        }
    }
}

#[test]
fn a_secret_is_read_only_from_a_private_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    std::fs::write(&path, "marker-9f2\n").unwrap();
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    for open in [0o644, 0o640, 0o606, 0o660] {
        mode(open);
        let problem = read_secret_file(&path).map(|_| ()).unwrap_err();
        assert!(problem.contains("chmod 600") && !problem.contains("9f2"), "{problem}");
        assert!(check_secret_file(&path).is_err());
    }
    for closed in [0o600, 0o400] {
        mode(closed);
        let secret = read_secret_file(&path).unwrap();
        assert!(secret.same_as(&rekey_model::SecretBytes::new(b"marker-9f2".to_vec())));
    }
}

#[test]
fn an_empty_a_missing_and_a_huge_secret_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    assert!(read_secret_file(&path).map(|_| ()).unwrap_err().contains("cannot read"));
    assert!(read_secret_file(directory.path()).map(|_| ()).unwrap_err().contains("is not a file"));
    for (content, expected) in [(vec![b'\n'], "is empty"), (vec![b'x'; (64 << 10) + 1], "larger than 64 KiB")]
    {
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(read_secret_file(&path).map(|_| ()).unwrap_err().contains(expected));
    }
    std::fs::write(&path, vec![b'x'; 64 << 10]).unwrap();
    assert_eq!(read_secret_file(&path).unwrap().size(), 64 << 10);
}

#[test]
fn a_fifo_or_a_device_in_the_place_of_a_file_is_refused_and_holds_nobody_up() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    for path in [fifo, "/dev/zero".into(), directory.path().to_owned()] {
        // On a thread of its own: one that is held up for ever fails this test instead of holding it up too.
        let (said, heard) = std::sync::mpsc::channel();
        let read = path.clone();
        std::thread::spawn(move || {
            let text = read_text(&read).map(|_| ()).map_err(|error| error.to_string());
            said.send((text, read_secret_file(&read).map(|_| ()))).unwrap();
        });
        let (text, secret) = heard.recv_timeout(std::time::Duration::from_secs(20)).expect("it waits");
        assert_eq!(text.unwrap_err(), "this is not a file", "{}", path.display());
        assert!(secret.unwrap_err().contains("is not a file"), "{}", path.display());
    }
}

#[test]
fn a_link_to_a_left_secret_stays_in_its_folder() {
    use std::os::unix::fs::symlink;
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path);
    let read = |path: &str| read_left_secret(&at(path));
    let is = |path: &str, text: &str| {
        read(path).unwrap().0.same_as(&rekey_model::SecretBytes::new(text.as_bytes().to_vec()))
    };
    let leave = |path: &str, text: &str| {
        std::fs::write(at(path), text).unwrap();
        std::fs::set_permissions(at(path), std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    for folder in ["left", "left/..one", "left/..two", "mine", "left-too"] {
        std::fs::create_dir(at(folder)).unwrap();
    }
    leave("mine/key", "marker-9f2");
    leave("left-too/key", "marker-9f2");
    leave("left/plain", "plain");
    leave("left/..one/token", "one");
    leave("left/..two/token", "two");
    assert!(is("left/plain", "plain"));
    // As Kubernetes mounts a secret, and changes it.
    symlink("..data/token", at("left/token")).unwrap();
    for (folder, text) in [("..one", "one"), ("..two", "two")] {
        symlink(folder, at("left/..new")).unwrap();
        std::fs::rename(at("left/..new"), at("left/..data")).unwrap();
        assert!(is("left/token", text));
    }
    // The folder itself is reached by a link.
    symlink(at("left"), at("run")).unwrap();
    assert!(is("run/token", "two"));
    symlink(at("left/..one/token"), at("left/absolute")).unwrap();
    assert!(is("run/absolute", "one"));
    // Whoever writes there shows us what only we may read.
    symlink(at("mine/key"), at("left/far")).unwrap();
    symlink("../mine/key", at("left/up")).unwrap();
    symlink("../left-too/key", at("left/beside")).unwrap();
    symlink(at("mine"), at("left/folder")).unwrap();
    symlink("folder/key", at("left/through")).unwrap();
    for (path, to) in
        [("far", "mine/key"), ("up", "mine/key"), ("beside", "left-too/key"), ("through", "mine/key")]
    {
        let path = format!("left/{path}");
        let problem = read(&path).map(|_| ()).unwrap_err();
        assert!(problem.contains(&format!("{path} leads out of its folder")), "{problem}");
        assert!(problem.contains(to) && problem.contains("name that file itself"), "{problem}");
        assert!(!problem.contains("9f2"), "{problem}");
        assert!(read_secret_file(&at(&path)).is_ok(), "what is ours may be linked as we like");
    }
    symlink("plain/", at("left/slash")).unwrap();
    symlink("nothing", at("left/dangling")).unwrap();
    symlink("round", at("left/round")).unwrap();
    for path in ["left/slash", "left/dangling", "left/round", "left/..", "nowhere/token"] {
        assert!(read(path).is_err(), "{path}");
    }
}

#[test]
fn what_was_written_again_is_told_from_what_stood() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let leave = |path: &std::path::Path, text: &str| {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    leave(&path, "half");
    let written = || read_left_secret(&path).unwrap().1;
    let half = written();
    assert_eq!(half, written(), "only read in between");
    leave(&path, "whole");
    let whole = written();
    assert_ne!(half, whole);
    // Another file in its place, of the same length and with the same times.
    let other = directory.path().join("other");
    leave(&other, "other");
    let times = std::fs::metadata(&path).unwrap();
    let times = std::fs::FileTimes::new().set_modified(times.modified().unwrap());
    std::fs::File::options().write(true).open(&other).unwrap().set_times(times).unwrap();
    std::fs::rename(&other, &path).unwrap();
    assert_ne!(whole, written());
}
