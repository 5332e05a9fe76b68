//! Peers that are slow, silent, or too many.

use super::*;

#[tokio::test]
async fn a_peer_that_never_begins_its_handshake_is_closed_after_its_deadline() {
    let secure = Secure::open(Limits::controller());
    let mut silent = secure.door.tcp().await;
    secure.door.until(|counters| counters.open == 1).await;
    let moved = secure.door.advance_until(|counters| counters.handshake_timeouts == 1).await;
    assert!(moved >= Duration::from_secs(5) && moved < Duration::from_secs(7), "{moved:?}");
    assert!(is_closed(&mut silent).await);
    assert_eq!(secure.door.connections.counters().open, 0);
}

/// One byte a second keeps a connection alive for nobody.
#[tokio::test]
async fn a_handshake_in_single_bytes_is_closed_after_its_deadline() {
    let secure = Secure::open(Limits::controller());
    let mut slow = secure.door.tcp().await;
    secure.door.until(|counters| counters.open == 1).await;
    slow.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    for _ in 0..4 {
        secure.door.clock.advance(Duration::from_secs(1));
        slow.write_all(&[0x01]).await.unwrap();
    }
    assert_eq!(secure.door.connections.counters().handshake_timeouts, 0);
    secure.door.advance_until(|counters| counters.handshake_timeouts == 1).await;
    assert!(is_closed(&mut slow).await);
}

#[tokio::test]
async fn garbage_instead_of_a_handshake_is_counted_and_closed() {
    let secure = Secure::open(Limits::controller());
    let mut rude = secure.door.tcp().await;
    rude.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
    secure.door.until(|counters| counters.handshake_failures == 1 && counters.open == 0).await;
    while !is_closed(&mut rude).await {}
}

/// Many who are slow do not keep one who is quick from getting in.
#[tokio::test]
async fn slow_handshakes_do_not_hold_up_a_quick_one() {
    let mut secure = Secure::open(Limits::controller());
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(secure.door.tcp().await);
    }
    secure.door.until(|counters| counters.open == 100).await;
    let identity = secure.clients.client(HOUR);
    let _quick = secure.call(Some(&identity)).await;
    assert_eq!(&**secure.door.next().await.peer().leaf().unwrap(), identity.leaf());
}

/// After the handshake, over TLS, a peer sends nothing, or less than HTTP/2 begins with.
#[tokio::test]
async fn a_peer_that_does_not_begin_after_the_handshake_is_closed() {
    for begun in [0, 1, PREFACE.len() - 1] {
        let mut secure = Secure::open(Limits::controller());
        let mut slow = secure.call(None).await;
        slow.write_all(&PREFACE[..begun]).await.unwrap();
        slow.flush().await.unwrap();
        let mut served = secure.door.next().await;
        let clock = secure.door.clock.clone();
        let serving = async move {
            let mut received = [0; 64];
            loop {
                match served.read(&mut received).await {
                    Ok(_) => {}
                    Err(error) => return error.kind(),
                }
            }
        };
        let mut serving = tokio_test::task::spawn(serving);
        for _ in 0..20 {
            tokio_test::assert_pending!(serving.poll());
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_millis(1_900));
        tokio_test::assert_pending!(serving.poll());
        clock.advance(Duration::from_millis(200));
        assert_eq!(within(serving).await, std::io::ErrorKind::TimedOut);
        assert!(is_closed(&mut slow).await);
    }
}

#[tokio::test]
async fn a_silent_local_peer_is_closed_and_one_that_begins_stays() {
    let (_directory, path, mut door) = local(Limits::sidecar());
    let mut silent = UnixStream::connect(&path).await.unwrap();
    let mut first = door.next().await;
    let mut alive = UnixStream::connect(&path).await.unwrap();
    let mut second = door.next().await;
    alive.write_all(PREFACE).await.unwrap();
    second.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
    let (mut one, mut two) = ([0], [0]);
    let mut starved = tokio_test::task::spawn(first.read(&mut one));
    let mut waiting = tokio_test::task::spawn(second.read(&mut two));
    tokio_test::assert_pending!(starved.poll());
    tokio_test::assert_pending!(waiting.poll());
    door.clock.advance(Duration::from_secs(3));
    assert_eq!(within(&mut starved).await.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    tokio_test::assert_pending!(waiting.poll());
    drop(starved);
    drop(first);
    assert!(is_closed(&mut silent).await);
}

#[tokio::test]
async fn one_user_has_no_more_connections_than_the_limit() {
    let (_directory, path, mut door) = local(Limits { per_peer: 2, ..Limits::sidecar() });
    let _one = UnixStream::connect(&path).await.unwrap();
    let _two = UnixStream::connect(&path).await.unwrap();
    let (first, _second) = (door.next().await, door.next().await);
    assert_eq!(first.peer().uid(), Some(rustix::process::geteuid().as_raw()));
    let mut third = UnixStream::connect(&path).await.unwrap();
    assert!(is_closed(&mut third).await);
    assert_eq!(door.connections.counters().refused, 1);
    drop(first);
    let _fourth = UnixStream::connect(&path).await.unwrap();
    door.next().await;
}

#[tokio::test]
async fn all_together_have_no_more_connections_than_the_limit() {
    let secure = Secure::open(Limits { connections: 3, ..Limits::controller() });
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(secure.door.tcp().await);
    }
    secure.door.until(|counters| counters.open == 3).await;
    assert!(is_closed(&mut secure.door.tcp().await).await);
    held.pop();
    secure.door.until(|counters| counters.open == 2).await;
    let _again = secure.door.tcp().await;
    secure.door.until(|counters| counters.open == 3).await;
}

/// Whoever shows a certificate no longer counts by address, but by that certificate.
#[tokio::test]
async fn certificates_count_by_themselves_and_strangers_by_address() {
    let mut secure = Secure::open(Limits { per_address: 2, per_peer: 2, ..Limits::controller() });
    let (one, two) = (secure.clients.client(HOUR), secure.clients.client(HOUR));
    let mut held = Vec::new();
    for identity in [&one, &one, &two, &two] {
        let client = secure.call(Some(identity)).await;
        held.push((client, secure.door.next().await));
    }
    let mut third = secure.call(Some(&one)).await;
    assert!(is_closed(&mut third).await);
    assert_eq!(secure.door.connections.counters().refused, 1);
    let _strangers = (secure.door.tcp().await, secure.door.tcp().await);
    secure.door.until(|counters| counters.open == 6).await;
    assert!(is_closed(&mut secure.door.tcp().await).await);
    assert_eq!(secure.door.connections.counters().refused, 2);
}

#[tokio::test]
async fn dropping_the_stream_closes_the_port() {
    let secure = Secure::open(Limits::controller());
    let address = secure.door.address.unwrap();
    drop(secure.door.incoming);
    within(async { while TcpStream::connect(address).await.is_ok() {} }).await;
}

#[tokio::test]
async fn plain_tcp_peers_are_told_apart() {
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut door = Door::open(listener, Limits::controller(), Clock::manual(), None);
    let caller = door.tcp().await;
    let served = door.next().await;
    assert!(matches!(served.peer(), Peer::Tcp { addr, .. } if *addr == caller.local_addr().unwrap()));
}
