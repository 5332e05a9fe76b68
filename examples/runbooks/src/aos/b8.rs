//! B8: a hosted Redis whose new password kills the old one and every connection at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rekey_testkit::redis::{Client, Redis};

use crate::cache::{node, target, version};
use crate::consumer::{How, Turn};
use crate::measured::Measured;
use crate::part::Part;
use crate::patience::now;
use crate::row::{Row, Size};
use crate::stage::Stage;

const FILE: &str = include_str!("../../aos/b8-cache-with-one-password.yaml");

pub(crate) const ROW: Row = Row {
    id: "B8",
    system: "aos",
    title: "hosted Redis with one password: readers wait at the cut",
    needs: &[Part::Redis],
    files: &["b8-cache-with-one-password.yaml"],
    play,
};

fn play(stage: &mut Stage, size: Size) -> Result<Measured> {
    let node = node("aos")?;
    target(stage, "aos-upstash", &[&node])?;
    let name = stage.declare(FILE)?;
    stage.first_version(&name)?;
    let mut measured = Measured::at("Redis", version(&node));
    let longest = Arc::new(AtomicU64::new(0));
    let consumers = [How::Get, How::Watch].map(|how| stage.consumer(&name, how, pings(&longest)));
    let consumers = consumers.into_iter().collect::<Result<Vec<_>>>()?;
    consumers.iter().try_for_each(|consumer| consumer.let_work(5))?;
    let mut ended = 0;
    for _ in 0..size.rotations() {
        let before = stage.read(&name)?;
        let old = before.text("password")?.to_owned();
        let mut idle = Client::log_in(node.port(), "aos", &old)?;
        stage.rotate(&name, &mut measured)?;
        ended += cut_as_upstash_does(&node);
        ensure!(idle.run(&["PING"]).is_err(), "a connection from before the cut goes on");
        ensure!(Client::log_in(node.port(), "aos", &old).is_err(), "the old password works still");
        consumers.iter().try_for_each(|consumer| consumer.let_work(5))?;
    }
    for consumer in consumers {
        measured.used(consumer.end()?);
    }
    ensure!(measured.uses > 0 && longest.load(Ordering::SeqCst) > 0, "no wait was measured");
    measured.note(format!("the longest time between two uses was {} ms", longest.load(Ordering::SeqCst)));
    measured.ended(format!("replaced in place, WRONGPASS; {ended} connections cut by the provider"));
    Ok(measured)
}

/// What the provider does with a new password, and the driver does not in peace: it ends every connection.
fn cut_as_upstash_does(node: &Redis) -> usize {
    let listed = node.run("CLIENT LIST").texts().join("\n");
    let ours = listed.lines().filter(|line| line.contains(" user=aos ")).count();
    node.run("CLIENT KILL USER aos");
    ours
}

/// A login by the URL alone, and a PING; takes the time since the one before.
fn pings(longest: &Arc<AtomicU64>) -> impl FnMut(&Turn<'_>) -> Result<(), String> + Send + 'static {
    let longest = Arc::clone(longest);
    let mut last: Option<Instant> = None;
    move |turn| {
        ping(turn.text("redis_url")?)?;
        let now = now();
        let gap = last.replace(now).map_or(Duration::ZERO, |last| now.duration_since(last));
        longest.fetch_max(u64::try_from(gap.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
        Ok(())
    }
}

/// `redis://user:password@host:port`
fn ping(url: &str) -> Result<(), String> {
    let parsed = || {
        let (who, at) = url.strip_prefix("redis://")?.split_once('@')?;
        let (user, password) = who.split_once(':')?;
        Some((user, password, at.rsplit_once(':')?.1.parse().ok()?))
    };
    let (user, password, port) = parsed().ok_or("redis_url is no URL")?;
    let ping = || Client::log_in(port, user, password)?.run(&["PING"]);
    // The provider may cut in the midst of it: one asks once more, as after any cut. A dead value is dead all the same.
    let answer =
        ping().or_else(|error| if error.to_string().contains("WRONGPASS") { Err(error) } else { ping() });
    answer.map(drop).map_err(|error| format!("a login and a PING: {error:#}"))
}
