//! A scripted double of a provider whose keys only a person can make, at its console. It is no real provider.
//!
//! Over HTTP it has one call, `GET /v1/me` with `Authorization: Bearer KEY`: 200 for a key that is there, else 401, without
//! a key 403, and whatever [`Console::answer_all`] says instead. What a person does at the page is a method: make a key
//! ([`Console::make_key`], or [`Console::make_slow_key`] for one that is refused for a moment), delete one
//! ([`Console::delete`]). It counts who asked ([`Console::uses`], [`Console::refused`]), several keys may live at once, and
//! it ends with its handle.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a caller may take with its request.
const LIMIT: Duration = Duration::from_mins(1);
/// The longest head of a request.
const MOST: usize = 16 * 1024;

/// A running double.
#[derive(Debug)]
pub struct Console {
    port: u16,
    state: Arc<Mutex<State>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    keys: BTreeMap<String, Key>,
    refused: u64,
    instead: Option<Instead>,
}

#[derive(Debug)]
struct Key {
    value: String,
    uses: u64,
    /// How often it is refused before it is known everywhere.
    unknown_for: u32,
}

/// What everybody is answered, whatever the key.
#[derive(Debug, Clone, Copy)]
struct Instead {
    status: u16,
    retry_after: Option<u32>,
}

impl Console {
    /// Starts one at a free port of loopback.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap_or_else(|e| panic!("listen: {e}"));
        let port = listener.local_addr().unwrap_or_else(|e| panic!("listen: {e}")).port();
        let (state, ended) = (Arc::<Mutex<State>>::default(), Arc::<AtomicBool>::default());
        let (answers, end) = (Arc::clone(&state), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                // Who goes away in the middle is no trouble of ours.
                let _answered = answer(stream, &answers);
            }
        });
        Self { port, state, ended, thread: Some(thread) }
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same as a setting has it.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A person makes a key at the page, and is shown its value once.
    pub fn make_key(&self, name: &str) -> String {
        self.make_slow_key(name, 0)
    }

    /// The same where the provider refuses the new key `times` times before it knows it everywhere.
    pub fn make_slow_key(&self, name: &str, times: u32) -> String {
        let value = format!("ck_{}", drawn());
        let key = Key { value: value.clone(), uses: 0, unknown_for: times };
        let taken = self.lock().keys.insert(name.to_owned(), key);
        assert!(taken.is_none(), "there is a key {name}");
        value
    }

    /// A person deletes a key at the page: it is refused from now on. Says whether it was there.
    pub fn delete(&self, name: &str) -> bool {
        self.lock().keys.remove(name).is_some()
    }

    /// The names of the keys that work.
    pub fn keys(&self) -> Vec<String> {
        self.lock().keys.keys().cloned().collect()
    }

    /// How often a key was let in.
    pub fn uses(&self, name: &str) -> u64 {
        self.lock().keys.get(name).map_or(0, |key| key.uses)
    }

    /// How often somebody was refused.
    pub fn refused(&self) -> u64 {
        self.lock().refused
    }

    /// From now on everybody is answered with `status`, and asked to wait so many seconds; none: as it should be.
    pub fn answer_all(&self, instead: Option<(u16, Option<u32>)>) {
        self.lock().instead = instead.map(|(status, retry_after)| Instead { status, retry_after });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // It waits for a caller.
        drop(TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)), LIMIT));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let mut head = Vec::new();
    let mut some = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let size = stream.read(&mut some)?;
        if size == 0 || head.len() > MOST {
            return Ok(());
        }
        head.extend(some.iter().take(size));
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let (status, wait, body) = state.lock().unwrap_or_else(PoisonError::into_inner).decide(&head);
    let wait = wait.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status} \r\n{wait}Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

impl State {
    /// Status, seconds to wait and body of the answer to a request with this head.
    fn decide(&mut self, head: &str) -> (u16, Option<u32>, String) {
        if let Some(Instead { status, retry_after }) = self.instead {
            self.refused += 1;
            return (status, retry_after, r#"{"error":"not now"}"#.to_owned());
        }
        if !head.starts_with("GET /v1/me ") {
            return (404, None, r#"{"error":"no such thing"}"#.to_owned());
        }
        let bearer = head.lines().filter_map(|line| line.split_once(": "));
        let mut bearer = bearer.filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let value = bearer.find_map(|(_, value)| value.trim().strip_prefix("Bearer "));
        let key = self.keys.iter_mut().find(|(_, key)| value == Some(key.value.as_str()));
        match key {
            Some((name, key)) if key.unknown_for == 0 => {
                key.uses += 1;
                return (200, None, format!(r#"{{"key":"{name}"}}"#));
            }
            Some((_, key)) => key.unknown_for -= 1,
            None => {}
        }
        self.refused += 1;
        let status = if value.is_some() { 401 } else { 403 };
        // Some providers tell a caller what it sent: nobody may pass that on.
        (status, None, format!(r#"{{"error":"no such key: {}"}}"#, value.unwrap_or("none")))
    }
}

/// 24 random bytes, as text.
fn drawn() -> String {
    let mut bytes = [0; 24];
    aws_lc_rs::rand::fill(&mut bytes).unwrap_or_else(|_| panic!("the system has no random bytes"));
    hex::encode(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::http::Http;

    #[test]
    fn a_key_works_from_its_making_to_its_deletion() {
        let console = Console::start();
        let http = Http::plain(console.port());
        let ask = |value: &str| {
            let bearer = format!("Bearer {value}");
            http.ask("GET", "/v1/me", &[("Authorization", &bearer)], &Value::Null).unwrap().status
        };
        assert_eq!(ask("ck_none"), 401);
        let (one, late) = (console.make_key("one"), console.make_slow_key("late", 2));
        assert_eq!((ask(&one), ask(&one)), (200, 200));
        assert_eq!((ask(&late), ask(&late), ask(&late)), (401, 401, 200));
        assert_eq!((console.uses("one"), console.uses("late"), console.refused()), (2, 1, 3));
        console.answer_all(Some((429, Some(7))));
        assert_eq!(ask(&one), 429);
        console.answer_all(None);
        assert!(console.delete("one") && !console.delete("one"));
        assert_eq!((ask(&one), console.keys()), (401, vec!["late".to_owned()]));
    }
}
