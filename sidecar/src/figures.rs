//! The page of figures, written from what is live when somebody asks: nothing is kept for it but a few counts.
//!
//! Names, numbers and times; of a credential's values, nothing.

use std::convert::Infallible;
use std::fmt::{Display, Write};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rekey_runtime::accept::{Accept, Counters};
use rekey_runtime::http::Http;
use rekey_runtime::{Connections, Limits, Listener, Readiness, Tasks, telemetry};

use crate::live::{Entry, Live, Unreadable};
use crate::serve::{Counts, Shared};

/// What readiness waits for.
const SNAPSHOT: &str = "the first snapshot";

/// Where the page is asked for.
#[derive(Debug)]
pub(crate) struct Door {
    http: Http,
    accept: Accept,
    listener: Listener,
}

impl Door {
    /// Binds `address`. What is told is `shared`, and the connections in `local`.
    pub(crate) fn open(
        address: SocketAddr,
        tasks: &Tasks,
        shared: &Shared,
        local: &Connections,
    ) -> io::Result<Self> {
        let listener = Listener::tcp(address)?;
        tracing::info!(address = %listener.local_addr().unwrap_or(address), "figures are served");
        let (live, counts, local) = (Arc::clone(&shared.live), Arc::clone(&shared.counts), local.clone());
        let readiness = Readiness::of(&[SNAPSHOT]);
        let (ready, first) = (readiness.clone(), Arc::clone(&live));
        let spawner = tasks.spawner();
        let ended = spawner.cancel();
        spawner.start("ready", async move {
            if ended.run_until_cancelled(first.complete()).await.is_some() {
                ready.mark(SNAPSHOT);
            }
        });
        let clock = live.clock().clone();
        let page = Arc::new(move || {
            let page = page(&live, &counts, local.counters(), telemetry::panics());
            let page: std::pin::Pin<Box<dyn Future<Output = Option<String>> + Send>> =
                Box::pin(async { Some(page) });
            page
        });
        let accept = Accept { connections: Connections::new(Limits::sidecar()), clock, spawner };
        Ok(Self { http: Http { readiness, page }, accept, listener })
    }

    /// Where it is: the port that the kernel chose, if it was 0.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the process ends.
    pub(crate) async fn serve(self) -> Result<(), Infallible> {
        self.http.serve(self.accept, self.listener).await
    }
}

/// Writes the page, in the text format of Prometheus.
fn page(live: &Live, counts: &Counts, connections: Counters, panics: u64) -> String {
    let mut page = Page(String::with_capacity(4096));
    let snapshot = Arc::clone(&live.snapshot());
    let now = live.clock().now().boot_ms;
    page.family("generation", "gauge", "The generation that is live; 0: none yet");
    page.line("generation", "", snapshot.generation());
    page.family("complete", "gauge", "Whether the controller has said once what there is");
    page.line("complete", "", u8::from(snapshot.is_complete()));
    page.family("stream_up", "gauge", "Whether a stream is level with the controller and its lease lasts");
    page.line("stream_up", "", u8::from(live.contact().in_reach(now)));
    if let Some(age) = live.contact().age(now) {
        page.family("last_contact_seconds", "gauge", "Since the controller was last heard");
        page.line("last_contact_seconds", "", age.as_secs_f64());
    }
    credentials(&mut page, live, &snapshot.sorted());
    page.family("answers_total", "counter", "Answers to local processes by method, refusals included");
    for (method, count) in counts.answers() {
        page.line("answers_total", &format!("{{method=\"{method}\"}}"), count);
    }
    page.family("refused_total", "counter", "Reads that were refused, by reason");
    for (reason, count) in counts.refused() {
        page.line("refused_total", &format!("{{reason=\"{reason}\"}}"), count);
    }
    page.family("files_behind", "gauge", "Files that are not as they should be, because of the disk");
    page.line("files_behind", "", counts.behind());
    page.family("connections", "gauge", "Local connections that are open");
    page.line("connections", "", connections.open);
    page.family("connections_total", "counter", "What became of local connections");
    for (event, count) in [("accepted", connections.accepted), ("refused", connections.refused)] {
        page.line("connections_total", &format!("{{event=\"{event}\"}}"), count);
    }
    page.family("panics_total", "counter", "Tasks that panicked");
    page.line("panics_total", "", panics);
    page.0
}

fn credentials(page: &mut Page, live: &Live, entries: &[&Arc<Entry>]) {
    type Figure = fn(&Live, &Entry) -> Option<f64>;
    let families: [(&str, &str, Figure); 5] = [
        ("credential_version", "The version that is served; 0: none", |_, entry| {
            Some(float(entry.version().map_or(0, rekey_model::Version::get)))
        }),
        ("credential_order", "The order of the change that it came with", |_, entry| {
            Some(float(entry.mark.order.0))
        }),
        (
            "credential_age_seconds",
            "The age that answers say; missing where there is no answer",
            |live, entry| {
                live.read(entry.name.as_str()).ok().map(|reading| reading.freshness.age.as_secs_f64())
            },
        ),
        (
            "credential_stale",
            "Whether a newer version may exist: the controller is out of reach",
            |live, entry| {
                let stale = match live.read(entry.name.as_str()) {
                    Ok(reading) => reading.freshness.stale,
                    Err(why) => why == Unreadable::Stale,
                };
                Some(f64::from(u8::from(stale)))
            },
        ),
        ("credential_readable", "Whether it is given out now", |live, entry| {
            Some(f64::from(u8::from(live.read(entry.name.as_str()).is_ok())))
        }),
    ];
    for (name, help, figure) in families {
        page.family(name, "gauge", help);
        for entry in entries {
            if let Some(value) = figure(live, entry) {
                // The grammar of names has nothing that would need escaping.
                page.line(name, &format!("{{credential=\"{}\"}}", entry.name), value);
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "the format knows only floats")]
fn float(number: u64) -> f64 {
    number as f64
}

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.write(format_args!("# HELP rekey_sidecar_{name} {help}\n# TYPE rekey_sidecar_{name} {kind}\n"));
    }

    fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        self.write(format_args!("rekey_sidecar_{name}{labels} {value}\n"));
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        if self.0.write_fmt(text).is_err() {
            // Writing to a string does not fail.
            tracing::error!("the page of figures could not be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use rekey_model::{Incarnation, Order, SecretBytes};
    use rekey_runtime::Clock;

    use super::*;
    use crate::live::{Candidate, Mark, Offer, OfferedVersion, Offline, Scope, Writer};

    fn candidate(name: &str, version: u64) -> Candidate {
        let offer = Offer::Current(OfferedVersion {
            version,
            handle: "orders_v2".to_owned(),
            fields: vec![("password".to_owned(), SecretBytes::from("marker-7c1".to_owned()))],
            expires_in: None,
            previous: vec![],
            offline: Some(Offline::FailClosed),
            one_at_a_time: false,
            next: None,
            readers_wait: None,
        });
        let mark = Mark { incarnation: Incarnation(1), order: Order(7) };
        Candidate {
            name: name.parse().unwrap(),
            mark,
            offer,
            fenced: BTreeSet::new(),
            replacement_owed: false,
        }
    }

    fn figures(live: &Live) -> String {
        page(live, &Counts::default(), Counters::default(), 3)
    }

    fn has(page: &str, line: &str) {
        assert!(page.lines().any(|one| one == line), "{line} is not in\n{page}");
    }

    #[test]
    fn the_page_says_what_is_live_and_how_the_controller_is_heard_and_shows_no_value() {
        let clock = Clock::manual();
        let live = Live::new(clock.clone());
        let empty = figures(&live);
        for line in ["rekey_sidecar_generation 0", "rekey_sidecar_complete 0", "rekey_sidecar_stream_up 0"] {
            has(&empty, line);
        }
        assert!(!empty.contains("rekey_sidecar_last_contact_seconds"), "never heard has no age:\n{empty}");

        let mut writer = Writer::new(Arc::clone(&live));
        let scope = Scope::Whole { besides: BTreeSet::new() };
        writer.apply(&scope, vec![candidate("orders/db", 2), candidate("orders/mq", 5)], clock.now());
        live.granted(clock.now().boot_ms, Duration::from_secs(30));
        let level = live.level();
        clock.advance(Duration::from_millis(1_500));
        let page = figures(&live);
        for line in [
            "# TYPE rekey_sidecar_generation gauge",
            "rekey_sidecar_generation 1",
            "rekey_sidecar_complete 1",
            "rekey_sidecar_stream_up 1",
            "rekey_sidecar_last_contact_seconds 1.5",
            "rekey_sidecar_credential_version{credential=\"orders/db\"} 2",
            "rekey_sidecar_credential_version{credential=\"orders/mq\"} 5",
            "rekey_sidecar_credential_order{credential=\"orders/db\"} 7",
            "rekey_sidecar_credential_age_seconds{credential=\"orders/db\"} 1.5",
            "rekey_sidecar_credential_stale{credential=\"orders/db\"} 0",
            "rekey_sidecar_credential_readable{credential=\"orders/db\"} 1",
            "rekey_sidecar_panics_total 3",
        ] {
            has(&page, line);
        }
        assert!(!page.contains("marker"), "a value is shown:\n{page}");

        drop(level);
        clock.advance(Duration::from_mins(1));
        let page = figures(&live);
        has(&page, "rekey_sidecar_stream_up 0");
        has(&page, "rekey_sidecar_credential_stale{credential=\"orders/db\"} 1");
        has(&page, "rekey_sidecar_credential_readable{credential=\"orders/db\"} 0");
        assert!(!page.contains("credential_age_seconds{"), "{page}");
    }
}
