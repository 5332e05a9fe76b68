//! Ending live connections at once.

use super::*;

type Client = tokio_rustls::client::TlsStream<TcpStream>;

/// Lets the peer begin as HTTP/2 does, so that no deadline but the one under test is left.
async fn begin(client: &mut Client, served: &mut Connection) {
    client.write_all(PREFACE).await.unwrap();
    client.flush().await.unwrap();
    within(served.read_exact(&mut [0; PREFACE.len()])).await.unwrap();
}

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
    begin(&mut client, &mut served).await;
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
    let mut client = secure.call(Some(&secure.clients.client(HOUR))).await;
    let mut served = secure.door.next().await;
    begin(&mut client, &mut served).await;
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
    begin(&mut client, &mut served).await;
    let mut byte = [0];
    let mut reading = tokio_test::task::spawn(served.read(&mut byte));
    for _ in 0..5 {
        tokio_test::assert_pending!(reading.poll());
        secure.door.clock.advance(Limits::controller().anonymous_life / 5);
    }
    tokio_test::assert_ready!(reading.poll()).unwrap_err();
}

/// A peer that keeps its task so busy that tokio makes it pause cannot outlive its certificate by that.
#[tokio::test]
async fn a_busy_peer_is_ended_too() {
    use std::pin::Pin;
    use std::task::Poll;

    use tokio::io::{AsyncRead as _, ReadBuf};
    use tokio::task::coop;

    let mut secure = Secure::open(Limits::controller());
    let mut client = secure.call(Some(&secure.clients.client(HOUR))).await;
    let mut served = secure.door.next().await;
    begin(&mut client, &mut served).await;
    secure.door.clock.advance(HOUR);
    // Once this task has had its share of work, reading is `Pending` however much there is to read.
    let read = std::future::poll_fn(|cx| {
        while coop::has_budget_remaining() {
            let _budget = tokio_test::task::spawn(coop::consume_budget()).enter(|_, budget| budget.poll(cx));
        }
        let mut byte = [0];
        Poll::Ready(Pin::new(&mut served).poll_read(cx, &mut ReadBuf::new(&mut byte)))
    });
    assert!(matches!(read.await, Poll::Ready(Err(_))));
}
