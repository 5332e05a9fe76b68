//! Who is connected to, how long that may take, and when it ends.

use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rekey_client::{Builder, Error};

use crate::fake::{Fake, eventually};

#[tokio::test]
async fn a_server_of_another_user_is_refused_before_anything_is_sent() {
    let fake = Fake::start();
    fake.serve("orders/db", 1);
    let own = std::fs::metadata(fake.path()).unwrap().uid();
    let error = fake.settings().server_uid(own + 1).connect().await.unwrap_err();
    assert!(matches!(error, Error::Stranger { uid, .. } if uid == own), "{error:?}");
    assert!(error.to_string().contains(&format!("REKEY_SOCKET_UID={own}")), "{error}");
    assert!(fake.script.callers.lock().unwrap().is_empty());
    fake.settings().server_uid(own).connect().await.unwrap();
}

#[tokio::test]
async fn a_sidecar_that_is_just_starting_is_waited_for() {
    let mut fake = Fake::not_started();
    let connecting = tokio::spawn(fake.settings().connect());
    tokio::time::sleep(Duration::from_millis(30)).await;
    fake.start_again();
    connecting.await.unwrap().unwrap();
}

#[tokio::test]
async fn connecting_to_nobody_ends_in_time_and_says_what_to_do() {
    let started = Instant::now();
    let builder = Builder::new("/nonexistent/rekey.sock").connect_timeout(Duration::from_millis(100));
    let error = builder.connect().await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(20));
    let text = error.to_string();
    assert!(text.contains("/nonexistent/rekey.sock") && text.contains("is it running"), "{text}");
}

#[tokio::test]
async fn what_is_no_sidecar_is_refused_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.sock");
    // Listens, and never says a word.
    let _mute = tokio::net::UnixListener::bind(&path).unwrap();
    let settings = Builder::new(&path).call_timeout(Duration::from_millis(100));
    let client = settings.connect_timeout(Duration::from_millis(100)).connect().await;
    // HTTP/2 lets a client speak first: then the first call is what ends in time.
    let error = match client {
        Err(error) => error,
        Ok(client) => client.get("orders/db").await.unwrap_err(),
    };
    assert!(matches!(error, Error::Late(_) | Error::Connect { .. } | Error::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn the_connection_ends_with_the_last_handle() {
    let fake = Fake::start();
    fake.serve("orders/db", 1);
    let client = fake.client().await;
    let orders = client.watch("orders/db").await.unwrap();
    orders.ready().await.unwrap();
    assert_eq!(fake.script.watching.load(Ordering::SeqCst), 1);
    drop(client);
    let guard = orders.uses(orders.version().unwrap());
    drop(orders);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(fake.script.watching.load(Ordering::SeqCst), 1, "a guard is a handle too");
    drop(guard);
    eventually("the stream ends", || fake.script.watching.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_client_that_follows_too_much_is_told() {
    let fake = Fake::start();
    let client = fake.client().await;
    for number in 0..24 {
        client.watch(&format!("c/{number}")).await.unwrap();
    }
    assert!(matches!(client.watch("c/more").await, Err(Error::TooMany { most: 24 })));
    client.watch("c/0").await.unwrap();
}
