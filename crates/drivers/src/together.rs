//! Several targets for one credential, as one driver: the first, which makes versions, and those that follow it.
//!
//! A version counts as installed when all have it, and as ended when none lets it in. Whichever is away or misses a
//! change is named in the error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rekey_model::{Fields, Handle, Label, SecretBytes};
use tokio::time::sleep;

use crate::follower::{Client, Follower, Through};
use crate::{
    Cut, Driver, DriverError, DriverFuture, Expiry, Found, Installed, Intent, Lack, Listed, Proof, Sessions,
    Source, Survey, Usage,
};

/// A login that was let in just before it was refused may show up a moment later.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

const MENDS: &str = "docs/drivers.md says what the target needs";

/// One credential at its first target and at those that follow.
#[derive(Debug)]
pub(crate) struct Together {
    /// The first target, by the way that consumers take.
    first: Arc<dyn Driver>,
    /// The same by each way that consumers may take, by name; each is proven.
    ways: Vec<(String, Arc<dyn Driver>)>,
    followers: Vec<(Label, Arc<dyn Follower>)>,
    /// The login that is adopted: followers know it already, by what somebody else wrote.
    adopted: Option<Handle>,
    /// Where consumers reach the first target itself, if they may.
    direct: Option<(String, u16)>,
}

/// What went wrong at one of several targets.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct There(String);

/// Names the target in an error.
fn at(name: &str, error: DriverError) -> DriverError {
    let there = |source: Source| -> Source { Box::new(There(format!("{name}: {source}"))) };
    match error {
        DriverError::Unavailable(source) => DriverError::Unavailable(there(source)),
        DriverError::Refused(source) => DriverError::Refused(there(source)),
        DriverError::Unknown(source) => DriverError::Unknown(there(source)),
    }
}

/// The same error after something was changed elsewhere.
fn open(error: DriverError) -> DriverError {
    let (DriverError::Unavailable(source) | DriverError::Refused(source) | DriverError::Unknown(source)) =
        error;
    DriverError::Unknown(source)
}

/// All results, or what went wrong: everybody who failed is named, and a no weighs more than a wait.
fn all<T>(results: Vec<Result<T, DriverError>>) -> Result<Vec<T>, DriverError> {
    let (mut good, mut texts, mut refused, mut unknown) = (Vec::new(), Vec::new(), false, false);
    for result in results {
        match result {
            Ok(value) => good.push(value),
            Err(error) => {
                refused |= matches!(error, DriverError::Refused(_));
                unknown |= matches!(error, DriverError::Unknown(_));
                let (DriverError::Unavailable(source)
                | DriverError::Refused(source)
                | DriverError::Unknown(source)) = error;
                texts.push(source.to_string());
            }
        }
    }
    if texts.is_empty() {
        return Ok(good);
    }
    let source = Box::new(There(texts.join("; ")));
    Err(match (unknown, refused) {
        (true, _) => DriverError::Unknown(source),
        (false, true) => DriverError::Refused(source),
        (false, false) => DriverError::Unavailable(source),
    })
}

impl Together {
    /// The first of `ways` is the one that consumers are told. None without any.
    pub(crate) fn new(
        ways: Vec<(String, Arc<dyn Driver>)>,
        followers: Vec<(Label, Arc<dyn Follower>)>,
        adopted: Option<Handle>,
        direct: Option<(String, u16)>,
    ) -> Option<Self> {
        let first = Arc::clone(&ways.first()?.1);
        Some(Self { first, ways, followers, adopted, direct })
    }

    /// Does the same at every follower, at the same time.
    async fn each<'a, T, F>(&'a self, work: impl Fn(&'a dyn Follower) -> F) -> Result<Vec<T>, DriverError>
    where
        F: Future<Output = Result<T, DriverError>>,
    {
        let named = |(name, follower): &'a (Label, Arc<dyn Follower>)| {
            let work = work(follower.as_ref());
            async move { work.await.map_err(|error| at(name.as_str(), error)) }
        };
        all(join_all(self.followers.iter().map(named)).await)
    }

    /// What rotations lack at any of them.
    async fn lacks(&self) -> Result<Vec<Lack>, DriverError> {
        let mut lacks = self.first.check().await?;
        for (name, follower) in &self.followers {
            match follower.ready().await {
                Ok(()) => {}
                Err(DriverError::Refused(why)) => lacks.push(Lack::new(format!("{name}: {why}"), MENDS)),
                Err(error) => return Err(at(name.as_str(), error)),
            }
        }
        Ok(lacks)
    }

    fn follows(&self, handle: &Handle) -> bool {
        self.adopted.as_ref() != Some(handle)
    }

    async fn make(&self, intent: &Intent) -> Result<Installed, DriverError> {
        let mut installed = match &intent.secret {
            Some(secret) if self.follows(&intent.handle) => {
                self.each(Follower::ready).await?;
                let installed = self.first.install(intent).await?;
                let done = self.each(|follower| follower.install(&intent.handle, secret)).await;
                done.map_err(open)?;
                installed
            }
            Some(_) | None => self.first.install(intent).await?,
        };
        installed.fields = self.with_direct(&installed.fields)?;
        Ok(installed)
    }

    /// What consumers get, with the way to the first target itself.
    fn with_direct(&self, fields: &Fields) -> Result<Fields, DriverError> {
        let Some((host, port)) = &self.direct else { return Ok(fields.clone()) };
        let copy = |value: &SecretBytes| SecretBytes::new(value.expose().to_vec());
        let mut all: BTreeMap<_, _> =
            fields.iter().map(|(name, value)| (name.clone(), copy(value))).collect();
        for (name, value) in [("direct_host", host.clone()), ("direct_port", port.to_string())] {
            all.extend(name.parse().ok().map(|name| (name, SecretBytes::from(value))));
        }
        Fields::new(all).map_err(|error| DriverError::Refused(Box::new(error)))
    }

    /// Present only where all have it: a part is completed by the same install.
    async fn look(&self, intent: &Intent) -> Result<Found, DriverError> {
        let found = self.first.find(intent).await?;
        if found != Found::Present || !self.follows(&intent.handle) {
            return Ok(found);
        }
        let has = self.each(|follower| follower.has(&intent.handle)).await?;
        Ok(if has.into_iter().all(|has| has) { found } else { Found::Absent })
    }

    async fn prove(&self, fields: &Fields, old: Option<&Handle>) -> Result<Proof, DriverError> {
        let mut proof = Proof { probes: 0 };
        for (name, way) in &self.ways {
            proof = way.probe(fields, old).await.map_err(|error| at(name, error))?;
        }
        Ok(proof)
    }

    /// Everybody has it still, and then the expiry is set.
    async fn expire(&self, handle: &Handle, expiry: Expiry) -> Result<(), DriverError> {
        if self.follows(handle) {
            let has = self.each(|follower| follower.has(handle)).await?;
            if let Some(((name, _), _)) = self.followers.iter().zip(has).find(|(_, has)| !has) {
                return Err(DriverError::Refused(Box::new(There(format!("{name} does not have {handle}")))));
            }
        }
        self.first.set_expiry(handle, expiry).await
    }

    /// Sessions at the first target, but those that a follower holds for others; and in their place, its clients.
    async fn users(&self, handle: &Handle) -> Result<Usage, DriverError> {
        let usage = self.first.usage(handle).await?;
        let through = self.each(|follower| follower.seen(handle)).await?;
        let Usage::Sessions(mut sessions) = usage else { return Ok(usage) };
        let (mut clients, mut held) = (Vec::new(), Vec::new());
        for Through { clients: some, held: more } in through {
            clients.extend(some);
            held.extend(more);
        }
        sessions.retain(|session| session.id.is_none_or(|id| !held.contains(&id)));
        if clients.iter().any(|client| !client.served) && !self.accepted(handle).await? {
            // The first target lets nobody in as this any more: such a client can do nothing, and has no way back.
            clients.retain(|client| client.served);
        }
        sessions.extend(clients.into_iter().map(|Client { session, .. }| session));
        Ok(Usage::Sessions(sessions))
    }

    /// Whether the first target lets anybody in as `handle`, as far as it can tell.
    async fn accepted(&self, handle: &Handle) -> Result<bool, DriverError> {
        Ok(match self.first.list().await? {
            Listed::Versions(versions) => {
                versions.iter().any(|version| version.handle == *handle && version.accepted)
            }
            Listed::CannotTell => true,
        })
    }

    /// The first target cuts, and the others refuse meanwhile: nobody waits for one that is away.
    async fn cut_off(&self, handle: &Handle) -> Result<Cut, DriverError> {
        let cut = self.first.revoke(handle, Sessions::End).await;
        if let Err(DriverError::Refused(_)) = cut {
            return cut;
        }
        let follows = self.follows(handle);
        let gone =
            if follows { self.each(|follower| follower.remove(handle)).await.map(drop) } else { Ok(()) };
        match (cut, gone) {
            (Ok(cut), Ok(())) => {
                self.each(|follower| follower.let_go(handle)).await.map_err(open)?;
                Ok(cut)
            }
            (Ok(_), Err(error)) | (Err(error), Ok(())) => Err(open(error)),
            (Err(first), Err(other)) => all::<Cut>(vec![Err(first), Err(other)]).map(|_none| Cut::default()),
        }
    }

    /// New logins are refused by the followers first. The first target refuses only when nobody is left behind them: a
    /// pooler logs in anew for clients that it has, and they are not to see an error.
    async fn leave(&self, handle: &Handle) -> Result<Cut, DriverError> {
        // Says also whether it is ours.
        self.first.usage(handle).await?;
        if self.follows(handle) {
            self.each(|follower| follower.remove(handle)).await?;
        }
        let through = self.each(|follower| follower.seen(handle)).await?;
        if through.iter().any(|through| !through.clients.is_empty()) {
            return Ok(Cut { sessions_ended: 0, sessions_left: self.count(handle).await?.max(1) });
        }
        let cut = self.first.revoke(handle, Sessions::Leave).await.map_err(open)?;
        if cut.sessions_left == 0 {
            return Ok(cut);
        }
        let mut left = self.count(handle).await?;
        if left == 0 {
            sleep(BETWEEN_LOOKS).await;
            left = self.count(handle).await?;
        }
        if left == 0 {
            // What the first target has seen are sessions that a pooler keeps for nobody.
            self.first.revoke(handle, Sessions::End).await.map_err(open)?;
        }
        Ok(Cut { sessions_ended: 0, sessions_left: left })
    }

    async fn count(&self, handle: &Handle) -> Result<u32, DriverError> {
        let (Usage::Sessions(sessions) | Usage::OfAccount(sessions)) =
            self.users(handle).await.map_err(open)?
        else {
            return Ok(0);
        };
        Ok(u32::try_from(sessions.len()).unwrap_or(u32::MAX))
    }

    async fn remove(&self, handle: &Handle) -> Result<(), DriverError> {
        self.first.clean_up(handle).await?;
        if self.follows(handle) {
            self.each(|follower| follower.remove(handle)).await.map_err(open)?;
        }
        Ok(())
    }
}

impl Driver for Together {
    fn check(&self) -> DriverFuture<'_, Vec<Lack>> {
        Box::pin(self.lacks())
    }

    fn install<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Installed> {
        Box::pin(self.make(intent))
    }

    fn find<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Found> {
        Box::pin(self.look(intent))
    }

    fn probe<'a>(&'a self, fields: &'a Fields, old: Option<&'a Handle>) -> DriverFuture<'a, Proof> {
        Box::pin(self.prove(fields, old))
    }

    fn log_in<'a>(&'a self, fields: &'a Fields) -> DriverFuture<'a, ()> {
        self.first.log_in(fields)
    }

    fn usage<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, Usage> {
        Box::pin(self.users(handle))
    }

    fn set_expiry<'a>(&'a self, handle: &'a Handle, expiry: Expiry) -> DriverFuture<'a, ()> {
        Box::pin(self.expire(handle, expiry))
    }

    fn revoke<'a>(&'a self, handle: &'a Handle, sessions: Sessions) -> DriverFuture<'a, Cut> {
        Box::pin(async move {
            match sessions {
                Sessions::End => self.cut_off(handle).await,
                Sessions::Leave => self.leave(handle).await,
            }
        })
    }

    fn clean_up<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, ()> {
        Box::pin(self.remove(handle))
    }

    fn list(&self) -> DriverFuture<'_, Listed> {
        self.first.list()
    }

    /// What the first target shows. Whether a follower still lets the current version in, the probe by each way tells.
    fn survey(&self) -> DriverFuture<'_, Survey> {
        self.first.survey()
    }

    fn settle(&self) -> Duration {
        self.followers.iter().map(|(_, follower)| follower.settle()).fold(self.first.settle(), Duration::max)
    }
}
