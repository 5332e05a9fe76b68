//! One session with one sidecar: hello, then what it is to hold, and what it says about it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{CredentialName, Generation, Order, SessionId, Version, millis};
use rekey_proto::fleet as wire;
use rekey_proto::fleet::down::Message as Down;
use rekey_runtime::accept::ConnectionId;
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

use super::Fleet;
use super::frame::{Body, Frame};
use super::hub::{Due, Ended, Slot};
use super::opening::Opened;
use super::recorder::Evidence;
use super::refusal::Refusal;
use super::release;
use super::view::View;
use super::wire::Up;
use crate::identity::SidecarIdentity;
use crate::store::Mode;

mod heard;

/// How long a stream may take to say hello.
const HELLO: Duration = Duration::from_secs(5);
/// How long a peer may take to make room for one message.
const STALL: Duration = Duration::from_secs(15);

/// What goes down a stream.
pub(super) type Out = mpsc::Sender<Result<Frame, Status>>;

/// A credential, and the change that shows it.
type Shown = (Arc<View>, Arc<Body>);

/// One session.
pub(super) struct Session {
    fleet: Fleet,
    who: SidecarIdentity,
    id: SessionId,
    slot: Arc<Slot>,
    out: Out,
    /// What it counts as a holder of: committed before any value goes out.
    granted: BTreeSet<CredentialName>,
    /// What it lost the grant of and has not dropped yet.
    withdrawn: BTreeSet<CredentialName>,
    /// What its hello said that it serves, as long as nothing was sent that takes its place.
    held: BTreeMap<CredentialName, Version>,
    /// Of those that change together with others: with which order it was sent each, as far as it has not refused one.
    sent: BTreeMap<CredentialName, Order>,
    /// With which order it was told of each credential's fences while nothing else could be told.
    fenced: BTreeMap<CredentialName, Order>,
    /// Whether it was told everything but what has no secret here.
    partial: bool,
    /// The last order of each credential that it has refused: the same again is no news.
    refused: BTreeMap<CredentialName, Order>,
    revision: u64,
    /// When its lease ends, by [`rekey_runtime::Clock::elapsed`].
    lease_end: Duration,
}

/// Serves one stream to its end, and tells the peer why it ended.
pub(super) async fn serve<S>(fleet: Fleet, (who, at): (SidecarIdentity, ConnectionId), mut up: S, out: Out)
where
    S: Stream<Item = Result<wire::Up, Status>> + Unpin,
{
    let instance = who.instance;
    let ended = match open(&fleet, who, &mut up, &out).await {
        Ok(mut session) => {
            let ended = session.run(&mut up).await;
            fleet.hub().leave(instance, &session.slot);
            ended
        }
        Err(refusal) => Err(refusal),
    };
    let Err(refusal) = ended else { return };
    tracing::info!(%instance, why = %refusal, "a stream ended");
    let told = fleet.clock().within(Duration::from_secs(1), out.send(Err(refusal.to_status()))).await;
    if matches!(refusal, Refusal::Stalled) || told.is_none() {
        // What it does not read would never end the stream.
        fleet.connections().cut(|peer| peer.id() == at);
    }
}

async fn open<S>(fleet: &Fleet, who: SidecarIdentity, up: &mut S, out: &Out) -> Result<Session, Refusal>
where
    S: Stream<Item = Result<wire::Up, Status>> + Unpin,
{
    let first = fleet.clock().within(HELLO, up.next()).await.flatten().ok_or(Refusal::NoHello)?;
    let Up::Hello(hello) = Up::try_from(first.map_err(|_status| Refusal::Gone)?)? else {
        return Err(Refusal::NoHello);
    };
    let opened = fleet.open_session(&who, &hello).await?;
    let Opened { seq, granted, withdrawn, generation } = opened;
    let slot = fleet.hub().enter(who.instance, seq);
    let lease_end = fleet.clock().elapsed().saturating_add(fleet.config().lease);
    let (fleet, out, id) = (fleet.clone(), out.clone(), hello.session);
    let session = Session {
        fleet,
        who,
        id,
        slot,
        out,
        granted,
        withdrawn,
        held: hello.held.into_iter().filter_map(|held| Some((held.name, held.version?))).collect(),
        sent: BTreeMap::new(),
        fenced: BTreeMap::new(),
        partial: false,
        refused: BTreeMap::new(),
        revision: 0,
        lease_end,
    };
    session.welcome(generation).await?;
    Ok(session)
}

impl Session {
    /// All that it may have, as it is to see it.
    fn covering(&self) -> Vec<Arc<View>> {
        let views = self.fleet.views().covering(&self.who.spiffe);
        views.iter().map(|view| view.for_holder(self.who.instance)).collect()
    }

    async fn welcome(&self, floor: Generation) -> Result<(), Refusal> {
        let welcome = wire::Welcome {
            lease_ms: self.lease_ms(),
            generation_floor: floor.0,
            incarnation: self.fleet.views().incarnation().0,
            software: self.fleet.config().software.clone(),
        };
        self.send(Frame::plain(Down::Welcome(welcome))).await
    }

    fn lease_ms(&self) -> u64 {
        millis(self.fleet.config().lease)
    }

    async fn run<S>(&mut self, up: &mut S) -> Result<(), Refusal>
    where
        S: Stream<Item = Result<wire::Up, Status>> + Unpin,
    {
        loop {
            self.tell_what_is_due().await?;
            let lease_left = self.lease_end.saturating_sub(self.fleet.clock().elapsed());
            tokio::select! {
                biased;
                why = self.slot.ended() => return Err(why.into()),
                () = self.out.closed() => return Err(Refusal::Gone),
                () = self.slot.woken() => {}
                said = up.next() => match said {
                    Some(Ok(said)) => {
                        if self.hear(Up::try_from(said)?).await? == Heard::Goodbye {
                            return Ok(());
                        }
                    }
                    Some(Err(_)) | None => return Err(Refusal::Gone),
                },
                () = self.fleet.clock().sleep(lease_left) => return Err(Refusal::Over),
            }
        }
    }

    async fn tell_what_is_due(&mut self) -> Result<(), Refusal> {
        while self.fleet.views().mode() == Mode::Normal {
            match self.slot.next() {
                None => return Ok(()),
                Some(Due::Snapshot) => self.tell_all().await?,
                Some(Due::Credential(name)) => self.tell(&name).await?,
            }
        }
        // No value goes out; a fence has none. What else is due stays so until the mode is left.
        for view in self.covering() {
            self.fence(&view).await?;
        }
        Ok(())
    }

    /// Takes what was cut from a holder that serves it, where there is nothing else to tell. One that serves anything
    /// else keeps that.
    async fn fence(&mut self, view: &Arc<View>) -> Result<(), Refusal> {
        let (name, seen) = (&view.seen.name, &view.seen);
        let cut = match self.held.get(name) {
            Some(serves) => seen.fenced.contains(serves),
            None => seen.current.is_none() && !seen.fenced.is_empty(),
        };
        if !cut || self.fenced.get(name) == Some(&seen.order) {
            return Ok(());
        }
        self.count_for(std::slice::from_ref(view)).await?;
        self.fenced.insert(name.clone(), seen.order);
        self.change(view, view.fence(), false).await
    }

    /// Tells one credential: as it is, or that it is no longer granted.
    async fn tell(&mut self, name: &CredentialName) -> Result<(), Refusal> {
        let Some(view) = self.fleet.views().view(name) else {
            // It is gone, and only a snapshot can say so.
            if self.granted.remove(name) {
                self.slot.mark_snapshot();
            }
            return Ok(());
        };
        if view.covers(&self.who.spiffe) {
            self.tell_together(&view.for_holder(self.who.instance)).await?;
            if self.partial && !self.fleet.views().covering(&self.who.spiffe).iter().any(|it| it.seen.foreign)
            {
                self.slot.mark_snapshot();
            }
        } else if self.granted.remove(name) {
            let mut tx = self.fleet.store().begin().await?;
            release::withdraw(&mut tx, &self.who, name).await?;
            tx.commit().await?;
            self.withdrawn.insert(name.clone());
            self.sent.remove(name);
            self.change(&view, view.withdrawal(), false).await?;
        }
        Ok(())
    }

    /// Tells one credential as it is, and with it what of its group it was not told yet: they are one decision. If one of
    /// them cannot be shown, none of them is.
    async fn tell_together(&mut self, view: &Arc<View>) -> Result<(), Refusal> {
        let mut together = self.fleet.views().together(view, &self.who.spiffe);
        together.retain(|it| {
            let (name, order) = (&it.seen.name, Some(&it.seen.order));
            let refused = *name != view.seen.name && self.refused.get(name) == order;
            self.sent.get(name) != order && !refused
        });
        self.count_for(&together).await?;
        let bodies = self.bodies(&together).await?;
        let mut left = bodies.len();
        if left < together.len() {
            return Ok(());
        }
        for (view, body) in bodies {
            left = left.saturating_sub(1);
            self.change(&view, body, left > 0).await?;
            self.note_sent(&view);
        }
        Ok(())
    }

    /// Whether it was told this with others of its group already.
    fn was_sent(&self, view: &View) -> bool {
        self.sent.get(&view.seen.name) == Some(&view.seen.order)
    }

    async fn change(&mut self, view: &View, body: Arc<Body>, more: bool) -> Result<(), Refusal> {
        self.revision = self.revision.saturating_add(1);
        self.send_view(view, body, (self.revision, more)).await
    }

    fn note_sent(&mut self, view: &View) {
        if view.group().is_some() {
            self.sent.insert(view.seen.name.clone(), view.seen.order);
        }
    }

    async fn send_view(
        &mut self,
        view: &View,
        body: Arc<Body>,
        (revision, more): (u64, bool),
    ) -> Result<(), Refusal> {
        self.held.remove(&view.seen.name);
        let previous = view.previous(self.fleet.clock().now(), self.fleet.config().lease);
        self.send(Frame::change(body, revision, (previous, more))).await
    }

    /// Tells everything, as a snapshot; what lost its grant is named in it, so that its dropping is acknowledged.
    async fn tell_all(&mut self) -> Result<(), Refusal> {
        self.sent.clear();
        let views = self.covering();
        self.withdraw_all_but(&views).await?;
        self.count_for(&views).await?;
        let bodies = self.bodies(&views).await?;
        let lost = self.withdrawn.iter().filter_map(|name| self.fleet.views().view(name));
        let lost = lost.filter(|view| !view.covers(&self.who.spiffe));
        let lost: Vec<_> = lost.map(|view| (Arc::clone(&view), view.withdrawal())).collect();
        self.partial = bodies.len() < views.len() || self.fleet.views().hides(self.held.keys());
        if self.partial {
            return self.tell_one_by_one(&views, lost).await;
        }
        self.granted = views.iter().map(|view| view.seen.name.clone()).collect();
        self.send_snapshot([bodies, lost].concat()).await
    }

    /// Tells everything without a snapshot: what cannot be shown here is kept by those who have it, and a snapshot would
    /// take it from them.
    async fn tell_one_by_one(&mut self, views: &[Arc<View>], lost: Vec<Shown>) -> Result<(), Refusal> {
        for view in views {
            if !self.was_sent(view) {
                self.tell_together(view).await?;
            }
        }
        for (view, withdrawal) in lost {
            self.change(&view, withdrawal, false).await?;
        }
        Ok(())
    }

    async fn send_snapshot(&mut self, all: Vec<Shown>) -> Result<(), Refusal> {
        let changes = u32::try_from(all.len()).unwrap_or(u32::MAX);
        self.send(Frame::plain(Down::SnapshotBegin(wire::SnapshotBegin { changes }))).await?;
        for (view, body) in all {
            self.send_view(&view, body, (0, false)).await?;
            self.note_sent(&view);
        }
        let end = wire::SnapshotEnd { revision: self.revision };
        self.send(Frame::plain(Down::SnapshotEnd(end))).await
    }

    /// Notes durably what is no longer granted: a snapshot takes it away, and its dropping is to be acknowledged.
    async fn withdraw_all_but(&mut self, views: &[Arc<View>]) -> Result<(), Refusal> {
        let stays = |name: &CredentialName| views.iter().any(|view| view.seen.name == *name);
        let is_lost = |name: &&CredentialName| !stays(name) && self.fleet.views().view(name).is_some();
        let lost: Vec<CredentialName> = self.granted.iter().filter(is_lost).cloned().collect();
        if lost.is_empty() {
            return Ok(());
        }
        let mut tx = self.fleet.store().begin().await?;
        for name in &lost {
            release::withdraw(&mut tx, &self.who, name).await?;
        }
        tx.commit().await?;
        for name in lost {
            self.granted.remove(&name);
            self.withdrawn.insert(name);
        }
        Ok(())
    }

    /// Makes the session count as a holder of `views`, durably, before it gets a value.
    async fn count_for(&mut self, views: &[Arc<View>]) -> Result<(), Refusal> {
        let new = |view: &&Arc<View>| !self.granted.contains(&view.seen.name);
        let new: Vec<CredentialName> = views.iter().filter(new).map(|view| view.seen.name.clone()).collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut tx = self.fleet.store().begin().await?;
        release::grant(&mut tx, &self.who, &new).await?;
        tx.commit().await?;
        for name in new {
            self.withdrawn.remove(&name);
            self.granted.insert(name);
        }
        Ok(())
    }

    /// Those of `views` that can be shown, with what shows them; of the others only what was cut is told.
    async fn bodies(&mut self, views: &[Arc<View>]) -> Result<Vec<Shown>, Refusal> {
        let mut bodies = Vec::with_capacity(views.len());
        for view in views {
            match self.body(view).await? {
                Some(body) => bodies.push((Arc::clone(view), body)),
                None => self.fence(view).await?,
            }
        }
        Ok(bodies)
    }

    /// What holders of `view` are sent; none where its value cannot be had here, which is that credential's trouble and
    /// nobody else's.
    async fn body(&self, view: &View) -> Result<Option<Arc<Body>>, Refusal> {
        match self.fleet.views().body(view, self.fleet.clock().now()).await {
            Ok(body) => Ok(body),
            Err(error) => {
                let name = &view.seen.name;
                tracing::error!(credential = %name, %error, "a credential cannot be sent to its holders");
                if error.is_of_the_store() { Err(Refusal::Internal) } else { Ok(None) }
            }
        }
    }

    async fn send(&self, frame: Frame) -> Result<(), Refusal> {
        tokio::select! {
            biased;
            why = self.slot.ended() => Err(why.into()),
            sent = self.fleet.clock().within(STALL, self.out.send(Ok(frame))) => match sent {
                Some(Ok(())) => Ok(()),
                Some(Err(_closed)) => Err(Refusal::Gone),
                None => Err(Refusal::Stalled),
            },
        }
    }

    async fn record(&self, what: Evidence) -> Result<(), Refusal> {
        self.fleet.recorder().record(self.who.instance, self.id, what).await
    }
}

/// What a message came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// The session goes on.
    Taken,
    /// It ends.
    Goodbye,
}

impl From<Ended> for Refusal {
    fn from(why: Ended) -> Self {
        match why {
            Ended::Replaced => Self::Replaced,
            Ended::Cut => Self::Denied,
            Ended::Shutdown => Self::Ending,
            Ended::NewLife => Self::Over,
        }
    }
}
