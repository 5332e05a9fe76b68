//! Two credentials that change as one, under a consumer that needs both: it never sees one's new version with the other's
//! old one, whatever fails in between.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use rekey_client::{Credential, Listed, Version};
use rekey_testkit::process::poll;
use rekey_testkit::system::{CREDENTIAL, Pace, write_private};
use serde_json::Value;

use crate::application::Application;
use crate::story::{PATIENCE, Story, connect, last, settled};

const OTHER: &str = "orders/reports";

/// Two logins of one database. The other one reads a table that somebody else owns.
fn begin(name: &str) -> Story {
    let story = Story::begin(name, 1, Pace::default());
    story
        .system
        .database
        .postgres
        .sql_in("orders", "CREATE TABLE reports (id bigint); GRANT SELECT ON reports TO orders_owner;");
    let folder = story.system.folder();
    let first = std::fs::read_to_string(folder.join("credential.yaml")).unwrap();
    let (_, rest) = first.split_once("grace:").unwrap();
    let group = format!(
        "{first}group: orders-database\n---\ncredential: {OTHER}\nowner: team-orders\nenvironment: demo\n\
         group: orders-database\npostgres:\n  target: orders-pg\n  database: orders\n  owner_role: orders_owner\n  \
         prefix: orders_reports\n  probes: [\"SELECT count(*) FROM reports\"]\ngrace:{rest}"
    );
    write_private(&folder.join("group.yaml"), &group).unwrap();
    story.system.ctl(&["apply", "-f", "group.yaml"]).unwrap();
    story.until_both(1);
    story
}

impl Story {
    fn both(&self) -> [Value; 2] {
        [CREDENTIAL, OTHER].map(|name| {
            let all = self.system.ctl(&["status", name]).unwrap_or_default();
            all.pointer("/credentials/0").cloned().unwrap_or_default()
        })
    }

    /// Waits until nothing is open at either, and the other one has come to `version`; gives both.
    fn until_both(&self, version: u64) -> [Value; 2] {
        let mut now = self.both();
        let reached = poll(PATIENCE, || {
            now = self.both();
            now[1]["current"] == version && now.iter().all(settled)
        });
        assert!(reached, "v{version} is not current: {now:#?}");
        now
    }
}

/// A consumer that reads both again and again, in each way there is.
struct Consumer {
    application: Application,
    seen: Arc<Mutex<Seen>>,
}

/// Versions of both that were seen in one generation.
#[derive(Debug, Default)]
struct Seen {
    pairs: BTreeSet<(u64, u64)>,
}

impl Consumer {
    fn start(story: &Story) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let noted = Arc::clone(&seen);
        let (runtime, client) = connect(story.system.socket("sidecar-1"));
        let watched = [CREDENTIAL, OTHER].map(|name| runtime.block_on(client.watch(name)).unwrap());
        for one in &watched {
            runtime.block_on(one.ready()).unwrap();
        }
        let application = Application::repeat(move || {
            let listed = runtime.block_on(client.list())?;
            let got = runtime
                .block_on(async { anyhow::Ok([client.get(CREDENTIAL).await?, client.get(OTHER).await?]) })?;
            let pushed = [watched[0].load()?.keep(), watched[1].load()?.keep()];
            let mut seen = noted.lock().unwrap();
            seen.list(&listed);
            seen.note(got.each_ref());
            seen.note(pushed.each_ref().map(AsRef::as_ref));
            Ok(())
        });
        Self { application, seen }
    }

    fn end(self) -> BTreeSet<(u64, u64)> {
        self.application.end_without_failure();
        std::mem::take(&mut self.seen.lock().unwrap().pairs)
    }
}

impl Seen {
    /// One answer is one snapshot, so one generation.
    fn list(&mut self, listed: &[Listed]) {
        let version = |name: &str| {
            let line = listed.iter().find(|line| line.name.as_str() == name);
            line.and_then(|line| line.version).map(Version::get)
        };
        self.pairs.extend(version(CREDENTIAL).zip(version(OTHER)));
    }

    /// Two reads are of one generation if they say so.
    fn note(&mut self, [one, other]: [&Credential; 2]) {
        if one.generation() == other.generation() {
            self.pairs.insert((one.version().get(), other.version().get()));
        }
    }
}

#[test]
fn a_consumer_of_both_never_sees_a_mixture_and_one_that_fails_undoes_both() {
    let mut story = begin("group");
    // The first one has come further: it was there before the other was.
    let [ahead, _] = story.both().map(|status| status["current"].as_u64().unwrap());
    let ahead = ahead - 1;
    let consumer = Consumer::start(&story);
    consumer.application.let_work(5);
    for version in 2..=3 {
        story.system.ctl(&["rotate", OTHER, "--reason", "test"]).unwrap();
        let both = story.until_both(version);
        assert!(both.iter().all(|status| last(status)["phase"] == "Done"), "{both:#?}");
        consumer.application.let_work(5);
    }
    // What the other needs is taken away: its next version does not work, so neither's is given to anybody.
    let postgres = &story.system.database.postgres;
    postgres.sql_in("orders", "REVOKE SELECT ON reports FROM orders_owner");
    let [one, _] = story.both().map(|status| status["current"].as_u64().unwrap());
    story.system.ctl(&["rotate", CREDENTIAL, "--reason", "test"]).unwrap();
    let undone = || story.both().iter().all(|status| settled(status) && last(status)["phase"] == "Abandoned");
    assert!(poll(PATIENCE, undone), "{:#?}", story.both());
    assert_eq!(story.both().map(|status| status["current"].as_u64().unwrap()), [one, 3]);
    postgres.sql_in("orders", "GRANT SELECT ON reports TO orders_owner");
    let seen = consumer.end();
    let together = (1..=3).map(|version| (version + ahead, version)).collect();
    assert_eq!(seen, together, "a mixture");
    story.nothing_failed();
}

#[test]
fn a_controller_that_dies_in_between_leaves_no_mixture() {
    let mut story = begin("group-crash");
    let [ahead, _] = story.both().map(|status| status["current"].as_u64().unwrap());
    let ahead = ahead - 1;
    let consumer = Consumer::start(&story);
    for (version, phase) in [(2, "Chosen"), (3, "Proven"), (4, "Rolling")] {
        story.system.ctl(&["rotate", OTHER, "--reason", "test"]).unwrap();
        // As near to that phase as one comes from outside.
        poll(PATIENCE, || {
            let phases = story.both().map(|status| crate::story::phase(&status).to_owned());
            phases.iter().any(|now| now == phase || now == "Grace")
        });
        story.system.kill_controller();
        consumer.application.let_work(2);
        story.system.start_controller().unwrap();
        story.until_both(version);
    }
    consumer.application.let_work(5);
    let seen = consumer.end();
    assert!(seen.iter().all(|(one, other)| *one == other + ahead), "a mixture: {seen:?}");
    assert!(seen.contains(&(4 + ahead, 4)), "{seen:?}");
    story.nothing_failed();
}
