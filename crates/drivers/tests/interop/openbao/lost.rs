//! Answers that are lost, late, or read by somebody else.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use rekey_drivers::{Driver, DriverError, Found, Sessions};
use rekey_testkit::openbao::ask_at;
use serde_json::Value;

use super::world::World;
use crate::conformance::refused;
use crate::proxy::Proxy;

#[tokio::test]
async fn what_a_lost_answer_made_is_found_by_its_marker_and_ended() {
    let world = World::new();
    let kept = world.driver.install(&World::intent(1)).await.unwrap();
    // The answer that holds the wrapping, and the one that holds what was in it.
    for (version, words) in [(2, b"x-vault-wrap-ttl".as_slice()), (3, b"sys/wrapping/unwrap".as_slice())] {
        let mut intent = World::intent(version);
        intent.known = vec![kept.handle.clone()];
        let lossy = world.through(&Proxy::losing_the_answer_to(world.bao.port(), words));
        let lost = lossy.install(&intent).await;
        assert!(matches!(lost, Err(DriverError::Unknown(_))), "{lost:?}");
        let Found::Strangers(strangers) = world.driver.find(&intent).await.unwrap() else {
            panic!("it was made")
        };
        assert_eq!(strangers.len(), 1);
        for _ in 0..2 {
            world.driver.revoke(&strangers[0], Sessions::End).await.unwrap();
            world.driver.clean_up(&strangers[0]).await.unwrap();
        }
        assert_eq!(world.driver.find(&intent).await.unwrap(), Found::Absent);
        assert_eq!(world.secret_ids().len(), 1, "the other is left alone");
    }
    world.driver.probe(&kept.fields, None).await.unwrap();
}

#[tokio::test]
async fn all_that_a_marker_marks_ends_with_it() {
    let world = World::new();
    let intent = World::intent(2);
    let lossy = world.through(&Proxy::losing_the_answer_to(world.bao.port(), b"x-vault-wrap-ttl"));
    for _ in 0..2 {
        lossy.install(&intent).await.unwrap_err();
    }
    assert_eq!(world.secret_ids().len(), 2);
    refused(world.driver.clean_up(&intent.handle).await, "a clean-up before the revocation");
    world.driver.revoke(&intent.handle, Sessions::End).await.unwrap();
    world.driver.clean_up(&intent.handle).await.unwrap();
    assert!(world.secret_ids().is_empty());
}

#[tokio::test]
async fn a_revocation_whose_answer_was_lost_is_unknown_and_is_repeated() {
    let world = World::new();
    let made = world.driver.install(&World::intent(1)).await.unwrap();
    let lossy = world.through(&Proxy::losing_the_answer_to(world.bao.port(), b"secret-id-accessor/destroy"));
    let lost = lossy.revoke(&made.handle, Sessions::End).await;
    assert!(matches!(lost, Err(DriverError::Unknown(_))), "{lost:?}");
    refused(world.driver.probe(&made.fields, None).await, "a probe after it");
    world.driver.revoke(&made.handle, Sessions::End).await.unwrap();
}

#[tokio::test]
async fn a_wrapping_that_somebody_else_opened_is_refused_and_what_was_in_it_ends() {
    let world = World::new();
    let driver = world.plain_at(thief(world.bao.port()));
    let said = refused(driver.install(&World::intent(1)).await, "a wrapping that was opened");
    assert!(said.contains("opened by somebody else") && said.contains("destroyed"), "{said}");
    assert!(world.secret_ids().is_empty());
}

/// A proxy that opens every wrapping that passes by. It ends with the connections.
fn thief(server: u16) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(upstream)) = (client, TcpStream::connect(("127.0.0.1", server))) else {
                return;
            };
            let (from, to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            thread::spawn(move || pass(from, to, |_| ()));
            thread::spawn(move || {
                pass(upstream, client, |bytes| {
                    let text = String::from_utf8_lossy(bytes);
                    if let Some((_, rest)) = text.split_once("\"wrap_info\":{\"token\":\"") {
                        let token = rest.split('"').next().unwrap();
                        let opened =
                            ask_at(server, token, "POST", "sys/wrapping/unwrap", &Value::Null).unwrap();
                        assert_eq!(opened.status, 200, "{opened:?}");
                    }
                });
            });
        }
    });
    port
}

fn pass(mut from: TcpStream, mut to: TcpStream, see: impl Fn(&[u8])) {
    let mut buffer = [0; 8192];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        see(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    from.shutdown(std::net::Shutdown::Both).ok();
    to.shutdown(std::net::Shutdown::Both).ok();
}
