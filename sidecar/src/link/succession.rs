//! Sessions one after the other: reconnects with full jitter, and hands over to a new leaf without a gap.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rekey_runtime::Backoff;
use tokio::sync::{Mutex, oneshot};
use tonic::transport::Channel;
use tracing::{debug, error, info, warn};

use super::Ground;
use super::session::{End, Session};
use super::taking::Fault;
use crate::dial::{Dial, DialError};
use crate::identity::{EnrolError, Keeper, Leaf, until_renewal};

/// The first wait after a lost stream; it doubles.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait while the controller is out of reach: a fleet is level within seconds of its return.
const CAP: Duration = Duration::from_secs(5);
/// The longest wait after a refusal, which only a person can change.
const REFUSED_CAP: Duration = Duration::from_secs(30);
/// How long a session that takes over may need when the one before it has ended.
const TAKE_OVER: Duration = Duration::from_secs(10);

/// Keeps this sidecar connected.
#[derive(Clone)]
pub struct Link {
    ground: Ground,
    dial: Arc<dyn Dial>,
    keeper: Arc<Mutex<Keeper>>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("ground", &self.ground).finish_non_exhaustive()
    }
}

/// Why there was no session, or why it ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Session(#[from] End),
}

impl Ended {
    /// Whether only a person can change it.
    fn needs_a_person(&self) -> bool {
        match self {
            Self::Enrol(EnrolError::Refused { .. } | EnrolError::NoToken | EnrolError::Token(_)) => true,
            Self::Session(End::Refused(_) | End::Fault(Fault::OlderStore { .. })) => true,
            Self::Enrol(_) | Self::Dial(_) | Self::Session(_) => false,
        }
    }
}

/// One session that is level.
struct Running {
    run: Pin<Box<dyn Future<Output = End> + Send>>,
    leaf: Arc<Leaf>,
    channel: Channel,
}

/// One session on its way to be level.
type Opening = Pin<Box<dyn Future<Output = Result<Running, Ended>> + Send>>;

impl Link {
    /// A link for `ground`, whose identity is kept by `keeper`.
    pub fn new(ground: Ground, dial: Arc<dyn Dial>, keeper: Keeper) -> Self {
        Self { ground, dial, keeper: Arc::new(Mutex::new(keeper)) }
    }

    /// Keeps a stream to the controller until `ground.stop`.
    pub async fn run(self) {
        let mut lost = Backoff::new(FIRST, CAP);
        let mut refused = Backoff::new(CAP, REFUSED_CAP);
        while !self.ground.stop.is_cancelled() {
            let ended = match self.clone().open(None).await {
                Ok(running) => {
                    lost.worked();
                    refused.worked();
                    self.line(running).await
                }
                Err(ended) => ended,
            };
            let wait = if ended.needs_a_person() { refused.failed() } else { lost.failed() };
            tell(&ended, lost.failures() + refused.failures(), wait);
            self.ground.unless_stopped(self.ground.clock.sleep(wait)).await;
        }
    }

    /// One session and those that take over from it, until none is left.
    async fn line(&self, mut now: Running) -> Ended {
        let mut next: Option<Opening> = None;
        let mut wait = until_renewal(&now.leaf, &self.ground.clock);
        loop {
            let opened = tokio::select! {
                ended = &mut now.run => match next.take() {
                    // The controller ends the older stream of an instance when the newer one says hello.
                    Some(opening) if !matches!(ended, End::Stopped) => {
                        match self.ground.clock.within(TAKE_OVER, opening).await {
                            Some(Ok(running)) => Ok(running),
                            Some(Err(why)) => return why,
                            None => return ended.into(),
                        }
                    }
                    Some(_) | None => return ended.into(),
                },
                opened = coming(&mut next) => {
                    next = None;
                    opened
                }
                () = self.ground.clock.sleep(wait), if next.is_none() => {
                    next = Some(Box::pin(self.clone().open(Some(now.channel.clone()))));
                    continue;
                }
            };
            match opened {
                Ok(running) => {
                    info!(lives = ?running.leaf.lives, "level with a new leaf; the connection before it is closed");
                    now = running;
                    wait = until_renewal(&now.leaf, &self.ground.clock);
                }
                Err(ended) => {
                    wait = (now.leaf.left(self.ground.clock.now()) / 8).max(Duration::from_millis(500));
                    warn!(error = &ended as &dyn std::error::Error, retry_in = ?wait, "no new leaf yet");
                }
            }
        }
    }

    /// A session that is level: with the leaf that is held, or with a new one asked for over `renew_over`.
    async fn open(self, renew_over: Option<Channel>) -> Result<Running, Ended> {
        let (leaf, channel) = match self.ground.unless_stopped(self.connect(renew_over)).await {
            Some(connected) => connected?,
            None => return Err(End::Stopped.into()),
        };
        let (say_level, level) = oneshot::channel();
        let mut run: Pin<Box<dyn Future<Output = End> + Send>> =
            Box::pin(Session::run(self.ground, channel.clone(), say_level));
        tokio::select! {
            ended = &mut run => Err(ended.into()),
            Ok(()) = level => Ok(Running { run, leaf, channel }),
        }
    }

    async fn connect(&self, renew_over: Option<Channel>) -> Result<(Arc<Leaf>, Channel), Ended> {
        let mut keeper = self.keeper.lock().await;
        let leaf = match renew_over {
            Some(channel) => keeper.renew(channel).await?,
            None => keeper.leaf().await?,
        };
        let channel = self.dial.dial(Some(Arc::clone(&leaf))).await?;
        Ok((leaf, channel))
    }
}

impl Ground {
    /// What `future` gives, unless everything is to stop before.
    pub(super) async fn unless_stopped<F: Future>(&self, future: F) -> Option<F::Output> {
        tokio::select! {
            output = future => Some(output),
            () = self.stop.cancelled() => None,
        }
    }
}

/// What comes of `next`; never, if there is nothing on its way.
async fn coming(next: &mut Option<Opening>) -> Result<Running, Ended> {
    match next {
        Some(opening) => opening.await,
        None => std::future::pending().await,
    }
}

/// Loud at first and where a person is needed, quiet while it goes on.
fn tell(ended: &Ended, failures: u32, wait: Duration) {
    let error: &dyn std::error::Error = ended;
    if matches!(ended, Ended::Session(End::Stopped)) {
        return;
    }
    if ended.needs_a_person() {
        error!(error, retry_in = ?wait, "not connected; what is held is served");
    } else if failures <= 3 {
        warn!(error, retry_in = ?wait, "not connected; what is held is served");
    } else {
        debug!(error, failures, retry_in = ?wait, "not connected; what is held is served");
    }
}
