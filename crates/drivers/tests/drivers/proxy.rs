//! A TCP proxy that loses answers. It runs on threads of its own, which end with the connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// A proxy on loopback.
pub(crate) struct Proxy {
    port: u16,
    passed_on: Arc<AtomicBool>,
}

impl Proxy {
    /// Passes everything on until the client has sent `words`; the answer to them is awaited, and the connection cut
    /// instead of passing it on.
    pub(crate) fn losing_the_answer_to(server: u16, words: &'static [u8]) -> Self {
        Self::start(server, words, None)
    }

    /// Passes everything on, but `words` only after `delay`, even when the client has gone meanwhile.
    pub(crate) fn holding_back(server: u16, words: &'static [u8], delay: Duration) -> Self {
        Self::start(server, words, Some(delay))
    }

    fn start(server: u16, words: &'static [u8], delay: Option<Duration>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let passed_on = Arc::new(AtomicBool::new(false));
        let passed = Arc::clone(&passed_on);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", server))) else {
                    return;
                };
                let said = Arc::new(AtomicBool::new(false));
                let (to_server, from_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let (heard, passed) = (Arc::clone(&said), Arc::clone(&passed));
                thread::spawn(move || {
                    pass(from_client, to_server, |bytes| {
                        if bytes.windows(words.len()).any(|window| window == words) {
                            heard.store(true, Ordering::SeqCst);
                            thread::sleep(delay.unwrap_or_default());
                            passed.store(true, Ordering::SeqCst);
                        }
                        true
                    });
                });
                thread::spawn(move || {
                    pass(server, client, |_| delay.is_some() || !said.load(Ordering::SeqCst));
                });
            }
        });
        Self { port, passed_on }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Waits until what was held back was passed on.
    pub(crate) fn passed_all_on(&self, limit: Duration) -> bool {
        rekey_testkit::process::poll(limit, || self.passed_on.load(Ordering::SeqCst))
    }
}

/// Passes bytes on while `keep` says so, then cuts both connections.
fn pass(mut from: TcpStream, mut to: TcpStream, mut keep: impl FnMut(&[u8]) -> bool) {
    let mut buffer = [0; 8192];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !keep(&buffer[..count]) || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}
