//! Answers that are lost, and a server that stands still.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rekey_drivers::{Driver, DriverError, Found, Sessions};
use rekey_model::Span;

use super::world::World;

/// A proxy that passes on what is asked, and the answer only to the first `answers` connections. What it passes is TLS,
/// which it cannot read; each request has a connection of its own. It ends with the connections.
pub(crate) fn answering(server: u16, answers: usize) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(upstream)) = (client, TcpStream::connect(("127.0.0.1", server))) else {
                return;
            };
            let answered = seen.fetch_add(1, Ordering::SeqCst) < answers;
            let (from, to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            let asked = Arc::new(AtomicUsize::new(0));
            let heard = Arc::clone(&asked);
            thread::spawn(move || {
                pass(from, to, |bytes| {
                    // Of the client, the handshake's end and the request come last, in application records.
                    let records = bytes.windows(3).filter(|window| *window == [23, 3, 3]).count();
                    heard.fetch_add(records, Ordering::SeqCst);
                    true
                });
            });
            thread::spawn(move || pass(upstream, client, |_| answered || asked.load(Ordering::SeqCst) < 2));
        }
    });
    port
}

fn pass(mut from: TcpStream, mut to: TcpStream, keep: impl Fn(&[u8]) -> bool) {
    let mut buffer = [0; 16384];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !keep(&buffer[..count]) || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}

#[tokio::test]
async fn what_a_lost_answer_made_is_found_and_ended() {
    let world = World::new();
    // Six questions about rights are answered; then the object is made, then the token.
    for (version, answers) in [(1, 6), (2, 7)] {
        let mut intent = World::intent(version);
        let port = answering(world.kube.port(), answers);
        let lossy = world.driver_with(|target, _| target.server = format!("https://localhost:{port}"));
        let lost = lossy.install(&intent).await;
        assert!(matches!(lost, Err(DriverError::Unknown(_))), "{lost:?}");
        assert_eq!(world.secrets().len(), 1, "the request did not get there");
        let strangers = Found::Strangers(vec![intent.handle.clone()]);
        assert_eq!(world.driver.find(&intent).await.unwrap(), strangers);
        intent.known = vec![intent.handle.clone()];
        assert_eq!(
            world.driver.find(&intent).await.unwrap(),
            Found::Present,
            "one that was answered is none"
        );
        world.driver.revoke(&intent.handle, Sessions::End).await.unwrap();
        world.driver.clean_up(&intent.handle).await.unwrap();
        assert!(world.secrets().is_empty());
    }
}

#[tokio::test]
async fn a_revocation_whose_answer_was_lost_is_unknown_and_is_repeated() {
    let world = World::new();
    let made = world.driver.install(&World::intent(1)).await.unwrap();
    let port = answering(world.kube.port(), 1);
    let lossy = world.driver_with(|target, _| target.server = format!("https://localhost:{port}"));
    let lost = lossy.revoke(&made.handle, Sessions::End).await;
    assert!(matches!(lost, Err(DriverError::Unknown(_))), "{lost:?}");
    assert!(world.secrets().is_empty());
    world.driver.revoke(&made.handle, Sessions::End).await.unwrap();
}

#[tokio::test]
async fn a_server_that_stands_still_is_given_up() {
    let mut world = World::new();
    let driver = world.driver_with(|target, _| {
        target.request_timeout = Span::new(std::time::Duration::from_millis(500));
    });
    world.kube.pause();
    let error = driver.install(&World::intent(1)).await.unwrap_err();
    world.kube.resume();
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    assert!(world.secrets().is_empty());
    world.driver.install(&World::intent(1)).await.unwrap();
}
