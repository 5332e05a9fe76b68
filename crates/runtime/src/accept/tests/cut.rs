//! Ending live connections at once.

use super::*;

#[tokio::test]
async fn a_cut_ends_the_chosen_connection_at_once_and_no_other() {
    let mut secure = Secure::open(Limits::controller());
    let (bad, good) = (secure.clients.client(HOUR), secure.clients.client(HOUR));
    let mut locked = secure.call(Some(&bad)).await;
    let mut first = secure.door.next().await;
    let _kept = secure.call(Some(&good)).await;
    let mut second = secure.door.next().await;
    let (mut one, mut two) = ([0], [0]);
    let mut ending = tokio_test::task::spawn(first.read(&mut one));
    let mut going_on = tokio_test::task::spawn(second.read(&mut two));
    tokio_test::assert_pending!(ending.poll());
    tokio_test::assert_pending!(going_on.poll());
    let is_bad = |peer: &Peer| peer.leaf().is_some_and(|leaf| **leaf == *bad.leaf());
    assert_eq!(secure.door.connections.cut(is_bad), 1);
    assert!(ending.is_woken() && !going_on.is_woken());
    let error = tokio_test::assert_ready!(ending.poll()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
    tokio_test::assert_pending!(going_on.poll());
    assert_eq!(secure.door.connections.cut(is_bad), 0, "one that was cut counts once");
    drop(ending);
    assert!(first.write_all(b"late").await.is_err(), "nothing more goes out");
    drop(first);
    assert!(is_closed(&mut locked).await);
    let counters = secure.door.connections.counters();
    assert_eq!((counters.cut, counters.open, counters.accepted), (1, 1, 2));
}

#[tokio::test]
async fn a_connection_dies_when_its_certificate_expires() {
    let mut secure = Secure::open(Limits::controller());
    let mut client = secure.call(Some(&secure.clients.client(HOUR))).await;
    let mut served = secure.door.next().await;
    client.write_all(PREFACE).await.unwrap();
    client.flush().await.unwrap();
    within(served.read_exact(&mut [0; PREFACE.len()])).await.unwrap();
    let mut byte = [0];
    let mut reading = tokio_test::task::spawn(served.read(&mut byte));
    // In steps: between them the connection looks at the clock again.
    for _ in 0..3_599 {
        tokio_test::assert_pending!(reading.poll());
        secure.door.clock.advance(Duration::from_secs(1));
    }
    tokio_test::assert_pending!(reading.poll());
    secure.door.clock.advance(Duration::from_secs(1));
    assert!(reading.is_woken());
    tokio_test::assert_ready!(reading.poll()).unwrap_err();
}

#[tokio::test]
async fn a_jump_of_the_date_ends_an_expired_certificates_connection_within_seconds() {
    let mut secure = Secure::open(Limits::controller());
    let _client = secure.call(Some(&secure.clients.client(HOUR))).await;
    let mut served = secure.door.next().await;
    let mut byte = [0];
    let mut reading = tokio_test::task::spawn(served.read(&mut byte));
    tokio_test::assert_pending!(reading.poll());
    secure.door.clock.jump_wall(2 * 3_600_000);
    secure.door.clock.advance(Duration::from_secs(10));
    tokio_test::assert_ready!(reading.poll()).unwrap_err();
}

#[tokio::test]
async fn a_connection_without_a_certificate_does_not_last() {
    let mut secure = Secure::open(Limits::controller());
    let mut client = secure.call(None).await;
    let mut served = secure.door.next().await;
    client.write_all(PREFACE).await.unwrap();
    client.flush().await.unwrap();
    within(served.read_exact(&mut [0; PREFACE.len()])).await.unwrap();
    let mut byte = [0];
    let mut reading = tokio_test::task::spawn(served.read(&mut byte));
    for _ in 0..6 {
        tokio_test::assert_pending!(reading.poll());
        secure.door.clock.advance(Duration::from_secs(10));
    }
    tokio_test::assert_ready!(reading.poll()).unwrap_err();
}

/// A peer that never stops sending cannot outlive its certificate by keeping the task busy.
#[tokio::test]
async fn a_busy_peer_is_ended_too() {
    let mut secure = Secure::open(Limits::controller());
    let client = secure.call(Some(&secure.clients.client(HOUR))).await;
    let mut served = secure.door.next().await;
    let flood = tokio_util::sync::CancellationToken::new();
    let (mut client, stop) = (client, flood.clone());
    let tasks = Tasks::new();
    tasks.spawner().start("flood", async move {
        let noise = vec![7; 16 << 10];
        while !stop.is_cancelled() && client.write_all(&noise).await.is_ok() {}
    });
    let clock = secure.door.clock.clone();
    let ended = within(async {
        let mut buffer = vec![0; 512];
        for round in 0_u64.. {
            if round == 1_000 {
                clock.advance(HOUR);
            }
            if let Err(error) = served.read(&mut buffer).await {
                return (round, error.kind());
            }
        }
        unreachable!("the flood ended")
    })
    .await;
    flood.cancel();
    assert!(ended.0 >= 1_000 && ended.1 == std::io::ErrorKind::ConnectionAborted, "{ended:?}");
}
