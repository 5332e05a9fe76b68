//! One session: hello, welcome, then both directions until the stream ends.

use std::time::Duration;

use rekey_proto::fleet::down::Message as Down;
use rekey_proto::fleet::fleet_client::FleetClient;
use rekey_proto::fleet::up::Message;
use rekey_proto::fleet::{Goodbye, LeaseGrant, Renew, Up, Welcome};
use rekey_runtime::random;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tracing::info;

use super::leases::Leases;
use super::taking::{Fault, Taking};
use super::telling::Telling;
use super::{Ground, wire};
use crate::live::Level;

/// Messages that wait for the network; more, and the peer is not reading.
const QUEUE: usize = 64;
/// How long a message may wait for room, and the controller may take to open the stream.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the last word may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// What may come in one message: a credential of 64 KiB and what is around it.
const MOST_RECEIVED: usize = 256 * 1024;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The stream was lost, or the controller ended it.
    #[error("the stream ended: {0}")]
    Lost(String),
    /// The controller does not take this sidecar.
    #[error("the controller refuses this sidecar: {0}")]
    Refused(String),
    /// The controller was silent for a whole lease.
    #[error("the controller was silent for too long")]
    Silent,
    /// What the controller sends is not to be taken.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Asked to stop; the goodbye was sent.
    #[error("stopped")]
    Stopped,
}

/// One stream, and what this side knows of it.
pub(super) struct Session {
    ground: Ground,
    up: mpsc::Sender<Up>,
    taking: Option<Taking>,
    leases: Leases,
    telling: Telling,
    level: Option<Level>,
    say_level: Option<oneshot::Sender<()>>,
}

impl Session {
    /// Keeps one stream over `channel` until it ends; says on `say_level` that it has caught up, once.
    pub(super) async fn run(ground: Ground, channel: Channel, say_level: oneshot::Sender<()>) -> End {
        let (up, ups) = mpsc::channel(QUEUE);
        let hello = wire::hello(random::id(), &ground.writer());
        let leases = Leases::new(ground.clock.now().boot_ms);
        let session = Self {
            up,
            taking: Some(Taking::new(ground.clone())),
            leases,
            telling: Telling::new(ground.clone()),
            level: None,
            say_level: Some(say_level),
            ground,
        };
        if let Err(end) = session.send(hello).await {
            return end;
        }
        let mut client = FleetClient::new(channel).max_decoding_message_size(MOST_RECEIVED);
        let opened = session.ground.clock.within(PATIENCE, client.follow(ReceiverStream::new(ups)));
        match session.ground.unless_stopped(opened).await {
            Some(Some(Ok(response))) => session.keep(response.into_inner()).await,
            Some(Some(Err(status))) => ended(&status),
            Some(None) => End::Silent,
            None => End::Stopped,
        }
    }

    async fn keep(mut self, mut down: Streaming<rekey_proto::fleet::Down>) -> End {
        loop {
            match self.step(&mut down).await {
                Ok(()) => {}
                Err(End::Stopped) => return self.farewell(down).await,
                Err(end) => return end,
            }
        }
    }

    async fn step(&mut self, down: &mut Streaming<rekey_proto::fleet::Down>) -> Result<(), End> {
        let is_level = self.level.is_some();
        let (ask_at, over_at) = (self.leases.ask_at(), self.leases.over_at());
        tokio::select! {
            message = down.message() => match message {
                Ok(Some(message)) => self.take(message).await,
                Ok(None) => Err(End::Lost("the controller closed it".to_owned())),
                Err(status) => Err(ended(&status)),
            },
            () = self.ground.clock.until(ask_at) => self.renew().await,
            () = self.ground.clock.until(Some(over_at)) => Err(End::Silent),
            () = self.telling.due(), if is_level => self.tell().await,
            () = self.ground.stop.cancelled() => Err(End::Stopped),
        }
    }

    async fn take(&mut self, message: rekey_proto::fleet::Down) -> Result<(), End> {
        if self.level.is_some() {
            self.ground.live.heard();
        }
        let Some(message) = message.message else {
            return Ok(()); // A kind of message that this version does not know.
        };
        if self.leases.ask_at().is_none() && !matches!(message, Down::Welcome(_)) {
            return Err(Fault::Protocol("no welcome at first").into());
        }
        match message {
            Down::Welcome(welcome) => self.welcomed(&welcome),
            Down::LeaseGrant(grant) => {
                self.granted(grant);
                Ok(())
            }
            Down::SnapshotBegin(begin) => Ok(self.taking()?.begin(begin)?),
            Down::Change(change) => {
                let ups = self.taking()?.change(change)?;
                self.send_all(ups).await
            }
            Down::SnapshotEnd(end) => {
                let ups = self.end_of_snapshot(end).await?;
                self.send_all(ups).await?;
                self.caught_up();
                Ok(())
            }
        }
    }

    fn taking(&mut self) -> Result<&mut Taking, End> {
        self.taking.as_mut().ok_or(End::Lost("the last snapshot could not be applied".to_owned()))
    }

    /// A large snapshot is built beside the thread that serves.
    async fn end_of_snapshot(&mut self, end: rekey_proto::fleet::SnapshotEnd) -> Result<Vec<Up>, End> {
        if !self.taking()?.is_large() {
            return Ok(self.taking()?.end(end)?);
        }
        let Some(mut taking) = self.taking.take() else { return Ok(Vec::new()) };
        let built = tokio::task::spawn_blocking(move || {
            let ups = taking.end(end);
            (taking, ups)
        });
        let (taking, ups) =
            built.await.map_err(|_panicked| End::Lost("applying a snapshot failed".to_owned()))?;
        self.taking = Some(taking);
        Ok(ups?)
    }

    fn welcomed(&mut self, welcome: &Welcome) -> Result<(), End> {
        self.taking()?.welcome(welcome)?;
        info!(controller = %welcome.software, "welcomed");
        self.granted(LeaseGrant { lease_ms: welcome.lease_ms, ..LeaseGrant::default() });
        Ok(())
    }

    fn granted(&mut self, grant: LeaseGrant) {
        let lease = Duration::from_millis(grant.lease_ms);
        if let Some(sent_ms) = self.leases.granted(grant.number, lease) {
            self.ground.live.granted(sent_ms, lease);
            let accepted = wire::accepted(grant.accepted);
            self.ground.writer().prolong(&accepted, self.ground.clock.now());
        }
    }

    fn caught_up(&mut self) {
        if self.level.is_none() && self.taking.as_ref().is_some_and(Taking::is_level) {
            self.level = Some(self.ground.live.level());
            self.ground.live.heard();
            // Nobody waits any more if the link itself is ending.
            let _unheard = self.say_level.take().map(|say| say.send(()));
        }
    }

    async fn renew(&mut self) -> Result<(), End> {
        let number = self.leases.ask(self.ground.clock.now().boot_ms);
        self.send(wire::up(Message::Renew(Renew { number }))).await
    }

    async fn tell(&mut self) -> Result<(), End> {
        let usage = self.telling.news();
        self.send_all(usage).await
    }

    async fn send_all(&self, ups: Vec<Up>) -> Result<(), End> {
        for up in ups {
            self.send(up).await?;
        }
        Ok(())
    }

    async fn send(&self, message: Up) -> Result<(), End> {
        match self.ground.clock.within(PATIENCE, self.up.send(message)).await {
            Some(Ok(())) => Ok(()),
            Some(Err(_closed)) => Err(End::Lost("the controller closed it".to_owned())),
            None => Err(End::Silent),
        }
    }

    async fn farewell(self, mut down: Streaming<rekey_proto::fleet::Down>) -> End {
        let Self { ground, up, .. } = self;
        let goodbye = wire::up(Message::Goodbye(Goodbye { reason: "shutting down".to_owned() }));
        let said = async {
            if up.send(goodbye).await.is_ok() {
                drop(up);
                while let Ok(Some(_)) = down.message().await {}
            }
        };
        ground.clock.within(FAREWELL, said).await;
        End::Stopped
    }
}

fn ended(status: &Status) -> End {
    let message: String = status.message().chars().filter(|c| !c.is_control()).take(200).collect();
    if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) {
        return End::Refused(message);
    }
    End::Lost(format!("{:?}: {message}", status.code()))
}
