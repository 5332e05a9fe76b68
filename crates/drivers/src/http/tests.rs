//! The client against a server that keeps to a script: what each fault means for what may have happened.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use super::*;
use crate::DriverError;
use crate::answer::Touched;

/// What the server does with the one request that it gets.
#[derive(Debug, Clone)]
enum Script {
    /// Says this, and closes.
    Says(&'static str),
    /// Closes before it has read anything.
    HangsUp,
    /// Reads the request, and closes without a word.
    DropsTheAnswer,
    /// Reads it, and never says a word.
    Silent,
    /// Says more than anybody reads.
    Floods,
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut buffer = [0_u8; 1024];
    while !request.ends_with(b"\"BODY\"") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(size) => request.extend_from_slice(&buffer[..size]),
        }
    }
    String::from_utf8(request).unwrap()
}

fn here(port: u16) -> Http {
    let (connect, request) = (Duration::from_secs(20), Duration::from_secs(20));
    Http { host: "127.0.0.1".to_owned(), port, tls: None, connect, request }
}

/// A server, and what it was asked in the end.
fn server(script: Script) -> (Http, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let silent = matches!(script, Script::Silent);
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        if matches!(script, Script::HangsUp) {
            return String::new();
        }
        let request = read_request(&mut stream);
        match script {
            Script::Says(answer) => stream.write_all(answer.as_bytes()).unwrap(),
            Script::Floods => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n").unwrap();
                while stream.write_all(&[b'x'; 8_192]).is_ok() {}
            }
            Script::Silent => drop(stream.read(&mut [0; 8])),
            Script::DropsTheAnswer | Script::HangsUp => {}
        }
        request
    });
    let mut place = here(port);
    if silent {
        place.request = Duration::from_millis(400);
    }
    (place, asked)
}

async fn ask(server: &Http, changes: bool) -> Result<Answer, DriverError> {
    let (password, body) = (SecretBytes::from("secret".to_owned()), serde_json::json!("BODY"));
    let touched = Touched::default();
    let asked = Box::pin(async {
        let answer =
            server.ask(Method::POST, "/here?a=b", Login::Basic("me", &password), Some(&body)).await?;
        let failed = || Failed::answered(answer.status, "said").asked_to_wait(answer.retry_after);
        if (200..300).contains(&answer.status) { Ok(answer) } else { Err(failed()) }
    });
    let asked = if changes { touched.by(asked).await } else { asked.await };
    asked.map_err(|failed| failed.reported(&touched))
}

/// In words: what a request comes to that changes nothing, and one that changes something.
async fn outcomes(script: Script) -> [&'static str; 2] {
    let mut found = ["", ""];
    for (outcome, changes) in found.iter_mut().zip([false, true]) {
        let (place, server) = server(script.clone());
        *outcome = match ask(&place, changes).await {
            Ok(_) => "done",
            Err(DriverError::Unavailable(_)) => "unavailable",
            Err(DriverError::Refused(_)) => "refused",
            Err(DriverError::Unknown(_)) => "unknown",
        };
        drop(server.join());
    }
    found
}

#[tokio::test]
async fn every_fault_says_what_may_have_happened() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of it";
    let redirect = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    for (script, expected) in [
        (Script::Says("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"), ["done", "done"]),
        (Script::Says(cut), ["unavailable", "unknown"]),
        (Script::DropsTheAnswer, ["unavailable", "unknown"]),
        (Script::Silent, ["unavailable", "unknown"]),
        (Script::Floods, ["unavailable", "unknown"]),
        (Script::HangsUp, ["unavailable", "unknown"]),
        (Script::Says("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"), ["unavailable", "unknown"]),
        (Script::Says("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"), ["unavailable", "unavailable"]),
        (Script::Says("HTTP/1.1 429 No\r\ncontent-length: 0\r\n\r\n"), ["unavailable", "unavailable"]),
        (Script::Says("HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n"), ["refused", "refused"]),
        (Script::Says(redirect), ["unavailable", "unavailable"]),
        (Script::Says("nonsense\r\n\r\n"), ["unavailable", "unknown"]),
    ] {
        assert_eq!(outcomes(script.clone()).await, expected, "{script:?}");
    }
}

#[tokio::test]
async fn where_nobody_listens_nothing_happened() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let place = here(port);
    assert!(matches!(ask(&place, true).await, Err(DriverError::Unavailable(_))));
}

#[tokio::test]
async fn a_wish_to_wait_is_passed_on() {
    let answer = "HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n";
    let (place, server) = server(Script::Says(answer));
    let Err(error) = ask(&place, true).await else { panic!("it is to wait") };
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    drop(server.join());
}

#[tokio::test]
async fn an_answer_that_comes_twice_is_one_answer() {
    let twice =
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\noneHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo";
    let (place, server) = server(Script::Says(twice));
    let answer = ask(&place, true).await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"one"[..]));
    let asked = server.join().unwrap();
    assert!(asked.starts_with("POST /here?a=b HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("host: {}", place.authority())), "{asked}");
    assert!(asked.contains("authorization: Basic bWU6c2VjcmV0\r\n"), "{asked}");
}

#[test]
fn routes_are_read_and_shown() {
    for (text, scheme, shown) in [
        ("https://iam.amazonaws.com", "https", "iam.amazonaws.com:443"),
        ("https://a.example:8443/", "https", "a.example:8443"),
        ("http://127.0.0.1:5000", "http", "127.0.0.1:5000"),
        ("http://[::1]:5000", "http", "[::1]:5000"),
        ("http://localhost", "http", "localhost"),
    ] {
        let (found, host, port) = route(text).unwrap();
        // Without TLS in hand, 443 is no usual port.
        assert_eq!((found, Http { host, ..here(port) }.authority().as_str()), (scheme, shown), "{text}");
    }
    for wrong in ["", "iam.amazonaws.com", "ftp://a", "https://", "https://a/b", "https://u@a"] {
        assert_eq!(route(wrong), None, "{wrong}");
    }
}
