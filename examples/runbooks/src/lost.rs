//! A way to a target on loopback on which one answer can be lost: the target does what was asked, and nobody hears of it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

/// How long a connection may be idle.
const LIMIT: Duration = Duration::from_mins(1);

/// What both halves of each connection know.
#[derive(Debug, Default)]
struct Shared {
    /// What a request has in it whose answer is to be lost; empty: none.
    lose: Mutex<String>,
    /// Everything that was asked, in order.
    asked: Mutex<String>,
    lost: AtomicBool,
    ended: AtomicBool,
}

/// A running way; ends with its handle.
#[derive(Debug)]
pub(crate) struct Way {
    port: u16,
    shared: Arc<Shared>,
}

impl Way {
    /// A way to `port`.
    pub(crate) fn to(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let way = Self { port: listener.local_addr()?.port(), shared: Arc::default() };
        let shared = Arc::clone(&way.shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                // A connection that cannot be made is one that the other side sees end.
                drop(join(client, port, &shared));
            }
        });
        Ok(way)
    }

    /// Where it begins.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Loses the answer to the next request that has `text` in it.
    pub(crate) fn lose(&self, text: &str) {
        self.shared.lost.store(false, Ordering::SeqCst);
        text.clone_into(&mut self.shared.lose.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether it was lost.
    pub(crate) fn has_lost(&self) -> bool {
        self.shared.lost.load(Ordering::SeqCst)
    }

    /// Everything that was asked on it, in order.
    pub(crate) fn asked(&self) -> String {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

fn join(client: TcpStream, port: u16, shared: &Arc<Shared>) -> Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(LIMIT))?;
    }
    let cut = Arc::new(AtomicBool::new(false));
    let there = (client.try_clone()?, server.try_clone()?, Arc::clone(shared), Arc::clone(&cut));
    std::thread::spawn(move || {
        let (client, server, shared, cut) = there;
        pass(&client, &server, |bytes| {
            let text = String::from_utf8_lossy(bytes) + "\n";
            shared.asked.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            let mut lose = shared.lose.lock().unwrap_or_else(PoisonError::into_inner);
            if !lose.is_empty() && text.contains(lose.as_str()) {
                lose.clear();
                cut.store(true, Ordering::SeqCst);
            }
            true
        });
    });
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        pass(&server, &client, |_answer| {
            let lost = cut.load(Ordering::SeqCst);
            shared.lost.fetch_or(lost, Ordering::SeqCst);
            !lost
        });
    });
    Ok(())
}

/// Passes on what comes until `goes_on` says no; then both ends see an end.
fn pass(mut from: &TcpStream, mut to: &TcpStream, goes_on: impl Fn(&[u8]) -> bool) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read) = from.read(&mut buffer) {
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() || !goes_on(bytes) || to.write_all(bytes).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        stream.shutdown(Shutdown::Both).ok();
    }
}
