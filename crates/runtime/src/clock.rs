//! The only source of time: both clocks of the machine, or one that a test moves by hand.

use std::sync::Arc;
use std::time::Duration;

use rekey_model::{BootId, Moment, millis};
use rustix::time::{ClockId, clock_gettime};
use rustls::pki_types::UnixTime;
use tokio::sync::watch;

/// The longest a sleep goes without looking at the clock that keeps running while the machine is suspended.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Tells the time and sleeps. Clones tell the same time.
#[derive(Debug, Clone)]
pub struct Clock(Kind);

#[derive(Debug, Clone)]
enum Kind {
    System(BootId),
    Manual(Arc<watch::Sender<Moment>>),
}

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Self {
        Self(Kind::System(boot_id()))
    }

    /// A clock for tests that stands still until [`Clock::advance`] is called; it begins at 2026-01-01 in boot 1.
    pub fn manual() -> Self {
        let start = Moment { wall_ms: 1_767_225_600_000, boot: BootId(1), boot_ms: 1_000_000 };
        Self(Kind::Manual(Arc::new(watch::Sender::new(start))))
    }

    /// Both clocks, now.
    pub fn now(&self) -> Moment {
        match &self.0 {
            Kind::System(boot) => Moment {
                wall_ms: i64::try_from(since_1970().as_millis()).unwrap_or(i64::MAX),
                boot: *boot,
                boot_ms: millis(since_boot()),
            },
            Kind::Manual(now) => *now.borrow(),
        }
    }

    /// Time since boot, suspend included, as fine as the clock tells it: for measuring and for deadlines within one
    /// process, never for storing.
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Kind::System(_) => since_boot(),
            Kind::Manual(now) => Duration::from_millis(now.borrow().boot_ms),
        }
    }

    /// Returns after `duration`. Time in which the machine was suspended counts.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            Kind::System(_) => sleep_by_boot_time(duration).await,
            Kind::Manual(now) => {
                let end = self.elapsed().saturating_add(duration);
                let past = |now: &Moment| Duration::from_millis(now.boot_ms) >= end;
                // The sender lives as long as `self`, so this cannot fail.
                drop(now.subscribe().wait_for(past).await);
            }
        }
    }

    /// Returns at `boot_ms`, in milliseconds since boot, at once if that is past; never without one.
    pub async fn until(&self, boot_ms: Option<u64>) {
        match boot_ms {
            Some(at) => self.sleep(Duration::from_millis(at).saturating_sub(self.elapsed())).await,
            None => std::future::pending().await,
        }
    }

    /// `future`'s output, or `None` when it takes longer than `limit`.
    pub async fn within<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = self.sleep(limit) => None,
        }
    }

    /// Moves a manual clock on by `duration` and wakes who slept; the system's clock takes no orders.
    pub fn advance(&self, duration: Duration) {
        let ms = millis(duration);
        self.change(|now| {
            now.boot_ms = now.boot_ms.saturating_add(ms);
            now.wall_ms = now.wall_ms.saturating_add_unsigned(ms);
        });
    }

    /// Lets the wall clock of a manual clock jump, as when somebody sets the date.
    pub fn jump_wall(&self, ms: i64) {
        self.change(|now| now.wall_ms = now.wall_ms.saturating_add(ms));
    }

    fn change(&self, change: impl FnOnce(&mut Moment)) {
        if let Kind::Manual(now) = &self.0 {
            now.send_modify(change);
        }
    }
}

/// Certificates are judged by this clock too.
impl rustls::time_provider::TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.now().wall_ms).ok()? / 1_000;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// Sleeps in slices: tokio's clock stands still while the machine is suspended.
async fn sleep_by_boot_time(duration: Duration) {
    let end = since_boot().saturating_add(duration);
    let mut slept = Duration::ZERO;
    loop {
        let by_boot = end.saturating_sub(since_boot());
        let left = by_boot.min(duration.saturating_sub(slept));
        let slice = left.min(LOOK_AGAIN);
        tokio::time::sleep(slice).await;
        slept = slept.saturating_add(slice);
        if slice == left {
            return;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the wall clock is read")]
fn since_1970() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The kernel's name for this boot; 0 where it tells none, and then the wall clock alone must do.
fn boot_id() -> BootId {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    BootId(u64::from_str_radix(&digits, 16).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_tells_a_boot_and_runs() {
        let clock = Clock::system();
        let (first, second) = (clock.now(), clock.now());
        assert_ne!(first.boot, BootId(0), "/proc/sys/kernel/random/boot_id was not read");
        assert!(second.boot_ms >= first.boot_ms && first.wall_ms > 1_700_000_000_000);
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_a_sleeper_when_it_is_moved_far_enough() {
        let clock = Clock::manual();
        let mut sleeper = tokio_test::task::spawn(clock.sleep(Duration::from_secs(5)));
        tokio_test::assert_pending!(sleeper.poll());
        clock.advance(Duration::from_millis(4_999));
        tokio_test::assert_pending!(sleeper.poll());
        clock.advance(Duration::from_millis(1));
        tokio_test::assert_ready!(sleeper.poll());
    }

    #[tokio::test]
    async fn a_jump_of_the_wall_clock_wakes_nobody() {
        let clock = Clock::manual();
        let mut sleeper = tokio_test::task::spawn(clock.sleep(Duration::from_secs(5)));
        tokio_test::assert_pending!(sleeper.poll());
        clock.jump_wall(3_600_000);
        tokio_test::assert_pending!(sleeper.poll());
    }

    #[tokio::test(start_paused = true)]
    async fn a_sleep_of_the_system_clock_ends_under_paused_time() {
        assert_eq!(Clock::system().within(Duration::from_secs(95), std::future::pending::<()>()).await, None);
    }
}
