//! Who owns a certificate, and who may not come in with one.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Takes all certificates for one owner's.
#[derive(Debug, Default)]
struct One {
    unwelcome: AtomicBool,
}

impl Doorkeeper for One {
    fn peer_of(&self, _leaf_der: &[u8]) -> Option<PeerKey> {
        Some(Arc::from(*b"one"))
    }

    fn welcomes(&self, peer: &PeerKey) -> bool {
        assert_eq!(**peer, *b"one");
        !self.unwelcome.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn all_certificates_of_one_owner_count_together() {
    let mut secure = Secure::open(Limits { per_peer: 2, ..Limits::controller() });
    secure.door.connections.ask(Arc::new(One::default()));
    let mut held = Vec::new();
    for _ in 0..2 {
        let client = secure.call(Some(&secure.clients.client(HOUR))).await;
        held.push((client, secure.door.next().await));
    }
    let mut third = secure.call(Some(&secure.clients.client(HOUR))).await;
    assert!(is_closed(&mut third).await);
    held.pop();
    let _fourth = secure.call(Some(&secure.clients.client(HOUR))).await;
    secure.door.next().await;
}

#[tokio::test]
async fn who_is_not_welcome_is_turned_away_after_the_handshake_and_no_server_sees_it() {
    let secure = Secure::open(Limits::controller());
    let doorkeeper = Arc::new(One::default());
    doorkeeper.unwelcome.store(true, Ordering::SeqCst);
    secure.door.connections.ask(doorkeeper);
    let mut turned_away = secure.call(Some(&secure.clients.client(HOUR))).await;
    assert!(is_closed(&mut turned_away).await);
    let counters = secure.door.until(|counters| counters.open == 0).await;
    assert_eq!((counters.refused, counters.accepted), (1, 0));
    assert!(secure.door.connections.peers().is_empty());
}

#[tokio::test]
async fn strangers_do_not_fill_the_whole_listener() {
    let mut secure = Secure::open(Limits { connections: 4, anonymous: 2, ..Limits::controller() });
    let mut held = Vec::new();
    for _ in 0..2 {
        let client = secure.call(Some(&secure.clients.client(HOUR))).await;
        held.push((client, secure.door.next().await));
    }
    let strangers = (secure.door.tcp().await, secure.door.tcp().await);
    secure.door.until(|counters| counters.open == 4).await;
    held.clear();
    secure.door.until(|counters| counters.open == 2).await;
    assert!(is_closed(&mut secure.door.tcp().await).await, "two of four are kept for those who are known");
    drop(strangers);
    secure.door.until(|counters| counters.open == 0).await;
    let _known = secure.call(Some(&secure.clients.client(HOUR))).await;
    secure.door.next().await;
}
