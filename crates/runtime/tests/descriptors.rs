//! A process that has no descriptor left goes on accepting as soon as it has one again, and does not spin meanwhile.
//!
//! A file of its own, because the limit is the whole process's. The callers are a child: this test itself, started
//! again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt as _;
use rekey_runtime::accept::{Accept, Counters};
use rekey_runtime::{Clock, Connections, Limits, Listener, Tasks};
use rustix::process::{Resource, Rlimit};

const CALLERS: &str = "REKEY_TEST_CALLERS_TO";
const HOW_MANY: usize = 150;
const DESCRIPTORS: u64 = 64;

/// The child's part: connects many times, says so, and holds on until its input ends.
fn call(address: &str) {
    let held: Vec<TcpStream> = (0..HOW_MANY).map(|_| TcpStream::connect(address).unwrap()).collect();
    std::io::stderr().write_all(b"connected\n").unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    drop(held);
}

#[tokio::test]
async fn a_process_without_descriptors_accepts_again_when_it_has_some() {
    if let Ok(address) = std::env::var(CALLERS) {
        return call(&address);
    }
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_without_descriptors_accepts_again_when_it_has_some", "--nocapture"])
        .env(CALLERS, address.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let limit = Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) };
    rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
    let tasks = Tasks::new();
    let connections =
        Connections::new(Limits { first_byte_timeout: Duration::from_hours(1), ..Limits::controller() });
    let accept =
        Accept { connections: connections.clone(), clock: Clock::system(), spawner: tasks.spawner() };
    let mut incoming = accept.incoming(listener, None);
    let mut line = String::new();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    tokio::task::spawn_blocking(move || said.read_line(&mut line).map(|_| assert_eq!(line, "connected\n")))
        .await
        .unwrap()
        .unwrap();
    let mut held = Vec::new();
    until(&connections, |counters| counters.accept_errors >= 3, || held.extend(next(&mut incoming))).await;
    // Those that came between two looks, too: on a busy machine a look takes long.
    held.extend(std::iter::from_fn(|| next(&mut incoming)));
    assert!(held.len() > 20 && held.len() < 64, "{} were let in", held.len());
    let first = connections.counters().accept_errors;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let more = connections.counters().accept_errors - first;
    assert!(more <= 50, "{more} tries in half a second");
    until(&connections, |counters| counters.accept_errors >= first + 2, || drop(next(&mut incoming))).await;
    drop(child.stdin.take());
    held.clear();
    until(&connections, |counters| counters.accepted == 150, || drop(next(&mut incoming))).await;
    child.wait().unwrap();
    let again = tokio::net::TcpStream::connect(address).await.unwrap();
    until(&connections, |counters| counters.accepted == 151, || drop(next(&mut incoming))).await;
    drop(again);
}

fn next(incoming: &mut rekey_runtime::accept::Incoming) -> Option<rekey_runtime::accept::Connection> {
    use futures_util::FutureExt as _;
    incoming.next().now_or_never().flatten().map(Result::unwrap)
}

async fn until(connections: &Connections, wanted: impl Fn(&Counters) -> bool, mut meanwhile: impl FnMut()) {
    let all = async {
        while !wanted(&connections.counters()) {
            meanwhile();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all)
        .await
        .unwrap_or_else(|_| panic!("nothing happened: {:?}", connections.counters()));
}
