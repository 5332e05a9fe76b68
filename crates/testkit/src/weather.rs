//! A proxy before a provider's HTTP interface that is not well: one request meets what is asked for, all others pass.
//!
//! For clients that send one request on each connection. It listens on loopback, in plain, for as long as the test runs.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};

/// The most bytes of a request or an answer.
const MOST: usize = 1 << 20;

/// What a request meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is done; the connection is cut instead of the answer.
    AnswerLost,
    /// It is done, and the answer is said twice.
    AnswerTwice,
    /// It is done; the connection stays open, and there is no answer.
    Hang,
    /// It is done; the answer ends in its middle.
    AnswerCut,
    /// It is not done: 429, with this many seconds to wait.
    TooMany(u32),
    /// It is not done: 500.
    Broken,
    /// It is not done: 200, with this body.
    Lie(&'static str),
    /// It is not done: 404, with this body.
    Absent(&'static str),
}

/// A proxy on loopback.
#[derive(Debug)]
pub struct Weather {
    port: u16,
    next: Arc<Mutex<Option<(&'static str, Fault)>>>,
}

impl Weather {
    /// A proxy before the server at this port.
    pub fn before(server: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let next = Arc::<Mutex<Option<(&'static str, Fault)>>>::default();
        let shared = Arc::clone(&next);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), next) = (client, Arc::clone(&shared)) else { return };
                thread::spawn(move || drop(pass(client, server, &next)));
            }
        });
        Ok(Self { port, next })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The next request that holds these words meets `fault`.
    pub fn strike(&self, words: &'static str, fault: Fault) {
        *locked(&self.next) = Some((words, fault));
    }

    /// Whether what was asked for last has met its request.
    pub fn has_struck(&self) -> bool {
        locked(&self.next).is_none()
    }
}

type Next = Mutex<Option<(&'static str, Fault)>>;

fn locked(next: &Next) -> MutexGuard<'_, Option<(&'static str, Fault)>> {
    next.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pass(mut client: TcpStream, server: u16, next: &Next) -> Result<()> {
    let request = message(&mut client)?;
    let holds = |words: &str| request.windows(words.len()).any(|window| window == words.as_bytes());
    let fault = locked(next).take_if(|(words, _)| holds(words)).map(|(_, fault)| fault);
    let instead = match fault {
        Some(Fault::TooMany(seconds)) => {
            Some(says("429 Too Many Requests", &format!("Retry-After: {seconds}\r\n"), ""))
        }
        Some(Fault::Broken) => Some(says("500 Internal Server Error", "", "")),
        Some(Fault::Lie(body)) => Some(says("200 OK", "Content-Type: text/xml\r\n", body)),
        Some(Fault::Absent(body)) => Some(says("404 Not Found", "Content-Type: text/xml\r\n", body)),
        _ => None,
    };
    if let Some(instead) = instead {
        return Ok(client.write_all(&instead)?);
    }
    let mut upstream = TcpStream::connect((Ipv4Addr::LOCALHOST, server))?;
    upstream.write_all(&request)?;
    let answer = message(&mut upstream)?;
    match fault {
        Some(Fault::AnswerLost) => client.shutdown(Shutdown::Both).context("cut"),
        // Until the client gives up.
        Some(Fault::Hang) => client.read(&mut [0]).map(drop).context("hang"),
        Some(Fault::AnswerCut) => Ok(client.write_all(answer.get(..answer.len() / 2).unwrap_or_default())?),
        Some(Fault::AnswerTwice) => Ok(client.write_all(&answer.repeat(2))?),
        _ => Ok(client.write_all(&answer)?),
    }
}

fn says(status: &str, header: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{header}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// A whole request or answer: its head, and as much after it as the head says; without a word on that, nothing.
fn message(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let (mut message, mut buffer) = (Vec::new(), [0; 8192]);
    loop {
        if let Some(size) = size(&message)
            && message.len() >= size
        {
            return Ok(message);
        }
        let count = stream.read(&mut buffer)?;
        ensure!(count > 0 && message.len() < MOST, "a message without an end");
        message.extend(buffer.get(..count).unwrap_or_default());
    }
}

/// How long the message is that begins so, once that is known.
fn size(begun: &[u8]) -> Option<usize> {
    let end = begun.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(begun.get(..end)?).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    Some(end + length.and_then(|length| length.trim().parse::<usize>().ok()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(port: u16, body: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        write!(stream, "POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok();
        answer
    }

    #[test]
    fn one_request_meets_the_fault_and_whether_it_was_done_is_as_said() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let weather = Weather::before(server.local_addr().unwrap().port()).unwrap();
        let done = Arc::new(Mutex::new(0));
        let count = Arc::clone(&done);
        thread::spawn(move || {
            for client in server.incoming() {
                let mut client = client.unwrap();
                message(&mut client).unwrap();
                *count.lock().unwrap() += 1;
                client.write_all(&says("200 OK", "", "whole")).unwrap();
            }
        });
        let port = weather.port();
        for (fault, answer, is_done) in [
            (Fault::AnswerLost, "", 1),
            (Fault::AnswerCut, "HTTP/1.1 200 OK", 1),
            (Fault::TooMany(3), "Retry-After: 3", 0),
            (Fault::Broken, "HTTP/1.1 500", 0),
            (Fault::Lie("a lie"), "a lie", 0),
            (Fault::Absent("no such thing"), "HTTP/1.1 404", 0),
        ] {
            let before = *done.lock().unwrap();
            weather.strike("make", fault);
            assert!(ask(port, "other").ends_with("whole") && !weather.has_struck());
            let said = ask(port, "make it");
            assert!(said.contains(answer) && !said.ends_with("whole"), "{fault:?}: {said}");
            assert!(weather.has_struck());
            assert_eq!(*done.lock().unwrap() - before, 1 + is_done, "{fault:?}");
        }
        weather.strike("make", Fault::AnswerTwice);
        assert_eq!(ask(port, "make it").matches("whole").count(), 2);
    }
}
