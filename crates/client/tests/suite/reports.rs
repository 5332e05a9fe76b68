//! What the sidecar is told about the use of a credential.

use std::time::{Duration, Instant};

use rekey_client::Version;

use crate::fake::{Fake, eventually};

fn v(number: u64) -> Version {
    Version::new(number).unwrap()
}

#[tokio::test]
async fn versions_count_as_in_use_while_they_are_live_kept_or_guarded() {
    let fake = Fake::start();
    fake.serve("orders/db", 1);
    let orders = fake.client().await.watch("orders/db").await.unwrap();
    let in_use =
        |expected: &[u64]| fake.reported("orders/db").is_some_and(|(versions, _)| versions == expected);
    orders.ready().await.unwrap();
    eventually("the live one", || in_use(&[1])).await;

    let guard = orders.uses(v(1));
    fake.serve("orders/db", 2);
    eventually("the live one and a guarded one", || in_use(&[1, 2])).await;

    let kept = orders.load().unwrap().keep();
    fake.serve("orders/db", 3);
    eventually("and a kept one", || in_use(&[1, 2, 3])).await;
    drop(guard);
    eventually("the guard is gone", || in_use(&[2, 3])).await;
    drop(kept);
    eventually("the kept value is gone", || in_use(&[3])).await;
}

#[tokio::test]
async fn accepted_and_refused_logins_are_counted_from_the_connections_beginning() {
    let mut fake = Fake::start();
    fake.serve("orders/db", 1);
    let orders = fake.client().await.watch("orders/db").await.unwrap();
    orders.ready().await.unwrap();
    let outcomes = |fake: &Fake, expected: &[(u64, u64, u64)]| {
        fake.reported("orders/db").is_some_and(|(_, o)| o == expected)
    };
    orders.accepted(v(1));
    orders.accepted(v(1));
    orders.refused(v(1));
    eventually("two and one", || outcomes(&fake, &[(1, 2, 1)])).await;
    orders.accepted(v(1));
    eventually("three and one", || outcomes(&fake, &[(1, 3, 1)])).await;

    fake.kill();
    eventually("the loss is noticed", || !orders.freshness().connected).await;
    orders.refused(v(1));
    fake.script.reports.lock().unwrap().clear();
    fake.start_again();
    eventually("only what the new connection has not heard", || outcomes(&fake, &[(1, 0, 1)])).await;
}

#[tokio::test]
async fn reports_keep_their_distance_and_say_nothing_twice() {
    let fake = Fake::start();
    fake.serve("orders/db", 1);
    let gap = Duration::from_millis(80);
    let client = fake.settings().report_every(gap).connect().await.unwrap();
    let orders = client.watch("orders/db").await.unwrap();
    orders.ready().await.unwrap();
    let begun = Instant::now();
    for _ in 0..300 {
        orders.accepted(v(1));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    eventually("all counted", || fake.reported("orders/db").is_some_and(|(_, o)| o == [(1, 300, 0)])).await;
    // Nothing new happens: nothing more is sent.
    let sent = fake.script.reports.lock().unwrap().len();
    tokio::time::sleep(gap * 3).await;
    let reports = fake.script.reports.lock().unwrap();
    assert_eq!(reports.len(), sent);
    assert!(reports.windows(2).all(|two| two[0].1 != two[1].1), "the same was said twice");
    // By the time of all of them: each may be late by itself.
    let most = begun.elapsed().as_millis() / gap.as_millis() + 2;
    assert!(reports.len() as u128 <= most, "{} reports follow each other too closely", reports.len());
}
