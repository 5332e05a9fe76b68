//! The work: orders through the pool, fresh logins without it, and the figures.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::Context;
use deadpool::managed::PoolError;
use rekey_client::Watched;
use rekey_client::pool::{Borrowed, Connect, ConnectError, RotatingManager, RotatingPool};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::arguments::Arguments;
use crate::database::Database;
use crate::stats::{self, add};

/// The most database connections that the pool may have.
const MOST_CONNECTIONS: usize = 4;
/// How long work that is under way may take to end.
const GRACE: Duration = Duration::from_secs(3);

/// Works until `stop`, then ends what is under way.
pub(crate) async fn run(
    arguments: &Arguments,
    orders: &Watched,
    database: &Database,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    // From here on the pool follows the credential by itself.
    let pool = RotatingManager::new(orders.clone(), database.clone()).pool(MOST_CONNECTIONS)?;

    let (ending, ended) = tokio::sync::watch::channel(false);
    let mut workers = JoinSet::new();
    for number in 0..arguments.workers.get() {
        let (pool, database, mut ended) = (pool.clone(), database.clone(), ended.clone());
        let every = period(arguments.rate, arguments.workers);
        workers.spawn(async move {
            let mut ticks = ticks(every);
            while tick(&mut ticks, &mut ended).await {
                take_order(&pool, &database, number).await;
            }
        });
    }
    let (fresh, orders_too, mut ended_too) = (database.clone(), orders.clone(), ended.clone());
    let every = period(arguments.login_rate, NonZeroU32::MIN);
    workers.spawn(async move {
        let mut ticks = ticks(every);
        while tick(&mut ticks, &mut ended_too).await {
            log_in_afresh(&fresh, &orders_too).await;
        }
    });

    tokio::select! {
        () = stop => {}
        () = database.desk.keep_looking() => {}
        never = show(arguments, orders, database) => never?,
    }
    ending.send_replace(true);
    let finished = async { while workers.join_next().await.is_some() {} };
    drop(tokio::time::timeout(GRACE, finished).await);
    pool.close();
    database.desk.close().await;
    Ok(())
}

/// Takes one order with a connection of the pool.
async fn take_order(pool: &RotatingPool<Database>, database: &Database, worker: u32) {
    let mut session = match pool.get().await {
        Ok(session) => session,
        Err(PoolError::Backend(ConnectError::Unavailable(why))) => {
            add(&database.stats.without_credential);
            return database.stats.note("order", &why);
        }
        // Counted where it happened: see `Database::log_in`.
        Err(error) => return database.stats.note("order", &error),
    };
    if let Err(error) = place(&session.client, worker).await {
        session.query_failed(&error).await;
        Borrowed::close(session);
    } else {
        add(&database.stats.queries);
        add(&database.stats.queries);
    }
}

/// Two statements: the order goes in, and is there.
async fn place(client: &tokio_postgres::Client, worker: u32) -> Result<(), tokio_postgres::Error> {
    let item = format!("from worker {worker}");
    let row = client.query_one("INSERT INTO orders (item) VALUES ($1) RETURNING id", &[&item]).await?;
    let id: i64 = row.try_get(0)?;
    client.query_one("SELECT item FROM orders WHERE id = $1", &[&id]).await.map(drop)
}

/// Logs in anew with what is current, without the pool: what the pool does by itself is done by hand here.
async fn log_in_afresh(database: &Database, orders: &Watched) {
    // Revoked, and the replacement is not there yet? Wait for it a moment.
    if let Err(why) = orders.ready_within(Duration::from_secs(5)).await {
        add(&database.stats.without_credential);
        return database.stats.note("fresh login", &why);
    }
    let Ok(credential) = orders.load().map(|loaded| loaded.keep()) else { return };
    let version = credential.version();
    // In use from before the login until the session is closed: the version is not ended under it.
    let _in_use = orders.uses(version);
    match database.connect(&credential).await {
        Ok(mut session) => {
            orders.accepted(version);
            match session.client.simple_query("SELECT 1").await {
                Ok(_) => add(&database.stats.queries),
                Err(error) => session.query_failed(&error).await,
            }
        }
        Err(error) if database.refused(&error) => orders.refused(version),
        Err(_) => {}
    }
}

/// Shows the figures until the file cannot be written.
async fn show(arguments: &Arguments, orders: &Watched, database: &Database) -> anyhow::Result<()> {
    let mut ticks = ticks(Duration::from_millis(200));
    loop {
        ticks.tick().await;
        let snapshot = database.stats.snapshot(orders, false);
        stats::write(arguments.stats_file.as_deref(), &snapshot).context("cannot write --stats-file")?;
    }
}

/// The time between two turns of one of `workers`, so that all make `rate` turns a second.
fn period(rate: NonZeroU32, workers: NonZeroU32) -> Duration {
    Duration::from_secs(1) * workers.get() / rate.get()
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(every.max(Duration::from_micros(100)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Waits for the next turn; false: it is time to end.
async fn tick(ticks: &mut tokio::time::Interval, ended: &mut tokio::sync::watch::Receiver<bool>) -> bool {
    tokio::select! {
        _ = ticks.tick() => !*ended.borrow(),
        _ = ended.changed() => false,
    }
}
