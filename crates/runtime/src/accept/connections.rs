//! Who is connected: limits, counts, and the way to cut a live connection.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::kill::Kill;
use super::{ConnectionId, Doorkeeper, Peer, PeerKey};

/// What one listener bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, those in their handshake included.
    pub connections: usize,
    /// Connections at a time of one peer: one user of a Unix socket, or one owner of client certificates.
    pub per_peer: usize,
    /// Connections at a time that have shown no certificate, of all addresses together: in their handshake, anonymous,
    /// or plain TCP. The rest is kept for peers that are known.
    pub anonymous: usize,
    /// Connections at a time of one address (one /64 of IPv6) that have shown no certificate: in their handshake,
    /// anonymous, or plain TCP.
    pub per_address: usize,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long a peer may take, once connected, to send the 24 bytes that HTTP/2 begins with.
    pub first_byte_timeout: Duration,
    /// How long a TLS connection without a client certificate may last.
    pub anonymous_life: Duration,
}

impl Limits {
    /// For a sidecar's socket.
    pub const fn sidecar() -> Self {
        Self {
            connections: 512,
            per_peer: 128,
            anonymous: 256,
            per_address: 128,
            handshake_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(2),
            anonymous_life: Duration::from_mins(1),
        }
    }

    /// For a controller's listeners. A sidecar has two connections while it changes its certificate.
    pub const fn controller() -> Self {
        Self {
            connections: 8_192,
            anonymous: 4_096,
            per_peer: 8,
            per_address: 512,
            anonymous_life: Duration::from_secs(10),
            ..Self::sidecar()
        }
    }
}

/// What has happened at a listener since it began: for a page of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Connections handed to the server.
    pub accepted: u64,
    /// Connections closed at once because a limit was reached or the kernel would not say who it is.
    pub refused: u64,
    /// TLS handshakes that failed, a certificate that did not hold included.
    pub handshake_failures: u64,
    /// TLS handshakes that took too long.
    pub handshake_timeouts: u64,
    /// Times that accepting itself failed, as when the process has no descriptor left.
    pub accept_errors: u64,
    /// Connections ended by [`Connections::cut`].
    pub cut: u64,
    /// Connections open now, those in their handshake included.
    pub open: usize,
}

/// The connections of one listener. Clones share it.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    doorkeeper: OnceLock<Arc<dyn Doorkeeper>>,
    state: Mutex<State>,
    accepted: AtomicU64,
    refused: AtomicU64,
    handshake_failures: AtomicU64,
    handshake_timeouts: AtomicU64,
    accept_errors: AtomicU64,
    cut: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Admitted and not yet ended, handshakes included.
    admitted: usize,
    /// Those of them that came by TCP and have shown no certificate.
    anonymous: usize,
    by_origin: HashMap<Origin, usize>,
    by_peer: HashMap<PeerKey, usize>,
    known: BTreeMap<ConnectionId, (Peer, Arc<Kill>)>,
}

/// What is known of a peer before it has said anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    User(u32),
    Address(IpAddr),
}

impl Origin {
    /// One subscriber of IPv6 has a whole /64.
    pub(super) fn address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// A limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// Why a peer that is known now is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turned {
    /// It has as many connections as it may.
    Full,
    /// The doorkeeper does not want it.
    Unwelcome,
}

/// The right to be connected, given back when dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    connections: Connections,
    pub(super) id: ConnectionId,
    pub(super) kill: Arc<Kill>,
    origin: Option<Origin>,
    peer: Option<PeerKey>,
}

/// What went wrong with one peer, for counting.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mishap {
    Refused,
    HandshakeFailed,
    HandshakeTooSlow,
    AcceptFailed,
}

impl Connections {
    /// None yet.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Inner {
            limits,
            doorkeeper: OnceLock::new(),
            state: Mutex::default(),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            handshake_failures: AtomicU64::new(0),
            handshake_timeouts: AtomicU64::new(0),
            accept_errors: AtomicU64::new(0),
            cut: AtomicU64::new(0),
        }))
    }

    /// Asks `doorkeeper` from now on about everybody who shows a certificate. The first one stays.
    pub fn ask(&self, doorkeeper: Arc<dyn Doorkeeper>) {
        let _first_stays = self.0.doorkeeper.set(doorkeeper);
    }

    /// What is the same in all certificates of the owner of this one.
    pub(super) fn peer_of(&self, leaf_der: &[u8]) -> Option<PeerKey> {
        self.0.doorkeeper.get()?.peer_of(leaf_der)
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Ends every connection whose peer `which` names, at once: nothing more is read from it or written to it. Says how
    /// many those were.
    pub fn cut(&self, which: impl Fn(&Peer) -> bool) -> usize {
        let chosen: Vec<Arc<Kill>> = {
            let state = self.state();
            state.known.values().filter(|(peer, _)| which(peer)).map(|(_, kill)| Arc::clone(kill)).collect()
        };
        // Those that were cut before and are not yet gone count once.
        let cut = chosen.iter().filter(|kill| kill.cut()).count();
        self.0.cut.fetch_add(u64::try_from(cut).unwrap_or(u64::MAX), Ordering::Relaxed);
        cut
    }

    /// Everybody connected now whose handshake is over.
    pub fn peers(&self) -> Vec<Peer> {
        self.state().known.values().map(|(peer, _)| peer.clone()).collect()
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            accepted: read(&self.0.accepted),
            refused: read(&self.0.refused),
            handshake_failures: read(&self.0.handshake_failures),
            handshake_timeouts: read(&self.0.handshake_timeouts),
            accept_errors: read(&self.0.accept_errors),
            cut: read(&self.0.cut),
            open: self.state().admitted,
        }
    }

    /// Lets a peer in, if the limits allow one more of its origin.
    pub(super) fn admit(&self, origin: Origin) -> Result<Ticket, Full> {
        let most = match origin {
            Origin::User(_) => self.0.limits.per_peer,
            Origin::Address(_) => self.0.limits.per_address,
        };
        let mut state = self.state();
        if state.admitted >= self.0.limits.connections {
            return Err(Full);
        }
        let anonymous = matches!(origin, Origin::Address(_));
        if anonymous && state.anonymous >= self.0.limits.anonymous {
            return Err(Full);
        }
        take(&mut state.by_origin, origin, most)?;
        state.anonymous += usize::from(anonymous);
        state.admitted += 1;
        state.next += 1;
        let id = ConnectionId(state.next);
        drop(state);
        Ok(Ticket { connections: self.clone(), id, kill: Arc::default(), origin: Some(origin), peer: None })
    }

    pub(super) fn count(&self, mishap: Mishap) {
        let counter = match mishap {
            Mishap::Refused => &self.0.refused,
            Mishap::HandshakeFailed => &self.0.handshake_failures,
            Mishap::HandshakeTooSlow => &self.0.handshake_timeouts,
            Mishap::AcceptFailed => &self.0.accept_errors,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change below is complete before the lock is given back, so a poisoned one is as good.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    pub(super) fn limits(&self) -> &Limits {
        &self.connections.0.limits
    }

    /// Says who the peer is, once that is known. From here on it can be cut. One that showed a certificate counts by
    /// whose that is and no longer by its address.
    pub(super) fn register(&mut self, peer: &Peer) -> Result<(), Turned> {
        let inner = &self.connections.0;
        let mut state = self.connections.state();
        if let Some(key) = peer.key().or(peer.leaf()) {
            take(&mut state.by_peer, Arc::clone(key), inner.limits.per_peer).map_err(|Full| Turned::Full)?;
            self.peer = Some(Arc::clone(key));
            if let Some(origin) = self.origin.take() {
                state.forget(&origin);
            }
        }
        state.known.insert(self.id, (peer.clone(), Arc::clone(&self.kill)));
        drop(state);
        // Asked last: who is told to go from now on is cut, and who was told before is not welcome.
        let doorkeeper = inner.doorkeeper.get().zip(peer.key());
        if doorkeeper.is_some_and(|(doorkeeper, key)| !doorkeeper.welcomes(key)) {
            return Err(Turned::Unwelcome);
        }
        inner.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.connections.state();
        state.admitted = state.admitted.saturating_sub(1);
        state.known.remove(&self.id);
        if let Some(origin) = &self.origin {
            state.forget(origin);
        }
        if let Some(peer) = &self.peer {
            give_back(&mut state.by_peer, peer);
        }
    }
}

impl State {
    /// One connection less counts by where it came from.
    fn forget(&mut self, origin: &Origin) {
        give_back(&mut self.by_origin, origin);
        if matches!(origin, Origin::Address(_)) {
            self.anonymous = self.anonymous.saturating_sub(1);
        }
    }
}

fn take<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K, most: usize) -> Result<(), Full> {
    let count = counts.entry(key).or_default();
    if *count >= most {
        // An entry of zero is made only where `most` is zero.
        return Err(Full);
    }
    *count += 1;
    Ok(())
}

fn give_back<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}
