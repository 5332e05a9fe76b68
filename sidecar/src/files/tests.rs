//! When a file is there, what it says, and what is in its place.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rekey_model::{Incarnation, Order, SecretBytes, Version};
use rekey_runtime::Clock;

use super::*;
use crate::live::{Candidate, Mark, Offer, OfferedVersion, Offline, Scope, Writer};

const KEY: &str = "dev/key";

struct Bench {
    live: Arc<Live>,
    writer: Writer,
    clock: Clock,
    order: u64,
    consumers: Arc<Consumers>,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let clock = Clock::manual();
        let live = Live::new(clock.clone());
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            writer: Writer::new(Arc::clone(&live)),
            live,
            clock,
            order: 0,
            consumers: Arc::default(),
            folder,
        }
    }

    /// Publishes `value` as version `number`, with readers who wait as long as this.
    fn publish(&mut self, number: u64, value: &str, readers_wait: Option<Duration>) {
        let offered = OfferedVersion {
            version: number,
            handle: format!("key_v{number}"),
            fields: vec![("value".to_owned(), SecretBytes::from(value.to_owned()))],
            expires_in: None,
            previous: vec![],
            offline: Some(Offline::UntilExpiry(None)),
            one_at_a_time: readers_wait.is_some(),
            next: None,
            readers_wait,
        };
        self.tell((Offer::Current(offered), &[]));
    }

    fn tell(&mut self, (offer, fenced): (Offer, &[u64])) {
        self.order += 1;
        let candidate = Candidate {
            name: KEY.parse().unwrap(),
            mark: Mark { incarnation: Incarnation(1), order: Order(self.order) },
            offer,
            fenced: fenced.iter().map(|number| Version::new(*number).unwrap()).collect(),
            replacement_owed: true,
        };
        self.writer.apply(&Scope::Whole { besides: BTreeSet::new() }, vec![candidate], self.clock.now());
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("key")
    }

    fn spec(&self, content: FileContent) -> FileSpec {
        FileSpec { path: self.path(), mode: 0o640, gid: None, content }
    }

    fn files(&self, content: FileContent) -> Result<Files, PlaceError> {
        Files::open(&[self.spec(content)], Arc::clone(&self.live), Arc::default(), &self.consumers)
    }

    fn text(&self) -> Option<String> {
        fs::read_to_string(self.path()).ok()
    }
}

fn value() -> FileContent {
    FileContent::Value("dev/key#value".parse().unwrap())
}

fn env() -> FileContent {
    FileContent::Env(vec![("VITE_KEY".to_owned(), "dev/key#value".parse().unwrap())])
}

#[tokio::test]
async fn a_file_is_there_while_its_value_may_be_given_out() {
    let mut bench = Bench::new();
    let mut files = bench.files(value()).unwrap();
    files.bring_up().await;
    assert_eq!(bench.text(), None, "nothing has come yet");
    bench.publish(1, "first", None);
    files.bring_up().await;
    assert_eq!(bench.text().as_deref(), Some("first"));
    assert_eq!(fs::metadata(bench.path()).unwrap().permissions().mode() & 0o7777, 0o640);
    bench.publish(2, "second", None);
    files.bring_up().await;
    assert_eq!(bench.text().as_deref(), Some("second"));
    bench.tell((Offer::Nothing, &[2]));
    files.bring_up().await;
    assert_eq!(bench.text(), None, "it was cut");
    bench.publish(3, "third", None);
    files.bring_up().await;
    assert_eq!(bench.text().as_deref(), Some("third"));
    bench.tell((Offer::Withdrawn, &[]));
    files.bring_up().await;
    assert_eq!(bench.text(), None, "it was taken away");
    assert_eq!(fs::read_dir(bench.folder.path()).unwrap().count(), 0, "something was left behind");
}

#[tokio::test]
async fn a_file_stays_as_it_is_while_the_target_is_being_changed() {
    let mut bench = Bench::new();
    let mut files = bench.files(value()).unwrap();
    bench.publish(1, "first", None);
    files.bring_up().await;
    bench.publish(1, "first", Some(Duration::from_secs(2)));
    let again = files.bring_up().await;
    assert_eq!(bench.text().as_deref(), Some("first"));
    assert_eq!(again, Some(bench.clock.now().boot_ms + 2_000));
    bench.publish(2, "second", None);
    files.bring_up().await;
    assert_eq!(bench.text().as_deref(), Some("second"));
}

#[tokio::test]
async fn a_line_reads_the_same_for_a_shell() {
    for (value, line) in [
        ("plain-1.2/x=", Some("VITE_KEY=plain-1.2/x=\n")),
        ("with space $HOME `id`", Some("VITE_KEY='with space $HOME `id`'\n")),
        ("a#b", Some("VITE_KEY='a#b'\n")),
        ("it's", None),
        ("two\nlines", None),
        ("back\\slash", None),
    ] {
        let mut bench = Bench::new();
        let mut files = bench.files(env()).unwrap();
        bench.publish(1, value, None);
        files.bring_up().await;
        let text = bench.text();
        assert_eq!(text.as_deref().and_then(|text| text.strip_prefix(OURS)), line, "{value:?}");
        if line.is_some() {
            let script = format!(". {}; printf %s \"$VITE_KEY\"", bench.path().display());
            let read = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(read.stdout).unwrap(), value);
        }
    }
}

#[tokio::test]
async fn a_reader_finds_a_whole_file_however_often_it_looks() {
    let mut bench = Bench::new();
    let mut files = bench.files(value()).unwrap();
    bench.publish(1, &"a".repeat(40_000), None);
    files.bring_up().await;
    let (path, stop) = (bench.path(), Arc::new(AtomicBool::new(false)));
    let stopped = Arc::clone(&stop);
    let (begun, begins) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut reads = 0;
        while !stopped.load(Ordering::SeqCst) {
            let text = fs::read(&path).unwrap();
            assert!(text.len() == 40_000 && text.iter().all(|byte| *byte == text[0]), "a half file");
            reads += 1;
            begun.send(()).ok();
        }
        reads
    });
    begins.recv().unwrap();
    for (number, letter) in (2..60).zip("bc".chars().cycle()) {
        bench.publish(number, &letter.to_string().repeat(40_000), None);
        files.bring_up().await;
    }
    stop.store(true, Ordering::SeqCst);
    assert!(reader.join().unwrap() > 0);
}

#[tokio::test]
async fn what_an_earlier_life_left_goes_and_what_somebody_wrote_stays() {
    for content in [value, env] {
        let mut bench = Bench::new();
        fs::write(bench.path(), "VITE_KEY=mine\n").unwrap();
        fs::set_permissions(bench.path(), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(bench.files(content()), Err(PlaceError::NotOurs(_))));
        assert_eq!(bench.text().as_deref(), Some("VITE_KEY=mine\n"));
        fs::remove_file(bench.path()).unwrap();
        let mut files = bench.files(content()).unwrap();
        bench.publish(1, "old", None);
        files.bring_up().await;
        // As if it had been killed here, and set up otherwise since.
        drop(files);
        assert!(bench.text().is_some());
        Files::open(
            &[FileSpec { mode: 0o600, ..bench.spec(content()) }],
            Arc::clone(&bench.live),
            Arc::default(),
            &bench.consumers,
        )
        .unwrap();
        assert_eq!(bench.text(), None);
        assert_eq!(fs::read_dir(bench.folder.path()).unwrap().count(), 0, "something was left behind");
    }
}

#[tokio::test]
async fn a_version_that_stands_in_a_file_counts_as_in_use() {
    let mut bench = Bench::new();
    let mut files = bench.files(value()).unwrap();
    let used = |bench: &Bench| -> Vec<u64> {
        let usage = bench.consumers.usage(&bench.live.snapshot());
        let versions = usage.iter().flat_map(|usage| &usage.versions);
        versions.filter(|(_, usage)| usage.processes == 1).map(|(version, _)| version.get()).collect()
    };
    bench.publish(1, "first", None);
    files.bring_up().await;
    assert_eq!(used(&bench), [1]);
    // Where the disk keeps the old one, it may still be read.
    fs::create_dir(bench.folder.path().join(".key.rekey-new")).unwrap();
    bench.publish(2, "second", None);
    files.bring_up().await;
    assert_eq!((bench.text().as_deref(), used(&bench)), (Some("first"), vec![1]));
    fs::remove_dir(bench.folder.path().join(".key.rekey-new")).unwrap();
    files.bring_up().await;
    assert_eq!((bench.text().as_deref(), used(&bench)), (Some("second"), vec![2]));
    bench.tell((Offer::Nothing, &[2]));
    files.bring_up().await;
    assert_eq!(used(&bench), [0; 0]);
}

#[tokio::test]
async fn a_folder_that_others_may_write_to_is_refused() {
    let bench = Bench::new();
    for (mode, refused) in [(0o777, true), (0o775, true), (0o755, false), (0o700, false)] {
        fs::set_permissions(bench.folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(bench.files(value()).is_err(), refused, "{mode:o}");
    }
    let spec = FileSpec { path: Path::new("/nowhere/at/all").to_owned(), ..bench.spec(value()) };
    let error = Files::open(&[spec], Arc::clone(&bench.live), Arc::default(), &bench.consumers).unwrap_err();
    assert!(error.to_string().contains("/nowhere/at is no folder"), "{error}");
}

#[tokio::test]
async fn a_disk_that_refuses_is_told_and_tried_again() {
    let mut bench = Bench::new();
    let counts = Arc::<Counts>::default();
    let mut files =
        Files::open(&[bench.spec(value())], Arc::clone(&bench.live), Arc::clone(&counts), &bench.consumers)
            .unwrap();
    bench.publish(1, "first", None);
    // Not even root can write a file over a folder.
    fs::create_dir(bench.path()).unwrap();
    let again = files.bring_up().await;
    assert_eq!((again, counts.behind()), (Some(bench.clock.now().boot_ms + 5_000), 1));
    fs::remove_dir(bench.path()).unwrap();
    files.bring_up().await;
    assert_eq!((bench.text().as_deref(), counts.behind()), (Some("first"), 0));
}

#[tokio::test]
async fn files_follow_what_is_live_and_go_with_the_sidecar() {
    let mut bench = Bench::new();
    let (files, ended) = (bench.files(value()).unwrap(), CancellationToken::new());
    let path = bench.path();
    let until = async |wanted: Option<&str>| {
        while fs::read_to_string(&path).ok().as_deref() != wanted {
            tokio::task::yield_now().await;
        }
    };
    let story = async {
        bench.publish(1, "first", None);
        until(Some("first")).await;
        bench.publish(2, "second", None);
        until(Some("second")).await;
        ended.cancel();
    };
    tokio::join!(files.run(ended.clone()), story);
    assert_eq!(bench.text(), None);
}
