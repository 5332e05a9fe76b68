//! The read that needs no call: the SDK's `load()` beside a bare `ArcSwap::load`.

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use anyhow::Result;
use arc_swap::ArcSwap;
use rekey_client::{Builder, Watched};

use crate::clock::now;
use crate::material;
use crate::parts::Stage;
use crate::rounds::{Amount, Pair};
use crate::table::{Measure, Table};

/// How many reads a round makes for each call that other measures make.
const READS_PER_CALL: usize = 500;

/// What the bare one holds.
struct Bare {
    version: u64,
}

/// Reads by one thread and by two at once.
pub(crate) async fn measure(stage: &Stage, amount: Amount, table: &mut Table) -> Result<()> {
    let client = Builder::new(stage.sidecar.socket()).connect().await?;
    let watched = client.watch(&material::name(0)).await?;
    watched.ready().await?;
    let bare = Arc::new(ArcSwap::from_pointee(Bare { version: 1 }));
    let reads = amount.calls * READS_PER_CALL;
    for (threads, name) in [(1, "load(), 1 thread"), (2, "load(), 2 threads")] {
        let mut pair = Pair::default();
        for round in 0..amount.rounds {
            let ours = || {
                time(threads, reads, &watched, |watched: &Watched| {
                    watched.load().map_or(0, |c| c.version().get())
                })
            };
            let anchor = || time(threads, reads, &bare, |bare: &Arc<ArcSwap<Bare>>| bare.load().version);
            let (ours, anchor) = if round % 2 == 0 {
                let ours = ours();
                (ours, anchor())
            } else {
                let anchor = anchor();
                (ours(), anchor)
            };
            pair.push(ours, anchor);
        }
        table.add(Measure { name, unit: "ns", anchor: "bare ArcSwap::load", aim: "ratio <= 1.30" }, &pair);
    }
    Ok(())
}

/// Nanoseconds a read takes, with `threads` reading at once.
fn time<T: Clone + Send>(threads: usize, reads: usize, from: &T, read: fn(&T) -> u64) -> f64 {
    let together = Barrier::new(threads);
    let took: Duration = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..threads)
            .map(|_| {
                let (from, together) = (from.clone(), &together);
                scope.spawn(move || {
                    together.wait();
                    let started = now();
                    for _ in 0..reads {
                        black_box(read(black_box(&from)));
                    }
                    started.elapsed()
                })
            })
            .collect();
        readers.into_iter().filter_map(|reader| reader.join().ok()).max().unwrap_or_default()
    });
    took.as_secs_f64() * 1e9 / f64::from(u32::try_from(reads).unwrap_or(u32::MAX))
}
