//! The client's one background task: keeps the connection, follows the credentials, sends the reports.
//!
//! It ends when the last handle is dropped, and with it the connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rekey_proto::local as wire;
use tokio::sync::mpsc;

use crate::answer;
use crate::back_off::BackOff;
use crate::client::Shared;
use crate::error::Error;
use crate::link::Link;
use crate::report::report;
use crate::slot::Slot;

/// Something that the task does beside everything else, until it is done.
pub(crate) type Chore = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Starts the task.
#[expect(clippy::disallowed_methods, reason = "the SDK links no runtime of ours; this is its one task")]
pub(crate) fn start(shared: Arc<Shared>, chores: mpsc::Receiver<Chore>) {
    drop(tokio::spawn(keep(shared, chores)));
}

async fn keep(shared: Arc<Shared>, mut more: mpsc::Receiver<Chore>) {
    let _disconnected = Ended(Arc::clone(&shared));
    let mut chores: FuturesUnordered<Chore> = FuturesUnordered::new();
    chores.push(Box::pin(reconnect(Arc::clone(&shared))));
    chores.push(Box::pin(report(shared)));
    loop {
        tokio::select! {
            chore = more.recv() => match chore {
                Some(chore) => chores.push(chore),
                None => return,
            },
            _ = chores.next() => {}
        }
    }
}

/// Tells everybody, also after a panic, that nobody looks after the connection any more.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.set_link(None);
    }
}

/// Makes a new connection whenever one has ended.
async fn reconnect(shared: Arc<Shared>) {
    let mut back_off = BackOff::new();
    let mut number = 1;
    loop {
        let link = shared.link().await;
        link.ended().await;
        drop(link);
        shared.set_link(None);
        tracing::info!("the sidecar is gone; the last values stay, and it is looked for again");
        loop {
            number += 1;
            match Link::open(shared.builder(), number).await {
                Ok(link) => {
                    tracing::info!("the sidecar is back");
                    shared.set_link(Some(link));
                    break;
                }
                // Whoever impersonates a sidecar deserves a line in the log, each time.
                Err(error @ Error::Stranger { .. }) => tracing::warn!(%error, "not connecting"),
                Err(error) => tracing::debug!(%error, "not connected yet"),
            }
            tokio::time::sleep(back_off.next()).await;
        }
        back_off.reset();
    }
}

/// Follows one credential over every connection to come.
pub(crate) async fn follow(shared: Arc<Shared>, slot: Arc<Slot>) {
    let mut back_off = BackOff::new();
    loop {
        let link = shared.link().await;
        tokio::select! {
            () = link.ended() => {}
            () = follow_over(&shared, &link, &slot, &mut back_off) => {}
        }
        drop(link);
        tokio::time::sleep(back_off.next()).await;
    }
}

/// Follows one credential over one connection until the stream ends.
async fn follow_over(shared: &Shared, link: &Link, slot: &Slot, back_off: &mut BackOff) {
    let request = wire::WatchRequest { name: slot.name.to_string() };
    let mut calls = link.calls();
    let opened = tokio::time::timeout(shared.timeouts().call, calls.watch(request)).await;
    let mut stream = match opened {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return lost(shared, slot, &status),
        Err(_) => return,
    };
    loop {
        match stream.message().await {
            Ok(Some(message)) => {
                back_off.reset();
                if let Err(error) = slot.take(link.number, message) {
                    tracing::warn!(name = %slot.name, %error, "a new value was refused; the last good one stays");
                }
            }
            Ok(None) => return,
            Err(status) => return lost(shared, slot, &status),
        }
    }
}

/// A stream that ends with words about the credential counts as those words; a mere break changes nothing.
fn lost(shared: &Shared, slot: &Slot, status: &tonic::Status) {
    let error = answer::failure(&slot.name, status, shared.timeouts().call);
    if let Error::Unavailable(why) = error {
        slot.lose(why);
    } else {
        tracing::debug!(name = %slot.name, %error, "a stream ended; it is opened again");
    }
}
