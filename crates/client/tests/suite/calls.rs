//! Single calls and the stream of reads.

use std::time::Duration;

use rekey_client::{Error, Reason, Version};
use rekey_proto::local::read_error;

use crate::fake::{Fake, eventually};

fn reason(error: &Error) -> Reason {
    let Error::Unavailable(why) = error else { panic!("{error:?}") };
    why.reason()
}

#[tokio::test]
async fn a_get_gives_the_current_version_or_says_why_not() {
    let fake = Fake::start();
    fake.serve("orders/db", 4);
    let client = fake.client().await;
    assert_eq!(client.get("orders/db").await.unwrap().text("username").unwrap(), "user-4");
    assert_eq!(reason(&client.get("orders/none").await.unwrap_err()), Reason::NotFound);
    assert!(matches!(client.get("Orders").await.unwrap_err(), Error::Name(_)));
    for (said, expected) in [
        (read_error::Reason::Waiting, Reason::Waiting),
        (read_error::Reason::Stale, Reason::Stale),
        (read_error::Reason::Revoked, Reason::Revoked),
        (read_error::Reason::Invalid, Reason::Invalid),
    ] {
        fake.refuse("orders/db", said);
        assert_eq!(reason(&client.get("orders/db").await.unwrap_err()), expected);
    }
}

#[tokio::test]
async fn a_hundred_reads_at_once_are_all_answered() {
    let fake = Fake::start();
    let client = fake.client().await;
    fake.serve("c/1", 1);
    let mut reads = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let client = client.clone();
        reads.spawn(async move { client.get("c/1").await });
    }
    while let Some(read) = reads.join_next().await {
        read.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_stream_of_reads_survives_refusals_and_a_restart() {
    let mut fake = Fake::start();
    fake.serve("orders/db", 1);
    let client = fake.client().await;
    let mut fetch = client.fetch();
    for _ in 0..3 {
        assert_eq!(fetch.get("orders/db").await.unwrap().version().get(), 1);
        assert_eq!(reason(&fetch.get("orders/none").await.unwrap_err()), Reason::NotFound);
    }
    let streams = |fake: &Fake| fake.script.callers.lock().unwrap().len();
    assert_eq!(streams(&fake), 1, "each read opened a stream of its own");
    fake.kill();
    fake.serve("orders/db", 2);
    fake.start_again();
    assert_eq!(fetch.get("orders/db").await.unwrap().version().get(), 2);
    assert_eq!(client.get("orders/db").await.unwrap().version().get(), 2);
}

#[tokio::test]
async fn a_call_while_the_sidecar_is_away_waits_for_it_but_not_for_ever() {
    let mut fake = Fake::start();
    fake.serve("orders/db", 1);
    let client = fake.settings().call_timeout(Duration::from_millis(300)).connect().await.unwrap();
    fake.kill();
    assert!(matches!(client.get("orders/db").await, Err(Error::Disconnected)));
    assert!(matches!(client.fetch().get("orders/db").await, Err(Error::Disconnected)));
    fake.start_again();
    eventually_got(&client).await;
}

async fn eventually_got(client: &rekey_client::Client) {
    for _ in 0..20 {
        if client.get("orders/db").await.is_ok() {
            return;
        }
    }
    panic!("not reached again");
}

#[tokio::test]
async fn a_read_that_was_given_up_does_not_leave_its_answer_to_the_next() {
    let fake = Fake::start();
    fake.serve("a", 1);
    fake.serve("b", 2);
    let client = fake.client().await;
    let mut fetch = client.fetch();
    fetch.get("a").await.unwrap();
    for _ in 0..50 {
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            _ = fetch.get("a") => {}
        }
        assert_eq!(fetch.get("b").await.unwrap().name().as_str(), "b");
    }
}

#[tokio::test]
async fn a_list_names_what_may_be_read() {
    let fake = Fake::start();
    fake.serve("b", 2);
    fake.serve("a", 1);
    fake.refuse("c", read_error::Reason::Revoked);
    let listed = fake.client().await.list().await.unwrap();
    let seen: Vec<_> =
        listed.iter().map(|line| (line.name.as_str(), line.version.map(Version::get))).collect();
    assert_eq!(seen, [("a", Some(1)), ("b", Some(2)), ("c", None)]);
    assert_eq!(listed[2].unavailable.as_ref().unwrap().reason(), Reason::Revoked);
}

#[tokio::test]
async fn every_call_names_the_caller() {
    let fake = Fake::start();
    fake.serve("orders/db", 1);
    let client = fake.settings().application("orders", "1.4.2").unwrap().connect().await.unwrap();
    client.watch("orders/db").await.unwrap().ready().await.unwrap();
    client.get("orders/db").await.unwrap();
    client.list().await.unwrap();
    client.fetch().get("orders/db").await.unwrap();
    eventually("a report", || !fake.script.reports.lock().unwrap().is_empty()).await;
    let callers = fake.script.callers.lock().unwrap();
    assert!(
        callers.len() >= 5 && callers.iter().all(|c| c.as_deref() == Some("orders/1.4.2")),
        "{callers:?}"
    );
    for bad in ["", "a/b", "a b", "ä", "a\n"] {
        assert!(fake.settings().application(bad, "1").is_err(), "{bad:?} was taken");
    }
}

/// Compiles only if every future of the SDK may move between threads, as those of a spawned task must.
#[test]
fn every_future_may_be_spawned() {
    fn sent<T: Send>(_: impl Fn(&'static rekey_client::Client, &'static rekey_client::Watched) -> T) {}
    sent(|client, _| client.get("a"));
    sent(|client, _| client.list());
    sent(|client, _| client.watch("a"));
    sent(|client, _| async { client.fetch().get("a").await });
    sent(|_, watched| watched.ready());
    sent(|_, watched| watched.other_than(Version::FIRST, Duration::ZERO));
    sent(|_, _| rekey_client::connect());
}
